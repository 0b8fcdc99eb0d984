"""The plan of all phases: what a deploy would do. Nothing is changed by it.

    outline     from settings and templates alone; nobody is asked
    plan        against what is deployed: a change set for each phase whose inputs are all known

A plan changes nothing, so all phases are planned at once, each on what the others give now. Where that may
change with them, the plan says so.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from zedi.deploy import DeployError, execute, facts, stacks, timing
from zedi.deploy import plan as plans
from zedi.deploy.events import Event, Listener
from zedi.deploy.execute import Request
from zedi.deploy.order import before, in_order
from zedi.deploy.outputs import deployed_stacks
from zedi.deploy.plan import PhasePlan, Plan, Source, settings_digests
from zedi.deploy.stacks import Stack
from zedi.deploy.target import Target, asking
from zedi.phases import FACTS, PHASES, Phase, render, stack_name
from zedi.phases.tags import labels
from zedi.settings import Settings

CDN: Final = "cdn"
REALTIME: Final = "realtime"
SECURITY: Final = "security"


def outline(settings: Settings, phases: Sequence[Phase] = PHASES, chosen: Sequence[Phase] = ()) -> Plan:
    """What each phase would have, were it made now: resources, their names, where parameters come from."""
    templates = _templates(settings, phases)
    found = []
    for phase in chosen or phases:
        made = templates[phase.name]
        drawn = plans.outline(phase.name, stack_name(settings, phase.name), made.text, {}, "", creates=True)
        sources = _sources(phase, phases, templates)
        seconds = None if settings.embedded else timing.expected(drawn.changes, made.body)
        found.append(replace(drawn, sources=sources, expected=seconds))
    return _plan(settings, Target(settings.region, "", settings.endpoint_url), found)


def plan(
    settings: Settings,
    target: Target,
    *,
    listener: Listener,
    phases: Sequence[Phase] = PHASES,
    chosen: Sequence[Phase] = (),
    keep: bool = False,
) -> Plan:
    """What a deploy of `chosen` (else of all `phases`) would do.

    Args:
        listener: is told what is waited for, one event at a time, from several threads.
        keep: leave the change sets in AWS, to be carried out. Else they are deleted before this returns,
            and so is a stack that was only made to hold one.

    Raises:
        DeployError: a phase cannot be planned, and could not be deployed: AWS refuses it, or its stack needs
            a hand. Nothing is left behind.
        KeyboardInterrupt: as it came; nothing is left behind.
    """
    planner = _Planner(settings, target, listener, phases)
    kept = False
    try:
        found = planner.run(chosen or phases)
        kept = keep
    finally:
        if not kept:
            discard(target, planner.made.values())
    if not keep:
        found = [replace(each, change_set=None, secrets=()) for each in found]
    return _plan(settings, target, found)


def discard(target: Target, planned: Iterable[PhasePlan]) -> None:
    """Deletes the change sets of phases' plans; stacks that were only made to hold them go too.

    Raises the first DeployError, when all have been tried.
    """
    errors: list[DeployError] = []
    for each in planned:
        try:
            with asking(target, each.phase):
                execute.discard(target, each)
        except DeployError as error:
            errors.append(error)
    if errors:
        raise errors[0]


class _Planner:
    def __init__(
        self, settings: Settings, target: Target, listener: Listener, phases: Sequence[Phase]
    ) -> None:
        self._settings = settings
        self._target = target
        self._listener = listener
        self._telling = threading.Lock()
        self._phases = {phase.name: phase for phase in phases}
        self._templates = _templates(settings, phases)
        self._deployed: Mapping[str, Stack] = {}
        self._stop = threading.Event()
        self.made: dict[str, PhasePlan] = {}

    def run(self, chosen: Sequence[Phase]) -> list[PhasePlan]:
        self._deployed = deployed_stacks(self._settings, self._target, self._phases.values())
        in_order({phase.name: () for phase in chosen}, self._phase, self._stop)
        return [self._noted(self.made[phase.name]) for phase in chosen]

    def _phase(self, name: str) -> None:
        """In a thread of its own: one phase."""
        with asking(self._target, name):
            self.made[name] = self._planned(name)

    def _planned(self, name: str) -> PhasePlan:
        template = self._templates[name]
        given: dict[str, str] = {}
        for earlier in before(self._phases, name):
            if earlier in self._deployed:
                given |= self._deployed[earlier].outputs
        values = facts.values(self._settings, self._target, name, template.body.get("Parameters", {}), given)
        request = Request(
            phase=name,
            stack=stack_name(self._settings, name),
            template=template.text,
            parameters=values.known,
            tags=labels(self._settings),
        )
        stack = execute.settled(self._target, request, self._tell, self._stop)
        anew = stack is not None and stack.status == "ROLLBACK_COMPLETE"
        if values.unknown or anew:
            planned = execute.outline(request, stack, self._target.account)
            if anew:
                planned = _with_note(
                    planned, "its first deploy failed and nothing is left of it: the stack is made anew"
                )
        else:
            planned = execute.change_set(self._target, request, stack, self._stop)
            # At once: whatever fails from here on, the change set is known and can be deleted.
            self.made[name] = planned
            changes = plans.with_names(planned.changes, request.template, self._target.account)
            planned = replace(planned, changes=changes)
        if stack is not None and stack.deployed:
            touched = {change.logical_id for change in planned.changes}
            there = stacks.resources(self._target, stack)
            planned = replace(planned, unchanged=sum(each.logical_id not in touched for each in there))
        if not self._target.embedded and planned.action != "none":
            planned = replace(planned, expected=timing.expected(planned.changes, template.body))
        sources = _sources(self._phases[name], list(self._phases.values()), self._templates)
        return replace(planned, sources=sources)

    def _noted(self, planned: PhasePlan) -> PhasePlan:
        """With what a reader must know beside the changes; when all phases are planned."""
        name = planned.phase
        known = dict(planned.parameters)
        moving = {each.phase for each in self.made.values() if each.action == "update"}
        on = {each.phase for each in planned.sources if each.parameter in known} & moving
        if on and not planned.outlined:
            names = " and ".join(phase for phase in self._phases if phase in on)
            planned = _with_note(
                planned, f"planned on the present outputs of {names}; what changes there may change this too"
            )
        if name == REALTIME:
            with asking(self._target, name):
                why = facts.image(self._settings, self._target).why
            planned = _with_note(planned, why) if why else planned
        learns = "FrontendUrl" in known and not known["FrontendUrl"] and CDN in self._phases
        if name == SECURITY and learns:
            planned = _with_note(planned, "is updated once more when cdn has given the front end its address")
        if name == CDN:
            planned = _with_note(planned, "the front end's files are published after it")
        return planned

    def _tell(self, event: Event) -> None:
        with self._telling:
            self._listener(event)


def _plan(settings: Settings, target: Target, phases: Sequence[PhasePlan]) -> Plan:
    return Plan(
        environment=settings.name,
        region=target.region,
        account=target.account,
        place=target.endpoint_url or "",
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=settings_digests(settings),
        phases=tuple(phases),
    )


def _with_note(planned: PhasePlan, note: str) -> PhasePlan:
    return replace(planned, notes=(*planned.notes, note))


@dataclass(frozen=True)
class _Template:
    text: str
    body: Mapping[str, Any]


def _templates(settings: Settings, phases: Sequence[Phase]) -> dict[str, _Template]:
    texts = {phase.name: render(phase.build(settings)) for phase in phases}
    return {name: _Template(text, json.loads(text)) for name, text in texts.items()}


def _sources(phase: Phase, phases: Sequence[Phase], templates: Mapping[str, _Template]) -> tuple[Source, ...]:
    """Where each parameter of a phase comes from."""
    earlier = before({each.name: each for each in phases}, phase.name)
    outputs = {name: each for each in earlier for name in templates[each].body.get("Outputs", {})}
    found = []
    for name in sorted(templates[phase.name].body.get("Parameters", {})):
        if name in outputs:
            found.append(Source(name, outputs[name], f"output of {outputs[name]}"))
        elif name in FACTS:
            found.append(Source(name, "", FACTS[name]))
        else:
            found.append(Source(name, "", "the template's default"))
    return tuple(found)
