"""`python -m bench`: our service beside Hocuspocus. `make bench` runs it; docs/performance.md explains it.

Progress goes to standard error; standard output gets the table in Markdown (not with --quick) and, as its
last line, one line of JSON with the worst ratios of the fan-out. Status 0: it ran. 1: a server was broken (an
edit that did not arrive, or was not acknowledged), or could not be started.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import platform
import resource
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import report, scenarios
from bench.stage import ROOT, BenchError, Stage, staged
from zedi.errors import ZediError

SCENARIOS = ("fan_out", "capacity", "idle", "join", "kill", "task_to_task")
SOCKETS = 1000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Our service beside Hocuspocus.")
    parser.add_argument("--quick", action="store_true", help="the fan-out alone, once, in under a minute")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="this scenario (may be repeated)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured (default 3)")
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results", help="folder for results")
    parser.add_argument("--keep", action="store_true", help="keep logs and data of the servers")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", file=sys.stderr, flush=True)

    try:
        _raise_files()
        run = asyncio.run(_measure(options, tell))
    except ZediError as error:
        print(error, file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        tell("stopped")
        return 130
    if not options.quick:
        _write(run, options.output, tell)
    if run.fan_out:
        print(json.dumps(report.worst(run)), flush=True)
    return 0


async def _measure(options: argparse.Namespace, tell: scenarios.Tell) -> report.Run:
    # However it is told to stop, what was started is ended. (A shell in the background ignores SIGINT.)
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with staged(SOCKETS, options.keep, tell) as stage:
        if options.quick:
            return report.Run(fan_out=await scenarios.fan_out(stage, tell, rounds=1, seconds=2.0, warm=0.8))
        return await _all(stage, tell, options.only or SCENARIOS, options.rounds)


async def _all(stage: Stage, tell: scenarios.Tell, wanted: Sequence[str], rounds: int) -> report.Run:
    run = report.Run()
    if "fan_out" in wanted:
        measured = await scenarios.fan_out(stage, tell, rounds=rounds, seconds=12.0, warm=3.0)
        run = dataclasses.replace(run, fan_out=measured)
    if "capacity" in wanted:
        run = dataclasses.replace(
            run, capacity=await scenarios.capacity(stage, tell, rounds=rounds, seconds=4.0)
        )
    if "idle" in wanted:
        run = dataclasses.replace(run, idle=await scenarios.idle(stage, tell, rounds=rounds))
    if "join" in wanted:
        run = dataclasses.replace(run, join=await scenarios.join(stage, tell, rounds=rounds))
    if "kill" in wanted:
        run = dataclasses.replace(run, kill=await scenarios.kill(stage, tell))
    if "task_to_task" in wanted:
        measured = await scenarios.task_to_task(stage, tell, rounds=rounds, seconds=8.0)
        run = dataclasses.replace(run, task_to_task=measured)
    return run


def _write(run: report.Run, folder: Path, tell: scenarios.Tell) -> None:
    """The results as JSON, table and plot, named by the time."""
    found = report.rows(run)
    stamp = datetime.now(UTC)
    name = stamp.strftime("%Y-%m-%dT%H%M%SZ")
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "when": stamp.isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "processor": _processor()},
        "python": platform.python_version(),
        "rows": [dataclasses.asdict(each) for each in found],
        "measured": dataclasses.asdict(run),
    }
    table = report.markdown(found)
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False), "utf-8")
    (folder / f"{name}.md").write_text(table, "utf-8")
    (folder / f"{name}.svg").write_text(report.svg(found), "utf-8")
    tell(f"written: {folder / name}.json, .md, .svg")
    print(table, flush=True)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _raise_files() -> None:
    """Lets this process and its children have as many open files as there are sockets, and some."""
    need = SOCKETS + 500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < need:
        if hard != resource.RLIM_INFINITY and hard < need:
            raise BenchError(
                "open files", f"{hard} are allowed, {need} are needed", f"Run: ulimit -Hn {need}, as root."
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))


if __name__ == "__main__":
    sys.exit(main())
