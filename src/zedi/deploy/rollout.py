"""All phases in order, side by side where they do not need each other.

    each phase      template -> parameters (outputs of earlier phases, facts) -> change set -> followed
    after realtime  the image that is deployed now is kept from its repository's lifecycle policy
    after cdn       the user pool learns the front end's address when it is new; the front end is published

With a saved plan each phase is what the plan says, or nothing is done at all: everything is compared before
the first phase begins, and each phase once more at its turn.

A phase that fails stops what would come after it; what runs beside it comes to its own end first, because AWS
goes on with it in any case. The same command then goes on from there.
"""

from __future__ import annotations

import difflib
import json
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources.abc import Traversable
from typing import Final

from zedi.deploy import DeployError, execute, facts, keep, publish, saved, timing
from zedi.deploy.events import (
    Event,
    FrontEndPublished,
    Listener,
    Outlook,
    PhaseDone,
    PhaseFailed,
    PhaseNote,
    PhasePlanned,
    PhaseStarted,
)
from zedi.deploy.execute import Request
from zedi.deploy.order import before, in_order
from zedi.deploy.outputs import deployed_stacks, named
from zedi.deploy.plan import Change, PhasePlan, Plan
from zedi.deploy.publish import File, Published
from zedi.deploy.stacks import Stack, describe
from zedi.deploy.target import Target, asking
from zedi.errors import ZediError
from zedi.phases import PHASES, Phase, render, stack_name
from zedi.phases.tags import labels
from zedi.settings import Settings

SECURITY: Final = "security"
CDN: Final = "cdn"
REALTIME: Final = "realtime"


class DataLossError(DeployError):
    """A phase would remove or replace what holds data, and nobody has said that it may.

    Args:
        changes: those that nobody allowed.
        planned: whether they stand in a saved plan.
    """

    def __init__(
        self, environment: str, phase: str, changes: Sequence[Change], *, planned: bool = False
    ) -> None:
        words = " ".join(f"--allow-replace {change.name}" for change in changes)
        command = f"the same command with {words}" if planned else f"zedi deploy {environment} {words}"
        super().__init__(
            phase,
            "\n".join(["this would lose data:", *(f"    {_loss(change)}" for change in changes)]),
            f"If that is meant: {command}\n  Nothing of this phase was changed.",
        )
        self.changes = tuple(changes)


def _loss(change: Change) -> str:
    fate = (
        "is removed"
        if change.action == "remove"
        else "is replaced by a new one"
        if change.replacement == "always"
        else "may be replaced by a new one"
    )
    return f"{change.name}: {change.logical_id} ({change.type}) {fate}"


@dataclass(frozen=True)
class PhaseResult:
    plan: PhasePlan
    """What was done; its action is `none` where there was nothing to do."""
    seconds: float


@dataclass(frozen=True)
class DeployResult:
    outputs: Mapping[str, str | list[str]]
    """Of every phase that is deployed now, by the names people use."""
    phases: tuple[PhaseResult, ...]
    """In the order in which they ended; security stands there twice when it had to learn a new address."""
    published: Published | None
    seconds: float

    @property
    def changed(self) -> bool:
        """Whether this deploy did anything."""
        uploaded = self.published is not None and bool(self.published.uploaded or self.published.deleted)
        return uploaded or any(result.plan.action != "none" for result in self.phases)


def deploy(
    settings: Settings,
    target: Target,
    *,
    listener: Listener,
    through: str | None = None,
    only: str | None = None,
    allow_replace: Collection[str] = (),
    web: Traversable | None = None,
    plan: Plan | None = None,
    phases: Sequence[Phase] = PHASES,
) -> DeployResult:
    """Deploys all phases; or those up to and including `through`; or `only` one; or those of a `plan`.

    Args:
        listener: is told what happens, one event at a time, from several threads.
        allow_replace: resources that hold data and may be removed or replaced all the same, by their names
            in AWS or in the template. The embedded AWS is never asked for this: what its resources hold is
            kept by real servers beside it.
        web: the built front end, where it is not the one in this package.
        plan: carried out as it is. That it was saved and read is no consent to the losses in it.

    Raises:
        StalePlanError: `plan` is not what would be done now; no phase, or not this one, was touched.
        DataLossError: a phase would lose data that `allow_replace` does not name; it was not touched.
        DeployError: the first failure, when everything that had begun has ended.
        KeyboardInterrupt: as it came; what AWS has begun goes on, and the same call goes on from there.
    """
    if plan is None:
        coming = chosen(phases, through, only)
    else:
        saved.refuse_other_place(plan, settings, target)
        coming = tuple(chosen(phases, only=planned.phase)[0] for planned in plan.phases)
    return _Rollout(settings, target, listener, frozenset(allow_replace), phases, plan).run(coming, web)


def chosen(phases: Sequence[Phase], through: str | None = None, only: str | None = None) -> tuple[Phase, ...]:
    """The phases that a deploy is about, in order. Raises DeployError for a name that no phase has."""
    by_name = {phase.name: phase for phase in phases}
    name = only or through
    if name is None:
        return tuple(phases)
    if name not in by_name:
        near = difflib.get_close_matches(name, by_name, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise DeployError(
            f"phase {name}", "there is no such phase", f"{hint}There are: {', '.join(by_name)}."
        )
    if only is not None:
        return (by_name[name],)
    needed = {name, *before(by_name, name)}
    return tuple(phase for phase in phases if phase.name in needed)


class _Rollout:
    def __init__(
        self,
        settings: Settings,
        target: Target,
        listener: Listener,
        allow_replace: frozenset[str],
        phases: Sequence[Phase],
        plan: Plan | None,
    ) -> None:
        self._settings = settings
        self._target = target
        self._listener = listener
        self._telling = threading.Lock()
        self._allow_replace = allow_replace
        self._phases = {phase.name: phase for phase in phases}
        self._planned = {planned.phase: planned for planned in plan.phases} if plan is not None else {}
        """As saved; each is taken once, at its phase's turn."""
        self._outputs: dict[str, Mapping[str, str]] = {}
        """Of the phases that are deployed, by phase. Each thread writes its own phase's."""
        self._results: list[PhaseResult] = []
        self._published: Published | None = None
        self._stop = threading.Event()

    def run(self, phases: Sequence[Phase], web: Traversable | None) -> DeployResult:
        began = time.monotonic()
        coming = {phase.name for phase in phases}
        files = publish.built(web) if CDN in coming else []
        others = [phase for phase in self._phases.values() if phase.name not in coming]
        for name, stack in deployed_stacks(self._settings, self._target, others).items():
            self._outputs[name] = stack.outputs
        self._need_what_is_before(phases)
        if self._planned:
            self._refuse_stale(phases)
        if not self._target.embedded:
            self._tell(self._outlook(phases))
        in_order(
            {phase.name: phase.after for phase in phases}, lambda name: self._phase(name, files), self._stop
        )
        return DeployResult(
            outputs={
                name: value
                for phase in self._phases
                for name, value in named(self._outputs.get(phase, {})).items()
            },
            phases=tuple(self._results),
            published=self._published,
            seconds=time.monotonic() - began,
        )

    def _need_what_is_before(self, phases: Sequence[Phase]) -> None:
        coming = {phase.name for phase in phases}
        for phase in phases:
            missing = [name for name in phase.after if name not in coming and name not in self._outputs]
            if missing:
                raise DeployError(
                    f"phase {phase.name}",
                    f"what it needs is not deployed yet: {', '.join(missing)}",
                    f"Deploy that too: zedi deploy {self._settings.name} --through {phase.name}",
                )

    def _phase(self, name: str, files: Sequence[File]) -> None:
        """In a thread of its own: one phase, and what belongs to it."""
        try:
            with asking(self._target, name):
                self._outputs[name] = self._stack(name)
                if name == CDN:
                    self._tell_the_user_pool()
                    self._publish(files)
        except ZediError as error:
            self._tell(PhaseFailed(name, error))
            raise

    def _stack(self, name: str) -> Mapping[str, str]:
        began = time.monotonic()
        stack = stack_name(self._settings, name)
        self._tell(PhaseStarted(name, stack))
        if name == REALTIME and (chosen := facts.image(self._settings, self._target).why):
            self._tell(PhaseNote(name, chosen))
        request, unknown = self._request(name, self._given(name))
        if unknown:
            raise unknown[0]
        plan = self._planned.pop(name, None)
        if plan is None:
            planned = execute.propose(self._target, request, self._tell, self._stop)
        else:
            planned = self._as_saved(plan, request)
        if not self._target.embedded and planned.action != "none":
            seconds = timing.expected(planned.changes, json.loads(request.template))
            planned = replace(planned, expected=seconds)
        self._tell(PhasePlanned(name, planned))
        lost = self._lost(planned)
        if lost:
            execute.discard(self._target, planned)
            raise DataLossError(self._settings.name, name, lost)
        execute.carry_out(self._target, planned, self._tell, self._stop)
        found = describe(self._target, stack)
        if found is None:
            raise DeployError(name, f"{stack} was deleted meanwhile", "Run the same command again.")
        if name == REALTIME:
            self._keep_image(found)
        result = PhaseResult(planned, time.monotonic() - began)
        self._results.append(result)
        self._tell(PhaseDone(name, planned, result.seconds))
        return found.outputs

    def _keep_image(self, stack: Stack) -> None:
        """What is deployed runs with or without it, so a failure is told and is not the deploy's."""
        try:
            with asking(self._target, REALTIME):
                keep.keep(self._settings, self._target, stack)
        except DeployError as error:
            text = f"the image is deployed, but its repository may let go of it in time: {error.what}"
            self._tell(PhaseNote(REALTIME, f"{text}; the next deploy tries again"))

    def _request(self, name: str, given: Mapping[str, str]) -> tuple[Request, tuple[DeployError, ...]]:
        """What a phase's stack shall be, and why a parameter has no value, for each that has none."""
        template = self._phases[name].build(self._settings)
        declared = template.to_dict().get("Parameters", {})
        values = facts.values(self._settings, self._target, name, declared, given)
        request = Request(
            phase=name,
            stack=stack_name(self._settings, name),
            template=render(template),
            parameters=values.known,
            tags=labels(self._settings),
        )
        return request, tuple(values.unknown.values())

    def _outlook(self, phases: Sequence[Phase]) -> Outlook:
        """How long each phase takes: as planned; or, where there is no stack yet, to make all of it."""
        seconds: dict[str, float] = {}
        for phase in phases:
            plan = self._planned.get(phase.name)
            if plan is not None:
                seconds[phase.name] = plan.expected or 0.0
                continue
            with asking(self._target, phase.name):
                stack = describe(self._target, stack_name(self._settings, phase.name))
            if stack is None or not stack.deployed:
                body = phase.build(self._settings).to_dict()
                everything = [Change("add", name, each["Type"]) for name, each in body["Resources"].items()]
                seconds[phase.name] = timing.expected(everything, body)
        return Outlook({phase.name: phase.after for phase in phases}, seconds)

    def _refuse_stale(self, phases: Sequence[Phase]) -> None:
        """Before anything is touched: the saved plan must be what would be done now, and its losses meant."""
        now = deployed_stacks(self._settings, self._target, self._phases.values())
        reasons: list[str] = []
        for phase in phases:
            given: dict[str, str] = {}
            for earlier in before(self._phases, phase.name):
                given |= now[earlier].outputs if earlier in now else {}
            with asking(self._target, phase.name):
                request, _ = self._request(phase.name, given)
                plan = self._planned[phase.name]
                found = saved.differences(plan, saved.present(self._target, plan, request))
            reasons += [f"{phase.name}: {reason}" for reason in found]
        if reasons:
            raise saved.StalePlanError(self._settings.name, "plan", reasons)
        for plan in self._planned.values():
            lost = self._lost(plan)
            if lost:
                raise DataLossError(self._settings.name, plan.phase, lost, planned=True)

    def _as_saved(self, plan: PhasePlan, request: Request) -> PhasePlan:
        """The plan of a phase as it was saved. What went before it may have made it stale."""
        reasons = saved.differences(plan, saved.present(self._target, plan, request))
        if not reasons and plan.outlined:
            made = execute.propose(self._target, request, self._tell, self._stop)
            reasons = saved.unlike_outline(plan, made, json.loads(request.template))
            if not reasons:
                return made
            execute.discard(self._target, made)
        if reasons:
            raise saved.StalePlanError(
                self._settings.name,
                plan.phase,
                reasons,
                "Nothing of this phase was changed; those before it are done. Make a new plan for the rest:"
                " zedi plan {} --save FILE",
            )
        return plan

    def _given(self, name: str) -> dict[str, str]:
        """The outputs of every phase before this one, by their names in the templates."""
        given: dict[str, str] = {}
        for earlier in before(self._phases, name):
            given |= self._outputs.get(earlier, {})
        return given

    def _lost(self, planned: PhasePlan) -> list[Change]:
        """The losses that nobody allowed."""
        return [
            change
            for change in planned.losses
            if not self._target.embedded and self._allow_replace.isdisjoint((change.name, change.logical_id))
        ]

    def _tell_the_user_pool(self) -> None:
        """Sign-in may only lead back to addresses that the user pool knows, and CloudFront's is new."""
        if self._settings.cdn.public_url is not None or SECURITY not in self._outputs:
            return
        security = describe(self._target, stack_name(self._settings, SECURITY))
        url = self._outputs[CDN].get("FrontendUrl", "")
        if security is None or security.parameters.get("FrontendUrl", url) == url:
            return
        self._tell(PhaseNote(CDN, f"sign-in learns the front end's address: {url}"))
        self._outputs[SECURITY] = self._stack(SECURITY)

    def _publish(self, files: Iterable[File]) -> None:
        outputs = {**self._given(CDN), **self._outputs[CDN]}
        self._published = publish.publish(self._settings, self._target, outputs, files)
        done = self._published
        self._tell(FrontEndPublished(len(done.uploaded), len(done.unchanged), len(done.deleted)))

    def _tell(self, event: Event) -> None:
        with self._telling:
            self._listener(event)
