"""Offline preflight of one environment beside cfn-lint alone on the same templates.

    .venv/bin/python bench/preflight.py [--runs 5] [--environment dev]

Each round runs, in turn and each as a process of its own: cfn-lint on the seven files; `zedi preflight
--offline` with nothing remembered (cold) and with everything remembered (warm); `zedi preflight --offline
--no-linters`; and the synthesis of all phases. Wall and CPU seconds (children counted) of each; ratios are
within a round, so that a busy machine slows both sides. Prints JSON: median, least and greatest of each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent


def timed(command: list[str], memory: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a command and its children; it must not fail."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, env={**os.environ, "XDG_CACHE_HOME": str(memory)})
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{command}: {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--environment", default="dev")
    options = parser.parse_args()
    zedi = str(BIN / "zedi")
    with tempfile.TemporaryDirectory() as folder:
        templates, warm = Path(folder, "templates"), Path(folder, "warm")
        synth = [zedi, "synth", options.environment, "--output", str(templates)]
        preflight = [zedi, "preflight", options.environment, "--offline"]
        subprocess.run(synth, check=True, capture_output=True)
        files = sorted(map(str, templates.glob("*.json")))
        region = "ap-northeast-1"
        # What preflight mutes, with its reasons, is no reason for cfn-lint to fail here.
        alone = [str(BIN / "cfn-lint"), "--regions", region, "--ignore-checks", "W3010", "--template", *files]
        commands = {
            "cfn_lint": alone,
            "preflight_cold": preflight,
            "preflight_warm": preflight,
            "rules_only": [*preflight, "--no-linters"],
            "synth": synth,
        }
        timed(preflight, warm)
        rounds: list[dict[str, tuple[float, float]]] = []
        for number in range(options.runs):
            rounds.append(
                {
                    name: timed(command, warm if name == "preflight_warm" else Path(folder, f"cold{number}"))
                    for name, command in commands.items()
                }
            )
    report: dict[str, Any] = {
        "environment": options.environment,
        "runs": options.runs,
        "seconds": {},
        "ratio": {},
    }
    for name in commands:
        for place, kind in enumerate(("wall", "cpu")):
            report["seconds"].setdefault(name, {})[kind] = spread([each[name][place] for each in rounds])
            if name != "cfn_lint":
                ratios = [each[name][place] / each["cfn_lint"][place] for each in rounds]
                report["ratio"].setdefault(name, {})[kind] = spread(ratios)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
