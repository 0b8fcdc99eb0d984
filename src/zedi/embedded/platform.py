"""All of it, in order: servers, deploy, databases, service, edge, users.

    at once     the AWS API, PostgreSQL, Valkey
    deploy      all phases, as soon as the AWS API answers, and meanwhile:
    users       when their pool is deployed
    database    when its secret is deployed: the master user with that password, and what it owns
    service     when the task definition is deployed: its containers
    edge        when all is deployed

Stopped in the other direction: the service first, so that it can drain into its database.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zedi import contract
from zedi.embedded import EmbeddedError, aws, ports, postgres, valkey
from zedi.embedded.edge import Edge, Origins, policy_headers
from zedi.embedded.state import State
from zedi.embedded.supervisor import Program, Supervisor
from zedi.settings import ExampleUser, Settings

if TYPE_CHECKING:
    from zedi.deploy.events import Event
    from zedi.deploy.rollout import DeployResult
    from zedi.deploy.target import Target
    from zedi.embedded.awslogs import Destination, Shipper

_PATIENCE: Final = 5.0
"""Seconds that the ports of a run before, which was killed, may take to become free."""

Tell = Callable[[str], None]
"""Takes one thing at a time that happened, for people; may have several lines."""


@dataclass(frozen=True)
class Running:
    """What is running, once it is."""

    address: str
    """Of the front end."""
    users: tuple[ExampleUser, ...]
    outputs: Mapping[str, str | list[str]]
    logs: Path
    seconds: float
    """How long it took."""


class Platform:
    """One environment with [embedded], run on this machine. To be used from the main thread.

    Args:
        folder: where its state is kept.
        tell: is told what happens, from the event loop's thread.
        web: the built front end, where it is not the one in this package.

    Raises EmbeddedError when the environment is none for this machine.
    """

    def __init__(
        self, settings: Settings, folder: Path, tell: Tell, *, web: Traversable | None = None
    ) -> None:
        if settings.embedded is None:
            raise EmbeddedError(
                f"environment {settings.name}",
                "it has no [embedded] table, so it is one for AWS",
                "Run zedi up local, or add [embedded] to a copy of its file.",
            )
        self._settings = settings
        self._folder = folder
        self._tell = tell
        self._web = web
        self._state: State | None = None
        self._supervisor: Supervisor | None = None
        self._edge: Edge | None = None
        self._logged: dict[str, tuple[Path, Destination]] = {}
        self._shipper: Shipper | None = None
        self._deploying: asyncio.Future[DeployResult] | None = None
        self._deployed: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        """By phase: set once it is deployed."""
        self._stopping = False

    async def start(self) -> Running:
        """Brings everything up.

        May be cancelled; `stop` must be called in any case.

        Raises:
            EmbeddedError: the folder or a port is taken, or a server or the service does not start.
            DeployError: the templates cannot be deployed.
        """
        began = time.monotonic()
        settings = self._settings
        self._state = state = State(self._folder)
        self._supervisor = supervisor = Supervisor(state.logs, self._tell)
        patience = _PATIENCE if state.was_killed else 0.0
        await asyncio.to_thread(ports.claim, ports.doors(settings), patience)

        installation, *_ = await _together(
            self._start_postgres(state, supervisor),
            self._start_named(supervisor, valkey.program(settings, state), "Valkey"),
            self._start_named(supervisor, aws.program(settings, state), "AWS API"),
            # What is needed next is loaded while the servers start.
            asyncio.to_thread(_load, settings),
        )
        target = await asyncio.to_thread(_target_of, settings)
        result, *_ = await _together(
            self._deploy(target),
            self._make_users(target),
            self._start_service(state, supervisor, target, installation),
        )
        outputs: Mapping[str, str | list[str]] = result.outputs
        await self._start_edge(target, outputs)
        await aws.save(settings)
        from zedi.embedded.awslogs import Shipper

        self._shipper = Shipper(target, self._logged, self._tell)
        self._shipper.start()
        assert settings.embedded is not None
        return Running(
            address=_text(outputs, "frontend_url"),
            users=settings.embedded.users,
            outputs=outputs,
            logs=state.logs,
            seconds=time.monotonic() - began,
        )

    async def stop(self) -> None:
        """Stops what runs, in order, each within its bounds, and gives the folder back."""
        self._stopping = True
        if self._supervisor:
            await self._supervisor.stop(contract.REALTIME_CONTAINER, contract.API_CONTAINER)
            if self._shipper:
                await self._shipper.close()
            if self._edge:
                await self._edge.close()
            await self._supervisor.stop(postgres.NAME)
            await self._supervisor.stop(valkey.NAME)
            await self._supervisor.stop(aws.NAME)
            await self._supervisor.stop_all()
        if self._deploying:
            # Its thread notices that the AWS API is gone, or that we are stopping.
            await asyncio.gather(self._deploying, return_exceptions=True)
        if self._state:
            self._state.close()

    async def _start_postgres(self, state: State, supervisor: Supervisor) -> postgres.Installation:
        began = time.monotonic()
        installation = await postgres.prepared(state, supervisor)
        await supervisor.start(postgres.program(self._settings, state, installation))
        self._tell(f"PostgreSQL {installation.major} ({time.monotonic() - began:.1f} s)")
        return installation

    async def _start_named(self, supervisor: Supervisor, program: Program, what: str) -> None:
        began = time.monotonic()
        await supervisor.start(program)
        self._tell(f"{what} ({time.monotonic() - began:.1f} s)")

    async def _deploy(self, target: Target) -> DeployResult:
        from zedi.deploy.rollout import deploy

        loop = asyncio.get_running_loop()

        def listen(event: Event) -> None:
            # In one of the deploy's threads. An error ends the deploy at its next event.
            if self._stopping:
                raise EmbeddedError("deploy", "was stopped", "Run zedi up again: it goes on from there.")
            loop.call_soon_threadsafe(self._hear, event)

        self._deploying = asyncio.ensure_future(
            asyncio.to_thread(deploy, self._settings, target, listener=listen, web=self._web)
        )
        # Shielded: a thread cannot be cancelled, `stop` waits for it.
        result = await asyncio.shield(self._deploying)
        unchanged = sum(1 for phase in result.phases if phase.plan.action == "none")
        kept = f", {unchanged} phases unchanged" if unchanged else ""
        self._tell(f"deployed{kept} ({result.seconds:.1f} s)")
        return result

    def _hear(self, event: Event) -> None:
        from zedi.deploy.events import PhaseDone, PhaseNote

        match event:
            case PhaseDone(phase=phase, plan=plan, seconds=seconds):
                self._deployed[phase].set()
                if plan.action != "none":
                    verb = {"create": "created", "update": "updated"}[plan.action]
                    self._tell(f"{phase} {verb}, {len(plan.changes)} resources ({seconds:.1f} s)")
            case PhaseNote(phase=phase, text=text):
                self._tell(f"{phase}: {text}")

    async def _outputs_of(self, phase: str, target: Target) -> Mapping[str, str | list[str]]:
        """What a phase has put out, once it is deployed. Waits for ever where its deploy fails."""
        from zedi.deploy.outputs import outputs
        from zedi.phases import PHASES

        await self._deployed[phase].wait()
        phases = [each for each in PHASES if each.name == phase]
        return await asyncio.to_thread(outputs, self._settings, target, phases)

    async def _make_users(self, target: Target) -> None:
        found = await self._outputs_of("security", target)
        await asyncio.to_thread(_make_users, self._settings, target, _text(found, "cognito_user_pool_id"))

    async def _start_service(
        self, state: State, supervisor: Supervisor, target: Target, installation: postgres.Installation
    ) -> None:
        """Prepares the database for the service, then starts the containers of its task definition."""
        from zedi.embedded import task

        found = await self._outputs_of("database", target)
        secret = _text(found, "db_credentials_secret_arn")
        password = await asyncio.to_thread(_master_password, target, secret)
        statistics = postgres.has_statement_statistics(installation)
        await postgres.provide(self._settings, state, password, statistics=statistics)

        found = await self._outputs_of("realtime", target)
        cluster, service = _text(found, "ecs_cluster_name"), _text(found, "ecs_service_name")
        containers = await asyncio.to_thread(task.containers, target, cluster, service)
        self._logged = {
            each.name: (supervisor.log(each.name), each.log) for each in containers if each.log is not None
        }
        await _together(
            *(
                self._start_named(
                    supervisor, task.program(each, self._settings, state), f"service: {each.name}"
                )
                for each in containers
            )
        )

    async def _start_edge(self, target: Target, outputs: Mapping[str, str | list[str]]) -> None:
        settings = self._settings
        assert settings.embedded is not None
        distribution = _text(outputs, "cloudfront_distribution_id")
        headers = await asyncio.to_thread(_headers_of, target, distribution)
        origins = Origins(
            bucket=_text(outputs, "frontend_bucket"),
            aws_port=settings.embedded.port,
            api_port=settings.realtime.api_port,
            realtime_port=settings.realtime.port,
        )
        self._edge = Edge(ports.edge_port(settings), origins, headers)
        await self._edge.start()


async def _together(*things: Awaitable[Any]) -> list[Any]:
    """Waits for all of them. The first failure cancels the rest, and is raised as it is."""
    tasks = [asyncio.ensure_future(thing) for thing in things]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _load(settings: Settings) -> None:
    """Loads what the next steps need, which takes longer than any of them."""
    import asyncpg  # noqa: F401

    import zedi.deploy.rollout  # noqa: F401
    from zedi.deploy.target import Target
    from zedi.phases import PHASES

    target = Target(settings.region, "", settings.endpoint_url)
    target.client("sts")
    target.client("cloudformation")
    target.client("s3")
    target.client("rds")
    target.client("secretsmanager")
    target.client("ecs")
    target.client("cloudfront")
    target.client("cognito-idp")
    for phase in PHASES:
        phase.build(settings)


def _target_of(settings: Settings) -> Target:
    from zedi.deploy.target import target_of

    return target_of(settings)


def _text(outputs: Mapping[str, str | list[str]], name: str) -> str:
    value = outputs.get(name)
    if not isinstance(value, str):
        raise EmbeddedError(f"output {name}", "no deployed phase has it", "Deploy the current templates.")
    return value


def _master_password(target: Target, secret: str) -> str:
    import json

    from zedi.deploy.target import asking

    with asking(target, secret):
        text = target.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"]
    password: str = json.loads(text)["password"]
    return password


def _headers_of(target: Target, distribution: str) -> dict[str, str]:
    """The headers that the deployed distribution adds to what it serves."""
    from zedi.deploy.target import asking

    with asking(target, distribution):
        cloudfront = target.client("cloudfront")
        config = cloudfront.get_distribution_config(Id=distribution)["DistributionConfig"]
        policy = config["DefaultCacheBehavior"].get("ResponseHeadersPolicyId")
        if not policy:
            return {}
        found = cloudfront.get_response_headers_policy(Id=policy)["ResponseHeadersPolicy"]
        return policy_headers(found["ResponseHeadersPolicyConfig"])


def _make_users(settings: Settings, target: Target, pool: str) -> None:
    """Makes the example users, or sets those that are there to what the settings say."""
    from zedi.deploy.target import asking

    assert settings.embedded is not None
    with asking(target, pool):
        cognito = target.client("cognito-idp")
        for user in settings.embedded.users:
            attributes = [
                {"Name": "email", "Value": user.email},
                {"Name": "email_verified", "Value": "true"},
                {"Name": "custom:display_name", "Value": user.display_name},
            ]
            try:
                cognito.admin_create_user(
                    UserPoolId=pool,
                    Username=user.email,
                    UserAttributes=attributes,  # type: ignore[arg-type]
                    MessageAction="SUPPRESS",
                )
            except cognito.exceptions.UsernameExistsException:
                cognito.admin_update_user_attributes(
                    UserPoolId=pool,
                    Username=user.email,
                    UserAttributes=attributes,  # type: ignore[arg-type]
                )
            cognito.admin_set_user_password(
                UserPoolId=pool, Username=user.email, Password=user.password, Permanent=True
            )
