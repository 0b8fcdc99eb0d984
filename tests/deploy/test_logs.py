"""The log of a real embedded AWS, read once and followed: each line once, none lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from zedi.cli.logs import logs as verb
from zedi.deploy import DeployError
from zedi.deploy.logs import Entry, Tail, group
from zedi.deploy.target import Target, target_of
from zedi.settings import Settings

pytestmark = pytest.mark.server

NOW = int(time.time() * 1000)


@pytest.fixture
def write(target: Target, settings: Settings) -> Callable[..., None]:
    """Writes lines (text, milliseconds from now) into a stream of this test's own log group."""
    logs = target.client("logs")
    logs.create_log_group(logGroupName=settings.name)
    made: set[str] = set()

    def put(container: str, *lines: tuple[str, int]) -> None:
        stream = f"{container}/{container}/1"
        if stream not in made:
            logs.create_log_stream(logGroupName=settings.name, logStreamName=stream)
            made.add(stream)
        events: Any = [{"timestamp": NOW + at, "message": text} for text, at in lines]
        logs.put_log_events(logGroupName=settings.name, logStreamName=stream, logEvents=events)

    return put


def texts(entries: Any) -> list[str]:
    return [entry.text for entry in entries]


def test_each_line_comes_once(target: Target, settings: Settings, write: Callable[..., None]) -> None:
    """Also those that come late or at the same moment; in the order of their times."""
    tail = Tail(target, settings.name, NOW - 5000)
    assert texts(tail.new()) == []
    write("realtime", ("b", 0), ("c", 10))
    write("api", ("a", -10), ("too old", -60_000))
    assert texts(tail.new()) == ["a", "b", "c"]
    assert texts(tail.new()) == []
    write("realtime", ("c", 10))
    write("api", ("late", -4000))
    assert texts(tail.new()) == ["late", "c"]
    assert texts(tail.new()) == []


def test_only_one_container(target: Target, settings: Settings, write: Callable[..., None]) -> None:
    """A container's lines are those of the streams that bear its name."""
    write("realtime", ("r", 0))
    write("api", ("a", 0))
    (found,) = Tail(target, settings.name, 0, "api").new()
    assert (found.container, found.text, found.stream) == ("api", "a", "api/api/1")


def test_more_than_one_answer_holds(target: Target, settings: Settings, write: Callable[..., None]) -> None:
    """Twenty-five thousand lines, of which every hundred share a moment: all of them, each once."""
    for first in range(0, 25_000, 5000):
        write("realtime", *((str(number), number // 100) for number in range(first, first + 5000)))
    assert sorted(map(int, texts(Tail(target, settings.name, 0).new()))) == list(range(25_000))


def test_following_gives_what_comes(target: Target, settings: Settings, write: Callable[..., None]) -> None:
    """Lines that are written while it follows come too, and it ends when it is asked to."""
    write("realtime", ("first", 0))
    stop, found = threading.Event(), list[Entry]()
    for entry in Tail(target, settings.name, 0).follow(stop):
        found.append(entry)
        if entry.text == "first":
            write("api", ("second", 1), ("third", 2))
        if entry.text == "third":
            stop.set()
    assert texts(found) == ["first", "second", "third"]


def test_what_is_not_there_is_said(settings: Settings, target: Target, file: Path) -> None:
    """No service, and a log group that somebody deleted."""
    with pytest.raises(DeployError, match="not deployed, so it has no log"):
        group(settings, target)
    assert isinstance(CliRunner().invoke(verb, [str(file)]).exception, DeployError)
    with pytest.raises(DeployError, match="the log group is gone"):
        list(Tail(target, "/nobody/has/this", 0).new())


def test_verb_reads_the_deployed_group(whole: tuple[Settings, Path]) -> None:
    """Emptiness is said on standard error; then the lines, for people and for programs."""
    settings, file = whole
    target = target_of(settings)
    name = group(settings, target)
    assert name == "/ecs/zedi-whole-realtime"
    done = CliRunner().invoke(verb, [str(file), "--container", "api"])
    assert done.exit_code == 0 and done.stdout == ""
    assert "api has written nothing since" in done.stderr and "--since 7d" in done.stderr
    logs, line = target.client("logs"), {"level": "error", "event": "boom", "reason": "不明"}
    logs.create_log_stream(logGroupName=name, logStreamName="realtime/realtime/1")
    logs.put_log_events(
        logGroupName=name,
        logStreamName="realtime/realtime/1",
        logEvents=[{"timestamp": int(time.time() * 1000), "message": json.dumps(line)}],
    )
    assert "boom            reason=不明" in CliRunner().invoke(verb, [str(file), "--errors"]).stdout
    assert json.loads(CliRunner().invoke(verb, [str(file), "--json"]).stdout) == line
