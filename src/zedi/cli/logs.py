"""`zedi logs`: what the service says, readable."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from zedi import contract

if TYPE_CHECKING:
    from zedi.deploy.logs import Entry

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_HIDDEN: Final = frozenset({"time", "level", "event", "task", "duration"})
_FIRST: Final = ("user", "document")
_COLORS: Final = {"warning": "yellow", "error": "red"}
_METRICS: Final = "_aws"
"""What a line in CloudWatch's embedded metric format has, and no other."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class _Since(click.ParamType[datetime]):
    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        if span := re.fullmatch(r"(\d{1,6})([smhd])", value):
            return datetime.now(UTC) - timedelta(**{_UNITS[span[2]]: int(span[1])})
        try:
            # Without a zone it is this machine's time, as what is printed is.
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a span (90s, 30m, 1h, 2d) nor a time (2026-01-31T09:00)", param)


@click.command()
@click.argument("environment")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "--since", type=_Since(), default="1h", show_default=True, metavar="SPAN|TIME", help="Where to begin."
)
@click.option("--container", type=click.Choice([contract.REALTIME_CONTAINER, contract.API_CONTAINER]))
@click.option("--errors", is_flag=True, help="Only errors, and what is no event: a traceback.")
@click.option("--metrics", is_flag=True, help="Also the lines that CloudWatch makes metrics of.")
@click.option("--json", "as_json", is_flag=True, help="Print the lines as they were written, JSON each.")
def logs(
    environment: str,
    follow: bool,
    since: datetime,
    container: str | None,
    errors: bool,
    metrics: bool,
    as_json: bool,
) -> None:
    """Print what the service of ENVIRONMENT has written: time, level, container, event and what it is about.

    ENVIRONMENT is a name (dev) or the path of a .toml file. Times are this machine's. With --json a line that
    is not a JSON object itself, such as a traceback's, becomes one with `time`, `container` and `message`.
    """
    from zedi import settings
    from zedi.deploy import logs as deployed
    from zedi.deploy.target import target_of

    chosen = settings.load(environment)
    target = target_of(chosen)
    try:
        start = max(0, int(since.timestamp() * 1000))
        tail = deployed.Tail(target, deployed.group(chosen, target), start, container)
        entries = tail.follow(threading.Event()) if follow else tail.new()
        said = 0
        for line in lines(entries, errors=errors, metrics=metrics, as_json=as_json):
            said += 1
            click.echo(line)
    except KeyboardInterrupt:
        return
    if not said:
        kind = "no error" if errors else "nothing"
        who = container or "the service"
        click.echo(f"{who} has written {kind} since {_moment(since.timestamp())}.", err=True)
        click.echo(f"Further back: zedi logs {environment} --since 7d. The tasks: zedi status.", err=True)


def lines(entries: Iterable[Entry], *, errors: bool, metrics: bool, as_json: bool) -> Iterator[str]:
    """Log lines for people, or for programs; those that were not asked for are left out."""
    for entry in entries:
        event = _event(entry.text)
        if event is not None and _METRICS in event and not metrics:
            continue
        if errors and event is not None and event.get("level") != "error":
            continue
        if as_json:
            yield json.dumps(_other(entry), ensure_ascii=False) if event is None else entry.text.strip()
        elif event is None:
            yield _line(entry.at / 1000, "", entry.container, _plain(entry.text.rstrip()))
        else:
            yield _readable(entry, event)


def _event(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _other(entry: Entry) -> dict[str, str]:
    time = datetime.fromtimestamp(entry.at / 1000, UTC).isoformat(timespec="milliseconds")
    return {"time": time, "container": entry.container, "message": entry.text.rstrip()}


def _readable(entry: Entry, event: Mapping[str, Any]) -> str:
    if _METRICS in event:
        about = {key: value for key, value in event.items() if isinstance(value, int | float)}
        return _line(entry.at / 1000, "metric", entry.container, " ".join(_fields(about)))
    names = [*(name for name in _FIRST if name in event), *(name for name in event if name not in _FIRST)]
    about = {name: event[name] for name in names if name not in _HIDDEN}
    words = [f"{_plain(str(event.get('event', ''))):<15}", *_fields(about)]
    if (duration := event.get("duration")) is not None:
        words.append(_seconds(duration))
    return _line(
        _written(event, entry), _plain(str(event.get("level", ""))), entry.container, " ".join(words)
    )


def _fields(about: Mapping[str, Any]) -> Iterator[str]:
    for name, value in about.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        quoted = json.dumps(text, ensure_ascii=False) if " " in text or not text else text
        yield f"{_plain(name)}={_plain(quoted)}"


def _line(at: float, level: str, container: str, text: str) -> str:
    shown = click.style(f"{level:<7}", fg=_COLORS.get(level))
    return f"{_moment(at)}  {shown}  {_plain(container):<8}  {text}".rstrip()


def _written(event: Mapping[str, Any], entry: Entry) -> float:
    """When the event happened, by its own clock where it says so: what carries it may be late."""
    try:
        return datetime.fromisoformat(event["time"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return entry.at / 1000


def _moment(at: float) -> str:
    """A time of this machine's clock, to the millisecond."""
    return f"{datetime.fromtimestamp(at):%m-%d %H:%M:%S.%f}"[:-3]


def _seconds(duration: Any) -> str:
    if not isinstance(duration, int | float):
        return f"duration={_plain(str(duration))}"
    return f"{duration * 1000:.3g} ms" if duration < 1 else f"{duration:,.1f} s"


def _plain(text: str) -> str:
    """Text that can do nothing to a terminal: what strangers send is quoted in the log."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
