"""A deploy and a destroy, interrupted at every moment: the same call brings them to the same end.

Three ways, each where it is cheap enough:

    every moment of three small phases, from nothing each time: each event, and each request that changes
        something in AWS, before it leaves and after AWS has answered
    the whole platform, interrupted again and again: each run ends at the first point that none before it has
        ended at, where a point is a phase and a kind of event
    `zedi deploy` and `zedi destroy` as processes that are killed at a line of what they print

In the first two every thread ends at once, as a killed process would: once the moment is there, no listener
and no request gets through.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from troposphere import Template
from troposphere.s3 import Bucket

from zedi.deploy.destroy import Destroyed, Survey, destroy, survey
from zedi.deploy.events import Event, Listener, ResourceEvent
from zedi.deploy.execute import STACK_TYPE
from zedi.deploy.rollout import DeployResult, deploy
from zedi.deploy.stacks import describe, resources
from zedi.deploy.target import Target
from zedi.phases import PHASES, Phase, stack_name
from zedi.settings import Cdn, Settings

CHANGING = {
    "cloudformation": ("CreateChangeSet", "ExecuteChangeSet", "DeleteChangeSet", "DeleteStack"),
    "s3": ("PutObject", "DeleteObjects"),
    "cloudfront": ("CreateInvalidation",),
}
"""The requests by which a deploy and a destroy change anything."""

pytestmark = pytest.mark.server

Account = Callable[[Target], Counter[tuple[str, str]]]


class End(BaseException):
    """What a killed process gets instead of its next step."""


class Moments:
    """Counts what happens, and lets nothing happen from moment `last` on."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.seen = 0

    def __call__(self, *_: Any, **__: Any) -> None:
        self.seen += 1
        if self.seen >= self.last:
            raise End

    @contextlib.contextmanager
    def watching(self, target: Target) -> Iterator[None]:
        names = [
            (target.client(service).meta.events, f"{when}.{service}.{operation}")
            for service, operations in CHANGING.items()
            for operation in operations
            for when in ("before-call", "after-call")
        ]
        for events, name in names:
            events.register(name, self)
        try:
            yield
        finally:
            for events, name in names:
                events.unregister(name, self)


def interrupted(target: Target, moments: Moments | int, work: Callable[[Listener], object]) -> bool:
    """Works until then; whether it came so far."""
    if isinstance(moments, int):
        moments = Moments(moments)
    with moments.watching(target), contextlib.suppress(End):
        work(moments)
        return False
    return True


class Points(Moments):
    """Ends at the first point that is not in `done`, and adds it."""

    def __init__(self, done: set[tuple[str, ...]]) -> None:
        super().__init__(sys.maxsize)
        self.done = done

    def __call__(self, *told: Any, **rest: Any) -> None:
        super().__call__()
        if told and isinstance(told[0], Event):
            point = _point(told[0])
            if point not in self.done:
                self.done.add(point)
                self.last = 0
                raise End


def _point(event: Event) -> tuple[str, ...]:
    phase = getattr(event, "phase", "")
    if isinstance(event, ResourceEvent):
        own = "stack" if event.type == STACK_TYPE else "resource"
        return phase, own, event.status
    return phase, type(event).__name__


MADE_OF_IDENTIFIERS = re.compile(
    r"""
    \b (?=[a-zA-Z]*\d) [0-9a-zA-Z]{6,} \b       # letters and digits: anything that AWS numbers
    # By chance there may be no digit in one; then its place tells what it is.
    | (?<=-alb-) [0-9a-z]+ (?=\.)                # a load balancer's address
    | (?<=/) [0-9a-z]{16} \b                     # the end of a load balancer's or a target group's name
    | \b d [0-9a-z]{13} (?=\.cloudfront\.net)    # a distribution's address
    """,
    re.VERBOSE,
)


def state_of(settings: Settings, target: Target, phases: Sequence[Phase]) -> str:
    """What is deployed, without what AWS makes up, so that two deploys can be compared."""
    made_up: dict[str, str] = {}
    lines: list[str] = []
    for phase in phases:
        stack = describe(target, stack_name(settings, phase.name))
        assert stack is not None, phase.name
        there = resources(target, stack)
        made_up |= {each.physical_id: f"<{phase.name}.{each.logical_id}>" for each in there}
        lines.append(f"{phase.name} {stack.status.replace('UPDATE', 'CREATE')}")
        lines += [f"  {name}: {value}" for name, value in sorted(stack.outputs.items())]
        # The keys of another user pool are other keys.
        given = {name: value for name, value in stack.parameters.items() if name != "TokenKeys"}
        lines += [f"  {name} = {value}" for name, value in sorted(given.items())]
        lines += [f"  {each.logical_id} {each.type} {each.settled}" for each in there]
        sets = target.client("cloudformation").list_change_sets(StackName=stack.name)["Summaries"]
        # The embedded AWS gives a stack that is only planned another ID with each plan, and lists by name.
        unused = [
            each
            for each in sets
            if each["StackId"] == stack.id
            and (each["Status"] == "FAILED" or each["ExecutionStatus"] == "AVAILABLE")
        ]
        lines += [f"  unused change set: {each['Status']} {each.get('StatusReason')}" for each in unused]
    text = "\n".join(lines)
    for name in sorted(made_up, key=len, reverse=True):
        text = text.replace(name, made_up[name])
    return MADE_OF_IDENTIFIERS.sub("<id>", text)


def kinds(account: Counter[tuple[str, str]]) -> Counter[str]:
    """How many there are of each kind."""
    return Counter(operation for operation, _ in account.elements())


def published(target: Target, bucket: object) -> list[str]:
    return [entry["Key"] for entry in target.client("s3").list_objects_v2(Bucket=str(bucket))["Contents"]]


def keeps_a_bucket(template: Template) -> None:
    template.add_resource(Bucket("Kept", DeletionPolicy="Retain"))


def test_at_every_moment(
    settings: Settings,
    target: Target,
    front_end: list[Phase],
    phase: Callable[..., Phase],
    web: Path,
    heard: Any,
    there_is: Account,
) -> None:
    """Whatever the last thing was that was told or asked, the next call ends as if nothing had been.

    A deploy is interrupted at its n-th moment and gone on with, then a destroy; n grows until neither has so
    many. What a destroy keeps is told in full by the call that ends it.
    """
    settings = settings.model_copy(update={"cdn": Cdn()})
    phases = [*front_end, phase("last", "cdn", resources=keeps_a_bucket)]

    def up(listener: Listener) -> DeployResult:
        return deploy(settings, target, listener=listener, phases=phases, web=web)

    def down(listener: Listener) -> Destroyed:
        return destroy(settings, target, listener=listener, phases=phases)

    empty = there_is(target)
    wanted = up(heard)
    state, amounts = state_of(settings, target, phases), kinds(there_is(target))
    s3 = target.client("s3")
    moment = 0
    more = True
    while more:
        moment += 1
        (bucket,) = (each.physical_id for each in survey(settings, target, phases).kept)
        more = interrupted(target, moment, down)
        gone = down(heard)
        assert [each.physical_id for each in gone.kept] == [bucket], moment
        s3.delete_bucket(Bucket=bucket)
        assert survey(settings, target, phases) == Survey((), ()), moment

        more = interrupted(target, moment, up) or more
        result = up(heard)
        assert result.outputs.keys() == wanted.outputs.keys()
        assert state_of(settings, target, phases).splitlines() == state.splitlines(), moment
        assert published(target, result.outputs["frontend_bucket"]) == ["config.json", "index.html"], moment
    assert moment > 50
    assert kinds(there_is(target)) == amounts
    s3.delete_bucket(Bucket=down(heard).kept[0].physical_id)
    assert there_is(target) == empty


def test_again_and_again(
    settings: Settings, target: Target, web: Path, heard: Any, there_is: Account
) -> None:
    """The whole platform, each run ended at another point, gets there all the same, and away again."""

    def up(listener: Listener) -> DeployResult:
        return deploy(settings, target, listener=listener, web=web)

    def down(listener: Listener) -> Destroyed:
        return destroy(settings, target, listener=listener)

    empty = there_is(target)
    up(heard)
    state, amounts = state_of(settings, target, PHASES), kinds(there_is(target))
    for work, last in ((down, "PhaseStarted"), (up, "PhaseDone")):
        done: set[tuple[str, ...]] = set()
        runs = 1
        while interrupted(target, Points(done), work):
            runs += 1
        assert {(phase.name, last) for phase in PHASES} <= done
        assert runs > len(PHASES)
        if work is up:
            assert state_of(settings, target, PHASES).splitlines() == state.splitlines()
            assert kinds(there_is(target)) == amounts
        else:
            assert there_is(target) == empty
    down(heard)


@pytest.mark.parametrize("part", [0.0, 0.4, 0.8])
def test_killed(part: float, settings: Settings, target: Target, file: Path, there_is: Account) -> None:
    """`zedi deploy` and `zedi destroy` die at a line of what they print; the same commands go on.

    The line is the first, or the first after a part of all resources that are created or deleted. The process
    may be some lines further when it dies: what matters is that it dies without a word.
    """
    empty = there_is(target)
    resources = sum(len(phase.build(settings).to_dict()["Resources"]) for phase in PHASES)
    killed_at(r"_COMPLETE", int(part * resources), "deploy", str(file))
    result = deploy(settings, target, listener=lambda event: None)
    assert result.outputs == deploy(settings, target, listener=lambda event: None).outputs
    state = state_of(settings, target, PHASES)
    assert "unused" not in state
    assert all(f"{phase.name} CREATE_COMPLETE" in state for phase in PHASES)
    assert "index.html" in published(target, result.outputs["frontend_bucket"])

    killed_at(r"_COMPLETE", int(part * resources), "destroy", str(file), "--confirm", settings.name)
    destroy(settings, target, listener=lambda event: None)
    assert there_is(target) == empty


def killed_at(pattern: str, number: int, *words: str) -> None:
    """Kills the command when it has printed so many lines with `pattern`, and its first line in any case."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "zedi.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    printed: list[str] = []
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line)
            if sum(bool(re.search(pattern, each)) for each in printed) >= number:
                break
        process.kill()
        process.stdout.read()
    assert process.returncode == -signal.SIGKILL, "".join(printed)
