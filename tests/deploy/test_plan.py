"""What DescribeChangeSet answers, read into a plan. Shapes are those of botocore's service model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from zedi.deploy import DeployError
from zedi.deploy import plan as plan_room
from zedi.deploy.plan import (
    Change,
    Deployed,
    Detail,
    PhasePlan,
    Plan,
    Source,
    from_change_set,
    given_name,
    lacks_values,
    outline,
    same_secret,
    says_no_changes,
    secret_digest,
    settings_digests,
    with_values,
)
from zedi.settings import Database, Settings

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


def saved() -> Plan:
    return Plan(
        "dev",
        "ap-northeast-1",
        "123456789012",
        "",
        "2026-11-23T12:00:00+00:00",
        settings_digests(Settings(name="dev")),
        (
            replace(
                read(answer(NODE_TYPE)),
                sources=(Source("VpcId", "networking", "output of networking"),),
                secrets=(("A", secret_digest("x")),),
                stack_changed="2026-11-23T11:00:00+00:00",
                expected=600.0,
                notes=("a note",),
            ),
        ),
    )


def test_goes_through_json() -> None:
    """A saved plan is the plan."""
    plan = saved()
    assert Plan.from_json(plan.to_json()) == plan


def tampered(change: Callable[[dict[str, Any]], object], *, consistent: bool = False) -> str:
    """A plan's JSON with something changed; `consistent`: by somebody who knows of the digest."""
    data = json.loads(saved().to_json())
    change(data)
    if consistent:
        body = {key: value for key, value in data.items() if key not in ("format", "sha256")}
        data["sha256"] = plan_room._digest(body)
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not a whole one"),
        ("[]", "not a plan"),
        ("{}", "not a plan"),
        ("null", "not a plan"),
        ("[" * 100_000, "not a plan"),
        (saved().to_json()[:-40], "not a whole one"),
        (tampered(lambda data: data.update(format=1)), "format 1"),
        (tampered(lambda data: data.pop("sha256")), "changed after it was written"),
        (tampered(lambda data: data.update(environment="prod")), "changed after it was written"),
        (tampered(lambda data: data["phases"][0].pop("changes"), consistent=True), "changes"),
        (tampered(lambda data: data["phases"][0].update(action="burn"), consistent=True), "action"),
        (tampered(lambda data: data.update(phases=[1]), consistent=True), "phases.0"),
        (tampered(lambda data: data.update(region=1), consistent=True), "region"),
    ],
)
def test_refuses_what_is_no_plan(text: str, word: str) -> None:
    """What was cut, edited, or written by another version is one error for people."""
    with pytest.raises(DeployError) as caught:
        Plan.from_json(text, "plan.json")
    assert caught.value.where == "plan.json"
    assert word in caught.value.what
    assert "zedi plan" in caught.value.fix


def test_a_plan_holds_no_secret() -> None:
    """Of a secret a plan keeps what tells another one from it, salted: equal ones do not look equal."""
    one, two = secret_digest("hunter2"), secret_digest("hunter2")
    assert one != two and "hunter2" not in one
    assert same_secret("hunter2", one) and same_secret("hunter2", two)
    assert not same_secret("hunter3", one)


def test_settings_are_told_apart_by_their_keys() -> None:
    """The key that differs has another digest, and no other key has."""
    before = dict(settings_digests(Settings(name="dev")))
    after = dict(settings_digests(Settings(name="dev", database=Database(max_acu=8))))
    assert [key for key in before if before[key] != after[key]] == ["database.max_acu"]


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ("Retain", "retained"),
        ("RetainExceptOnCreate", "retained"),
        ("ReplaceAndRetain", "retained"),
        ("Snapshot", "snapshot"),
        ("ReplaceAndSnapshot", "snapshot"),
        ("Delete", None),
        ("ReplaceAndDelete", None),
        ("", None),
    ],
)
def test_knows_what_is_kept(policy: str, kept: str | None) -> None:
    """What is left of what goes is what its policy says."""
    assert Change("remove", "X", "AWS::S3::Bucket", policy=policy).kept == kept


def test_the_template_says_the_policy_where_aws_does_not() -> None:
    """A replacement that AWS names no policy for has its template's, else none."""
    change = {**NODE_TYPE, "PolicyAction": ""}
    for declaration, policy in (
        ({"UpdateReplacePolicy": "Retain"}, "ReplaceAndRetain"),
        ({}, "ReplaceAndDelete"),
    ):
        template = json.dumps({"Resources": {"Redis": declaration}})
        plan = from_change_set("cache", [answer(change)], creates=False, template=template, parameters={})
        assert plan.changes[0].policy == policy


TEMPLATE: dict[str, Any] = {
    "Parameters": {"Size": {"Type": "String", "Default": "small"}, "Zone": {"Type": "String"}},
    "Resources": {
        "Redis": {
            "Type": "AWS::ElastiCache::ReplicationGroup",
            "Properties": {
                "ReplicationGroupId": "zedi-dev-redis",
                "CacheNodeType": {"Ref": "Size"},
                "Zones": [{"Ref": "Zone"}],
                "SubnetIds": {"Ref": "Subnets"},
            },
        }
    },
}


def test_values_come_from_the_templates_where_aws_gives_none() -> None:
    """Both values of a property, parameters and defaults filled in; nothing where the texts are equal."""
    names = ("CacheNodeType", "Zones", "SubnetIds")
    change = Change(
        "modify", "Redis", "T", details=tuple(Detail("Properties", name, "never") for name in names)
    )
    planned = PhasePlan("cache", "s", "update", (change,), (), "0", "arn")
    assert lacks_values(planned)
    text = json.dumps(TEMPLATE)
    done = with_values(planned, Deployed(text, {"Zone": "a"}), Deployed(text, {"Zone": "b", "Size": "large"}))
    assert [(detail.before, detail.after) for detail in done.changes[0].details] == [
        ("small", "large"),
        ('["a"]', '["b"]'),
        (None, None),
    ]


def test_an_outline_is_read_off_the_template() -> None:
    """What would be made, by the names that the template gives; what an update changes nobody knows yet."""
    drawn = outline("cache", "s", json.dumps(TEMPLATE), {"Zone": "a"}, "1", creates=True)
    assert drawn.changes == (Change("add", "Redis", "AWS::ElastiCache::ReplicationGroup", "zedi-dev-redis"),)
    assert drawn.outlined and drawn.parameters == (("Zone", "a"),)
    assert outline("cache", "s", json.dumps(TEMPLATE), {}, "1", creates=False).changes == ()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"A": {"B": 1, "C": 2}}, {"A": {"B": 1, "C": 3}}, [("P/A/C", "2", "3")]),
        ({"A": 1}, {"B": 1}, [("P/A", "1", None), ("P/B", None, "1")]),
        ({"Fn::Sub": "a"}, {"Fn::Sub": "b"}, [("P", '{"Fn::Sub":"a"}', '{"Fn::Sub":"b"}')]),
        ([1], [1, 2], [("P", "[1]", "[1,2]")]),
        (None, "花子", [("P", None, "花子")]),
    ],
)
def test_a_table_is_told_by_what_differs_in_it(old: Any, new: Any, told: list[Any]) -> None:
    """Of a nested property only that which changes is shown; lists and functions are told whole."""

    def deployed(value: Any) -> Deployed:
        return Deployed(json.dumps({"Resources": {"X": {"Properties": {"P": value}}}}), {})

    change = Change("modify", "X", "T", details=(Detail("Properties", "P", "never"),))
    planned = PhasePlan("cache", "s", "update", (change,), (), "0", "arn")
    (done,) = with_values(planned, deployed(old), deployed(new)).changes
    assert [(detail.name, detail.before, detail.after) for detail in done.details] == told


@pytest.mark.parametrize(
    ("kind", "properties", "name"),
    [
        ("AWS::S3::Bucket", {"BucketName": {"Fn::Sub": "files-${AWS::AccountId}"}}, "files-123456789012"),
        ("AWS::S3::Bucket", {"BucketName": {"Fn::Sub": "files-${Other}"}}, None),
        ("AWS::RDS::DBInstance", {"DBClusterIdentifier": "c", "DBInstanceIdentifier": "i"}, "i"),
        ("AWS::EC2::VPCEndpoint", {"ServiceName": "com.amazonaws.ecr"}, None),
        ("AWS::ECS::Service", {"ServiceName": {"Ref": "X"}}, None),
        ("AWS::EC2::VPC", {}, None),
    ],
)
def test_names_are_those_that_the_template_gives(kind: str, properties: Any, name: str | None) -> None:
    """A name is one in plain words and the resource's own; all else is made up by AWS."""
    assert given_name({"Type": kind, "Properties": properties}, "123456789012") == name
