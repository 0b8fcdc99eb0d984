"""Plans in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len

from zedi.cli.plan_text import change_lines, lines, phase_lines, summary_lines
from zedi.deploy.plan import HOLDS_DATA, Change, Detail, PhasePlan, Plan, Source


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


def whole(*phases: PhasePlan, account: str = "123456789012") -> Plan:
    return Plan("dev", "ap-northeast-1", account, "", "2026-11-23T12:00:00+00:00", (), phases)


CLUSTER = Change(
    "modify", "Cluster", "AWS::RDS::DBCluster", "zedi-dev-cluster", "always", "ReplaceAndSnapshot"
)


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (
            CLUSTER,
            [
                "  ± Cluster (AWS::RDS::DBCluster) is replaced",
                "      lost: the database's rows: every page, its history, who may read it;"
                " a last snapshot is kept, to be restored by hand",
            ],
        ),
        (
            replace(CLUSTER, replacement="conditional", policy="ReplaceAndDelete"),
            [
                "  ± Cluster (AWS::RDS::DBCluster) may be replaced",
                "      lost if so: the database's rows: every page, its history, who may read it",
            ],
        ),
        (
            Change("remove", "UserPool", "AWS::Cognito::UserPool", "pool-1", policy="Retain"),
            [
                "  - UserPool (AWS::Cognito::UserPool) leaves the stack",
                "      pool-1 is kept, outside of any stack,"
                " with everybody's sign-in: accounts, passwords, second factors",
            ],
        ),
        (
            Change("remove", "Alarm", "AWS::CloudWatch::Alarm", policy="Delete"),
            ["  - Alarm (AWS::CloudWatch::Alarm) is deleted"],
        ),
    ],
)
def test_says_what_goes_for_good(change: Change, lines: list[str]) -> None:
    """What is replaced or deleted says what was in it, and what of that is kept."""
    assert list(change_lines(change)) == lines


def test_every_type_that_holds_data_says_what_it_is() -> None:
    """No loss goes without words."""
    for kind in HOLDS_DATA:
        assert HOLDS_DATA[kind] in "\n".join(change_lines(Change("remove", "X", kind)))


def test_a_plan_ends_with_its_sum() -> None:
    """How many of each, what is lost and the words that allow it, how long it takes and through what."""
    database = replace(plan("update", CLUSTER), phase="database", unchanged=7, expected=540.0)
    network = replace(
        plan("create", Change("add", "Vpc", "AWS::EC2::VPC")), phase="networking", expected=60.0
    )
    said = list(lines(whole(network, database), {"database": ("networking",)}))
    assert said[-3:] == [
        "In all: 1 created, 1 replaced, 7 unchanged.",
        "Data is lost, or may be: a deploy asks for each name, or takes --allow-replace zedi-dev-cluster",
        "By estimate a deploy takes about 10 min: networking → database",
    ]
    assert list(lines(whole(replace(plan("none"), unchanged=6)), {})) == [
        "cache: nothing to change (6 resources)",
        "",
        "In all: nothing to change.",
    ]
    assert list(lines(whole(), {})) == ["In all: nothing to change."]


def test_an_outline_says_what_it_waits_for() -> None:
    """What nobody can know yet is said plainly, with what will give it; columns stay straight in Japanese."""
    outlined = replace(
        plan(
            "create",
            Change("add", "A", "AWS::S3::Bucket", "メモ帳"),
            Change("add", "Longer", "AWS::S3::B", "b"),
        ),
        change_set=None,
        outlined=True,
        parameters=(("Known", "花子の値"), ("Other", "x")),
        sources=(
            Source("Known", "", "a fact"),
            Source("Other", "security", "output of security"),
            Source("VpcId", "networking", "output of networking"),
        ),
    )
    said = list(phase_lines(outlined))
    assert said[1] == "  depends on what networking will give; until then this is read off the template"
    assert said[2:4] == ["  + A       AWS::S3::Bucket  メモ帳", "  + Longer  AWS::S3::B       b"]
    words = [line for line in said if " a fact" in line or " output of" in line]
    starts = {
        cell_len(line[: line.index(" a fact" if " a fact" in line else " output of")]) for line in words
    }
    assert len(words) == 3 and len(starts) == 1
    assert "    VpcId  ?         output of networking" in said


def test_an_update_that_cannot_be_known_is_no_promise() -> None:
    """A deployed phase whose inputs are gone may change, and nobody can say how."""
    gone = replace(plan("update"), outlined=True, sources=(Source("VpcId", "networking", "x"),))
    assert next(phase_lines(gone)) == "cache: may be changed"
