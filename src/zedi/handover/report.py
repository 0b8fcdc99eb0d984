"""What is known of an environment: what is there, how it is, what it costs, and what is to be done next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from zedi.cost import CostError, prices
from zedi.cost.estimate import Estimate, estimate
from zedi.deploy import frontend
from zedi.deploy.inventory import Inventory, PhaseInventory, inventory
from zedi.deploy.outputs import named
from zedi.deploy.status import REALTIME
from zedi.deploy.target import Target, asking
from zedi.diagram import model
from zedi.diagram.words import Language
from zedi.preflight import Severity, subject
from zedi.preflight.run import Options, check
from zedi.settings import Settings

_WELL: Final = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"})
_DETAILS: Final[Mapping[str, tuple[str, ...]]] = {
    "AWS::EC2::VPC": ("CidrBlock",),
    "AWS::EC2::Subnet": ("AvailabilityZone", "CidrBlock"),
    "AWS::EC2::SecurityGroup": ("GroupDescription",),
    "AWS::EC2::VPCEndpoint": ("ServiceName",),
    "AWS::Cognito::UserPool": ("UserPoolName", "MfaConfiguration"),
    "AWS::Cognito::UserPoolClient": ("ClientName",),
    "AWS::RDS::DBCluster": ("Engine", "EngineVersion", "DatabaseName"),
    "AWS::RDS::DBInstance": ("DBInstanceClass",),
    "AWS::RDS::DBClusterParameterGroup": ("Family",),
    "AWS::RDS::DBParameterGroup": ("Family",),
    "AWS::SecretsManager::Secret": ("Description",),
    "AWS::ElastiCache::ReplicationGroup": ("Engine", "EngineVersion", "CacheNodeType"),
    "AWS::ElastiCache::ParameterGroup": ("CacheParameterGroupFamily",),
    "AWS::Logs::LogGroup": ("RetentionInDays",),
    "AWS::ECS::TaskDefinition": ("Cpu", "Memory"),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": ("Type", "Scheme"),
    "AWS::ElasticLoadBalancingV2::TargetGroup": ("Protocol", "Port"),
    "AWS::ElasticLoadBalancingV2::Listener": ("Protocol", "Port"),
    "AWS::CloudWatch::Alarm": ("AlarmDescription",),
    "AWS::CloudFront::Distribution": ("DistributionConfig.PriceClass",),
}
"""The properties that tell a reader most about a resource of a type."""


@dataclass(frozen=True)
class Item:
    """A resource: what it is, which one, and a few of its properties."""

    type: str
    logical_id: str
    physical_id: str
    state: str
    detail: str


@dataclass(frozen=True)
class Phase:
    name: str
    state: str | None
    """The stack's; None: not deployed."""
    changed: datetime | None
    items: tuple[Item, ...]
    drift: str
    """IN_SYNC, DRIFTED, NOT_CHECKED, UNKNOWN."""
    drift_checked: datetime | None
    drifted: tuple[str, ...]
    """The resources that were found to differ, by their names in the template."""


@dataclass(frozen=True)
class Change:
    """A setting that is not its default."""

    key: str
    value: str
    default: str


@dataclass(frozen=True)
class Protection:
    """Something that keeps data: `kind` is a key of the words."""

    resource: str
    kind: str
    value: str


@dataclass(frozen=True)
class Cost:
    fixed: tuple[CostLine, ...]
    assumed: tuple[CostLine, ...]
    unknown: tuple[CostLine, ...]
    deployed: float
    """USD a month of the phases that are deployed; `remaining` of those that are not."""
    remaining: float
    low: float
    high: float


@dataclass(frozen=True)
class CostLine:
    phase: str
    service: str
    item: str
    usd: float | None
    """A month; None: unknown."""
    how: str


@dataclass(frozen=True)
class Health:
    desired: int
    """Tasks; so is running."""
    running: int
    targets: Mapping[str, tuple[int, int]]
    """Healthy and all targets, by the name of their group."""
    alarms: tuple[str, ...]
    """Those that are in the state ALARM."""


@dataclass(frozen=True)
class Step:
    """Something to be done. `kind` is a key of the words, `about` fills it."""

    kind: str
    about: Mapping[str, str]


@dataclass(frozen=True)
class Finding:
    id: str
    severity: str
    where: str
    what: str
    fix: str


@dataclass(frozen=True)
class Report:
    environment: str
    said: str
    """As commands take the environment: a name, or the path of a file."""
    place: str
    region: str
    at: datetime
    phases: tuple[Phase, ...]
    outputs: Mapping[str, str | list[str]]
    frontend: Mapping[str, str]
    settings: tuple[Change, ...]
    protections: tuple[Protection, ...]
    health: Health | None
    """None: the service is not deployed."""
    findings: tuple[Finding, ...]
    """Of preflight offline, without the linters."""
    cost: Cost | None
    cost_unknown: str
    """Why there is no cost; empty where there is one."""
    steps: tuple[Step, ...]
    diagram: model.Diagram

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.phases if each.state is None)


def report(environment: str, settings: Settings, target: Target, at: datetime, language: Language) -> Report:
    """Asks AWS, the price list and preflight. Changes nothing, and asks for no secret.

    Args:
        environment: as the person who asks named it; it stands in the commands of the report.
        language: of the picture; everything else is data.

    Raises TargetError, or DeployError when AWS refuses to say.
    """
    found = inventory(settings, target)
    outputs: dict[str, str | list[str]] = {}
    for each in found.deployed:
        outputs |= named(each.stack.outputs if each.stack else {})
    phases = tuple(map(_phase, found.phases))
    looked_at = subject.of_environment(environment)
    findings = tuple(
        Finding(each.id, str(each.severity), str(each.where), each.what, each.fix)
        for each in check(looked_at, None, Options(linters=False))
        if each.severity > Severity.INFO
    )
    cost, cost_unknown = _cost(settings, found)
    health = _health(target, found)
    pool = found.phase("security").stack
    # A user pool that was only taken over has no outputs, and so a front end has no settings yet.
    front_end = dict(frontend.variables(settings, target).values) if pool and pool.outputs else {}
    return Report(
        environment=settings.name,
        said=environment,
        place=found.place,
        region=settings.region,
        at=at,
        phases=phases,
        outputs=outputs,
        frontend=front_end,
        settings=tuple(_changes(settings)),
        protections=tuple(_protections(found)),
        health=health,
        findings=findings,
        cost=cost,
        cost_unknown=cost_unknown,
        steps=tuple(_steps(environment, found, phases, health, findings, _unconfirmed(target, found))),
        diagram=model.diagram(found, language),
    )


def _there(found: Inventory, phase: str) -> bool:
    return found.phase(phase).deployed


def _phase(each: PhaseInventory) -> Phase:
    stack = each.stack
    declared = each.template.get("Resources", {})
    items = tuple(
        Item(
            resource.type,
            resource.logical_id,
            resource.physical_id,
            resource.status,
            _detail(resource.type, declared.get(resource.logical_id, {}).get("Properties", {}), each),
        )
        for resource in sorted(each.resources, key=lambda resource: (resource.type, resource.logical_id))
    )
    return Phase(
        name=each.phase,
        state=stack.status if stack else None,
        changed=stack.changed if stack else None,
        items=items,
        drift=stack.drift if stack else "NOT_CHECKED",
        drift_checked=stack.drift_checked if stack else None,
        drifted=tuple(
            resource.logical_id for resource in each.resources if resource.drift in ("MODIFIED", "DELETED")
        ),
    )


def _detail(type: str, properties: Mapping[str, Any], each: PhaseInventory) -> str:
    words: list[str] = []
    for path in _DETAILS.get(type, ()):
        value: Any = properties
        for part in path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, Mapping) and each.stack is not None:
            value = each.stack.parameters.get(str(value.get("Ref")))
        if isinstance(value, str | int | float):
            words.append(f"{value} d" if path == "RetentionInDays" else str(value))
    return ", ".join(words)


def _changes(settings: Settings) -> Iterator[Change]:
    """The settings that are not their defaults. Passwords of example users are left out."""
    chosen = dict(_flat(settings.model_dump(mode="json")))
    default = dict(_flat(Settings(name=settings.name).model_dump(mode="json")))
    for key, value in chosen.items():
        if key == "embedded.users":
            yield Change(key, ", ".join(str(user["email"]) for user in value) or "[]", "")
        elif value != default.get(key):
            yield Change(key, _shown(value), _shown(default.get(key)))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _protections(found: Inventory) -> Iterator[Protection]:
    for each in found.deployed:
        if each.stack is not None and each.stack.protected:
            yield Protection(each.stack.name, "stack_protected", "")
        for title, body in each.template.get("Resources", {}).items():
            name = each.physical_id(title)
            if not name:
                continue
            properties = body.get("Properties", {})
            if properties.get("DeletionProtection") in (True, "true", "ACTIVE"):
                yield Protection(name, "deletion_protected", "")
            policy = body.get("DeletionPolicy")
            if policy in ("Retain", "RetainExceptOnCreate", "Snapshot"):
                yield Protection(name, "retained" if policy != "Snapshot" else "last_snapshot", "")
            if days := properties.get("BackupRetentionPeriod"):
                yield Protection(name, "backups", str(days))
            if days := properties.get("SnapshotRetentionLimit"):
                yield Protection(name, "snapshots", str(days))
            if properties.get("StorageEncrypted") or properties.get("AtRestEncryptionEnabled"):
                yield Protection(name, "encrypted", "")
            if properties.get("PublicAccessBlockConfiguration"):
                yield Protection(name, "not_public", "")
            if properties.get("VersioningConfiguration"):
                yield Protection(name, "versioned", "")


def _cost(settings: Settings, found: Inventory) -> tuple[Cost | None, str]:
    try:
        table = prices.load()
        estimated: Estimate = estimate(settings, table)
    except CostError as error:
        return None, f"{error.where}: {error.what}"
    sums = estimated.by_phase()
    known = {phase: float(total.usd) for phase, total in sums.items()}

    def lines(kind: Any) -> tuple[CostLine, ...]:
        return tuple(
            CostLine(
                line.phase,
                line.service,
                line.item,
                None if line.usd is None else round(float(line.usd), 4),
                line.note,
            )
            for line in estimated.of_kind(kind)
        )

    total = estimated.total
    return (
        Cost(
            lines("fixed"),
            lines("assumed"),
            lines("unknown"),
            deployed=sum(usd for phase, usd in known.items() if _there(found, phase)),
            remaining=sum(usd for phase, usd in known.items() if not _there(found, phase)),
            low=float(total.low),
            high=float(total.high),
        ),
        "",
    )


def _health(target: Target, found: Inventory) -> Health | None:
    if found.service is None:
        return None
    targets: dict[str, tuple[int, int]] = {}
    balancing = target.client("elbv2")
    with asking(target, REALTIME):
        for resource in found.phase(REALTIME).resources:
            if resource.type != "AWS::ElasticLoadBalancingV2::TargetGroup":
                continue
            answer = balancing.describe_target_health(TargetGroupArn=resource.physical_id)
            states = [each["TargetHealth"]["State"] for each in answer["TargetHealthDescriptions"]]
            targets[resource.logical_id] = (states.count("healthy"), len(states))
    firing: list[str] = []
    if _there(found, "monitoring"):
        with asking(target, "monitoring"):
            pages = target.client("cloudwatch").get_paginator("describe_alarms")
            prefix = f"{found.settings.prefix}-"
            for page in pages.paginate(AlarmNamePrefix=prefix, StateValue="ALARM"):
                firing += [alarm["AlarmName"] for alarm in page["MetricAlarms"]]
    return Health(found.service.desired, found.service.running, targets, tuple(firing))


def _unconfirmed(target: Target, found: Inventory) -> tuple[str, ...] | None:
    """The addresses that have not confirmed that they want the alarms; None: nobody is subscribed."""
    topics = [
        each.physical_id for each in found.phase("monitoring").resources if each.type == "AWS::SNS::Topic"
    ]
    waiting: list[str] = []
    subscribed = 0
    with asking(target, "monitoring"):
        for topic in topics:
            pages = target.client("sns").get_paginator("list_subscriptions_by_topic")
            for page in pages.paginate(TopicArn=topic):
                subscribed += len(page["Subscriptions"])
                waiting += [
                    each["Endpoint"]
                    for each in page["Subscriptions"]
                    if each["SubscriptionArn"] == "PendingConfirmation"
                ]
    return tuple(waiting) if subscribed else None


def _steps(
    environment: str,
    found: Inventory,
    phases: tuple[Phase, ...],
    health: Health | None,
    findings: tuple[Finding, ...],
    unconfirmed: tuple[str, ...] | None,
) -> Iterator[Step]:
    """What is to be done, the most urgent first."""
    settings = found.settings
    about = {"environment": environment}
    for phase in phases:
        if phase.state is not None and phase.state not in _WELL:
            yield Step("step_state", {**about, "phase": phase.name, "state": phase.state})
    for name in health.alarms if health else ():
        yield Step("step_alarm", {**about, "alarm": name})
    realtime = found.phase(REALTIME).stack
    if realtime is not None and realtime.parameters.get("TaskCount") == "0":
        yield Step("step_no_image", about)
    elif health is not None and health.running < health.desired and settings.embedded is None:
        running = {"running": str(health.running), "desired": str(health.desired)}
        yield Step("step_tasks", {**about, **running})
    for finding in findings:
        if finding.severity == str(Severity.ERROR):
            yield Step("step_finding", {"id": finding.id, "what": finding.what})
    if found.missing:
        yield Step("step_missing", {**about, "phases": ", ".join(found.missing)})
    for phase in phases:
        if phase.drifted:
            named = ", ".join(phase.drifted)
            yield Step("step_drifted", {**about, "phase": phase.name, "resources": named})
    never = [each.name for each in phases if each.state is not None and each.drift_checked is None]
    if never:
        yield Step("step_drift_unknown", {**about, "phases": ", ".join(never)})
    if _there(found, "monitoring"):
        if unconfirmed is None:
            yield Step("step_nobody", about)
        for address in unconfirmed or ():
            yield Step("step_unconfirmed", {"address": address})
    yield from _single(found)


def _single(found: Inventory) -> Iterator[Step]:
    """What there is only one of, as deployed: the loss of a zone takes it away."""
    counts = {
        each.phase: [body.get("Type") for body in each.template.get("Resources", {}).values()]
        for each in found.deployed
    }
    if counts.get("database", []).count("AWS::RDS::DBInstance") == 1:
        yield Step("step_one_instance", {})
    if "cache" in counts:
        for body in found.phase("cache").template.get("Resources", {}).values():
            properties = body.get("Properties", {})
            if (
                body.get("Type") == "AWS::ElastiCache::ReplicationGroup"
                and properties.get("NumCacheClusters") == 1
            ):
                yield Step("step_one_node", {})
    if found.service is not None and found.service.desired == 1:
        yield Step("step_one_task", {})
    networking = counts.get("networking", [])
    zones = found.settings.networking.availability_zones
    if networking.count("AWS::EC2::NatGateway") == 1 and len(zones) > 1:
        yield Step("step_one_nat", {})
    if REALTIME in counts and found.settings.realtime.certificate_arn is None:
        yield Step("step_http", {})
