"""The containers of the deployed ECS task definition, run as processes of this machine.

What ECS does for a task is done here: the service's current task definition is asked for, its secrets are
fetched, and each container's command is started with the environment that results and nothing else, so the
service here is wired by the same text as on AWS. Not done: images, users and read-only file systems.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from zedi import contract
from zedi.deploy.target import EMBEDDED_ACCESS_KEY, Target, asking
from zedi.embedded import EmbeddedError
from zedi.embedded.awslogs import Destination, destination
from zedi.embedded.state import State
from zedi.embedded.supervisor import Program, healthy
from zedi.settings import Settings

_DEFAULT_STOP_SECONDS: Final = 30.0  # what ECS takes where a definition has no stopTimeout
_READY_SECONDS: Final = 60.0
_LONGEST_STOP: Final = 10.0
"""Seconds that a container may take to drain: a person waits for it here, and what it has said to be saved
is in the journal."""


@dataclass(frozen=True)
class Container:
    """One container of a task definition, its secrets resolved."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    stop_seconds: float
    log: Destination | None = None


def containers(target: Target, cluster: str, service: str) -> tuple[Container, ...]:
    """The containers of a service's current task definition.

    Args:
        cluster, service: their names, as the stack's outputs have them.

    Raises:
        EmbeddedError: there is no such service, or a secret cannot be found.
        TargetError: the embedded AWS does not answer.
    """
    with asking(target, service):
        ecs, secrets = target.client("ecs"), target.client("secretsmanager")
        found = ecs.describe_services(cluster=cluster, services=[service])["services"]
        if not found:
            raise EmbeddedError(service, f"cluster {cluster} has no such service", "Run zedi up again.")
        definition = ecs.describe_task_definition(taskDefinition=found[0]["taskDefinition"])["taskDefinition"]

        def secret(arn: str) -> str:
            return secrets.get_secret_value(SecretId=arn)["SecretString"]

        return tuple(_container(each, secret) for each in definition["containerDefinitions"])


def _container(definition: Mapping[str, Any], secret: Callable[[str], str]) -> Container:
    name = definition["name"]
    environment = {entry["name"]: entry["value"] for entry in definition.get("environment", ())}
    for entry in definition.get("secrets", ()):
        environment[entry["name"]] = resolve(entry["valueFrom"], secret, f"{name}.{entry['name']}")
    command = [*definition.get("entryPoint", ()), *definition.get("command", ())]
    return Container(
        name=name,
        command=tuple(command),
        environment=environment,
        stop_seconds=float(definition.get("stopTimeout", _DEFAULT_STOP_SECONDS)),
        log=destination(definition),
    )


def resolve(value_from: str, secret: Callable[[str], str], where: str) -> str:
    """The value of a container's secret, as ECS finds it.

    Args:
        value_from: a secret's ARN, or ARN:json-key:version-stage:version-id with any of the three empty
            (Amazon ECS Developer Guide, "Pass Secrets Manager secrets through environment variables").
        secret: fetches the text of a secret by its ARN.
        where: container and variable, for the error.

    Raises EmbeddedError when a JSON key is wanted that is not there.
    """
    # arn:aws:secretsmanager:region:account:secret:name, then what is wanted of it.
    parts = value_from.split(":")
    arn, wanted = ":".join(parts[:7]), parts[7:]
    key, *version = wanted or [""]
    if any(version):
        raise EmbeddedError(
            where, f"wants a version of a secret: {value_from}", "Only the current version is here."
        )
    text = secret(arn)
    if not key:
        return text
    try:
        value = json.loads(text)[key]
    except (ValueError, KeyError, TypeError) as error:
        raise EmbeddedError(
            where, f"the secret {arn} has no JSON key {key}", "Name one of its keys, or none for all of it."
        ) from error
    return value if isinstance(value, str) else json.dumps(value)


def role(settings: Settings) -> dict[str, str]:
    """What ECS gives every container beside its definition: credentials; and where this AWS is."""
    assert settings.endpoint_url is not None
    return {
        "AWS_ENDPOINT_URL": settings.endpoint_url,
        "AWS_ACCESS_KEY_ID": EMBEDDED_ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": EMBEDDED_ACCESS_KEY,
    }


def program(container: Container, settings: Settings, state: State) -> Program:
    """How a container is run as a process. Raises EmbeddedError when its definition names no port."""
    try:
        port = int(container.environment[contract.PORT])
    except (KeyError, ValueError) as error:
        raise EmbeddedError(
            container.name,
            f"its task definition gives it no {contract.PORT}",
            "Deploy the current templates.",
        ) from error

    async def ready() -> bool:
        return await healthy(port, contract.HEALTH_PATH)

    return Program(
        name=container.name,
        command=_command(container.command),
        environment={
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(state.temporary),
            "LANG": "C.UTF-8",
            "TMPDIR": str(state.temporary),
            "PYTHONUNBUFFERED": "1",
            **role(settings),
            **container.environment,
        },
        ready=ready,
        stop_seconds=min(container.stop_seconds, _LONGEST_STOP),
        ready_seconds=_READY_SECONDS,
    )


def _command(command: Sequence[str]) -> tuple[str, ...]:
    """The image's Python is ours; what lies in the current folder is not to be imported (-P)."""
    if command and command[0] == "python":
        return (sys.executable, "-P", *command[1:])
    return tuple(command)
