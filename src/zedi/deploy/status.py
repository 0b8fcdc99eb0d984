"""What is deployed and how it is: stacks, their resources, the service's tasks. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from zedi.deploy import execute, stacks
from zedi.deploy.stacks import Resource, Stack
from zedi.deploy.target import Target, asking
from zedi.phases import PHASES, Phase, stack_name
from zedi.settings import Settings

REALTIME: Final = "realtime"


@dataclass(frozen=True)
class PhaseStatus:
    phase: str
    stack: Stack | None
    """None: not deployed."""
    resources: tuple[Resource, ...] = ()
    cause: str | None = None
    """Of a stack whose last operation failed: the resource that failed first, and AWS's reason."""
    way_on: str | None = None
    """Of a stack that is not as it should be: the command that leads on."""

    @property
    def unsettled(self) -> tuple[Resource, ...]:
        """The resources whose last operation goes on still, or failed."""
        return tuple(resource for resource in self.resources if not resource.settled)


@dataclass(frozen=True)
class Service:
    name: str
    desired: int
    """Tasks; so are running and pending."""
    running: int
    pending: int
    images: tuple[str, ...]
    """What its containers run; one, unless somebody changed the task definition."""
    deployment: str
    """State of the newest deployment: COMPLETED, IN_PROGRESS, FAILED; empty where ECS says none."""
    reason: str
    began: datetime | None
    """When the newest deployment began."""


@dataclass(frozen=True)
class Status:
    environment: str
    place: str
    """Account and region, or the embedded AWS's address."""
    phases: tuple[PhaseStatus, ...]
    service: Service | None
    """None: not deployed, or gone."""
    not_checked: tuple[str, ...]

    @property
    def deployed_at(self) -> datetime | None:
        """When a stack was last changed."""
        return max(
            (each.stack.changed for each in self.phases if each.stack and each.stack.changed), default=None
        )


def status(settings: Settings, target: Target, phases: Sequence[Phase] = PHASES) -> Status:
    """Asks AWS about every phase. Raises TargetError, or DeployError when AWS refuses to say."""
    with ThreadPoolExecutor(max(1, len(phases)), thread_name_prefix="status") as threads:
        found = tuple(threads.map(lambda phase: _phase(settings, target, phase.name), phases))
    by_name = {each.phase: each for each in found}
    realtime = by_name.get(REALTIME)
    service = None
    if realtime is not None and realtime.stack is not None and realtime.stack.deployed:
        with asking(target, REALTIME):
            service = service_of(target, realtime.stack)
    return Status(
        environment=settings.name,
        place=target.endpoint_url or f"account {target.account}, {target.region}",
        phases=found,
        service=service,
        not_checked=tuple(_not_checked(settings, target, found, service)),
    )


def _phase(settings: Settings, target: Target, name: str) -> PhaseStatus:
    with asking(target, name):
        stack = stacks.describe(target, stack_name(settings, name))
        if stack is None:
            return PhaseStatus(name, None)
        failed = execute.last_failure(target, name, stack)
        return PhaseStatus(
            phase=name,
            stack=stack,
            resources=stacks.resources(target, stack),
            cause=f"{failed.where}: {failed.what.splitlines()[0]}" if failed else None,
            way_on=execute.way_on(target, stack, f"zedi deploy {settings.name}"),
        )


def service_of(target: Target, stack: Stack) -> Service | None:
    """The service of a deployed realtime stack; None: it is gone."""
    ecs = target.client("ecs")
    names = stack.outputs.get("EcsClusterName"), stack.outputs.get("EcsServiceName")
    if not names[0] or not names[1]:
        return None
    found = ecs.describe_services(cluster=names[0], services=[names[1]])["services"]
    if not found or found[0].get("status") == "INACTIVE":
        return None
    service = found[0]
    definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    newest = next((each for each in service.get("deployments", ()) if each.get("status") == "PRIMARY"), None)
    return Service(
        name=service["serviceName"],
        desired=service["desiredCount"],
        running=service["runningCount"],
        pending=service["pendingCount"],
        images=tuple(dict.fromkeys(each["image"] for each in definition["containerDefinitions"])),
        deployment=newest.get("rolloutState", "") if newest else "",
        reason=newest.get("rolloutStateReason", "") if newest else "",
        began=newest.get("createdAt") if newest else None,
    )


def _not_checked(
    settings: Settings, target: Target, phases: Sequence[PhaseStatus], service: Service | None
) -> list[str]:
    """What this answer says nothing about, so that nobody takes silence for health."""
    deployed = [(each, each.stack) for each in phases if each.stack is not None and each.stack.deployed]
    notes: list[str] = []
    never = [each.phase for each, stack in deployed if stack.drift_checked is None]
    if never:
        notes.append(f"drift of {', '.join(never)}: never looked for (zedi drift {settings.name})")
    for each, stack in deployed:
        if stack.drift_checked is not None:
            unread = sum(
                resource.drift not in ("IN_SYNC", "MODIFIED", "DELETED") for resource in each.resources
            )
            note = f"drift of {each.phase} since {stack.drift_checked:%Y-%m-%d %H:%M} UTC"
            notes.append(f"{note}, and ever of {unread} of its resources" if unread else note)
    if service is not None and target.embedded:
        notes.append("tasks: the embedded AWS runs none; `zedi up` runs the service beside it")
    if deployed:
        notes.append("whether the front end, the API, the WebSocket and the database answer")
    return notes
