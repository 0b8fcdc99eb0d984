"""ElastiCache: its version, its parameters, its nodes, its encryption."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from zedi.preflight.rule import ERROR, WARNING, Problem, offline
from zedi.preflight.subject import Resource, Subject, flag

_ENGINES: Final = "https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/engine-versions.html"
_NODES: Final = "https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/CacheNodes.SupportedTypes.html"
_FAILOVER: Final = "https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/AutoFailover.html"
_LAST_REDIS: Final = (7, 1)
_FIRST_VALKEY: Final = (7, 2)
_SIZES: Final = {
    "t": ("micro", "small", "medium"),
    "other": (
        "large",
        "xlarge",
        "2xlarge",
        "4xlarge",
        "8xlarge",
        "10xlarge",
        "12xlarge",
        "16xlarge",
        "24xlarge",
    ),
}
_FAMILY: Final = re.compile(r"t2|t3|t4g|[mr][4-9]|[mrc][6-9]g[dn]*")


def _groups(subject: Subject) -> Iterator[Resource]:
    return subject.of_type("AWS::ElastiCache::ReplicationGroup")


def _engine(group: Resource) -> str:
    return group.name("Engine") or "redis"


def _version(group: Resource) -> tuple[int, int] | None:
    found = re.match(r"(\d+)(?:\.(\d+))?", str(next(iter(group.literals("EngineVersion")), "")))
    return (int(found[1]), int(found[2] or 0)) if found else None


@offline(
    "Z401",
    "cache parameters of another version",
    ERROR,
    why="A parameter group serves the versions of its family; the replication group is refused with"
    " another's.",
    fix="Use the family of the engine's major: redis7 for Redis 7.x, valkey8 for Valkey 8.x.",
    source="https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/ParameterGroups.Engine.html",
    says=(r"Expected a parameter group of family", r"parameter group family .* does not match"),
)
def family(subject: Subject) -> Iterator[Problem]:
    for group in _groups(subject):
        version = _version(group)
        for parameters in group.targets("CacheParameterGroupName"):
            found = parameters.name("CacheParameterGroupFamily")
            if version and found and found != _family(_engine(group), version):
                wanted = _family(_engine(group), version)
                yield Problem(
                    f"{found} is not for {version[0]}.{version[1]}: {wanted} is",
                    parameters,
                    "CacheParameterGroupFamily",
                )


def _family(engine: str, version: tuple[int, int]) -> str:
    major, minor = version
    if engine == "redis" and major < 7:
        return "redis6.x" if major == 6 else f"redis{major}.{minor}"
    return f"{engine}{major}"


@offline(
    "Z402",
    "cache version that is not offered",
    ERROR,
    why="Redis on ElastiCache ends with 7.1, and Valkey begins with 7.2.",
    fix="Use Redis 6.2, 7.0 or 7.1, or Valkey 7.2 and later.",
    source=_ENGINES,
    settled_by="Z450",
    says=(r"Cannot find version .* for (redis|valkey)", r"Invalid engine version"),
)
def versions(subject: Subject) -> Iterator[Problem]:
    for group in _groups(subject):
        version, engine = _version(group), _engine(group)
        if version is None:
            continue
        redis = version in ((4, 0), (5, 0), (6, 0), (6, 2), (7, 0), _LAST_REDIS)
        if (engine == "redis" and not redis) or (engine == "valkey" and version < _FIRST_VALKEY):
            yield Problem(f"{engine} {version[0]}.{version[1]} is not offered", group, "EngineVersion")


@offline(
    "Z403",
    "cache node type that does not exist",
    ERROR,
    why="ElastiCache has certain families and sizes only, and not those of EC2.",
    fix="Use e.g. cache.t4g.micro, cache.t4g.small, cache.m7g.large, cache.r7g.large.",
    source=_NODES,
    settled_by="Z451",
    covers=("E3647",),
    says=(r"Invalid cache node type", r"is not a valid (cache )?node type"),
)
def node_types(subject: Subject) -> Iterator[Problem]:
    for group in _groups(subject):
        for node in map(str, group.literals("CacheNodeType")):
            parts = node.split(".")
            known = len(parts) == 3 and parts[0] == "cache" and _FAMILY.fullmatch(parts[1]) is not None
            if not known or parts[2] not in _SIZES["t" if parts[1].startswith("t") else "other"]:
                yield Problem(f"there is no {node}", group, "CacheNodeType")


@offline(
    "Z404",
    "failover without a second node",
    ERROR,
    why="There is nothing to fail over to with one node, and several zones need failover; both are refused.",
    fix="Set cache.nodes to 2 or more, or turn failover and multi-AZ off.",
    source=_FAILOVER,
    covers=("E3026",),
    says=(
        r"Automatic failover is not supported",
        r"must have at least one read replica",
        r"Multi-?AZ.*requires",
    ),
)
def failover(subject: Subject) -> Iterator[Problem]:
    for group in _groups(subject):
        automatic, zones = flag(group.get("AutomaticFailoverEnabled")), flag(group.get("MultiAZEnabled"))
        if group.get("NumNodeGroups") is not None or group.get("NodeGroupConfiguration") is not None:
            continue
        for nodes in group.numbers("NumCacheClusters") or [1.0]:
            if automatic and nodes < 2:
                yield Problem(f"failover is on with {nodes:g} node", group, "AutomaticFailoverEnabled")
        if zones and not automatic:
            yield Problem("several zones without failover", group, "MultiAZEnabled")


@offline(
    "Z407",
    "nodes without failover",
    WARNING,
    why="With two nodes and no failover the second is paid for and never takes over.",
    fix="Turn AutomaticFailoverEnabled on, or use one node.",
    source=_FAILOVER,
)
def idle_nodes(subject: Subject) -> Iterator[Problem]:
    for group in _groups(subject):
        for nodes in group.numbers("NumCacheClusters"):
            if nodes > 1 and not flag(group.get("AutomaticFailoverEnabled")):
                yield Problem(f"{nodes:g} nodes and no failover", group, "AutomaticFailoverEnabled")


@offline(
    "Z408",
    "cache in the clear",
    ERROR,
    why="What people type passes through the cache; it is encrypted on the way and at rest. At rest"
    " can only be chosen when the group is made.",
    fix="Set cache.tls to true; TLS is off on loopback only.",
    source="https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/in-transit-encryption.html",
)
def encryption(subject: Subject) -> Iterator[Problem]:
    for group in _groups(subject):
        if subject.on_aws and not flag(group.get("TransitEncryptionEnabled")):
            yield Problem("it is not encrypted on the way", group, "TransitEncryptionEnabled")
        if not flag(group.get("AtRestEncryptionEnabled")):
            yield Problem("it is not encrypted at rest", group, "AtRestEncryptionEnabled")
