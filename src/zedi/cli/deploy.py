"""`zedi deploy`: make change sets, show what they will do, carry them out, and show how it goes."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from zedi.deploy.events import Event, Listener
    from zedi.deploy.plan import Change, Detail, PhasePlan
    from zedi.deploy.rollout import DataLossError, DeployResult
    from zedi.deploy.target import Target
    from zedi.settings import Settings

REALTIME: Final = "realtime"
INTERRUPTED: Final = 130
_LAST_EVENTS: Final = 6
_VALUE_CHARACTERS: Final = 60
_STACK_TYPE: Final = "AWS::CloudFormation::Stack"


@click.command()
@click.argument("environment")
@click.option("--through", metavar="PHASE", help="Deploy that phase and everything that it needs.")
@click.option("--only", metavar="PHASE", help="Deploy that phase alone, on what is deployed already.")
@click.option(
    "--allow-replace",
    metavar="NAME",
    multiple=True,
    help="A resource that holds data and may be removed or replaced. May be given several times.",
)
@click.option(
    "--image", "with_image", is_flag=True, help="Build and push this revision's image, unless it is there."
)
def deploy(
    environment: str,
    through: str | None,
    only: str | None,
    allow_replace: tuple[str, ...],
    with_image: bool,
) -> None:
    """Bring what is deployed in ENVIRONMENT in line with its settings.

    ENVIRONMENT is a name (dev) or the path of a .toml file. What each phase will change is shown before it
    is done; a change that would lose data stops the phase until the resource's name is typed, or given with
    --allow-replace. It may be interrupted: AWS finishes what it has
    begun, and the same command goes on from there.

    With --image an empty account gets a running service in one go: the image is built first, the service is
    deployed without a task, which makes the repository, the image is pushed, the service deployed once more.
    """
    from rich.console import Console

    from zedi import settings
    from zedi.deploy.rollout import DataLossError, chosen
    from zedi.deploy.rollout import deploy as roll_out
    from zedi.deploy.target import target_of
    from zedi.image import release
    from zedi.phases import PHASES

    if through is not None and only is not None:
        raise click.UsageError("Say --through or --only, not both.")
    phases = chosen(PHASES, through, only)  # a wrong name is said before anybody is asked
    wanted = settings.load(environment)
    if with_image:
        if REALTIME not in [phase.name for phase in phases]:
            raise click.UsageError("--image is for a deploy of the realtime phase.")
        release.refuse_embedded(wanted)
    target = target_of(wanted)
    push = _image(wanted, target) if with_image else None
    if push is not None and release.repository(wanted, target) is not None:
        push()
        push = None
    place = target.endpoint_url or f"account {target.account}, {target.region}"
    click.echo(f"{wanted.prefix} → {place}")

    console = Console(highlight=False)
    try:
        allowed = set(allow_replace)
        while True:
            try:
                with display(console, tuple(phase.name for phase in phases)) as listener:
                    result = roll_out(
                        wanted, target, listener=listener, through=through, only=only, allow_replace=allowed
                    )
                break
            except DataLossError as loss:
                # What ran beside that phase has ended, and what is done already is not done again.
                allowed |= _typed(loss)
        if push is not None:
            click.echo(summary(result))
            push()
            with display(console, (REALTIME,)) as listener:
                result = roll_out(wanted, target, listener=listener, only=REALTIME)
    except KeyboardInterrupt:
        click.echo(
            "Stopped watching. AWS finishes what it has begun; the same command goes on from there.", err=True
        )
        raise SystemExit(INTERRUPTED) from None
    click.echo(summary(result))


def _typed(loss: DataLossError) -> set[str]:
    """Asks for the name of each resource that would be lost. Raises the error where one is not typed."""
    if not sys.stdin.isatty():
        raise loss
    click.echo(f"{loss.where}: {loss.what}", err=True)
    for change in loss.changes:
        if click.prompt(f"Type its name to let go of it ({change.name})", default="", show_default=False) != (
            change.name
        ):
            raise loss
    return {change.name for change in loss.changes}


def _image(settings: Settings, target: Target) -> Callable[[], object] | None:
    """Builds the image of what is checked out; returns what pushes it, or None: it was pushed before.

    Raises ImageError, before anything is deployed, where it cannot be built or would not be run.
    """
    from zedi.deploy import facts, revision
    from zedi.deploy.target import asking
    from zedi.image import ImageError, engine, release

    now = revision.current()
    tag = settings.realtime.image_tag
    if tag not in (None, now.commit):
        raise ImageError(
            "realtime.image_tag",
            f"names the image {tag}, so that of this revision would not be run",
            "Remove that setting, or deploy without --image.",
        )
    with asking(target, "image"):
        if facts.image_digest(settings, target, tag=now.commit) is not None:
            return None
    found = engine.find()
    release.build(settings, now, found)
    return lambda: release.push(settings, target, now, found)


def summary(result: DeployResult) -> str:
    """The last words of a deploy that succeeded."""
    if not result.changed:
        return f"Nothing to change ({result.seconds:.1f} s)."
    changed = [done.plan.phase for done in result.phases if done.plan.action != "none"]
    parts = [", ".join(dict.fromkeys(changed))] if changed else []
    if result.published is not None and result.published.uploaded:
        parts.append(f"{len(result.published.uploaded)} files of the front end")
    lines = [f"Deployed {' and '.join(parts)} in {result.seconds:.1f} s."]
    url = result.outputs.get("frontend_url")
    if url:
        lines.append(f"The front end is at {url}")
    return "\n".join(lines)


def plan_lines(plan: PhasePlan) -> list[str]:
    """A plan for people; a new stack's resources are counted, changes of an old one's are listed."""
    if plan.action == "none":
        return [f"{plan.phase}: nothing to change"]
    if plan.action == "create":
        services = Counter(change.type.split("::")[1] for change in plan.changes)
        of_what = ", ".join(f"{count} {service}" for service, count in services.most_common())
        return [f"{plan.phase}: creates {len(plan.changes)} resources ({of_what})"]
    if plan.action == "import":
        return [f"{plan.phase}: imports {len(plan.changes)} resources"]
    lines = [f"{plan.phase}: changes {len(plan.changes)} of its resources"]
    for change in plan.changes:
        lines.append(f"  {_mark(change)} {change.logical_id} ({change.type}){_fate(change)}")
        lines.extend(f"      {_detail(detail)}" for detail in change.details)
    return lines


def _mark(change: Change) -> str:
    if change.replacement != "never":
        return "±"
    return {"add": "+", "remove": "-", "import": "←"}.get(change.action, "~")


def _fate(change: Change) -> str:
    words = {"always": " is replaced", "conditional": " may be replaced", "never": ""}[change.replacement]
    if change.loses_data:
        words += " and its data is lost" if words else " with its data"
    return words


def _detail(detail: Detail) -> str:
    name = detail.name or detail.attribute
    if detail.before is None and detail.after is None:
        why = detail.cause or detail.source
        return f"{name} ({why})" if why else name
    return f"{name}: {_short(detail.before)} → {_short(detail.after)}"


def _short(value: str | None) -> str:
    if value is None:
        return "(none)"
    line = " ".join(value.split())
    return line if len(line) <= _VALUE_CHARACTERS else f"{line[: _VALUE_CHARACTERS - 1]}…"


def event_line(event: Event) -> str | None:
    """One event in one line, or None where it is worth none."""
    from zedi.deploy import events

    match event:
        case events.PhaseNote(phase, text):
            return f"{phase}: {text}"
        case events.PhasePlanned(_, plan):
            return "\n".join(plan_lines(plan))
        case events.ResourceEvent() if event.status.endswith(("_COMPLETE", "_FAILED")):
            line = f"{event.phase}: {event.status} {event.logical_id} ({event.type})"
            return f"{line}: {event.reason}" if event.status.endswith("_FAILED") and event.reason else line
        case events.ResourceEvent() if event.status == "DELETE_SKIPPED":
            return f"{event.phase}: kept {event.logical_id} ({event.type})"
        case events.PhaseDeleted(phase, seconds):
            return f"{phase}: deleted in {seconds:.1f} s"
        case events.PhaseDone(phase, plan, seconds) if plan.action != "none":
            return f"{phase}: done in {seconds:.1f} s"
        case events.PhaseFailed(phase):
            return f"{phase}: failed"
        case events.FrontEndPublished(uploaded, unchanged, deleted):
            return f"front end: {uploaded} files uploaded, {unchanged} unchanged, {deleted} old ones deleted"
        case _:
            return None


def display(console: Console, phases: tuple[str, ...]) -> AbstractContextManager[Listener]:
    """Shows what the listener is told: a table that follows on a terminal, lines elsewhere."""
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


class Board:
    """What the live display shows. `follow` and `table` may be called from different threads."""

    def __init__(self, phases: tuple[str, ...], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows = {phase: _Row() for phase in phases}
        self._last: deque[str] = deque(maxlen=_LAST_EVENTS)

    def follow(self, event: Event) -> None:
        from zedi.deploy import events

        if isinstance(event, events.FrontEndPublished):
            return
        # A phase that this deploy is not about can come in: security learns the front end's address.
        row = self._rows.setdefault(event.phase, _Row())
        match event:
            case events.PhaseStarted():
                row.state, row.began, row.seconds = "plans", self._clock(), None
                row.done.clear()
            case events.PhasePlanned(_, plan):
                row.total = len(plan.changes)
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
                row.seconds = self._clock() - row.began if row.began is not None else None

    def table(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("phase")
        table.add_column("state")
        table.add_column("resources", justify="right")
        table.add_column("time", justify="right")
        for phase, row in list(self._rows.items()):
            table.add_row(
                phase,
                Text(row.state, style=_STYLES.get(row.state, "")),
                f"{min(len(row.done), row.total)}/{row.total}" if row.total else "",
                self._time(row),
            )
        return Group(table, *(Text(line, style="dim", no_wrap=True) for line in list(self._last)))

    def _time(self, row: _Row) -> str:
        if row.began is None:
            return ""
        seconds: float = row.seconds if row.seconds is not None else self._clock() - row.began
        return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60}:{int(seconds) % 60:02} min"


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
