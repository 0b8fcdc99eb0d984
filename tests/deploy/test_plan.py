"""What DescribeChangeSet answers, read into a plan. Shapes are those of botocore's service model."""

from __future__ import annotations

from typing import Any

import pytest

from zedi.deploy import DeployError
from zedi.deploy.plan import Change, Detail, PhasePlan, Plan, from_change_set, says_no_changes

_ARN = "arn:aws:cloudformation:ap-northeast-1:123456789012:"


def answer(*changes: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {
        "ChangeSetName": "zedi-1",
        "ChangeSetId": f"{_ARN}changeSet/zedi-1/1",
        "StackId": f"{_ARN}stack/zedi-dev-cache/2",
        "StackName": "zedi-dev-cache",
        "Status": "CREATE_COMPLETE",
        "Changes": [{"Type": "Resource", "ResourceChange": change} for change in changes],
        **others,
    }


def read(*answers: dict[str, Any], creates: bool = False) -> PhasePlan:
    return from_change_set(
        "cache", answers, creates=creates, template="{}", parameters={"VpcId": "vpc-1", "A": "b"}
    )


NODE_TYPE = {
    "Action": "Modify",
    "LogicalResourceId": "Redis",
    "PhysicalResourceId": "zedi-dev-redis",
    "ResourceType": "AWS::ElastiCache::ReplicationGroup",
    "Replacement": "Conditional",
    "PolicyAction": "ReplaceAndDelete",
    "Scope": ["Properties"],
    "Details": [
        {
            "Target": {
                "Attribute": "Properties",
                "Name": "CacheNodeType",
                "Path": "/Properties/CacheNodeType",
                "RequiresRecreation": "Conditionally",
                "BeforeValue": "cache.t4g.micro",
                "AfterValue": "cache.t4g.small",
            },
            "Evaluation": "Static",
            "ChangeSource": "DirectModification",
        },
        {
            "Target": {"Attribute": "Properties", "Name": "SubnetIds", "RequiresRecreation": "Never"},
            "Evaluation": "Dynamic",
            "ChangeSource": "DirectModification",
        },
        {
            "Target": {"Attribute": "Properties", "Name": "SubnetIds", "RequiresRecreation": "Never"},
            "Evaluation": "Static",
            "ChangeSource": "ParameterReference",
            "CausingEntity": "PrivateSubnetIds",
        },
    ],
}


def test_reads_a_modified_resource() -> None:
    """A modification says what it replaces, which properties change, from what to what, and why."""
    plan = read(answer(NODE_TYPE))
    assert (plan.action, plan.stack, plan.change_set) == (
        "update",
        "zedi-dev-cache",
        f"{_ARN}changeSet/zedi-1/1",
    )
    assert plan.parameters == (("A", "b"), ("VpcId", "vpc-1"))
    assert plan.changes == (
        Change(
            action="modify",
            logical_id="Redis",
            type="AWS::ElastiCache::ReplicationGroup",
            physical_id="zedi-dev-redis",
            replacement="conditional",
            policy="ReplaceAndDelete",
            details=(
                Detail(
                    "Properties",
                    "CacheNodeType",
                    "conditional",
                    "cache.t4g.micro",
                    "cache.t4g.small",
                    "DirectModification",
                ),
                Detail(
                    "Properties", "SubnetIds", "never", source="ParameterReference", cause="PrivateSubnetIds"
                ),
            ),
        ),
    )


def test_reads_every_page() -> None:
    """A large change set comes in pages, and the plan has the changes of all of them."""
    add = {"Action": "Add", "ResourceType": "AWS::SNS::Topic", "Scope": [], "Details": []}
    plan = read(
        answer({**add, "LogicalResourceId": "One"}, NextToken="more"),
        answer({**add, "LogicalResourceId": "Two"}),
        creates=True,
    )
    assert plan.action == "create"
    assert [(change.action, change.logical_id, change.physical_id) for change in plan.changes] == [
        ("add", "One", None),
        ("add", "Two", None),
    ]


def test_no_changes_is_a_plan() -> None:
    """A change set that failed because nothing would change is a plan to do nothing."""
    plan = read(answer(Status="FAILED", StatusReason="The submitted information didn't contain changes."))
    assert (plan.action, plan.changes, plan.change_set) == ("none", (), None)


@pytest.mark.parametrize(
    ("reason", "nothing"),
    [
        ("The submitted information didn't contain changes. Submit different information to ...", True),
        ("No updates are to be performed.", True),
        ("Transform AWS::Serverless failed with: Invalid", False),
        ("", False),
    ],
)
def test_knows_both_wordings(reason: str, nothing: bool) -> None:
    """AWS has two wordings for nothing to do, and everything else is a failure."""
    assert says_no_changes(reason) is nothing


@pytest.mark.parametrize(
    ("action", "replacement", "policy", "kind", "loses"),
    [
        ("remove", "never", "Delete", "AWS::S3::Bucket", True),
        ("remove", "never", "Retain", "AWS::S3::Bucket", False),
        ("remove", "never", "Delete", "AWS::ECS::Service", False),
        ("modify", "always", "ReplaceAndDelete", "AWS::RDS::DBCluster", True),
        ("modify", "conditional", "", "AWS::RDS::DBCluster", True),
        ("modify", "always", "ReplaceAndRetain", "AWS::RDS::DBCluster", False),
        ("modify", "never", "", "AWS::RDS::DBCluster", False),
        ("modify", "always", "ReplaceAndDelete", "AWS::ECS::TaskDefinition", False),
    ],
)
def test_knows_what_loses_data(action: Any, replacement: Any, policy: str, kind: str, loses: bool) -> None:
    """What holds data is lost when it goes or is replaced, unless AWS keeps the old one."""
    assert Change(action, "X", kind, replacement=replacement, policy=policy).loses_data is loses


def refers(logical_id: str, to: str, source: str = "ResourceReference") -> Change:
    """What AWS says of a cluster that refers to a resource that changes."""
    detail = Detail("Properties", "X", "always", source=source, cause=to)
    return Change("modify", logical_id, "AWS::RDS::DBCluster", "id", "conditional", "", (detail,))


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ([Change("modify", "Group", "T"), refers("A", "Group"), refers("B", "A")], []),
        ([Change("modify", "Group", "T"), refers("A", "Group", "ResourceAttribute")], ["A"]),
        ([Change("modify", "Group", "T", replacement="always"), refers("A", "Group")], ["A"]),
        (
            [Change("modify", "Group", "T", replacement="always"), refers("A", "Group"), refers("B", "A")],
            ["A", "B"],
        ),
        ([refers("A", "Elsewhere")], ["A"]),
        ([Change("modify", "A", "AWS::RDS::DBCluster", replacement="conditional")], ["A"]),
        ([refers("A", "B"), refers("B", "A")], ["A", "B"]),
        ([Change("remove", "A", "AWS::S3::Bucket")], ["A"]),
    ],
)
def test_a_reference_to_what_stays_loses_nothing(changes: list[Change], lost: list[str]) -> None:
    """What AWS calls conditional is a loss only where the resource that is referred to may be another one."""
    plan = PhasePlan("cache", "s", "update", tuple(changes), (), "0", "arn")
    assert [change.logical_id for change in plan.losses] == lost


def test_goes_through_json() -> None:
    """A saved plan is the plan."""
    plan = Plan("dev", "ap-northeast-1", "123456789012", (read(answer(NODE_TYPE)),))
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 0}', '{"format": 1, "environment": "dev"}', '{"format": 1, "phases": [1]}'],
)
def test_refuses_what_is_no_plan(text: str) -> None:
    """Anything else is an error for people."""
    with pytest.raises(DeployError, match="not a plan of this version"):
        Plan.from_json(text)
