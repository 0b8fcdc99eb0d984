"""What ElastiCache offers today."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from zedi.preflight.live import Account
from zedi.preflight.rule import ERROR, Problem, live
from zedi.preflight.subject import Resource, Subject

_API: Final = "https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference"


def _groups(subject: Subject) -> Iterator[Resource]:
    return subject.of_type("AWS::ElastiCache::ReplicationGroup")


@live(
    "Z450",
    "cache version that AWS does not offer",
    ERROR,
    why="ElastiCache creates groups of the versions that it offers, and of no others.",
    fix="Use one that is offered.",
    source=f"{_API}/API_DescribeCacheEngineVersions.html",
)
def version(subject: Subject, account: Account) -> Iterator[Problem]:
    for group in _groups(subject):
        engine = group.name("Engine") or "redis"
        pages = (
            account.client("elasticache")
            .get_paginator("describe_cache_engine_versions")
            .paginate(Engine=engine)
        )
        offered = [each["EngineVersion"] for page in pages for each in page["CacheEngineVersions"]]
        for wanted in map(str, group.literals("EngineVersion")):
            # 7.1 stands for 7.1.x: patches are AWS's own.
            if not any(each == wanted or each.startswith(f"{wanted}.") for each in offered):
                yield Problem(
                    f"{engine} {wanted} is not offered",
                    group,
                    "EngineVersion",
                    fix=f"Use one of {', '.join(dict.fromkeys(offered)) or '(none is offered)'}.",
                )


@live(
    "Z451",
    "cache node type that AWS does not offer here",
    ERROR,
    why="Not every region has every node type. (ElastiCache lists them nowhere; what can be reserved"
    " can be had.)",
    fix="Use another type: cache.t4g.micro is in every region.",
    source=f"{_API}/API_DescribeReservedCacheNodesOfferings.html",
    says=(r"Invalid cache node type", r"not offered in this region"),
)
def node_type(subject: Subject, account: Account) -> Iterator[Problem]:
    cache = account.client("elasticache")
    for group in _groups(subject):
        for wanted in map(str, group.literals("CacheNodeType")):
            pages = cache.get_paginator("describe_reserved_cache_nodes_offerings").paginate(
                CacheNodeType=wanted
            )
            try:
                offered = any(page["ReservedCacheNodesOfferings"] for page in pages)
            except cache.exceptions.ReservedCacheNodesOfferingNotFoundFault:
                offered = False
            if not offered:
                yield Problem(f"{wanted} is not offered in {account.region}", group, "CacheNodeType")
