"""How long a deploy takes on AWS, by estimate, and what the time goes into.

    expected        one phase: the longest chain of its changing resources, through what refers to what
    critical_path   all phases: the longest chain of those that are left

The seconds are estimates: the usual order of magnitude of each type when CloudFormation makes it, settling
included, told from experience and not measured with these templates. They say "some ten minutes", not "ten
minutes and a half". Nothing of this holds for the embedded AWS, which takes a moment for everything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from zedi.deploy.plan import Change

CREATE_SECONDS: Final[Mapping[str, float]] = {
    "AWS::CloudFront::Distribution": 240,
    "AWS::CloudFront::Function": 20,
    "AWS::EC2::InternetGateway": 20,
    "AWS::EC2::NatGateway": 110,
    "AWS::EC2::VPC": 15,
    "AWS::EC2::VPCEndpoint": 90,
    "AWS::ECS::Service": 180,
    "AWS::ElastiCache::ReplicationGroup": 480,
    "AWS::ElasticLoadBalancingV2::LoadBalancer": 150,
    "AWS::ElasticLoadBalancingV2::TargetGroup": 15,
    "AWS::IAM::Role": 20,
    "AWS::RDS::DBCluster": 90,
    "AWS::RDS::DBClusterParameterGroup": 30,
    "AWS::RDS::DBInstance": 420,
    "AWS::RDS::DBParameterGroup": 30,
    "AWS::S3::Bucket": 20,
    "AWS::SNS::Topic": 15,
}
CREATE_OTHERS: Final = 6.0

UPDATE_SECONDS: Final[Mapping[str, float]] = {
    "AWS::CloudFront::Distribution": 240,
    "AWS::ECS::Service": 300,  # new tasks, then the old ones drain
    "AWS::ElastiCache::ReplicationGroup": 600,
    "AWS::ElasticLoadBalancingV2::LoadBalancer": 30,
    "AWS::RDS::DBCluster": 60,
    "AWS::RDS::DBInstance": 300,
}
UPDATE_OTHERS: Final = 5.0


def expected(changes: Iterable[Change], template: Mapping[str, Any]) -> float:
    """Seconds until all of `changes` are made: those along the longest chain of references.

    What is removed goes at the end, when the rest is in use already, and is not counted.
    """
    own = {change.logical_id: _seconds(change) for change in changes}
    found, _ = _longest({name: _needs(body) for name, body in template["Resources"].items()}, own)
    return found


def critical_path(
    after: Mapping[str, Collection[str]], seconds: Mapping[str, float]
) -> tuple[float, tuple[str, ...]]:
    """The longest chain of phases, and its seconds.

    Args:
        after: what each phase waits for; names that `seconds` does not have are done.
        seconds: that each phase still takes.
    """
    return _longest({name: after.get(name, ()) for name in seconds}, seconds)


def about(seconds: float) -> str:
    """An estimate for people: no more exact than it is."""
    if seconds < 45:
        return "less than a minute"
    return f"about {max(1, round(seconds / 60))} min"


def _seconds(change: Change) -> float:
    if change.action == "remove":
        return 0.0
    if change.action == "add" or change.replacement == "always":
        return CREATE_SECONDS.get(change.type, CREATE_OTHERS)
    return UPDATE_SECONDS.get(change.type, UPDATE_OTHERS)


def _longest(
    needs: Mapping[str, Collection[str]], seconds: Mapping[str, float]
) -> tuple[float, tuple[str, ...]]:
    """The heaviest path: its weight, and its nodes in order. Nodes without seconds weigh nothing."""
    known: dict[str, tuple[float, tuple[str, ...]]] = {}

    def ending_at(name: str) -> tuple[float, tuple[str, ...]]:
        if name not in known:
            known[name] = (0.0, ())  # a circle, which AWS refuses, ends here
            weight, path = max(
                (ending_at(each) for each in needs[name] if each in needs),
                key=lambda found: found[0],
                default=(0.0, ()),
            )
            own = seconds.get(name)
            known[name] = (weight, path) if own is None else (weight + own, (*path, name))
        return known[name]

    return max((ending_at(name) for name in needs), key=lambda found: found[0], default=(0.0, ()))


def _needs(declaration: Mapping[str, Any]) -> set[str]:
    """The names that a resource refers to; those of parameters too, which nobody looks for."""
    explicit = declaration.get("DependsOn", ())
    named = {explicit} if isinstance(explicit, str) else set(explicit)
    return named | set(_references(declaration.get("Properties", {})))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _references(item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key == "Ref":
                yield item
            elif key == "Fn::GetAtt":
                yield item.partition(".")[0] if isinstance(item, str) else item[0]
            else:
                if key == "Fn::Sub":
                    yield from re.findall(r"\$\{([A-Za-z0-9]+)[.}]", json.dumps(item))
                yield from _references(item)
