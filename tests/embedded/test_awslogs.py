"""The containers' lines in the embedded log group: all of them, in order, and no more than it can hold."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from zedi.deploy.logs import Tail
from zedi.deploy.target import Target
from zedi.embedded import awslogs
from zedi.embedded.awslogs import Destination, Shipper, destination

GROUP = "/test/lines"


def test_destination_is_what_the_definition_says() -> None:
    """The awslogs driver's group and prefix; another driver, or none, is nowhere."""
    options = {"awslogs-group": "/ecs/x", "awslogs-stream-prefix": "realtime"}
    configured = {"logDriver": "awslogs", "options": options}
    assert destination({"logConfiguration": configured}) == Destination("/ecs/x", "realtime")
    assert destination({"logConfiguration": configured | {"logDriver": "json-file"}}) is None
    assert destination({}) is None


def test_lines_are_what_cloudwatch_takes() -> None:
    """In the order of their times, none empty, a long one in pieces; one without a time stays in place."""
    long = "x" * (awslogs._LONGEST_LINE + 1)
    second = '{"time":"2026-01-31T00:00:02+00:00"}'
    first = '{"time":"2026-01-31T00:00:01+00:00"}'
    found = awslogs._events([second, "traceback", "", "  ", first, long])
    assert [event["message"] for event in found] == [first, long[:-1], "x", second, "traceback"]
    assert [event["timestamp"] % 60_000 for event in found] == [1000, 1000, 1000, 2000, 2000]


@pytest.fixture
def running(up: Any) -> Any:
    if up.process is None:
        up.start()
    return up


@pytest.fixture
def target(running: Any) -> Target:
    settings = running.settings
    found = Target(settings.region, "000000000000", settings.endpoint_url)
    logs = found.client("logs")
    if not logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"]:
        logs.create_log_group(logGroupName=GROUP)
    return found


def texts(target: Target, container: str) -> list[str]:
    return [entry.text for entry in Tail(target, GROUP, 0, container).new()]


@pytest.mark.server
def test_all_lines_arrive_once_and_whole(target: Target, tmp_path: Path, until: Callable[..., float]) -> None:
    """A line that is being written waits for its end; what the last moments wrote is sent at the end."""
    file, told = tmp_path / "one.log", list[str]()

    async def work() -> None:
        shipper = Shipper(target, {"one": (file, Destination(GROUP, "one"))}, told.append)
        shipper.start()
        file.write_text("a\nb\nhal", "utf-8")
        await asyncio.to_thread(
            until, lambda: texts(target, "one") == ["a", "b"], 20, lambda: texts(target, "one")
        )
        with file.open("a") as more:
            more.write("f 日本\nlast\n")
        await shipper.close()

    asyncio.run(work())
    assert texts(target, "one") == ["a", "b", "half 日本", "last"]
    assert told == []


@pytest.mark.server
def test_old_streams_make_room(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is written, only the newest few streams stay, and what is far behind is dropped."""
    monkeypatch.setattr(awslogs, "_STREAM_BYTES", 100)
    monkeypatch.setattr(awslogs, "_BATCH_BYTES", 100)
    monkeypatch.setattr(awslogs, "_BACKLOG_BYTES", 2000)
    file = tmp_path / "two.log"
    file.write_text("".join(f"{number:09}\n" for number in range(1000)))
    source = awslogs._Source(target, "two", file, Destination(GROUP, "two"))
    while source.send():
        pass
    kept = texts(target, "two")
    assert kept == [f"{number:09}" for number in range(1000 - len(kept), 1000)]
    # A stream that has less than its bound takes one batch more, of ten lines.
    assert 10 * awslogs._KEPT_STREAMS < len(kept) <= 20 * awslogs._KEPT_STREAMS
    streams = target.client("logs").describe_log_streams(logGroupName=GROUP, logStreamNamePrefix="two/")
    assert len(streams["logStreams"]) == awslogs._KEPT_STREAMS


@pytest.mark.server
def test_nothing_is_sent_twice_after_a_failure(tmp_path: Path, until: Callable[..., float]) -> None:
    """Where nobody takes the lines it is told once, and the containers go on."""
    nobody, told = Target("ap-northeast-1", "0" * 12, "http://127.0.0.1:9"), list[str]()
    file = tmp_path / "three.log"
    file.write_text("a\n")

    async def work() -> None:
        shipper = Shipper(nobody, {"three": (file, Destination(GROUP, "three"))}, told.append)
        shipper.start()
        await asyncio.to_thread(until, lambda: bool(told), 30)
        await shipper.close()

    asyncio.run(work())
    assert "do not reach the log for now" in told[0]
    assert told[1:] == ["the last lines of the service are in its log files only"]


@pytest.mark.server
def test_zedi_logs_follows_the_service(running: Any, until: Callable[..., float], tmp_path: Path) -> None:
    """What both containers wrote at their start, then a request as it comes, once; Ctrl-C ends it cleanly."""
    output, errors = tmp_path / "output", tmp_path / "errors"
    with output.open("w") as out, errors.open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "zedi.cli", "logs", str(running.settings_file), "--follow"],
            stdout=out,
            stderr=err,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        until(lambda: output.read_text().count("listening") == 2, 60, output.read_text)
        mark = f"/api/{time.time_ns()}"
        httpx.get(f"http://127.0.0.1:{running.settings.realtime.api_port}{mark}", trust_env=False)
        until(lambda: mark in output.read_text(), 60, output.read_text)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert output.read_text().count(mark) == 1 and errors.read_text() == ""
