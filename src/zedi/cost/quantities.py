"""Quantities: what the templates of an environment make AWS bill, as lines with their price.

Everything is read off the templates as they are synthesized, through the references between phases: the
zones of an endpoint are its subnets, the addresses of a load balancer are those of the subnets that the
networking phase outputs. Every type of resource is in `PRICED` or in `FREE`; one that is in neither becomes
an unknown line, so that nobody takes it for free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, Literal

from zedi import contract
from zedi.cost.assumptions import HOURS, Assumptions
from zedi.cost.prices import PriceTable

Kind = Literal["fixed", "assumed", "unknown"]
Templates = Mapping[str, Mapping[str, Any]]
"""The templates as JSON has them, by the name of their phase."""

_ZERO: Final = Decimal(0)
_AWAKE_ACU: Final = Decimal("0.5")
"""The least that an Aurora instance runs at while it is not paused."""
_SPOT_LEAST: Final = Decimal("0.3")
"""Of the on-demand price: AWS says up to 70 % off."""
_LCU_CONNECTIONS: Final = Decimal(3000)
"""Open connections that one load balancer capacity unit (LCU) takes."""
_LCU_GB_PER_HOUR: Final = Decimal(1)
_DAYS: Final = Decimal(30)
_ALARMS_OF_A_POLICY: Final = 2
"""Target tracking makes one alarm for out and one for in; CloudWatch bills them as any other."""
_METRICS: Final = (
    contract.METRIC_CONNECTIONS,
    contract.METRIC_DOCUMENTS,
    contract.METRIC_EDITS,
    contract.METRIC_LATENCY,
    contract.METRIC_ERRORS,
    contract.METRIC_MESSAGES,
)
"""What the service writes as embedded metrics, each in one dimension with one value."""
_DECIDED: Final = {"HasNoTasks": False, "HasFrontend": True}
"""Conditions, as they are once everything is deployed."""


@dataclass(frozen=True)
class Line:
    """One thing that is billed.

    Args:
        phase: whose template it is in.
        service: AWS's name of who bills it.
        item: what it is; phase and item together are the same in every environment.
        kind: fixed, assumed or unknown.
        note: how the quantity comes about; the assumption; or what decides where nothing is assumed.
        quantity: units a month, before what is free; None: unknown.
        unit: of quantity and price.
        price: USD for one unit; None: there is none in the table.
        price_id: its entry in the table, where there is one.
        free: units of the quantity that cost nothing.
        usd: a month; None: unknown.
        low: the least that it can come to with these settings.
        high: the most.
    """

    phase: str
    service: str
    item: str
    kind: Kind
    note: str
    quantity: Decimal | None = None
    unit: str = ""
    price: Decimal | None = None
    price_id: str | None = None
    free: Decimal = _ZERO
    usd: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None

    @property
    def key(self) -> str:
        return f"{self.phase}/{self.item}"


@dataclass(frozen=True)
class Resource:
    """One resource of one phase's template."""

    phase: str
    title: str
    properties: Mapping[str, Any]


class Deployment:
    """All templates of an environment together, with their references followed."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates
        self._outputs = {
            name: (phase, output["Value"])
            for phase, template in templates.items()
            for name, output in template.get("Outputs", {}).items()
        }
        self._resources: dict[str, list[Resource]] = {}
        for phase, template in templates.items():
            for title, resource in template["Resources"].items():
                found = Resource(phase, title, resource.get("Properties", {}))
                self._resources.setdefault(resource["Type"], []).append(found)

    @property
    def types(self) -> Mapping[str, list[Resource]]:
        return self._resources

    def of(self, kind: str) -> list[Resource]:
        return self._resources.get(kind, [])

    def one(self, kind: str) -> Resource:
        (found,) = self.of(kind)
        return found

    def value(self, phase: str, value: Any) -> Any:
        """`value` with parameters replaced by the outputs that fill them, and conditions decided.

        A list that one phase joins with commas for the next is a list again.
        """
        match value:
            case {"Ref": str(name)} if name in self._templates[phase].get("Parameters", {}):
                if name not in self._outputs:
                    return value
                return self.value(*self._outputs[name])
            case {"Fn::Join": [",", list(parts)]}:
                return [self.value(phase, part) for part in parts]
            case {"Fn::If": [str(condition), then, otherwise]}:
                return self.value(phase, then if _DECIDED[condition] else otherwise)
            case list():
                return [self.value(phase, part) for part in value]
            case _:
                return value


@dataclass(frozen=True)
class _Desk:
    """What the functions below price with."""

    deployed: Deployment
    table: PriceTable
    assume: Assumptions

    def line(
        self,
        phase: str,
        item: str,
        price_id: str,
        quantity: Decimal | int,
        kind: Kind,
        note: str,
        *,
        factor: Decimal = Decimal(1),
        low: Decimal | int | None = None,
        high: Decimal | int | None = None,
    ) -> Line:
        """A line of `quantity` units, between the quantities `low` and `high`; `factor` is off the price.

        Where the table has no such price it is unknown, and says so.
        """
        price = self.table.get(price_id)
        amount = Decimal(quantity)
        if price is None:
            what = f"no price of {price_id} in the table (zedi cost refresh reads it); {note}"
            return Line(phase, self.table.service(price_id), item, "unknown", what, amount)
        free = price.free if self.assume["free_tier"] else _ZERO

        def usd(units: Decimal) -> Decimal:
            return max(units - free, _ZERO) * price.usd

        if price.free:
            note = f"{note}; {price.free:,f} are free" if free else f"{note}; none are free"
        return Line(
            phase,
            price.service,
            item,
            kind,
            note,
            amount,
            price.unit,
            price.usd * factor,
            price_id,
            free,
            usd(amount) * factor,
            usd(amount if low is None else Decimal(low)),
            usd(amount if high is None else Decimal(high)),
        )

    def unknown(self, phase: str, service: str, item: str, note: str, price_id: str | None = None) -> Line:
        """A line that use decides, with its price where the table has it."""
        price = self.table.get(price_id) if price_id else None
        return Line(
            phase,
            service,
            item,
            "unknown",
            note,
            unit=price.unit if price else "",
            price=price.usd if price else None,
            price_id=price_id if price else None,
            free=price.free if price else _ZERO,
        )


def lines(templates: Templates, table: PriceTable, assume: Assumptions) -> tuple[Line, ...]:
    """What the templates of one environment cost, in the order of their phases."""
    desk = _Desk(Deployment(templates), table, assume)
    found = [line for price in _PRICING for line in price(desk)]
    for kind, there in desk.deployed.types.items():
        if kind not in PRICED and kind not in FREE:
            found += [
                desk.unknown(resource.phase, kind.split("::")[1], kind, "nobody has looked its price up")
                for resource in there
            ]
    order = list(templates)
    return tuple(sorted(found, key=lambda line: order.index(line.phase)))


# Networking.


def _endpoints(desk: _Desk) -> Iterator[Line]:
    interfaces = [
        endpoint
        for endpoint in desk.deployed.of("AWS::EC2::VPCEndpoint")
        if endpoint.properties.get("VpcEndpointType") == "Interface"
    ]
    if not interfaces:
        return
    zones = [len(desk.deployed.value(each.phase, each.properties["SubnetIds"])) for each in interfaces]
    phase = interfaces[0].phase
    yield desk.line(
        phase,
        "Interface endpoints",
        "endpoint.hour",
        sum(zones) * HOURS,
        "fixed",
        f"{len(zones)} endpoints x {_same(zones)} zones x {HOURS} h",
    )
    yield desk.line(
        phase,
        "Data through interface endpoints",
        "endpoint.data",
        desk.assume["log_gb"],
        "assumed",
        "assume.log_gb; layers of images come through S3's endpoint, which is free",
    )


def _nat(desk: _Desk) -> Iterator[Line]:
    gateways = desk.deployed.of("AWS::EC2::NatGateway")
    if not gateways:
        return
    phase = gateways[0].phase
    note = f"{len(gateways)} x {HOURS} h"
    yield desk.line(phase, "NAT gateways", "nat.hour", len(gateways) * HOURS, "fixed", note)
    yield desk.line(
        phase,
        "Data through NAT gateways",
        "nat.data",
        desk.assume["log_gb"],
        "assumed",
        "assume.log_gb; layers of images come through S3's endpoint, which is free",
    )


def _elastic_addresses(desk: _Desk) -> Iterator[Line]:
    addresses = desk.deployed.of("AWS::EC2::EIP")
    if addresses:
        yield desk.line(
            addresses[0].phase,
            "Public addresses of NAT gateways",
            "address.hour",
            len(addresses) * HOURS,
            "fixed",
            f"{len(addresses)} x {HOURS} h",
        )


# Security.


def _users(desk: _Desk) -> Iterator[Line]:
    for pool in desk.deployed.of("AWS::Cognito::UserPool"):
        # A pool that does not say is of this tier.
        tier = str(pool.properties.get("UserPoolTier", "ESSENTIALS")).lower()
        yield desk.line(
            pool.phase, f"Users, {tier}", f"cognito.{tier}", desk.assume["users"], "assumed", "assume.users"
        )


# Database.


def _aurora(desk: _Desk) -> Iterator[Line]:
    for cluster in desk.deployed.of("AWS::RDS::DBCluster"):
        scaling = cluster.properties["ServerlessV2ScalingConfiguration"]
        least, most = Decimal(str(scaling["MinCapacity"])), Decimal(str(scaling["MaxCapacity"]))
        instances = sum(
            instance.properties["DBInstanceClass"] == "db.serverless"
            for instance in desk.deployed.of("AWS::RDS::DBInstance")
        )
        yield from _capacity(desk, cluster.phase, least, most, instances)
        yield desk.line(
            cluster.phase,
            "Storage",
            "aurora.storage",
            desk.assume["database_gb"],
            "assumed",
            "assume.database_gb; copies in three zones are in the price",
        )
        yield desk.line(
            cluster.phase,
            "Reads and writes of storage",
            "aurora.io",
            desk.assume["database_io_million"],
            "assumed",
            "assume.database_io_million",
        )
        days = cluster.properties["BackupRetentionPeriod"]
        yield desk.unknown(
            cluster.phase,
            "AmazonRDS",
            "Backups",
            f"{days} days are kept; what they need beyond the database's own size is billed by GB-month",
        )
        if cluster.properties.get("EnableHttpEndpoint"):
            yield desk.unknown(
                cluster.phase,
                "AmazonRDS",
                "Data API",
                "on, and used by nothing of the platform",
                "aurora.data_api",
            )


def _capacity(desk: _Desk, phase: str, least: Decimal, most: Decimal, instances: int) -> Iterator[Line]:
    """What the instances run at: a floor, and what comes on top of it."""
    extra, count = desk.assume["extra_acu"], f"{instances} {'instance' if instances == 1 else 'instances'}"
    if least > 0:
        floor, hours = least, HOURS
        yield desk.line(
            phase,
            "Capacity, minimum",
            "aurora.acu",
            instances * floor * hours,
            "fixed",
            f"{count} x {floor} ACU x {hours} h",
        )
    else:
        floor, hours = _AWAKE_ACU, desk.assume["awake_hours"]
        yield desk.line(
            phase,
            "Capacity, minimum",
            "aurora.acu",
            instances * floor * hours,
            "assumed",
            f"{count} x {floor} ACU x assume.awake_hours = {hours:f} h; paused it costs nothing",
            low=_ZERO,
            high=instances * floor * HOURS,
        )
    above = max(most - floor, _ZERO)
    yield desk.line(
        phase,
        "Capacity above the minimum",
        "aurora.acu",
        instances * min(extra, above) * hours,
        "assumed",
        f"assume.extra_acu; at most {most.normalize():f} ACU all month",
        low=_ZERO,
        high=instances * above * HOURS,
    )


def _insights(desk: _Desk) -> Iterator[Line]:
    kept = [
        instance
        for instance in desk.deployed.of("AWS::RDS::DBInstance")
        if instance.properties.get("PerformanceInsightsRetentionPeriod", 7) > 7
    ]
    if kept:
        note = "more than 7 days are kept; billed by vCPU, which here floats with the ACU"
        yield desk.unknown(kept[0].phase, "AmazonRDS", "Performance Insights", note)


def _secrets(desk: _Desk) -> Iterator[Line]:
    secrets = desk.deployed.of("AWS::SecretsManager::Secret")
    if secrets:
        yield desk.line(
            secrets[0].phase, "Secrets", "secret.month", len(secrets), "fixed", "credentials of the database"
        )


# Cache.


def _cache(desk: _Desk) -> Iterator[Line]:
    for group in desk.deployed.of("AWS::ElastiCache::ReplicationGroup"):
        engine, node = group.properties["Engine"], group.properties["CacheNodeType"]
        nodes = group.properties["NumCacheClusters"]
        yield desk.line(
            group.phase,
            "Nodes",
            f"cache.{engine}.{node}",
            nodes * HOURS,
            "fixed",
            f"{nodes} x {node} ({engine}) x {HOURS} h",
        )
        days = group.properties.get("SnapshotRetentionLimit", 0)
        if days > 1:
            note = f"{days} are kept; the first is free, each further one is billed by GB-month"
            yield desk.unknown(group.phase, "AmazonElastiCache", "Snapshots", note)


# Realtime.


def _fargate(desk: _Desk) -> Iterator[Line]:
    deployed = desk.deployed
    for service in deployed.of("AWS::ECS::Service"):
        task = deployed.one("AWS::ECS::TaskDefinition").properties
        target = deployed.one("AWS::ApplicationAutoScaling::ScalableTarget")
        least = deployed.value(target.phase, target.properties["MinCapacity"])
        most = max(deployed.value(target.phase, target.properties["MaxCapacity"]), least)
        base = sum(
            provider.get("Base", 0)
            for provider in service.properties["CapacityProviderStrategy"]
            if provider["CapacityProvider"] == "FARGATE"
        )
        demanded = min(base, least)
        architecture = task["RuntimePlatform"]["CpuArchitecture"].lower()
        sizes = (
            ("vCPU", "vcpu", Decimal(task["Cpu"]) / 1024),
            ("memory", "memory", Decimal(task["Memory"]) / 1024),
        )
        for words, part, size in sizes:
            price = f"fargate.{architecture}.{part}"
            hours = size * HOURS
            if demanded:
                yield desk.line(
                    service.phase,
                    f"Tasks on demand, {words}",
                    price,
                    demanded * hours,
                    "fixed",
                    f"{_tasks(demanded)} x {size} x {HOURS} h",
                    # Scaling out fills the base before it takes Spot.
                    high=min(base, most) * hours,
                )
            spot, spot_most = least - demanded, most - min(base, most)
            off = desk.assume["spot_discount_percent"]
            note = f"{_tasks(spot)} x {size} x {HOURS} h at {off:f} % off (assume.spot_discount_percent)"
            yield desk.line(
                service.phase,
                f"Tasks on Spot, {words}",
                price,
                spot * hours,
                "assumed",
                f"{note}; the price floats, 0-70 % off; up to {_tasks(spot_most)}",
                factor=1 - off / 100,
                low=spot * hours * _SPOT_LEAST,
                high=spot_most * hours,
            )
        network = service.properties["NetworkConfiguration"]["AwsvpcConfiguration"]
        if network["AssignPublicIp"] == "ENABLED":
            yield desk.line(
                service.phase,
                "Public addresses of tasks",
                "address.hour",
                least * HOURS,
                "fixed",
                f"{_tasks(least)} x {HOURS} h; up to {_tasks(most)}",
                high=most * HOURS,
            )
        yield desk.unknown(
            service.phase,
            "AWSDataTransfer",
            "Traffic between zones",
            "from a task to a database or cache in another zone, by GB in each direction",
        )
        yield desk.unknown(
            service.phase,
            "AWSDataTransfer",
            "Data out past CloudFront",
            "nothing of the platform sends any",
            "transfer.out",
        )


def _load_balancer(desk: _Desk) -> Iterator[Line]:
    deployed = desk.deployed
    for balancer in deployed.of("AWS::ElasticLoadBalancingV2::LoadBalancer"):
        phase = balancer.phase
        yield desk.line(phase, "Load balancer", "alb.hour", HOURS, "fixed", f"{HOURS} h")
        zones = len(deployed.value(phase, balancer.properties["Subnets"]))
        if balancer.properties["Scheme"] == "internet-facing":
            yield desk.line(
                phase,
                "Public addresses of the load balancer",
                "address.hour",
                zones * HOURS,
                "fixed",
                f"{zones} zones x {HOURS} h",
            )
        by_connections = desk.assume["connections"] / _LCU_CONNECTIONS * HOURS
        by_traffic = desk.assume["traffic_gb"] / _LCU_GB_PER_HOUR
        yield desk.line(
            phase,
            "Load balancer, capacity units",
            "alb.lcu",
            max(by_connections, by_traffic),
            "assumed",
            "the larger of assume.connections (3,000 a unit) and assume.traffic_gb (1 GB an hour a unit)",
        )


def _tasks(count: int) -> str:
    return f"{count} task" if count == 1 else f"{count} tasks"


def _images(desk: _Desk) -> Iterator[Line]:
    for repository in desk.deployed.of("AWS::ECR::Repository"):
        yield desk.line(
            repository.phase, "Images", "ecr.storage", desk.assume["image_gb"], "assumed", "assume.image_gb"
        )


def _logs(desk: _Desk) -> Iterator[Line]:
    groups = desk.deployed.of("AWS::Logs::LogGroup")
    if not groups:
        return
    # Nearly all of it is the service's; the cache's groups hold a few lines.
    service = next((group for group in groups if group.phase == "realtime"), groups[0])
    written = desk.assume["log_gb"]
    yield desk.line(service.phase, "Logs, written", "logs.in", written, "assumed", "assume.log_gb")
    days = service.properties.get("RetentionInDays")
    if days is None:
        note = "kept for ever: grows by assume.log_gb every month"
        yield desk.unknown(service.phase, "AmazonCloudWatch", "Logs, kept", note, "logs.stored")
        return
    yield desk.line(
        service.phase,
        "Logs, kept",
        "logs.stored",
        written * days / _DAYS,
        "assumed",
        f"assume.log_gb for {days} days",
    )


# Front end.


def _cdn(desk: _Desk) -> Iterator[Line]:
    for distribution in desk.deployed.of("AWS::CloudFront::Distribution"):
        phase = distribution.phase
        for item, price, key in (
            ("Data to browsers", "cloudfront.data", "traffic_gb"),
            ("Requests of browsers", "cloudfront.requests", "requests_million"),
        ):
            yield desk.line(phase, item, price, desk.assume[key], "assumed", f"assume.{key}")
    for function in desk.deployed.of("AWS::CloudFront::Function"):
        yield desk.line(
            function.phase,
            "Calls of the function",
            "cloudfront.functions",
            desk.assume["requests_million"],
            "assumed",
            "assume.requests_million: at most one a request",
        )


def _buckets(desk: _Desk) -> Iterator[Line]:
    for bucket in desk.deployed.of("AWS::S3::Bucket"):
        if bucket.phase == "realtime":
            for item, price, key in (
                ("Versions of pages", "s3.storage", "history_gb"),
                ("Versions of pages, moved", "s3.put", "history_thousand"),
            ):
                yield desk.line(bucket.phase, item, price, desk.assume[key], "assumed", f"assume.{key}")
            continue
        yield desk.line(
            bucket.phase, "Files", "s3.storage", desk.assume["frontend_gb"], "assumed", "assume.frontend_gb"
        )
        yield desk.unknown(
            bucket.phase, "AmazonS3", "Requests to the bucket", "deploys, and what CloudFront has not cached"
        )


# Monitoring.


def _alarms(desk: _Desk) -> Iterator[Line]:
    alarms = desk.deployed.of("AWS::CloudWatch::Alarm")
    if not alarms:
        return
    # An alarm on an expression is billed for each metric in it.
    watched = sum(
        max(1, sum("MetricStat" in query for query in alarm.properties.get("Metrics", [])))
        for alarm in alarms
    )
    scaling = _ALARMS_OF_A_POLICY * len(
        [
            policy
            for policy in desk.deployed.of("AWS::ApplicationAutoScaling::ScalingPolicy")
            if policy.properties["PolicyType"] == "TargetTrackingScaling"
        ]
    )
    yield desk.line(
        alarms[0].phase,
        "Alarms",
        "alarm.month",
        watched + scaling,
        "fixed",
        f"{len(alarms)} alarms on {watched} metrics, and {scaling} that auto scaling makes",
    )


def _metrics(desk: _Desk) -> Iterator[Line]:
    alarms = desk.deployed.of("AWS::CloudWatch::Alarm")
    if desk.deployed.of("AWS::ECS::Service") and alarms:
        names = ", ".join(_METRICS)
        yield desk.line(alarms[0].phase, "Custom metrics", "metric.month", len(_METRICS), "fixed", names)


def _dashboards(desk: _Desk) -> Iterator[Line]:
    boards = desk.deployed.of("AWS::CloudWatch::Dashboard")
    if boards:
        yield desk.line(
            boards[0].phase, "Dashboards", "dashboard.month", len(boards), "fixed", f"{len(boards)}"
        )


def _same(numbers: list[int]) -> str:
    """`2`, or `2-3` where they differ."""
    least, most = min(numbers), max(numbers)
    return f"{least}" if least == most else f"{least}-{most}"


_PRICING: Final[tuple[Callable[[_Desk], Iterator[Line]], ...]] = (
    _endpoints,
    _nat,
    _elastic_addresses,
    _users,
    _aurora,
    _insights,
    _secrets,
    _cache,
    _fargate,
    _load_balancer,
    _images,
    _logs,
    _cdn,
    _buckets,
    _alarms,
    _metrics,
    _dashboards,
)

PRICED: Final = frozenset(
    {
        "AWS::ApplicationAutoScaling::ScalableTarget",  # how many tasks
        "AWS::ApplicationAutoScaling::ScalingPolicy",  # its alarms
        "AWS::CloudFront::Distribution",
        "AWS::CloudFront::Function",
        "AWS::CloudWatch::Alarm",
        "AWS::CloudWatch::Dashboard",
        "AWS::Cognito::UserPool",
        "AWS::EC2::EIP",
        "AWS::EC2::NatGateway",
        "AWS::EC2::VPCEndpoint",  # a gateway endpoint is free, an interface endpoint is not
        "AWS::ECR::Repository",
        "AWS::ECS::Service",
        "AWS::ECS::TaskDefinition",  # how large a task is
        "AWS::ElastiCache::ReplicationGroup",
        "AWS::ElasticLoadBalancingV2::LoadBalancer",
        "AWS::Logs::LogGroup",
        "AWS::RDS::DBCluster",
        "AWS::RDS::DBInstance",
        "AWS::S3::Bucket",
        "AWS::SecretsManager::Secret",
    }
)
"""The types that a line comes from."""

_PART_OF: Final = "part of what it belongs to"
FREE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AWS::Budgets::Budget": "free while it has no action",
        "AWS::CloudFront::OriginAccessControl": _PART_OF,
        "AWS::CloudFront::ResponseHeadersPolicy": _PART_OF,
        "AWS::Cognito::UserPoolClient": _PART_OF,
        "AWS::Cognito::UserPoolDomain": _PART_OF,
        "AWS::EC2::InternetGateway": "free; what goes through it is billed elsewhere",
        "AWS::EC2::Route": _PART_OF,
        "AWS::EC2::RouteTable": "free",
        "AWS::EC2::SecurityGroup": "free",
        "AWS::EC2::Subnet": "free",
        "AWS::EC2::SubnetRouteTableAssociation": _PART_OF,
        "AWS::EC2::VPC": "free",
        "AWS::EC2::VPCGatewayAttachment": _PART_OF,
        "AWS::ECS::Cluster": "free on Fargate; its tasks are billed",
        "AWS::ElastiCache::ParameterGroup": "free",
        "AWS::ElastiCache::SubnetGroup": "free",
        "AWS::ElasticLoadBalancingV2::Listener": _PART_OF,
        "AWS::ElasticLoadBalancingV2::ListenerRule": "in the load balancer's capacity units",
        "AWS::ElasticLoadBalancingV2::TargetGroup": _PART_OF,
        "AWS::IAM::Role": "free",
        "AWS::RDS::DBClusterParameterGroup": "free",
        "AWS::RDS::DBParameterGroup": "free",
        "AWS::RDS::DBSubnetGroup": "free",
        "AWS::S3::BucketPolicy": _PART_OF,
        "AWS::SNS::Topic": "free; so are the first 1,000 e-mails a month",
        "AWS::SNS::TopicPolicy": _PART_OF,
        "AWS::SecretsManager::SecretTargetAttachment": _PART_OF,
    }
)
"""The types that cost nothing, with the reason."""
