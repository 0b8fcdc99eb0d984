"""How a deploy or a teardown goes: a table that follows on a terminal, lines elsewhere, JSON for
programs.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from zedi.deploy.events import Event, Listener

_LAST_EVENTS: Final = 6
_STACK_TYPE: Final = "AWS::CloudFormation::Stack"


def event_line(event: Event) -> str | None:
    """One event in one line, or None where it is worth none."""
    from zedi.cli.plan_text import summary_lines
    from zedi.deploy import events

    match event:
        case events.PhaseNote(phase, text):
            return f"{phase}: {text}"
        case events.PhasePlanned(_, plan):
            return "\n".join(summary_lines(plan))
        case events.ResourceEvent() if event.status.endswith(("_COMPLETE", "_FAILED")):
            line = f"{event.phase}: {event.status} {event.logical_id} ({event.type})"
            return f"{line}: {event.reason}" if event.status.endswith("_FAILED") and event.reason else line
        case events.ResourceEvent() if event.status == "DELETE_SKIPPED":
            return f"{event.phase}: kept {event.logical_id} ({event.type})"
        case events.PhaseDeleted(phase, seconds):
            return f"{phase}: deleted in {seconds:.1f} s"
        case events.PhaseDone(phase, plan, seconds) if plan.action != "none":
            return f"{phase}: done in {seconds:.1f} s"
        case events.PhaseFailed(phase, error):
            return f"{phase}: failed: {error.what.splitlines()[0]}"
        case events.FrontEndPublished(uploaded, unchanged, deleted):
            return f"front end: {uploaded} files uploaded, {unchanged} unchanged, {deleted} old ones deleted"
        case _:
            return None


def tell(event: str, **fields: Any) -> None:
    """Prints one JSON object on one line: what happened and when (UTC, ISO 8601), then `fields`.

    It is all that a verb with --json prints, so that each line is an object: the last is the `result`, and
    where there is none, the verb did not succeed and standard error says why.
    """
    line = {"event": event, "at": datetime.now(UTC), **fields}
    click.echo(json.dumps(line, ensure_ascii=False, default=_plain_value))


def tell_event(event: Event) -> None:
    """Prints one event as `tell` does: named after its class (phase_started), with its fields.

    Of a plan that is which changes there are, without their properties and their values: `zedi plan --json`
    has those.
    """
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    tell(name, **{each.name: getattr(event, each.name) for each in dataclasses.fields(event)})


def _plain_value(value: object) -> object:
    """What JSON has no word for."""
    from zedi.deploy.plan import PhasePlan
    from zedi.errors import ZediError

    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case ZediError():
            return {"where": value.where, "what": value.what, "fix": value.fix}
        case PhasePlan():
            changes = [
                {
                    "action": change.action,
                    "logical_id": change.logical_id,
                    "type": change.type,
                    "physical_id": change.physical_id,
                    "replacement": change.replacement,
                }
                for change in value.changes
            ]
            return {"action": value.action, "expected_seconds": value.expected, "changes": changes}
    raise TypeError(f"{type(value).__name__} has no JSON form")


def display(
    console: Console, phases: tuple[str, ...], *, as_json: bool = False
) -> AbstractContextManager[Listener]:
    """Shows what the listener is told: a table that follows on a terminal, lines elsewhere, or JSON."""
    if as_json:
        return nullcontext(tell_event)
    return _live(console, phases) if console.is_terminal else _plain(phases)


@contextmanager
def _plain(phases: tuple[str, ...]) -> Iterator[Listener]:
    """Lines with the seconds since the start, for logs."""
    began = time.monotonic()

    def listener(event: Event) -> None:
        text = event_line(event)
        if text is not None:
            click.echo(f"{time.monotonic() - began:7.1f} s  {text}")

    yield listener


@contextmanager
def _live(console: Console, phases: tuple[str, ...]) -> Iterator[Listener]:
    """A table of phases that follows what happens, with the plans and failures above it."""
    from rich.live import Live

    board = Board(phases)
    with Live(get_renderable=board.table, console=console, refresh_per_second=8) as live:

        def listener(event: Event) -> None:
            from zedi.deploy import events

            board.follow(event)
            lasting = isinstance(event, events.PhaseNote | events.PhasePlanned | events.FrontEndPublished)
            failed = isinstance(event, events.ResourceEvent) and event.status.endswith("_FAILED")
            text = event_line(event) if lasting or failed else None
            if text is not None:
                live.console.print(text, style="red" if failed else None, markup=False)

        yield listener


@dataclass
class _Row:
    state: str = "waits"
    total: int = 0
    done: set[str] = field(default_factory=set)
    began: float | None = None
    seconds: float | None = None
    expected: float | None = None
    """Seconds; None: nobody can say, yet or ever."""

    @property
    def over(self) -> bool:
        return self.seconds is not None


class Board:
    """What the live display shows. `follow` and `table` may be called from different threads."""

    def __init__(self, phases: tuple[str, ...], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows = {phase: _Row() for phase in phases}
        self._after: Mapping[str, tuple[str, ...]] | None = None
        """What each phase waits for; None: no times are told, for there are none worth telling."""
        self._last: deque[str] = deque(maxlen=_LAST_EVENTS)

    def follow(self, event: Event) -> None:
        from zedi.deploy import events

        if isinstance(event, events.FrontEndPublished):
            return
        if isinstance(event, events.Outlook):
            self._after = event.after
            for phase, seconds in event.seconds.items():
                self._rows.setdefault(phase, _Row()).expected = seconds
            return
        # A phase that this deploy is not about can come in: security learns the front end's address.
        row = self._rows.setdefault(event.phase, _Row())
        match event:
            case events.PhaseStarted():
                row.state, row.began, row.seconds = "plans", self._clock(), None
                row.done.clear()
            case events.PhasePlanned(_, plan):
                row.total = len(plan.changes)
                row.expected = plan.expected
                row.state = _STATES[plan.action]
            case events.ResourceEvent():
                if event.type != _STACK_TYPE:
                    self._last.append(f"{event.phase}  {event.status}  {event.logical_id}")
                    if event.status.endswith(("_COMPLETE", "_SKIPPED")):
                        row.done.add(event.logical_id)
                elif "ROLLBACK" in event.status:
                    row.state = "rolls back"
                elif event.status == "DELETE_IN_PROGRESS":
                    row.state = "deletes"
            case events.PhaseDeleted(_, seconds):
                row.state, row.seconds = "deleted", seconds
            case events.PhaseDone(_, plan, seconds):
                row.seconds = seconds
                row.state = "no change" if plan.action == "none" else "done"
            case events.PhaseFailed():
                row.state = "failed"
                row.seconds = self._clock() - row.began if row.began is not None else 0.0

    def table(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        rows = list(self._rows.items())
        timed = self._after is not None
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("phase")
        table.add_column("state")
        table.add_column("resources", justify="right")
        table.add_column("time", justify="right")
        if timed:
            table.add_column("usually", justify="right")
        for phase, row in rows:
            cells: list[RenderableType] = [
                phase,
                Text(row.state, style=_STYLES.get(row.state, "")),
                f"{min(len(row.done), row.total)}/{row.total}" if row.total else "",
                self._time(row),
            ]
            table.add_row(*cells, *([_usually(row)] if timed else []))
        left = self._left()
        return Group(
            table,
            *([Text(left, style="dim")] if left else []),
            *(Text(line, style="dim", no_wrap=True) for line in list(self._last)),
        )

    def _left(self) -> str:
        """What the rest takes by estimate, and the chain of phases that it hangs on."""
        from zedi.deploy import timing

        rows = list(self._rows.items())
        if self._after is None or any(row.state in ("failed", "rolls back") for _, row in rows):
            return ""
        seconds = {phase: self._remaining(row) for phase, row in rows if not row.over}
        total, path = timing.critical_path(self._after, seconds)
        if not path or not total:
            return ""
        unseen = any(row.expected is None and row.state in ("waits", "plans") for _, row in rows)
        least = "at least " if unseen else ""
        return f"{least}{timing.about(total)} left: {' → '.join(name for name in path if seconds[name])}"

    def _remaining(self, row: _Row) -> float:
        spent = self._clock() - row.began if row.began is not None else 0.0
        return max(0.0, (row.expected or 0.0) - spent)

    def _time(self, row: _Row) -> str:
        if row.began is None:
            return ""
        seconds: float = row.seconds if row.seconds is not None else self._clock() - row.began
        return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60}:{int(seconds) % 60:02} min"


def _usually(row: _Row) -> str:
    from zedi.deploy import timing

    return timing.about(row.expected) if row.expected else ""


_STATES: Final = {"create": "creates", "update": "updates", "import": "imports", "none": "no change"}
_STYLES: Final[dict[str, Any]] = {
    "waits": "dim",
    "no change": "dim",
    "done": "green",
    "failed": "bold red",
    "rolls back": "red",
    "deleted": "green",
    "deletes": "cyan",
    "creates": "cyan",
    "updates": "cyan",
    "imports": "cyan",
    "plans": "cyan",
}
