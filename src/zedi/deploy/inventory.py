"""Every phase with its resources and its template: what a picture or a report is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from zedi.deploy import stacks
from zedi.deploy.stacks import Resource, Stack
from zedi.deploy.status import REALTIME, Service, service_of
from zedi.deploy.target import Target, asking
from zedi.phases import PHASES, Phase, render, stack_name
from zedi.settings import Settings


@dataclass(frozen=True)
class PhaseInventory:
    phase: str
    stack: Stack | None
    """None: there is none, or one that never was deployed."""
    resources: tuple[Resource, ...]
    template: Mapping[str, Any]
    """The deployed one as it was given to CloudFormation; of a phase that is not deployed, what the settings
    make."""

    @property
    def deployed(self) -> bool:
        return self.stack is not None

    def physical_id(self, logical_id: str) -> str:
        """Empty where there is no such resource."""
        return next((each.physical_id for each in self.resources if each.logical_id == logical_id), "")


@dataclass(frozen=True)
class Inventory:
    settings: Settings
    place: str
    """Account and region, or the embedded AWS's address."""
    phases: tuple[PhaseInventory, ...]
    service: Service | None
    """None: not deployed, or gone."""

    def phase(self, name: str) -> PhaseInventory:
        return next(each for each in self.phases if each.phase == name)

    @property
    def deployed(self) -> tuple[PhaseInventory, ...]:
        return tuple(each for each in self.phases if each.deployed)

    @property
    def missing(self) -> tuple[str, ...]:
        """The phases that are not deployed."""
        return tuple(each.phase for each in self.phases if not each.deployed)


def inventory(settings: Settings, target: Target, phases: Sequence[Phase] = PHASES) -> Inventory:
    """Asks for everything. Changes nothing; raises TargetError, or DeployError when AWS refuses to say."""
    with ThreadPoolExecutor(max(1, len(phases)), thread_name_prefix="inventory") as threads:
        found = tuple(threads.map(lambda phase: _phase(settings, target, phase), phases))
    realtime = next((each.stack for each in found if each.phase == REALTIME), None)
    service = None
    if realtime is not None:
        with asking(target, REALTIME):
            service = service_of(target, realtime)
    return Inventory(
        settings=settings,
        place=target.endpoint_url or f"account {target.account}, {target.region}",
        phases=found,
        service=service,
    )


def _phase(settings: Settings, target: Target, phase: Phase) -> PhaseInventory:
    with asking(target, phase.name):
        stack = stacks.describe(target, stack_name(settings, phase.name))
        if stack is None or not stack.deployed:
            return PhaseInventory(phase.name, None, (), json.loads(render(phase.build(settings))))
        answer: Any = target.client("cloudformation").get_template(
            StackName=stack.id, TemplateStage="Original"
        )["TemplateBody"]
        # What another tool has deployed may be YAML, which comes as text: then nothing is known of it.
        template = answer if isinstance(answer, Mapping) else {}
        return PhaseInventory(phase.name, stack, stacks.resources(target, stack), template)
