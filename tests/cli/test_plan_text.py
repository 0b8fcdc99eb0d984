"""Plans in words."""

from __future__ import annotations

from typing import Any

from zedi.cli.plan_text import summary_lines
from zedi.deploy.plan import Change, Detail, PhasePlan


def plan(action: Any, *changes: Change) -> PhasePlan:
    return PhasePlan("cache", "zedi-dev-cache", action, changes, (), "0", "arn", "change-set")


REPLACED = Change(
    "modify",
    "Redis",
    "AWS::ElastiCache::ReplicationGroup",
    "zedi-dev-redis",
    "always",
    "",
    (
        Detail("Properties", "NodeType", "always", "cache.t4g.micro", "cache.t4g.small"),
        Detail("Properties", "SubnetIds", "never", cause="PrivateSubnetIds"),
        Detail("Tags", "", "never"),
    ),
)


def test_a_new_stack_is_counted() -> None:
    """Of a stack that is created, what matters is how much of what."""
    added = [Change("add", name, kind) for name, kind in (("A", "AWS::S3::Bucket"), ("B", "AWS::S3::Policy"))]
    assert summary_lines(plan("create", *added)) == ["cache: creates 2 resources (2 S3)"]


def test_changes_are_listed() -> None:
    """Of an update every change is shown: what is replaced, what is lost, and from what to what."""
    lines = summary_lines(plan("update", REPLACED, Change("remove", "Files", "AWS::S3::Bucket")))
    assert lines == [
        "cache: changes 2 of its resources",
        "  ± Redis (AWS::ElastiCache::ReplicationGroup) is replaced",
        "      lost: what Redis holds now (what was saved is in the database)",
        "      NodeType: cache.t4g.micro → cache.t4g.small  replaces it",
        "      SubnetIds (PrivateSubnetIds)",
        "      Tags",
        "  - Files (AWS::S3::Bucket) is deleted",
        "      lost: the files in the bucket",
    ]


def test_long_values_are_cut() -> None:
    """A value that is a whole document stays one line."""
    change = Change("modify", "P", "T", details=(Detail("Properties", "X", "never", "a\nb" * 99, None),))
    line = summary_lines(plan("update", change))[-1]
    assert "\n" not in line and len(line) < 100 and line.endswith("… → (none)")
