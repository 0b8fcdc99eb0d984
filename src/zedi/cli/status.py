"""`zedi status`: what is deployed, how it is, and what leads on where something is the matter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from zedi.cli.columns import aligned

if TYPE_CHECKING:
    from zedi.deploy.stacks import Resource
    from zedi.deploy.status import PhaseStatus, Service, Status


@click.command()
@click.argument("environment")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; times are ISO 8601.")
def status(environment: str, as_json: bool) -> None:
    """Print how each phase of ENVIRONMENT is, the service's tasks, and the age of the deploy.

    ENVIRONMENT is a name (dev) or the path of a .toml file. Where a stack is not as it should be, the first
    cause and the command that leads on stand below. What was not checked is listed.
    """
    from zedi import settings
    from zedi.deploy import status as deployed
    from zedi.deploy.target import target_of

    chosen = settings.load(environment)
    found = deployed.status(chosen, target_of(chosen))
    now = datetime.now(UTC)
    if as_json:
        click.echo(json.dumps(as_data(found, now), indent=2, ensure_ascii=False))
        return
    for line in lines(found, now):
        click.echo(line)


def lines(found: Status, now: datetime) -> Iterator[str]:
    """A status for people."""
    yield f"{found.environment} · {found.place}"
    if found.deployed_at is None:
        yield "Nothing is deployed."
    else:
        yield f"Last changed {age(now - found.deployed_at)} ago, {moment(found.deployed_at)}."
    yield ""
    yield from aligned(
        [("phase", "state", "resources", "changed", "drift"), *(_row(each, now) for each in found.phases)]
    )
    for each in found.phases:
        yield from _matters(each)
    if found.service is not None:
        yield ""
        yield from _service(found.service, now)
    if found.not_checked:
        yield ""
        yield "Not checked:"
        for note in found.not_checked:
            yield f"  {note}"


def _row(each: PhaseStatus, now: datetime) -> tuple[str, str, str, str, str]:
    stack = each.stack
    if stack is None:
        return each.phase, "not deployed", "", "", ""
    count = str(len(each.resources))
    if each.unsettled:
        count += f", {len(each.unsettled)} not complete"
    changed = f"{age(now - stack.changed)} ago" if stack.changed else ""
    drifted = sum(resource.drift in ("MODIFIED", "DELETED") for resource in each.resources)
    drift = {"NOT_CHECKED": "never checked", "IN_SYNC": "none found", "DRIFTED": f"{drifted} resources"}
    return each.phase, stack.status, count, changed, drift.get(stack.drift, stack.drift.lower())


def _matters(each: PhaseStatus) -> Iterator[str]:
    if each.stack is None or (each.way_on is None and not each.unsettled):
        return
    yield ""
    yield f"{each.phase}: {each.stack.name} is {each.stack.status}"
    if each.cause:
        yield f"  {each.cause}"
    for resource in each.unsettled:
        yield f"  {resource.status} {resource.logical_id} ({resource.type}) {resource.reason}".rstrip()
    if each.way_on:
        yield f"  → {each.way_on}"


def _service(service: Service, now: datetime) -> Iterator[str]:
    tasks = f"{service.running} of {service.desired} tasks run, {service.pending} are coming"
    deployment = service.deployment or "unknown"
    if service.began:
        deployment += f", begun {age(now - service.began)} ago"
    if service.reason:
        deployment += f" ({service.reason})"
    yield from aligned(
        [
            ("service", f"{service.name}: {tasks}"),
            ("image", ", ".join(service.images)),
            ("deployment", deployment),
        ]
    )


def moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def age(since: timedelta) -> str:
    """In the largest unit of which there are two: 90 minutes, 3 days."""
    seconds = max(0, int(since.total_seconds()))
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def as_data(found: Status, now: datetime) -> dict[str, Any]:
    """A status for programs."""
    return {
        "environment": found.environment,
        "place": found.place,
        "deployed_at": _iso(found.deployed_at),
        "age_seconds": None if found.deployed_at is None else int((now - found.deployed_at).total_seconds()),
        "phases": [_phase(each) for each in found.phases],
        "service": None if found.service is None else _service_data(found.service),
        "not_checked": list(found.not_checked),
    }


def _phase(each: PhaseStatus) -> dict[str, Any]:
    stack = each.stack
    if stack is None:
        return {"phase": each.phase, "deployed": False, "state": None}
    return {
        "phase": each.phase,
        "deployed": stack.deployed,
        "stack": stack.name,
        "state": stack.status,
        "changed": _iso(stack.changed),
        "resources": len(each.resources),
        "not_complete": [_resource(resource) for resource in each.unsettled],
        "drift": stack.drift,
        "drift_checked": _iso(stack.drift_checked),
        "cause": each.cause,
        "way_on": each.way_on,
    }


def _resource(resource: Resource) -> dict[str, str]:
    return {
        "logical_id": resource.logical_id,
        "type": resource.type,
        "state": resource.status,
        "reason": resource.reason,
    }


def _service_data(service: Service) -> dict[str, Any]:
    return {
        "name": service.name,
        "desired": service.desired,
        "running": service.running,
        "pending": service.pending,
        "images": list(service.images),
        "deployment": service.deployment,
        "reason": service.reason,
        "began": _iso(service.began),
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds")
