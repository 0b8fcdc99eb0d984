"""A plan in words: what is created, changed, replaced and deleted, and what goes for good with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from zedi.cli.columns import aligned

if TYPE_CHECKING:
    from zedi.deploy.plan import Change, Detail, PhasePlan, Plan

_VALUE_CHARACTERS: Final = 60


def lines(plan: Plan, after: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """All of a plan. `after` says what each phase waits for."""
    from zedi.deploy import timing

    for phase in plan.phases:
        yield from phase_lines(phase, asked=bool(plan.account))
        yield ""
    yield from _summary(plan)
    seconds = {each.phase: each.expected for each in plan.phases if each.expected is not None}
    if seconds:
        total, path = timing.critical_path(after, {each.phase: 0.0 for each in plan.phases} | seconds)
        through = " → ".join(name for name in path if name in seconds)
        yield f"By estimate a deploy takes {timing.about(total)}: {through}"


def phase_lines(plan: PhasePlan, *, asked: bool = True) -> Iterator[str]:
    """One phase, every resource of it. `asked`: AWS was; else all is as the templates have it."""
    title = _title(plan) if asked else f"has {_counted(plan)}{_time(plan)}"
    yield f"{plan.phase}: {title}"
    for note in plan.notes:
        yield f"  ({note})"
    if plan.outlined and asked:
        givers = list(dict.fromkeys(source.phase for source in plan.unknown))
        if givers:
            yield f"  depends on what {_listed(givers)} will give; until then this is read off the template"
    added = [change for change in plan.changes if change.action == "add"]
    others = [change for change in plan.changes if change.action != "add"]
    yield from aligned([(f"  + {each.logical_id}", each.type, each.physical_id or "") for each in added])
    for change in others:
        yield from change_lines(change)
    if plan.sources and (plan.outlined or not asked):
        yield "  parameters"
        yield from aligned(list(_parameters(plan, asked)))


def _parameters(plan: PhasePlan, asked: bool) -> Iterator[tuple[str, ...]]:
    known = dict(plan.parameters)
    for source in plan.sources:
        value = (_short(known[source.parameter]) if source.parameter in known else "?",) if asked else ()
        yield (f"    {source.parameter}", *value, source.words)


def summary_lines(plan: PhasePlan) -> list[str]:
    """A plan while a deploy runs; a new stack's resources are counted, changes of an old one's are listed."""
    lines = [f"{plan.phase}: {_title(plan)}"]
    if plan.action == "update":
        for change in plan.changes:
            lines += change_lines(change)
    return lines


def change_lines(change: Change) -> Iterator[str]:
    """One resource that is changed, replaced or deleted, and each of its properties."""
    yield f"  {_mark(change)} {change.logical_id} ({change.type}){_fate(change)}"
    if change.goes:
        yield from (f"      {line}" for line in _loss(change))
    yield from (f"      {_detail(detail)}" for detail in change.details)


def _title(plan: PhasePlan) -> str:
    same = f", {plan.unchanged} unchanged" if plan.unchanged else ""
    if plan.action == "none":
        return f"nothing to change{f' ({plan.unchanged} resources)' if plan.unchanged else ''}"
    if plan.action == "create":
        return f"creates {_counted(plan)}{_time(plan)}"
    if plan.action == "import":
        return f"imports {_counted(plan)}"
    if plan.outlined:
        return "may be changed"
    return f"changes {len(plan.changes)} of its resources{same}{_time(plan)}"


def _counted(plan: PhasePlan) -> str:
    services = Counter(change.type.split("::")[1] for change in plan.changes)
    of_what = ", ".join(f"{count} {service}" for service, count in services.most_common())
    return f"{len(plan.changes)} resources ({of_what})"


def _time(plan: PhasePlan) -> str:
    from zedi.deploy import timing

    return f", {timing.about(plan.expected)}" if plan.expected is not None else ""


def _summary(plan: Plan) -> Iterator[str]:
    """How many of each, and what is lost."""
    if not plan.account:
        total = sum(len(phase.changes) for phase in plan.phases)
        yield f"{total} resources in all; nobody was asked what there is."
        return
    if not plan.changes:
        yield "In all: nothing to change."
        return
    changes = [change for phase in plan.phases for change in phase.changes]
    counts = {
        "created": sum(change.action == "add" for change in changes),
        "changed": sum(change.action != "add" and not change.goes for change in changes),
        "replaced": sum(change.replacement == "always" for change in changes),
        "perhaps replaced": sum(change.replacement == "conditional" for change in changes),
        "deleted": sum(change.action == "remove" for change in changes),
        "unchanged": sum(phase.unchanged for phase in plan.phases),
    }
    yield f"In all: {', '.join(f'{count} {what}' for what, count in counts.items() if count)}."
    lost = [change for phase in plan.phases for change in phase.losses]
    if lost:
        words = " ".join(f"--allow-replace {change.name}" for change in lost)
        yield f"Data is lost, or may be: a deploy asks for each name, or takes {words}"


def _mark(change: Change) -> str:
    if change.replacement != "never":
        return "±"
    return {"add": "+", "remove": "-", "import": "←"}.get(change.action, "~")


def _fate(change: Change) -> str:
    if change.action == "remove":
        return " is deleted" if change.kept != "retained" else " leaves the stack"
    return {"always": " is replaced", "conditional": " may be replaced", "never": ""}[change.replacement]


def _loss(change: Change) -> Iterator[str]:
    """What goes with the resource that is there, and what of it is kept."""
    from zedi.deploy.plan import HOLDS_DATA

    held = HOLDS_DATA.get(change.type)
    if change.kept == "retained":
        yield f"{change.name} is kept, outside of any stack{', with ' + held if held else ''}"
    elif held is not None:
        when = " if so" if change.replacement == "conditional" else ""
        after = "; a last snapshot is kept, to be restored by hand" if change.kept == "snapshot" else ""
        yield f"lost{when}: {held}{after}"


def _detail(detail: Detail) -> str:
    name = detail.name or detail.attribute
    if detail.before is None and detail.after is None:
        why = detail.cause or detail.source
        return f"{name} ({why})" if why else name
    replaces = {"always": "  replaces it", "conditional": "  may replace it", "never": ""}[detail.recreation]
    return f"{name}: {_short(detail.before)} → {_short(detail.after)}{replaces}"


def _short(value: str | None) -> str:
    if value is None:
        return "(none)"
    line = " ".join(value.split())
    return line if len(line) <= _VALUE_CHARACTERS else f"{line[: _VALUE_CHARACTERS - 1]}…"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
