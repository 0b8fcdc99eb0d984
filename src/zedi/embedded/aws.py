"""ministack: the AWS API on loopback, with what it lacks for our templates added.

`program` says how it is run; `python -m zedi.embedded.aws` is what then runs: ministack's own application,
served from here, so that three things can be added to it.

- Endpoints. It has no database behind its RDS and no cache behind its ElastiCache; the clusters that our
  templates make are given the address and ports of the servers that run beside it.
- Gaps. Container definitions keep all they were given (it forgets secrets and health checks that come
  through CloudFormation), a parameter may say how many tasks, alarms on metric math are recorded though
  never evaluated, and the types of `_missing_types` exist.
- Saving. It writes its state when it is stopped. Here it is written a moment after every change as well,
  and at `SAVE_PATH`, so that a kill loses nothing that anybody was told of.

The names of ministack that are replaced are checked at the start: another version of it that lacks one
does not start, instead of serving half of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from zedi.embedded import EmbeddedError
from zedi.embedded.state import State
from zedi.embedded.supervisor import Program, healthy
from zedi.settings import Settings

NAME: Final = "aws"
SAVE_PATH: Final = "/_zedi/save"
"""A POST writes the state to disk before it is answered: 204, or 500 with the reasons."""

_HEALTH_PATH: Final = "/_ministack/health"
_LOOPBACK: Final = "127.0.0.1"
_DATABASE_PORT: Final = "ZEDI_DATABASE_PORT"
_PUT_LINES: Final = b"Logs_20140328.PutLogEvents"
_SAVE_SECONDS: Final = 1.0
"""How long after a change the state is written."""
_SHUTDOWN_SECONDS: Final = 1.5
"""How long connections may linger at the end, the state being written already."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def program(settings: Settings, state: State) -> Program:
    """How the AWS API of an environment with [embedded] is run."""
    assert settings.embedded is not None
    port = settings.embedded.port

    async def ready() -> bool:
        return await healthy(port, _HEALTH_PATH)

    return Program(
        name=NAME,
        # -P: what lies in the current folder is not to be imported.
        command=(sys.executable, "-P", "-m", "zedi.embedded.aws"),
        environment={
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(state.temporary),
            "LANG": "C.UTF-8",
            "TMPDIR": str(state.temporary),
            "PYTHONUNBUFFERED": "1",
            "BIND_HOST": _LOOPBACK,
            "GATEWAY_PORT": str(port),
            "MINISTACK_REGION": settings.region,
            "PERSIST_STATE": "1",
            "STATE_DIR": str(state.aws / "state"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(state.aws / "s3"),
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            # Where there is a Docker it must not start databases of its own there.
            "DOCKER_HOST": f"unix://{state.temporary / 'no-docker.sock'}",
            "REDIS_HOST": _LOOPBACK,
            "REDIS_PORT": str(settings.cache.port),
            _DATABASE_PORT: str(settings.database.port),
        },
        ready=ready,
        # When we are gone it still writes its state, and is gone soon after.
        death_signal=signal.SIGTERM,
        stop_signal=signal.SIGTERM,
        stop_seconds=10.0,
    )


async def save(settings: Settings) -> None:
    """Has the running AWS API write its state to disk. Raises EmbeddedError when it could not."""
    assert settings.embedded is not None
    reader, writer = await asyncio.open_connection(_LOOPBACK, settings.embedded.port)
    try:
        writer.write(
            f"POST {SAVE_PATH} HTTP/1.1\r\nHost: {_LOOPBACK}\r\nContent-Length: 0\r\n"
            "Connection: close\r\n\r\n".encode("ascii")
        )
        answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 204 " not in head.split(b"\r\n", 1)[0] + b" ":
        raise EmbeddedError(
            NAME,
            f"its state could not be written: {body.decode('utf-8', 'replace').strip()}",
            "Make room on the disk, or look into the log aws.log.",
        )


# What follows runs in the child.


def _names_of(module: Any, *names: str) -> None:
    """Makes sure that what is replaced or relied on is there. Raises EmbeddedError for what is not."""
    missing = [name for name in names if not hasattr(module, name)]
    if missing:
        raise EmbeddedError(
            f"ministack ({module.__name__})",
            f"this version has no {', '.join(missing)}",
            "Install the version that pyproject.toml names: make install.",
        )


def _complete() -> Any:
    """Adds to ministack what it lacks; returns its application's module."""
    from ministack import app
    from ministack.core import persistence
    from ministack.services import budgets, ecs, elasticache, rds
    from ministack.services.cloudformation import provisioners

    _names_of(app, "app", "_build_persistence_save_dict")
    _names_of(persistence, "save_all", "logger", "PERSIST_STATE")
    _names_of(elasticache, "REDIS_DEFAULT_HOST", "REDIS_DEFAULT_PORT", "_spawn_redis_container")
    _names_of(rds, "_clusters", "_instances")
    _names_of(ecs, "_task_defs")
    _names_of(budgets, "_create_budget", "_update_budget", "_delete_budget")
    _names_of(
        provisioners,
        "_RESOURCE_HANDLERS",
        "_normalize_container_defs",
        "_pascal_to_camel",
        "_cw_metric_alarm_put",
        "_rds_db_cluster_attrs",
        "_rds_db_instance_attrs",
        "get_region",
        "get_account_id",
    )
    handlers = provisioners._RESOURCE_HANDLERS
    port = int(os.environ[_DATABASE_PORT])

    def cluster_is_here(cluster: dict[str, Any]) -> Any:
        cluster.update({"Endpoint": _LOOPBACK, "ReaderEndpoint": _LOOPBACK, "Port": port})
        return provisioners._rds_db_cluster_attrs(cluster)

    def instance_is_here(instance: dict[str, Any]) -> Any:
        instance["Endpoint"].update({"Address": _LOOPBACK, "Port": port})
        return provisioners._rds_db_instance_attrs(instance)

    for kind, records, locate in (
        ("AWS::RDS::DBCluster", rds._clusters, cluster_is_here),
        ("AWS::RDS::DBInstance", rds._instances, instance_is_here),
    ):
        for verb in ("create", "update"):
            handlers[kind][verb] = _located(handlers[kind][verb], records, locate)

    for verb in ("create", "update"):
        handlers["AWS::ECS::Service"][verb] = _counted(handlers["AWS::ECS::Service"][verb])

    pascal_to_camel = provisioners._pascal_to_camel
    provisioners._normalize_container_defs = lambda definitions: [
        _container_definition(definition, pascal_to_camel) for definition in definitions
    ]
    put_alarm = provisioners._cw_metric_alarm_put

    def recorded_or_put(name: str, properties: dict[str, Any]) -> Any:
        if not properties.get("Metrics"):
            return put_alarm(name, properties)
        region, account = provisioners.get_region(), provisioners.get_account_id()
        return name, {"Arn": f"arn:aws:cloudwatch:{region}:{account}:alarm:{name}"}

    provisioners._cw_metric_alarm_put = recorded_or_put
    for kind, handler in _missing_types(provisioners, budgets).items():
        # One that ministack has learned meanwhile is better than ours.
        handlers.setdefault(kind, handler)
    return app


def _located(make: Callable[..., Any], records: Any, locate: Callable[[Any], Any]) -> Callable[..., Any]:
    """A resource handler whose resource is found on this machine."""

    def located(*arguments: Any, **keywords: Any) -> Any:
        physical_id, _ = make(*arguments, **keywords)
        return physical_id, locate(records[physical_id])

    return located


def _counted(make: Callable[..., Any]) -> Callable[..., Any]:
    """A service's handler that gets its number of tasks as a number, also where a parameter says it."""

    def number(argument: Any) -> Any:
        if isinstance(argument, dict) and "DesiredCount" in argument:
            return {**argument, "DesiredCount": int(argument["DesiredCount"])}
        return argument

    return lambda *arguments: make(*map(number, arguments))


def _container_definition(
    definition: dict[str, Any], pascal_to_camel: Callable[[Any], Any]
) -> dict[str, Any]:
    """A template's container definition as the ECS API has it. The keys of free maps are not names of its."""
    free = {name: definition[name] for name in ("DockerLabels",) if name in definition}
    options = definition.get("LogConfiguration", {}).get("Options")
    result: dict[str, Any] = pascal_to_camel({k: v for k, v in definition.items() if k not in free})
    if options is not None:
        result["logConfiguration"]["options"] = options
    if "DockerLabels" in free:
        result["dockerLabels"] = free["DockerLabels"]
    return result


def _missing_types(provisioners: Any, budgets: Any) -> dict[str, dict[str, Any]]:
    """Handlers of the types that our templates use and ministack does not know.

    A budget is kept by its Budgets API; auto scaling is only recorded in its stack, nothing scales here.
    """

    def required(kind: str, properties: dict[str, Any], *names: str) -> None:
        missing = [name for name in names if not properties.get(name)]
        if missing:
            raise ValueError(f"{kind}: missing required properties: {', '.join(missing)}")

    def target(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
        kind = "AWS::ApplicationAutoScaling::ScalableTarget"
        names = ("ResourceId", "ScalableDimension", "ServiceNamespace")
        required(kind, properties, *names, "MaxCapacity")
        physical_id = "|".join(str(properties[name]) for name in names)
        return physical_id, {"Id": physical_id}

    def policy(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
        required("AWS::ApplicationAutoScaling::ScalingPolicy", properties, "PolicyName", "PolicyType")
        arn = (
            f"arn:aws:autoscaling:{provisioners.get_region()}:{provisioners.get_account_id()}"
            f":scalingPolicy:{uuid.uuid4()}:resource/{properties.get('ScalingTargetId', '')}"
            f":policyName/{properties['PolicyName']}"
        )
        return arn, {"Arn": arn}

    def recorded(physical_id: str, old: dict[str, Any], new: dict[str, Any], stack: str) -> Any:
        return physical_id, {"Id": physical_id, "Arn": physical_id}

    def forget(physical_id: str, properties: dict[str, Any]) -> None:
        pass

    def done(answer: Any) -> None:
        if answer[0] != 200:
            raise ValueError(f"AWS::Budgets::Budget: {answer[2]!r}")

    def budget(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
        required("AWS::Budgets::Budget", properties, "Budget")
        named = {"BudgetName": f"{stack}-{logical_id}", **properties["Budget"]}
        subscribed = properties.get("NotificationsWithSubscribers", [])
        done(budgets._create_budget({"Budget": named, "NotificationsWithSubscribers": subscribed}))
        return named["BudgetName"], {}

    def change_budget(physical_id: str, old: dict[str, Any], new: dict[str, Any], stack: str) -> Any:
        done(budgets._update_budget({"NewBudget": {**new["Budget"], "BudgetName": physical_id}}))
        return physical_id, {}

    def delete_budget(physical_id: str, properties: dict[str, Any]) -> None:
        budgets._delete_budget({"BudgetName": physical_id})

    return {
        "AWS::ApplicationAutoScaling::ScalableTarget": {
            "create": target,
            "update": recorded,
            "delete": forget,
        },
        "AWS::ApplicationAutoScaling::ScalingPolicy": {
            "create": policy,
            "update": recorded,
            "delete": forget,
        },
        "AWS::Budgets::Budget": {"create": budget, "update": change_budget, "delete": delete_budget},
    }


class _Saving:
    """An application around ministack's that writes the state a moment after it may have changed."""

    def __init__(self, application: Application, write: Callable[[], list[str]]) -> None:
        self._application = application
        self._write = write
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
        elif scope["path"] == SAVE_PATH:
            problems = self._write()
            body = "\n".join(problems).encode("utf-8")
            length = [(b"content-length", str(len(body)).encode("ascii"))] if body else []
            await send({"type": "http.response.start", "status": 500 if body else 204, "headers": length})
            await send({"type": "http.response.body", "body": body})
        else:
            await self._application(scope, receive, send)
            # Questions of the AWS APIs are POSTs too; what is only read is not told apart from the rest.
            # Log lines are saved with what changes next: each is in its container's file already.
            if (
                scope["method"] not in ("GET", "HEAD", "OPTIONS")
                and (b"x-amz-target", _PUT_LINES) not in scope["headers"]
                and self._timer is None
            ):
                self._timer = asyncio.get_running_loop().call_later(_SAVE_SECONDS, self._save)

    def _save(self) -> None:
        self._timer = None
        if self._write():
            # Something changed while it was read (it has told so in the log): once more.
            self._timer = asyncio.get_running_loop().call_later(_SAVE_SECONDS, self._save)


class _Problems(logging.Handler):
    """Collects what ministack only logs."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _write_state(app: Any) -> list[str]:
    """Writes every service's state, each file replaced as a whole. Returns what went wrong."""
    from ministack.core import persistence

    problems = _Problems()
    persistence.logger.addHandler(problems)
    level = persistence.logger.level
    persistence.logger.setLevel(logging.ERROR)  # not a line a file, every time
    try:
        persistence.save_all(app._build_persistence_save_dict())
    finally:
        persistence.logger.setLevel(level)
        persistence.logger.removeHandler(problems)
    return problems.lines


async def _serve() -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    app = _complete()
    config = Config()
    config.bind = [f"{os.environ['BIND_HOST']}:{os.environ['GATEWAY_PORT']}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 0.5
    config.loglevel = "WARNING"
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        _write_state(app)
        stop.set()
        loop.call_later(_SHUTDOWN_SECONDS, os._exit, 0)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    await serve(_Saving(app.app, lambda: _write_state(app)), config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]


def main() -> None:
    try:
        asyncio.run(_serve())
    except EmbeddedError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
