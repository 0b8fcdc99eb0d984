"""The service's tasks on Fargate: sizes, ports, and the time that they have to end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from zedi import contract
from zedi.preflight.rule import ERROR, WARNING, Problem, offline
from zedi.preflight.subject import Resource, Subject, numbers

_SIZE: Final = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html"
_SPOT: Final = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-capacity-providers.html"
_BALANCING: Final = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-load-balancing.html"
_GIB: Final = 1024
_MEMORY: Final[Mapping[int, tuple[int, ...]]] = {
    256: (512, 1 * _GIB, 2 * _GIB),
    512: tuple(range(1 * _GIB, 4 * _GIB + 1, _GIB)),
    1024: tuple(range(2 * _GIB, 8 * _GIB + 1, _GIB)),
    2048: tuple(range(4 * _GIB, 16 * _GIB + 1, _GIB)),
    4096: tuple(range(8 * _GIB, 30 * _GIB + 1, _GIB)),
    8192: tuple(range(16 * _GIB, 60 * _GIB + 1, 4 * _GIB)),
    16384: tuple(range(32 * _GIB, 120 * _GIB + 1, 8 * _GIB)),
}
SPOT_SECONDS: Final = 120
"""From the notice of an interruption to the end."""
_STOP_DEFAULT: Final = 30
_DELAY_DEFAULT: Final = 300
_IDLE_DEFAULT: Final = 60


def _tasks(subject: Subject) -> Iterator[Resource]:
    for task in subject.of_type("AWS::ECS::TaskDefinition"):
        if "FARGATE" in task.literals("RequiresCompatibilities"):
            yield task


def _containers(task: Resource) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for index, container in enumerate(task.get("ContainerDefinitions") or ()):
        if isinstance(container, Mapping):
            yield f"ContainerDefinitions.{index}", container


def _environment(task: Resource, path: str) -> dict[str, tuple[str, list[Any]]]:
    """The variables of a container: path and possible values."""
    found = {}
    for index, pair in enumerate(task.get(f"{path}.Environment") or ()):
        at = f"{path}.Environment.{index}.Value"
        found[str(pair.get("Name"))] = (at, task.literals(at))
    return found


def _attribute(resource: Resource, list_: str, key: str) -> tuple[str, float] | None:
    """The number of an attribute of a load balancer or target group, with its path."""
    for index, pair in enumerate(resource.get(list_) or ()):
        if isinstance(pair, Mapping) and pair.get("Key") == key:
            at = f"{list_}.{index}.Value"
            for value in resource.numbers(at):
                return at, value
    return None


@offline(
    "Z501",
    "CPU and memory that Fargate does not take",
    ERROR,
    why="Fargate has fixed pairs: 256 CPU units with 512 to 2048 MiB, 512 with 1024 to 4096, and so on.",
    fix="Use a pair of the table.",
    source=_SIZE,
    covers=("E3047",),
    says=(r"No Fargate configuration exists for given values", r"Invalid 'cpu' setting for task"),
)
def pairs(subject: Subject) -> Iterator[Problem]:
    for task in _tasks(subject):
        cpu, memory = task.numbers("Cpu"), task.numbers("Memory")
        if not cpu or not memory:
            continue
        allowed = _MEMORY.get(int(cpu[0]))
        if allowed is None:
            yield Problem(f"{cpu[0]:g} CPU units: there are {', '.join(map(str, _MEMORY))}", task, "Cpu")
        elif memory[0] not in allowed:
            yield Problem(
                f"{memory[0]:g} MiB with {cpu[0]:g} CPU units: {allowed[0]} to {allowed[-1]} in fixed steps",
                task,
                "Memory",
                rivals=((task, "Cpu"),),
            )


@offline(
    "Z507",
    "stop timeout above Fargate's",
    ERROR,
    why="Fargate gives a container 120 seconds at most between SIGTERM and SIGKILL, and refuses to"
    " promise more.",
    fix="Set realtime.stop_timeout_seconds to 120 or less.",
    source="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html",
    says=(r"StopTimeout.*(exceed|maximum|must be)",),
)
def stop_timeout(subject: Subject) -> Iterator[Problem]:
    for task in _tasks(subject):
        for path, _ in _containers(task):
            for seconds in task.numbers(f"{path}.StopTimeout"):
                if seconds > SPOT_SECONDS:
                    yield Problem(f"{seconds:g} s; {SPOT_SECONDS} at most", task, f"{path}.StopTimeout")


@offline(
    "Z508",
    "drain that does not fit before SIGKILL",
    ERROR,
    why="A task flushes edits and says goodbye to its clients after SIGTERM. Without time left"
    " between the drain and the stop timeout (or Spot's 120 s) it is killed in the middle of it.",
    fix="Keep realtime.drain_seconds some seconds below realtime.stop_timeout_seconds, and both within 120.",
    source=_SPOT,
)
def drain(subject: Subject) -> Iterator[Problem]:
    for task in _tasks(subject):
        for path, _ in _containers(task):
            variables = _environment(task, path)
            if contract.DRAIN_SECONDS not in variables:
                continue
            at, values = variables[contract.DRAIN_SECONDS]
            stops = task.numbers(f"{path}.StopTimeout") or [float(_STOP_DEFAULT)]
            limit = min(stops[0], SPOT_SECONDS)
            for seconds in numbers(values):
                if seconds >= limit:
                    yield Problem(
                        f"a drain of {seconds:g} s ends with SIGKILL at {limit:g} s",
                        task,
                        at,
                        rivals=((task, f"{path}.StopTimeout"),),
                    )


@offline(
    "Z509",
    "deregistration that outlasts a Spot interruption",
    ERROR,
    why="Two minutes after its notice a Spot task is gone. With a longer delay the load balancer goes"
    " on sending it requests; the default is 300 s.",
    fix="Set realtime.deregistration_delay_seconds below 120.",
    source=_SPOT,
)
def deregistration(subject: Subject) -> Iterator[Problem]:
    for service in subject.of_type("AWS::ECS::Service"):
        if "FARGATE_SPOT" not in str(service.get("CapacityProviderStrategy")):
            continue
        for index, _ in enumerate(service.get("LoadBalancers") or ()):
            for group in service.targets(f"LoadBalancers.{index}.TargetGroupArn"):
                found = _attribute(group, "TargetGroupAttributes", "deregistration_delay.timeout_seconds")
                at, seconds = found or ("TargetGroupAttributes", float(_DELAY_DEFAULT))
                if seconds >= SPOT_SECONDS:
                    yield Problem(f"{seconds:g} s; below {SPOT_SECONDS}", group, at)


@offline(
    "Z510",
    "idle timeout that cuts quiet sockets",
    ERROR,
    why="The load balancer closes a socket that was silent for its idle timeout (1 to 4000 s, 60 by"
    " default); the service's ping must come before that.",
    fix="Keep realtime.idle_timeout_seconds well above realtime.ping_seconds.",
    source="https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html",
    says=(r"idle_timeout\.timeout_seconds.*(valid|between)",),
)
def idle_timeout(subject: Subject) -> Iterator[Problem]:
    pings = [
        (task, at, ping)
        for task in _tasks(subject)
        for path, _ in _containers(task)
        for name, (at, values) in _environment(task, path).items()
        if name == contract.PING_INTERVAL
        for ping in numbers(values)
    ]
    for balancer in subject.of_type("AWS::ElasticLoadBalancingV2::LoadBalancer"):
        found = _attribute(balancer, "LoadBalancerAttributes", "idle_timeout.timeout_seconds")
        at, seconds = found or ("LoadBalancerAttributes", float(_IDLE_DEFAULT))
        if not 1 <= seconds <= 4000:
            yield Problem(f"{seconds:g} s is not between 1 and 4000", balancer, at)
        elif pings and seconds <= max(ping for *_, ping in pings):
            most = max(ping for *_, ping in pings)
            yield Problem(
                f"{seconds:g} s with a ping every {most:g} s",
                balancer,
                at,
                rivals=tuple((task, path) for task, path, ping in pings if ping == most),
            )


@offline(
    "Z502",
    "target type that does not fit the network mode",
    ERROR,
    why="A task with a network interface of its own (awsvpc) is registered by its address; ECS"
    " refuses a target group of instances.",
    fix="Set TargetType to ip.",
    source=_BALANCING,
    says=(r"The provided target group .* has target type instance, which is incompatible with the awsvpc",),
)
def target_type(subject: Subject) -> Iterator[Problem]:
    for service, task, index in _balanced(subject):
        if task.get("NetworkMode") != "awsvpc":
            continue
        for group in service.targets(f"LoadBalancers.{index}.TargetGroupArn"):
            found = group.name("TargetType") or "instance"
            if found != "ip":
                yield Problem(f"{found} with awsvpc", group, "TargetType")


def _balanced(subject: Subject) -> Iterator[tuple[Resource, Resource, int]]:
    """Every service, its task definition, and the number of each of its load balancers."""
    for service in subject.of_type("AWS::ECS::Service"):
        for task in service.targets("TaskDefinition"):
            if task.type == "AWS::ECS::TaskDefinition":
                for index, _ in enumerate(service.get("LoadBalancers") or ()):
                    yield service, task, index


def _mapped(task: Resource) -> dict[str, set[float]]:
    return {
        str(container.get("Name")): {
            port
            for index, _ in enumerate(container.get("PortMappings") or ())
            for port in task.numbers(f"{path}.PortMappings.{index}.ContainerPort")
        }
        for path, container in _containers(task)
    }


@offline(
    "Z503",
    "load balancer that sends to no container",
    ERROR,
    why="ECS refuses a service whose load balancer names a container or a port that its task"
    " definition has not.",
    fix="Name a container of the task definition and a port that it maps.",
    source=_BALANCING,
    says=(
        r"The container .* did not have a container port .* defined",
        r"The container .* does not exist in the task",
    ),
)
def container_ports(subject: Subject) -> Iterator[Problem]:
    for service, task, index in _balanced(subject):
        name = service.name(f"LoadBalancers.{index}.ContainerName")
        ports = service.numbers(f"LoadBalancers.{index}.ContainerPort")
        mapped = _mapped(task)
        if name is not None and name not in mapped:
            yield Problem(f"there is no container {name}", service, f"LoadBalancers.{index}.ContainerName")
        elif name is not None and ports and ports[0] not in mapped[name]:
            yield Problem(
                f"{name} does not map port {ports[0]:g}", service, f"LoadBalancers.{index}.ContainerPort"
            )


@offline(
    "Z504",
    "target group on another port than its container",
    WARNING,
    why="ECS registers each task under the container's port, so the group's own is wrong in the"
    " console and for whoever registers a target by hand.",
    fix="Give the target group the container's port.",
    source=_BALANCING,
)
def target_ports(subject: Subject) -> Iterator[Problem]:
    for service, _, index in _balanced(subject):
        ports = service.numbers(f"LoadBalancers.{index}.ContainerPort")
        for group in service.targets(f"LoadBalancers.{index}.TargetGroupArn"):
            for port in group.numbers("Port"):
                if ports and port != ports[0]:
                    yield Problem(f"{port:g}, and the container's is {ports[0]:g}", group, "Port")


@offline(
    "Z505",
    "port that the load balancer cannot reach",
    ERROR,
    why="A port that the tasks' security group does not let in never gets healthy: ECS starts and"
    " stops tasks until the circuit breaker gives up.",
    fix="Let the load balancer's security group in on the container's port.",
    source=_BALANCING,
    says=(r"failed ELB health checks in",),
)
def reachable(subject: Subject) -> Iterator[Problem]:
    for service, _, index in _balanced(subject):
        groups = service.targets("NetworkConfiguration.AwsvpcConfiguration.SecurityGroups")
        ports = service.numbers(f"LoadBalancers.{index}.ContainerPort")
        if ports and groups and not any(_lets_in(group, ports[0]) for group in groups):
            yield Problem(
                f"no security group of its tasks lets port {ports[0]:g} in",
                service,
                f"LoadBalancers.{index}.ContainerPort",
            )


def _lets_in(group: Resource, port: float) -> bool:
    rules = [(group, rule) for rule in group.get("SecurityGroupIngress") or ()]
    for extra in group.subject.of_type("AWS::EC2::SecurityGroupIngress"):
        if group in extra.targets("GroupId"):
            rules.append((extra, extra.properties))
    for owner, rule in rules:
        first = list(numbers(owner.subject.literals(owner.phase, rule.get("FromPort"))))
        last = list(numbers(owner.subject.literals(owner.phase, rule.get("ToPort"))))
        if str(rule.get("IpProtocol")) == "-1" or (first and last and first[0] <= port <= last[0]):
            return True
    return False


@offline(
    "Z506",
    "health check that nobody answers",
    ERROR,
    why=f"The service answers {contract.HEALTH_PATH}, on the port that its environment names, and nothing"
    " else without a token: another path or port never gets healthy.",
    fix=f"Check {contract.HEALTH_PATH} on the container's own port.",
    source="https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html",
    says=(r"Health check path .* must begin with",),
)
def health_path(subject: Subject) -> Iterator[Problem]:
    for service, _, index in _balanced(subject):
        for group in service.targets(f"LoadBalancers.{index}.TargetGroupArn"):
            path = group.name("HealthCheckPath") or "/"
            if path != contract.HEALTH_PATH:
                yield Problem(f"it asks for {path}", group, "HealthCheckPath")
    for task in _tasks(subject):
        mapped = _mapped(task)
        for path, container in _containers(task):
            variables = _environment(task, path)
            at, values = variables.get(contract.PORT, ("", []))
            for port in numbers(values):
                if port not in mapped[str(container.get("Name"))]:
                    yield Problem(f"the container listens on {port:g} and does not map it", task, at)


@offline(
    "Z513",
    "two containers on one port",
    ERROR,
    why="The containers of a task share its network: the second one cannot listen.",
    fix="Give realtime.port and realtime.api_port different numbers.",
    source="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-networking-awsvpc.html",
    says=(r"(same|duplicate) (container|host) port",),
)
def shared_ports(subject: Subject) -> Iterator[Problem]:
    for task in _tasks(subject):
        seen: dict[float, str] = {}
        for path, container in _containers(task):
            name = str(container.get("Name"))
            for index, _ in enumerate(container.get("PortMappings") or ()):
                at = f"{path}.PortMappings.{index}.ContainerPort"
                for port in task.numbers(at):
                    if seen.setdefault(port, name) != name:
                        yield Problem(f"{seen[port]} and {name} both have port {port:g}", task, at)


@offline(
    "Z514",
    "service that listens to itself only",
    ERROR,
    why="On loopback the load balancer cannot reach the container, and no task gets healthy.",
    fix="Set realtime.bind_address to 0.0.0.0.",
    source=_BALANCING,
)
def bind_address(subject: Subject) -> Iterator[Problem]:
    if not subject.on_aws:
        return
    for task in _tasks(subject):
        for path, _ in _containers(task):
            at, values = _environment(task, path).get(contract.BIND_ADDRESS, ("", []))
            for address in values:
                if str(address).startswith("127.") or address in ("localhost", "::1"):
                    yield Problem(f"it listens on {address}", task, at)


@offline(
    "Z320",
    "database reached without TLS",
    ERROR,
    why="Aurora PostgreSQL refuses a connection without TLS from 15 on (rds.force_ssl), and before"
    " that what people type would travel in the clear.",
    fix='Set database.tls to "require"; it is disabled on loopback only.',
    source="https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/AuroraPostgreSQL.Security.html",
    says=(r"no pg_hba\.conf entry for host .* no encryption",),
)
def database_tls(subject: Subject) -> Iterator[Problem]:
    if not subject.on_aws:
        return
    for task in _tasks(subject):
        for path, _ in _containers(task):
            at, values = _environment(task, path).get(contract.DB_TLS, ("", []))
            if "disable" in values:
                yield Problem("TLS is disabled", task, at)


@offline(
    "Z512",
    "fewer tasks at most than at least",
    ERROR,
    why="Auto scaling refuses a maximum below the minimum.",
    fix="Raise realtime.max_tasks, or lower realtime.min_tasks.",
    source="https://docs.aws.amazon.com/autoscaling/application/APIReference/API_RegisterScalableTarget.html",
    says=(r"Maximum capacity cannot be less than minimum capacity",),
)
def task_counts(subject: Subject) -> Iterator[Problem]:
    for target in subject.of_type("AWS::ApplicationAutoScaling::ScalableTarget"):
        least, most = target.numbers("MinCapacity"), target.numbers("MaxCapacity")
        if least and most and max(least) > most[0]:
            yield Problem(
                f"{most[0]:g} at most, and {max(least):g} at least",
                target,
                "MaxCapacity",
                rivals=((target, "MinCapacity"),),
            )


@offline(
    "Z515",
    "on-demand base above the number of tasks",
    WARNING,
    why="The base is filled before any Spot task is: with a base as large as the minimum, all of the"
    " usual tasks are billed on demand, some 70 % dearer.",
    fix="Keep realtime.on_demand_base below realtime.min_tasks, or mean it and ignore this.",
    source=_SPOT,
)
def base(subject: Subject) -> Iterator[Problem]:
    least = [
        number
        for target in subject.of_type("AWS::ApplicationAutoScaling::ScalableTarget")
        for number in target.numbers("MinCapacity")
    ]
    for service in subject.of_type("AWS::ECS::Service"):
        for index, item in enumerate(service.get("CapacityProviderStrategy") or ()):
            at = f"CapacityProviderStrategy.{index}.Base"
            for tasks in service.numbers(at):
                if item.get("CapacityProvider") == "FARGATE" and least and 0 < max(least) <= tasks:
                    yield Problem(f"{tasks:g} on demand of {max(least):g} tasks", service, at)


@offline(
    "Z518",
    "health check that outlasts its interval",
    ERROR,
    why="A target group's check must time out before the next one begins (5 to 300 s apart).",
    fix="Make the timeout shorter than the interval.",
    source="https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html",
    says=(r"Health check interval must be greater than the timeout",),
)
def check_times(subject: Subject) -> Iterator[Problem]:
    for group in subject.of_type("AWS::ElasticLoadBalancingV2::TargetGroup"):
        timeout, interval = (
            group.numbers("HealthCheckTimeoutSeconds"),
            group.numbers("HealthCheckIntervalSeconds"),
        )
        if timeout and interval and timeout[0] >= interval[0]:
            yield Problem(f"{timeout[0]:g} s every {interval[0]:g} s", group, "HealthCheckTimeoutSeconds")
