"""How log lines are shown: readable, harmless, and only those that were asked for."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from click.testing import CliRunner

from zedi.cli.logs import _Since, lines
from zedi.cli.logs import logs as verb
from zedi.deploy.logs import Entry

AT = datetime(2026, 1, 31, 9, 30, 1, 250_000).timestamp()


def entry(text: str | dict[str, Any], container: str = "realtime") -> Entry:
    written = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    return Entry("1", int(AT * 1000), container, f"{container}/{container}/1", written)


def shown(*entries: Entry, errors: bool = False, metrics: bool = False, as_json: bool = False) -> list[str]:
    found = lines(entries, errors=errors, metrics=metrics, as_json=as_json)
    return [click.unstyle(line) for line in found]


OPENED = {
    "time": datetime.fromtimestamp(AT, UTC).isoformat(timespec="milliseconds"),
    "level": "info",
    "event": "authenticated",
    "task": "t1",
    "mode": "write",
    "document": "議事録",
    "user": "hanako",
    "duration": 0.0123,
}
METRIC = {"_aws": {"Timestamp": 1}, "Environment": "dev", "Connections": 3}


def test_a_line_is_read_from_left_to_right() -> None:
    """Local time, level, container, event; then user and document before the rest, the duration last."""
    assert shown(entry(OPENED)) == [
        "01-31 09:30:01.250  info     realtime  authenticated  "
        " user=hanako document=議事録 mode=write 12.3 ms"
    ]


def test_metrics_are_left_out_unless_asked_for() -> None:
    """They are for CloudWatch; --metrics shows their values."""
    assert shown(entry(METRIC)) == []
    assert shown(entry(METRIC), metrics=True) == ["01-31 09:30:01.250  metric   realtime  Connections=3"]


def test_errors_are_errors_and_what_is_no_event() -> None:
    """A traceback is no JSON and an error all the same; a warning is none."""
    given = [
        entry(OPENED),
        entry(OPENED | {"level": "warning"}),
        entry(OPENED | {"level": "error", "event": "not_loaded"}),
        entry("Traceback (most recent call last):"),
        entry(METRIC),
    ]
    kept = shown(*given, errors=True)
    assert (
        len(kept) == 2
        and "not_loaded" in kept[0]
        and kept[1].endswith("realtime  Traceback (most recent call last):")
    )


def test_a_stranger_cannot_write_to_the_terminal() -> None:
    """Escape sequences and line ends in what was logged are shown as what they are."""
    bad = "\x1b]0;owned\x07\nlevel=error\u202e\x9b"
    for text in (OPENED | {"document": bad, bad: "x", "event": bad, "level": bad}, bad):
        (line,) = shown(entry(text))
        assert not any(char < " " or "\x7f" <= char < "\xa0" or char == "\u202e" for char in line)
        assert "\\u001b" in line


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "nul", "3", '{"time": 5}', '{"time": "no", "duration": "long"}', "[" * 100_000]
)
def test_no_line_is_too_strange_to_be_shown(text: str) -> None:
    """What is no event of ours is shown as text, by the time at which it was stored."""
    (line,) = shown(entry(text))
    assert line.startswith("01-31 09:30:01.250")


def test_json_is_what_was_written() -> None:
    """A line that is an object comes as it is; another becomes one, so that every line can be parsed."""
    raw = '{"event":"x",  "b":1}'
    assert shown(entry(raw), as_json=True) == [raw]
    (other,) = shown(entry("Traceback\n", "api"), as_json=True)
    said = json.loads(other)
    assert (said["container"], said["message"]) == ("api", "Traceback")
    assert datetime.fromisoformat(said["time"]).timestamp() == AT


def test_since_is_a_span_or_a_time() -> None:
    """Spans count back from now, a time without a zone is this machine's, all else is a usage error."""
    kind = _Since()
    for text, span in (("90s", timedelta(seconds=90)), ("2d", timedelta(days=2))):
        found = kind.convert(text, None, None)
        assert abs(time.time() - span.total_seconds() - found.timestamp()) < 5
    assert (
        kind.convert("2026-01-31T09:30", None, None).timestamp() == datetime(2026, 1, 31, 9, 30).timestamp()
    )
    for text in ("1w", "", "-1h", "yesterday", "h", "99999999d"):
        done = CliRunner().invoke(verb, ["dev", "--since", text])
        assert done.exit_code == 2 and "--since" in done.output, text
