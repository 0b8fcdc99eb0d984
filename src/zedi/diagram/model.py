"""What is drawn, as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

from zedi import contract
from zedi.deploy.inventory import Inventory
from zedi.diagram.words import WORDS, Language
from zedi.preflight.subject import Resource, Subject

Where = Literal["outside", "edge", "public", "private", "services", "monitoring"]
Kind = Literal["person", "web", "compute", "data", "identity", "network", "watch"]


@dataclass(frozen=True)
class Node:
    """One box.

    Args:
        id: the same in every environment.
        where: outside AWS; at its edge; in the VPC's public or private subnets; among the services beside
            it; or what watches.
        lines: of text below the title.
        deployed: False: it is only what the settings would make.
    """

    id: str
    where: Where
    kind: Kind
    title: str
    lines: tuple[str, ...]
    deployed: bool


@dataclass(frozen=True)
class Edge:
    """An arrow in the direction in which somebody calls somebody; deployed when both ends are."""

    start: str
    end: str
    label: str
    deployed: bool


@dataclass(frozen=True)
class Subnet:
    zone: str
    cidr: str
    id: str
    """Empty: not deployed."""
    public: bool


@dataclass(frozen=True)
class Diagram:
    environment: str
    language: Language
    place: str
    vpc: str
    """Name and addresses."""
    vpc_id: str
    """Empty: not deployed."""
    subnets: tuple[Subnet, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    notes: tuple[str, ...]
    """What the picture must not hide: phases that are not deployed, stacks that are not well."""

    def node(self, id: str) -> Node | None:
        return next((node for node in self.nodes if node.id == id), None)

    def at(self, where: Where) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.where == where)

    def between(self, start: str, end: str) -> Edge | None:
        return next((edge for edge in self.edges if (edge.start, edge.end) == (start, end)), None)

    @property
    def words(self) -> Mapping[str, str]:
        return WORDS[self.language]


WAYS_OUT: Final = ("endpoints", "nat", "gateway")
"""The boxes through which tasks reach AWS; there is one of them."""

_OWNERS: Final = {
    "AWS::CloudFront::Distribution": "cdn",
    "AWS::Cognito::UserPool": "pool",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "balancer",
    "AWS::ElasticLoadBalancingV2::TargetGroup": "balancer",
    "AWS::ECS::Service": "tasks",
    "AWS::ECS::TaskDefinition": "tasks",
    "AWS::RDS::DBCluster": "database",
    "AWS::ElastiCache::ReplicationGroup": "cache",
    "AWS::ECR::Repository": "repository",
    "AWS::SecretsManager::Secret": "secret",
    "AWS::Logs::LogGroup": "logs",
    "AWS::CloudWatch::Alarm": "alarms",
    "AWS::Budgets::Budget": "budget",
    "AWS::SNS::Topic": "topic",
}
"""The box that a resource's references count for, by its type. A security group is whose it is used by."""


_BUCKETS: Final = {"cdn": "bucket", "realtime": "history"}
"""The same of buckets, by their phase."""


def _owner(resource: Resource) -> str | None:
    if resource.type == "AWS::S3::Bucket":
        return _BUCKETS.get(resource.phase)
    return _OWNERS.get(resource.type)


def diagram(inventory: Inventory, language: Language = "en") -> Diagram:
    """Reads the picture off what is deployed."""
    return _Reader(inventory, language).read()


class _Reader:
    def __init__(self, inventory: Inventory, language: Language) -> None:
        self._inventory = inventory
        self._language: Language = language
        self._words = WORDS[language]
        self._subject = Subject(
            {each.phase: each.template for each in inventory.phases}, settings=inventory.settings
        )

    def read(self) -> Diagram:
        nodes = tuple(self._nodes())
        here = {node.id: node for node in nodes}
        edges = tuple(
            Edge(start, end, label, here[start].deployed and here[end].deployed)
            for start, end, label in self._edges(here)
        )
        vpc = self._one("AWS::EC2::VPC")
        name = f"{self._inventory.settings.prefix}-vpc"
        described = f"VPC {name}"
        if vpc is not None:
            described = f"{described} · {vpc.name('CidrBlock')}"
        return Diagram(
            environment=self._inventory.settings.name,
            language=self._language,
            place=self._inventory.place,
            vpc=described,
            vpc_id="" if vpc is None else self._id(vpc),
            subnets=tuple(self._subnets()),
            nodes=nodes,
            edges=edges,
            notes=tuple(self._notes()),
        )

    # What stands where.

    def _nodes(self) -> Iterator[Node]:
        word = self._words
        yield Node("browser", "outside", "person", word["browser"], (word["browser_who"],), True)
        if cdn := self._one("AWS::CloudFront::Distribution"):
            url = self._output("cdn", "FrontendUrl")
            yield self._node("cdn", "edge", "web", "CloudFront", cdn, url)
        if bucket := self._bucket("bucket"):
            versioned = word["versioned"] if bucket.get("VersioningConfiguration") else ""
            yield self._node("bucket", "edge", "web", f"S3 · {word['front_end']}", bucket, versioned)
        if pool := self._one("AWS::Cognito::UserPool"):
            mfa = word.get(f"mfa_{pool.get('MfaConfiguration')}", "")
            yield self._node("pool", "edge", "identity", f"Cognito · {word['sign_in']}", pool, mfa)
        yield from self._in_the_vpc()
        if history := self._bucket("history"):
            yield self._node("history", "services", "data", f"S3 · {word['history']}", history)
        if repository := self._one("AWS::ECR::Repository"):
            yield self._node("repository", "services", "compute", f"ECR · {word['images']}", repository)
        if secret := self._one("AWS::SecretsManager::Secret"):
            name = secret.name("Name") or ""
            yield self._node(
                "secret", "services", "identity", "Secrets Manager", secret, name, word["secrets"], id=""
            )
        groups = list(self._subject.of_type("AWS::Logs::LogGroup"))
        if groups:
            names = [group.name("LogGroupName") or "" for group in groups]
            there = any(self._id(group) for group in groups)
            yield Node("logs", "services", "watch", f"CloudWatch · {word['logs']}", tuple(names), there)
        yield from self._watching()

    def _in_the_vpc(self) -> Iterator[Node]:
        word = self._words
        if balancer := self._one("AWS::ElasticLoadBalancingV2::LoadBalancer"):
            listeners = self._subject.of_type("AWS::ElasticLoadBalancingV2::Listener")
            doors = ", ".join(sorted(f"{each.name('Protocol')} :{each.get('Port')}" for each in listeners))
            name = balancer.name("Name") or ""
            title = word["load_balancer"]
            yield self._node("balancer", "public", "network", title, balancer, name, doors, id="")
        if service := self._one("AWS::ECS::Service"):
            yield self._tasks(service)
        if cluster := self._one("AWS::RDS::DBCluster"):
            low = cluster.get("ServerlessV2ScalingConfiguration.MinCapacity")
            high = cluster.get("ServerlessV2ScalingConfiguration.MaxCapacity")
            instances = list(self._subject.of_type("AWS::RDS::DBInstance"))
            kind = instances[0].name("DBInstanceClass") if instances else ""
            title = f"Aurora PostgreSQL {self._value(cluster, 'EngineVersion')}"
            yield self._node(
                "database",
                "private",
                "data",
                title,
                cluster,
                word["instances"].format(count=len(instances), kind=kind or ""),
                word["acu"].format(low=_number(low), high=_number(high)),
            )
        if cache := self._one("AWS::ElastiCache::ReplicationGroup"):
            title = f"{str(cache.get('Engine')).capitalize()} {cache.get('EngineVersion')}"
            count, kind = cache.get("NumCacheClusters"), cache.name("CacheNodeType")
            lines = (word["instances"].format(count=count, kind=kind or ""),)
            yield self._node("cache", "private", "data", title, cache, *lines)
        yield from self._way_out()

    def _tasks(self, service: Resource) -> Node:
        word, deployed = self._words, self._inventory.service
        definition = self._one("AWS::ECS::TaskDefinition")
        spot = any(
            each.get("CapacityProvider") == "FARGATE_SPOT" for each in service.get("CapacityProviderStrategy")
        )
        lines = [str(service.name("ServiceName") or "")]
        if deployed is None:
            lines.append(word["task_count"].format(count=self._inventory.settings.realtime.min_tasks))
        else:
            lines.append(word["tasks"].format(desired=deployed.desired, running=deployed.running))
        if definition is not None:
            ports = (
                f"{each['Name']} :{each['PortMappings'][0]['ContainerPort']}"
                for each in definition.get("ContainerDefinitions")
            )
            lines.append(", ".join(ports))
            architecture = definition.name("RuntimePlatform.CpuArchitecture")
            lines.append(f"{definition.get('Cpu')} CPU · {definition.get('Memory')} MiB · {architecture}")
        public = service.get("NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp") == "ENABLED"
        if public:
            lines.append(word["public_address"])
        where: Where = "public" if public else "private"
        title = f"ECS · Fargate{' Spot' if spot else ''}"
        return self._node("tasks", where, "compute", title, service, *lines, id="")

    def _way_out(self) -> Iterator[Node]:
        word = self._words
        endpoints = list(self._subject.of_type("AWS::EC2::VPCEndpoint"))
        gates = [each for each in endpoints if each.get("VpcEndpointType") == "Gateway"]
        doors = [each for each in endpoints if each not in gates]
        free = (word["s3_gateway"],) if gates else ()
        nats = list(self._subject.of_type("AWS::EC2::NatGateway"))
        if doors:
            names = sorted(
                (each.name("ServiceName") or "").removeprefix(f"com.amazonaws.{self._subject.region}.")
                for each in doors
            )
            there = all(self._id(each) for each in doors)
            yield Node("endpoints", "private", "network", word["endpoints"], (*names, *free), there)
        elif nats:
            found = tuple(self._id(each) or each.title for each in nats)
            there = all(self._id(each) for each in nats)
            yield Node("nat", "public", "network", word["nat"], (*found, *free), there)
        elif gateway := self._one("AWS::EC2::InternetGateway"):
            yield self._node("gateway", "public", "network", word["gateway"], gateway, *free)

    def _watching(self) -> Iterator[Node]:
        word = self._words
        alarms = list(self._subject.of_type("AWS::CloudWatch::Alarm"))
        if alarms:
            there = any(self._id(each) for each in alarms)
            title = word["alarms"].format(count=len(alarms))
            yield Node("alarms", "monitoring", "watch", title, ("CloudWatch",), there)
        if topic := self._one("AWS::SNS::Topic"):
            subscribed = [str(each.get("Endpoint", "")) for each in topic.get("Subscription") or ()]
            title = f"SNS · {word['topic']}"
            lines = [topic.name("TopicName") or "", *(subscribed or [word["nobody"]])]
            yield self._node("topic", "monitoring", "watch", title, topic, *lines, id="")
        if board := self._one("AWS::CloudWatch::Dashboard"):
            yield self._node("dashboard", "monitoring", "watch", word["dashboard"], board)
        if budget := self._one("AWS::Budgets::Budget"):
            amount = _number(budget.get("Budget.BudgetLimit.Amount"))
            lines = [word["budget_of"].format(amount=amount)]
            yield self._node("budget", "monitoring", "watch", word["budget"], budget, *lines)

    def _subnets(self) -> Iterator[Subnet]:
        for each in self._subject.of_type("AWS::EC2::Subnet"):
            yield Subnet(
                zone=each.name("AvailabilityZone") or "",
                cidr=each.name("CidrBlock") or "",
                id=self._id(each),
                public=each.get("MapPublicIpOnLaunch") in (True, "true"),
            )

    def _notes(self) -> Iterator[str]:
        inventory, word = self._inventory, self._words
        if inventory.settings.embedded is not None:
            yield word["embedded"]
        if not inventory.deployed:
            yield word["nothing"]
        elif inventory.missing:
            yield word["missing"].format(phases=", ".join(inventory.missing))
        for each in inventory.deployed:
            if each.stack is not None and each.stack.status not in _WELL:
                yield word["state"].format(phase=each.phase, state=each.stack.status)

    # What leads where.

    def _edges(self, here: Mapping[str, Node]) -> Iterator[tuple[str, str, str]]:
        word = self._words
        url = self._output("cdn", "FrontendUrl")
        # Only browsers are outside: that they come to these two is what the two are for.
        if "cdn" in here:
            yield "browser", "cdn", "HTTP, WS" if url.startswith("http:") else "HTTPS, WSS"
        if "pool" in here:
            yield "browser", "pool", word["sign_in"]
        for start, end, label in (
            ("cdn", "bucket", word["files"]),
            ("cdn", "balancer", f"{contract.API_PATH}, {contract.REALTIME_PATH}"),
            ("balancer", "tasks", self._ports("balancer", "tasks")),
            ("tasks", "database", self._ports("tasks", "database")),
            ("tasks", "cache", self._ports("tasks", "cache")),
            ("alarms", "topic", ""),
            ("budget", "topic", ""),
        ):
            joined = (start, end) in self._references or (end, start) in self._references
            if start in here and end in here and joined:
                yield start, end, label
        out = next((each for each in WAYS_OUT if each in here), None)
        if out is not None and "tasks" in here:
            yield "tasks", out, ":443"
            for end in ("history", "repository", "secret", "logs"):
                if end in here and (end == "repository" or ("tasks", end) in self._references):
                    yield out, end, ""

    @cached_property
    def _references(self) -> frozenset[tuple[str, str]]:
        """Pairs of boxes of which a resource of the first refers to one of the second."""
        found: set[tuple[str, str]] = set()
        for resource in self._subject.resources:
            for owner in self._owners(resource):
                for other in self._targets(resource.phase, resource.properties):
                    found.update((owner, end) for end in self._owners(other) if end != owner)
        return frozenset(found)

    def _targets(self, phase: str, value: Any) -> Iterator[Resource]:
        """The resources that stand anywhere in a value."""
        if isinstance(value, Mapping):
            yield from self._subject.targets(phase, value)
            for part in value.values():
                yield from self._targets(phase, part)
        elif isinstance(value, list | tuple):
            for part in value:
                yield from self._targets(phase, part)

    def _owners(self, resource: Resource) -> tuple[str, ...]:
        if resource.type == _GROUP:
            return self._groups.get((resource.phase, resource.title), ())
        owner = _owner(resource)
        return (owner,) if owner else ()

    @cached_property
    def _groups(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """Whose security group each is."""
        found: dict[tuple[str, str], tuple[str, ...]] = {}
        for resource in self._subject.resources:
            owner = _owner(resource)
            if owner is None:
                continue
            for target in self._targets(resource.phase, resource.properties):
                if target.type == _GROUP:
                    key = (target.phase, target.title)
                    found[key] = tuple(dict.fromkeys((*found.get(key, ()), owner)))
        return found

    def _ports(self, start: str, end: str) -> str:
        """The ports on which a security group of `end` lets `start` in, e.g. `:1234, :8080`."""
        ports: list[str] = []
        for group in self._subject.of_type(_GROUP):
            if end not in self._owners(group):
                continue
            for rule in group.get("SecurityGroupIngress") or ():
                sources = self._subject.targets(group.phase, rule.get("SourceSecurityGroupId"))
                if any(start in self._owners(source) for source in sources):
                    ports.append(f":{rule.get('FromPort')}")
        return ", ".join(ports)

    # What is known of a resource.

    def _one(self, type: str) -> Resource | None:
        return next(iter(self._subject.of_type(type)), None)

    def _bucket(self, owner: str) -> Resource | None:
        buckets = self._subject.of_type("AWS::S3::Bucket")
        return next((each for each in buckets if _owner(each) == owner), None)

    def _id(self, resource: Resource) -> str:
        return self._inventory.phase(resource.phase).physical_id(resource.title)

    def _value(self, resource: Resource, path: str) -> str:
        """What stands there; where it is a parameter, what the stack was given."""
        value = resource.get(path)
        stack = self._inventory.phase(resource.phase).stack
        if isinstance(value, Mapping) and stack is not None and value.get("Ref") in stack.parameters:
            return stack.parameters[value["Ref"]]
        return resource.name(path) or ""

    def _output(self, phase: str, name: str) -> str:
        stack = self._inventory.phase(phase).stack
        return stack.outputs.get(name, "") if stack is not None else ""

    def _node(
        self,
        name: str,
        where: Where,
        kind: Kind,
        title: str,
        resource: Resource,
        *lines: str,
        id: str | None = None,
    ) -> Node:
        """A box; its first line is the resource's ID where `id` does not say otherwise."""
        physical = self._id(resource)
        first = physical if id is None else id
        return Node(name, where, kind, title, tuple(filter(None, (first, *lines))), bool(physical))


_GROUP: Final = "AWS::EC2::SecurityGroup"
_WELL: Final = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"})


def _number(value: Any) -> str:
    try:
        return f"{float(value):g}"
    except (TypeError, ValueError):
        return "?"
