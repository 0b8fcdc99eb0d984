"""The rules that ask AWS, against its answers in the shapes of botocore's models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from zedi.deploy.target import TargetError
from zedi.preflight import Finding, Severity
from zedi.preflight.rule import rules
from zedi.preflight.run import Options, check
from zedi.preflight.subject import of_text

ZONES = ("ap-northeast-1a", "ap-northeast-1c", "ap-northeast-1d")
RULES_ONLY = Options(linters=False)
ACCOUNT = "123456789012"
Play = Callable[[dict[str, Any]], Any]


def offerings(params: Mapping[str, Any]) -> dict[str, Any]:
    known = params["CacheNodeType"] in ("cache.t4g.micro", "cache.r7g.large")
    return {"ReservedCacheNodesOfferings": [{"CacheNodeType": params["CacheNodeType"]}] if known else []}


def engine_versions(*versions: str) -> dict[str, Any]:
    return {
        "DBEngineVersions": [
            {"Engine": "aurora-postgresql", "EngineVersion": version, "Status": "available"}
            for version in versions
        ]
    }


def orderable(*zones: str) -> dict[str, Any]:
    return {
        "OrderableDBInstanceOptions": [
            {
                "Engine": "aurora-postgresql",
                "DBInstanceClass": "db.serverless",
                "AvailabilityZones": [{"Name": zone} for zone in zones],
            }
        ]
    }


def stack(status: str) -> dict[str, Any]:
    return {
        "Stacks": [
            {
                "StackName": "zedi-dev-x",
                "CreationTime": datetime(2026, 1, 31, tzinfo=UTC),
                "StackStatus": status,
            }
        ]
    }


def owning(*ids: str) -> dict[str, Any]:
    return {
        "StackResourceSummaries": [
            {
                "LogicalResourceId": f"R{number}",
                "PhysicalResourceId": id,
                "ResourceType": "AWS::S3::Bucket",
                "LastUpdatedTimestamp": datetime(2026, 1, 31, tzinfo=UTC),
                "ResourceStatus": "CREATE_COMPLETE",
            }
            for number, id in enumerate(ids)
        ]
    }


EMPTY: dict[str, Any] = {
    "ec2.DescribeAvailabilityZones": {
        "AvailabilityZones": [{"ZoneName": zone, "State": "available"} for zone in ZONES]
    },
    "ec2.DescribeVpcs": {"Vpcs": [{"VpcId": "vpc-1", "IsDefault": True}]},
    "service-quotas.GetServiceQuota": lambda params: {
        "Quota": {"QuotaCode": params["QuotaCode"], "Value": 5.0 if params["ServiceCode"] == "vpc" else 32.0}
    },
    "rds.DescribeDBEngineVersions": engine_versions("15.10", "15.12", "15.18", "16.8", "16.4-limitless"),
    "rds.DescribeOrderableDBInstanceOptions": orderable(*ZONES),
    "rds.DescribeDBClusters": "DBClusterNotFoundFault",
    "secretsmanager.DescribeSecret": "ResourceNotFoundException",
    "elasticache.DescribeCacheEngineVersions": {
        "CacheEngineVersions": [
            {"Engine": "redis", "EngineVersion": "6.2"},
            {"Engine": "redis", "EngineVersion": "7.1.0"},
        ]
    },
    "elasticache.DescribeReservedCacheNodesOfferings": offerings,
    "elasticache.DescribeReplicationGroups": "ReplicationGroupNotFoundFault",
    "cloudformation.DescribeStacks": "ValidationError: Stack with id zedi-dev-x does not exist",
    "iam.GetRole": "NoSuchEntity",
    "elbv2.DescribeLoadBalancers": "LoadBalancerNotFound",
    "ecr.DescribeRepositories": "RepositoryNotFoundException",
    "ecr.DescribeImages": {"imageDetails": [{"imageTags": ["latest"], "imageDigest": "sha256:0"}]},
    "logs.DescribeLogGroups": {"logGroups": [{"logGroupName": "/ecs/zedi-dev-realtime-2"}]},
    "cognito-idp.DescribeUserPoolDomain": {"DomainDescription": {}},
    "s3.HeadBucket": "404",
}
"""An account with nothing of ours in it, and with everything that we need."""


def found(
    play: Play, changes: dict[str, Any], settings: str = "", ids: tuple[str, ...] = ()
) -> list[Finding]:
    account = play({**EMPTY, **changes})
    subject = of_text(f'name = "dev"\n{settings}', "dev.toml")
    live = {rule.id for rule in rules() if rule.live} | {"Z050", "Z051", *ids}
    return [each for each in check(subject, lambda: account, RULES_ONLY) if each.id in live]


def _same(account: Any) -> Any:
    return account


def places(findings: list[Finding]) -> list[str]:
    return [
        f"{each.id} {each.where.phase}/{each.where.resource}"
        if each.where.resource
        else f"{each.id} {each.where.phase}"
        for each in findings
    ]


def test_an_account_that_is_ready_is_silent(playback: Play) -> None:
    """Nothing is found where everything is offered and nothing is taken."""
    assert found(playback, {}) == []


def test_nothing_but_reading_is_asked(playback: Play) -> None:
    """Every question describes, gets or looks."""
    account = playback(dict(EMPTY))
    check(of_text('name = "dev"', "dev.toml"), lambda: account, RULES_ONLY)
    verbs = {name.partition(".")[2] for name, _ in account.asked}
    assert verbs and all(verb.startswith(("Describe", "Get", "Head", "List")) for verb in verbs)


def test_the_logs_first_failure(playback: Play) -> None:
    """One zone is refused, with the account asked too."""
    zone = 'networking.availability_zones = ["ap-northeast-1a"]'
    assert places(found(playback, {}, zone, ("Z301",))) == ["Z301 database/SubnetGroup"]


def test_the_logs_second_failure(playback: Play) -> None:
    """15.4 is not offered: AWS's own list says so, and the dated one is silent beside it."""
    (finding, newer) = found(playback, {}, 'database.engine_version = "15.4"', ("Z307", "Z308"))
    assert (finding.id, finding.severity, finding.where.key) == (
        "Z350",
        Severity.ERROR,
        "database.engine_version",
    )
    assert "15.10, 15.12, 15.18" in finding.fix
    assert (newer.id, newer.what) == ("Z353", "15.18 is the newest, and 15.4 is set")


@pytest.mark.parametrize(
    ("version", "ids"),
    [
        ("15.18", []),
        ("15", []),
        ("16", []),
        ("15.12", ["Z353"]),
        ("14", ["Z350"]),
        ("15.8", ["Z350", "Z353"]),
    ],
)
def test_versions(playback: Play, version: str, ids: list[str]) -> None:
    """What is offered is silent, an older one is noted, and another is an error."""
    findings = found(playback, {}, f'database.engine_version = "{version}"', ("Z307",))
    assert [each.id for each in findings] == ids


def test_a_cluster_keeps_its_version(playback: Play) -> None:
    """A version that takes no new clusters is no error for the cluster that has it."""
    there = {
        "DBClusters": [{"DBClusterIdentifier": "zedi-dev-cluster", "EngineVersion": "15.8"}],
    }
    owned = {
        "cloudformation.DescribeStacks": stack("UPDATE_COMPLETE"),
        "cloudformation.ListStackResources": owning("zedi-dev-cluster"),
    }
    findings = found(
        playback, {"rds.DescribeDBClusters": there, **owned}, 'database.engine_version = "15.8"', ("Z307",)
    )
    assert [each.id for each in findings] == ["Z353"]


def test_a_zone_that_the_account_does_not_have(playback: Play) -> None:
    """Both subnets of a zone that is not there are named, with those that are."""
    findings = found(
        playback, {}, 'networking.availability_zones = ["ap-northeast-1a", "ap-northeast-1b"]', ("Z107",)
    )
    assert places(findings) == [
        "Z150 networking/PrivateSubnet2",
        "Z150 networking/PublicSubnet2",
        "Z351 database/Instance1",
    ]
    assert "ap-northeast-1a, ap-northeast-1c" in findings[0].fix


def test_an_instance_that_cannot_be_ordered(playback: Play) -> None:
    """A class that one of the zones does not have is an error."""
    changes = {"rds.DescribeOrderableDBInstanceOptions": orderable("ap-northeast-1a")}
    (finding,) = found(playback, changes)
    assert (finding.id, finding.what) == ("Z351", "no db.serverless of 15 in ap-northeast-1c")


@pytest.mark.parametrize(
    ("settings", "ids"),
    [
        ('cache.engine_version = "7.0"', ["Z450"]),
        ('cache.engine_version = "6.2"', []),
        ('cache.engine_version = "7.1"', []),
        ('cache.node_type = "cache.t5.micro"', ["Z451"]),
        ('cache.node_type = "cache.r7g.large"', []),
    ],
)
def test_cache(playback: Play, settings: str, ids: list[str]) -> None:
    """What ElastiCache offers counts, and the list of ours is silent beside it."""
    assert [each.id for each in found(playback, {}, settings, ("Z402", "Z403"))] == ids


def test_a_secret_that_waits_for_its_deletion(playback: Play) -> None:
    """A deleted secret holds its name."""
    secret = {"Name": "zedi-dev-db-credentials", "DeletedDate": datetime(2026, 11, 20, tzinfo=UTC)}
    (finding,) = found(playback, {"secretsmanager.DescribeSecret": secret})
    assert (finding.id, finding.what) == ("Z352", "zedi-dev-db-credentials was deleted on 2026-11-20")


@pytest.mark.parametrize(
    ("status", "id"),
    [
        ("ROLLBACK_COMPLETE", "Z053"),
        ("UPDATE_ROLLBACK_FAILED", "Z053"),
        ("DELETE_FAILED", "Z053"),
        ("CREATE_FAILED", "Z053"),
        ("UPDATE_IN_PROGRESS", "Z054"),
        ("REVIEW_IN_PROGRESS", None),
        ("UPDATE_ROLLBACK_COMPLETE", None),
        ("CREATE_COMPLETE", None),
    ],
)
def test_states_of_stacks(playback: Play, status: str, id: str | None) -> None:
    """A state that needs a hand is an error with the command; one that passes is a warning or nothing."""

    def stacks(params: Mapping[str, Any]) -> Any:
        return (
            stack(status)
            if params["StackName"] == "zedi-dev-cache"
            else EMPTY["cloudformation.DescribeStacks"]
        )

    findings = found(playback, {"cloudformation.DescribeStacks": stacks})
    assert places(findings) == ([f"{id} cache"] if id else [])
    if id == "Z053":
        assert "zedi-dev-cache" in findings[0].fix or status.startswith("IMPORT")


def test_no_room_for_another_vpc(playback: Play) -> None:
    """Five of five are an error, but not for an environment that has one of them."""
    five = {"ec2.DescribeVpcs": {"Vpcs": [{"VpcId": f"vpc-{number}"} for number in range(5)]}}
    assert places(found(playback, five)) == ["Z151 networking/Vpc"]
    mine = {"cloudformation.DescribeStacks": stack("CREATE_COMPLETE")}
    assert found(playback, {**five, **mine}) == []


def test_a_quota_that_was_never_changed(playback: Play) -> None:
    """Where AWS knows no quota of the account, its default counts."""
    changes = {
        "service-quotas.GetServiceQuota": "NoSuchResourceException",
        "service-quotas.GetAWSDefaultServiceQuota": {"Quota": {"Value": 1.0}},
    }
    assert places(found(playback, changes)) == ["Z151 networking/Vpc", "Z550 realtime/Service"]


@pytest.mark.parametrize(
    ("settings", "enough"), [("realtime.max_tasks = 64", True), ("realtime.max_tasks = 65", False)]
)
def test_vcpus(playback: Play, settings: str, enough: bool) -> None:
    """Twice the tasks of 256 units fit into 32 vCPUs, or do not."""
    assert places(found(playback, {}, settings)) == ([] if enough else ["Z550 realtime/Service"])


def test_an_image_that_is_not_there(playback: Play) -> None:
    """A tag that is not in ECR, or a repository that is not, is a warning."""
    for error in ("ImageNotFoundException", "RepositoryNotFoundException"):
        (finding,) = found(playback, {"ecr.DescribeImages": error}, 'realtime.image_tag = "v1"')
        assert (finding.id, finding.severity, finding.what) == (
            "Z551",
            Severity.WARNING,
            "there is no zedi-dev-realtime:v1",
        )


def test_no_image_at_all(playback: Play) -> None:
    """Where the settings name no tag, any image that was pushed will do; none will not."""
    (finding,) = found(playback, {"ecr.DescribeImages": {"imageDetails": []}}, "")
    assert (finding.id, finding.what) == ("Z551", "there is no image in zedi-dev-realtime")


TAKEN: dict[str, tuple[str, Any, str]] = {
    "role": (
        "iam.GetRole",
        lambda params: (
            {
                "Role": {
                    "Path": "/",
                    "RoleName": params["RoleName"],
                    "RoleId": "AROAEXAMPLE123456",
                    "Arn": f"arn:aws:iam::{ACCOUNT}:role/{params['RoleName']}",
                    "CreateDate": datetime(2026, 1, 31, tzinfo=UTC),
                }
            }
            if params["RoleName"].endswith("task-role")
            else "NoSuchEntity"
        ),
        "security/EcsTaskRole",
    ),
    "cluster": (
        "rds.DescribeDBClusters",
        {"DBClusters": [{"DBClusterIdentifier": "zedi-dev-cluster", "EngineVersion": "15.18"}]},
        "database/Cluster",
    ),
    "cache": (
        "elasticache.DescribeReplicationGroups",
        {"ReplicationGroups": [{"ReplicationGroupId": "zedi-dev-redis"}]},
        "cache/ReplicationGroup",
    ),
    "load balancer": (
        "elbv2.DescribeLoadBalancers",
        {"LoadBalancers": [{"LoadBalancerArn": "arn:aws:elasticloadbalancing:x"}]},
        "realtime/LoadBalancer",
    ),
    "repository": (
        "ecr.DescribeRepositories",
        {"repositories": [{"repositoryName": "zedi-dev-realtime"}]},
        "realtime/Repository",
    ),
    "secret": (
        "secretsmanager.DescribeSecret",
        {"ARN": "arn:aws:secretsmanager:ap-northeast-1:123456789012:secret:zedi-dev-db-credentials-x1aCah"},
        "database/DbCredentials",
    ),
    "log group": (
        "logs.DescribeLogGroups",
        lambda params: {
            "logGroups": [{"logGroupName": params["logGroupNamePrefix"]}]
            if "ecs" in params["logGroupNamePrefix"]
            else []
        },
        "realtime/ServiceLog",
    ),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_names_that_are_taken(playback: Play, kind: str) -> None:
    """A name that something outside of our stack has is an error, and what is our own is not."""
    operation, answer, place = TAKEN[kind]
    assert places(found(playback, {operation: answer})) == [f"Z055 {place}"]
    ids = (
        "zedi-dev-ecs-task-role", "zedi-dev-cluster", "zedi-dev-redis", "arn:aws:elasticloadbalancing:x",
        "zedi-dev-realtime", "/ecs/zedi-dev-realtime",
        "arn:aws:secretsmanager:ap-northeast-1:123456789012:secret:zedi-dev-db-credentials-x1aCah",
    )  # fmt: skip
    mine = {
        "cloudformation.DescribeStacks": stack("CREATE_COMPLETE"),
        "cloudformation.ListStackResources": owning(*ids),
    }
    assert found(playback, {operation: answer, **mine}) == []


@pytest.mark.parametrize(
    ("description", "words"),
    [
        (
            {"UserPoolId": "ap-northeast-1_Other", "AWSAccountId": ACCOUNT},
            "the user pool ap-northeast-1_Other",
        ),
        ({"UserPoolId": "ap-northeast-1_Other", "AWSAccountId": "999999999999"}, "another account"),
    ],
)
def test_a_sign_in_domain_that_is_taken(playback: Play, description: dict[str, str], words: str) -> None:
    """Whose domain it is, is said; our own pool's is nothing."""
    taken = {"cognito-idp.DescribeUserPoolDomain": {"DomainDescription": description}}
    (finding,) = found(playback, taken)
    assert (finding.id, finding.what) == ("Z250", f"zedi-dev-{ACCOUNT} belongs to {words}")
    mine = {
        "cloudformation.DescribeStacks": stack("CREATE_COMPLETE"),
        "cloudformation.ListStackResources": owning("ap-northeast-1_Other"),
    }
    assert found(playback, {**taken, **mine}) == []


@pytest.mark.parametrize(
    ("answer", "whose"), [("403", "somebody else"), ({}, "this account, outside of this stack")]
)
def test_a_bucket_that_is_taken(playback: Play, answer: Any, whose: str) -> None:
    """S3 says no more than that it is there; our own is nothing."""
    history, frontend = (f"zedi-dev-{each}-{ACCOUNT}" for each in ("history", "frontend"))
    findings = found(playback, {"s3.HeadBucket": answer})
    assert sorted((each.id, each.what) for each in findings) == [
        ("Z650", f"{name} belongs to {whose}") for name in (frontend, history)
    ]
    mine = {
        "cloudformation.DescribeStacks": stack("CREATE_COMPLETE"),
        "cloudformation.ListStackResources": owning(frontend),
    }
    (finding,) = found(playback, {"s3.HeadBucket": answer, **mine})
    assert finding.what == f"{history} belongs to {whose}"
    without = "[history]\nbucket = false"
    assert found(playback, {"s3.HeadBucket": answer, **mine}, without) == []


def test_no_credentials_are_said_once(playback: Play) -> None:
    """Without an account there is one note, and everything offline is looked at, guesses included."""

    def connect() -> Any:
        raise TargetError("dev", "there are no usable AWS credentials: none", "Sign in.")

    subject = of_text('name = "dev"\ndatabase.engine_version = "15.4"', "dev.toml")
    ids = [finding.id for finding in check(subject, connect, RULES_ONLY)]
    assert ids.count("Z050") == 1 and "Z307" in ids


def test_a_question_that_is_refused_is_said_once(playback: Play) -> None:
    """What may not be asked is listed in one note; the rest is asked, and the guess of ours stands."""
    changes = {
        "rds.DescribeDBEngineVersions": "AccessDenied: no",
        "ec2.DescribeAvailabilityZones": "UnauthorizedOperation: no",
    }
    findings = found(
        playback, {**changes, "s3.HeadBucket": "403"}, 'database.engine_version = "15.4"', ("Z307",)
    )
    assert [each.id for each in findings] == ["Z307", "Z650", "Z650", "Z051"]
    note = findings[-1]
    assert note.severity is Severity.INFO
    assert "Z150 (DescribeAvailabilityZones: UnauthorizedOperation)" in note.what and "Z350" in note.what


def test_the_embedded_aws_is_not_asked() -> None:
    """It enforces nothing: nobody connects to it."""

    def connect() -> Any:
        raise AssertionError("asked")

    local = 'name = "local"\ncdn.url = "http://localhost:30000"\n[embedded]\nport = 4566\n'
    check(of_text(local, "local.toml"), connect, RULES_ONLY)


def test_addresses(playback: Play) -> None:
    """Elastic addresses of a template are counted with those that are there."""
    from zedi.preflight.subject import Subject

    subject = Subject(
        {
            "networking": {
                "Resources": {f"Eip{n}": {"Type": "AWS::EC2::EIP", "Properties": {}} for n in range(2)}
            }
        }
    )
    for there, ids in ((3, set()), (4, {"Z152"})):
        account = playback(
            {
                "ec2.DescribeAddresses": {"Addresses": [{"PublicIp": "192.0.2.1"}] * there},
                "service-quotas.GetServiceQuota": {"Quota": {"Value": 5.0}},
            }
        )
        assert {each.id for each in check(subject, partial(_same, account), RULES_ONLY)} == ids


def test_a_wrong_shape_fails(playback: Play) -> None:
    """The playback itself refuses what botocore's model does not have."""
    account = playback(
        {"ec2.DescribeVpcs": {"Vpcs": [{"VpcIdentifier": "vpc-1"}]}, "ec2.DescribeAddresses": "NoSuchThing"}
    )
    with pytest.raises(Exception, match="VpcIdentifier"):
        account.client("ec2").describe_vpcs()
    with pytest.raises(AssertionError, match="has no error NoSuchThing"):
        account.client("ec2").describe_addresses()
