"""The AWS API: what it lacks is added, endpoints lead to this machine, and a kill loses nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from zedi.deploy.target import Target
from zedi.embedded import EmbeddedError, aws
from zedi.embedded.state import State
from zedi.embedded.supervisor import Supervisor
from zedi.settings import Settings

pytestmark = pytest.mark.server


def target_of(settings: Settings) -> Target:
    return Target(settings.region, "000000000000", settings.endpoint_url)


def deploy(target: Target, name: str, template: dict[str, Any], kind: str = "CREATE") -> dict[str, str]:
    """Creates or updates a stack as deploys do; returns its outputs."""
    cloudformation = target.client("cloudformation")
    made = cloudformation.create_change_set(
        StackName=name,
        ChangeSetName=f"c{kind.lower()}",
        ChangeSetType="CREATE" if kind == "CREATE" else "UPDATE",
        TemplateBody=json.dumps(template),
    )
    cloudformation.get_waiter("change_set_create_complete").wait(
        ChangeSetName=made["Id"], WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )
    cloudformation.execute_change_set(ChangeSetName=made["Id"])
    if kind == "CREATE":
        waiter: Any = cloudformation.get_waiter("stack_create_complete")
    else:
        waiter = cloudformation.get_waiter("stack_update_complete")
    waiter.wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    outputs = cloudformation.describe_stacks(StackName=name)["Stacks"][0].get("Outputs", [])
    return {output["OutputKey"]: output["OutputValue"] for output in outputs}


def get(resource: str, attribute: str) -> dict[str, Any]:
    return {"Value": {"Fn::GetAtt": [resource, attribute]}}


CLUSTERS: dict[str, Any] = {
    "Resources": {
        "Cluster": {
            "Type": "AWS::RDS::DBCluster",
            "Properties": {
                "Engine": "aurora-postgresql",
                "Port": 5432,
                "MasterUsername": "a",
                "MasterUserPassword": "bbbbbbbb",
            },
        },
        "Instance": {
            "Type": "AWS::RDS::DBInstance",
            "Properties": {
                "Engine": "aurora-postgresql",
                "DBInstanceClass": "db.serverless",
                "DBClusterIdentifier": {"Ref": "Cluster"},
            },
        },
        "Cache": {
            "Type": "AWS::ElastiCache::ReplicationGroup",
            "Properties": {
                "ReplicationGroupDescription": "x",
                "Engine": "redis",
                "CacheNodeType": "cache.t4g.micro",
                "NumCacheClusters": 1,
            },
        },
    },
    "Outputs": {
        "Writer": get("Cluster", "Endpoint.Address"),
        "WriterPort": get("Cluster", "Endpoint.Port"),
        "Reader": get("Cluster", "ReadEndpoint.Address"),
        "Instance": get("Instance", "Endpoint.Address"),
        "Cache": get("Cache", "PrimaryEndPoint.Address"),
        "CachePort": get("Cache", "PrimaryEndPoint.Port"),
    },
}


async def test_endpoints_are_the_servers_of_this_machine(
    settings: Settings, state: State, supervisor: Supervisor
) -> None:
    """Writer, reader, instance and cache are at 127.0.0.1 and the settings' ports, after an update too."""
    await supervisor.start(aws.program(settings, state))
    here = {
        "Writer": "127.0.0.1",
        "WriterPort": str(settings.database.port),
        "Reader": "127.0.0.1",
        "Instance": "127.0.0.1",
        "Cache": "127.0.0.1",
        "CachePort": str(settings.cache.port),
    }
    target = target_of(settings)
    assert await asyncio.to_thread(deploy, target, "s", CLUSTERS) == here
    changed = json.loads(json.dumps(CLUSTERS))
    changed["Resources"]["Cluster"]["Properties"]["BackupRetentionPeriod"] = 9
    assert await asyncio.to_thread(deploy, target, "s", changed, "UPDATE") == here


GAPS: dict[str, Any] = {
    "Parameters": {"Count": {"Type": "Number", "Default": "1"}},
    "Resources": {
        "Cluster": {"Type": "AWS::ECS::Cluster", "Properties": {"ClusterName": "c"}},
        "Task": {
            "Type": "AWS::ECS::TaskDefinition",
            "Properties": {
                "Family": "t",
                "ContainerDefinitions": [
                    {
                        "Name": "realtime",
                        "Image": "x",
                        "Command": ["python", "-m", "zedi.realtime"],
                        "StopTimeout": 120,
                        "Environment": [{"Name": "PORT", "Value": "1"}],
                        "Secrets": [{"Name": "S", "ValueFrom": "arn:x"}],
                        "HealthCheck": {"Command": ["CMD", "x"], "Interval": 10},
                        "DockerLabels": {"Kept-As-It-Is": "y"},
                        "LogConfiguration": {"LogDriver": "awslogs", "Options": {"Kept-Too": "z"}},
                    }
                ],
            },
        },
        "Service": {
            "Type": "AWS::ECS::Service",
            "Properties": {
                "ServiceName": "s",
                "Cluster": {"Ref": "Cluster"},
                "TaskDefinition": {"Ref": "Task"},
                "DesiredCount": {"Ref": "Count"},
            },
        },
        "Scalable": {
            "Type": "AWS::ApplicationAutoScaling::ScalableTarget",
            "Properties": {
                "MinCapacity": 1,
                "MaxCapacity": 4,
                "ResourceId": "service/c/s",
                "ScalableDimension": "ecs:service:DesiredCount",
                "ServiceNamespace": "ecs",
            },
        },
        "Policy": {
            "Type": "AWS::ApplicationAutoScaling::ScalingPolicy",
            "Properties": {
                "PolicyName": "p",
                "PolicyType": "TargetTrackingScaling",
                "ScalingTargetId": {"Ref": "Scalable"},
            },
        },
        "Budget": {
            "Type": "AWS::Budgets::Budget",
            "Properties": {
                "Budget": {
                    "BudgetName": "b",
                    "BudgetType": "COST",
                    "TimeUnit": "MONTHLY",
                    "BudgetLimit": {"Amount": 200, "Unit": "USD"},
                }
            },
        },
        "Rate": {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {
                "AlarmName": "rate",
                "ComparisonOperator": "GreaterThanThreshold",
                "EvaluationPeriods": 1,
                "Threshold": 1,
                "Metrics": [{"Id": "e", "Expression": "1"}],
            },
        },
    },
    "Outputs": {
        "Scalable": {"Value": {"Ref": "Scalable"}},
        "Policy": {"Value": {"Ref": "Policy"}},
        "Budget": {"Value": {"Ref": "Budget"}},
        "Rate": get("Rate", "Arn"),
    },
}


async def test_what_it_lacks_is_there(settings: Settings, state: State, supervisor: Supervisor) -> None:
    """Scaling, budgets and metric math deploy; a task definition is described with all it was given."""
    await supervisor.start(aws.program(settings, state))
    target = target_of(settings)
    outputs = await asyncio.to_thread(deploy, target, "s", GAPS)
    assert outputs["Scalable"] == "service/c/s|ecs:service:DesiredCount|ecs"
    assert outputs["Policy"].startswith(f"arn:aws:autoscaling:{settings.region}:000000000000:scalingPolicy:")
    assert outputs["Budget"] == "b"
    assert outputs["Rate"] == f"arn:aws:cloudwatch:{settings.region}:000000000000:alarm:rate"
    ecs = target.client("ecs")
    service = ecs.describe_services(cluster="c", services=["s"])["services"][0]
    assert service["desiredCount"] == 1
    definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    container = definition["containerDefinitions"][0]
    assert container["secrets"] == [{"name": "S", "valueFrom": "arn:x"}]
    assert container["healthCheck"]["command"] == ["CMD", "x"]
    assert container["stopTimeout"] == 120
    assert container["dockerLabels"] == {"Kept-As-It-Is": "y"}
    assert container["logConfiguration"] == {"logDriver": "awslogs", "options": {"Kept-Too": "z"}}
    changed = json.loads(json.dumps(GAPS))
    changed["Resources"]["Scalable"]["Properties"]["MaxCapacity"] = 5
    changed["Resources"]["Budget"]["Properties"]["Budget"]["BudgetLimit"]["Amount"] = 300
    changed["Parameters"]["Count"]["Default"] = "2"
    assert await asyncio.to_thread(deploy, target, "s", changed, "UPDATE") == outputs
    target.client("cloudformation").delete_stack(StackName="s")


async def test_state_is_on_disk_a_moment_after_a_change(
    settings: Settings,
    state: State,
    supervisor: Supervisor,
    told: list[str],
    listening: Callable[[int], set[str]],
    loopback: set[str],
) -> None:
    """A user pool outlives a kill of the AWS API, which comes back by itself, still on loopback alone."""
    await supervisor.start(aws.program(settings, state))
    cognito = target_of(settings).client("cognito-idp")
    pool = cognito.create_user_pool(PoolName="p")["UserPool"]["Id"]
    await aws.save(settings)
    cognito.admin_create_user(UserPoolId=pool, Username="late@example.com")

    def saved() -> bool:
        return "late@example.com" in (state.aws / "state" / "cognito.json").read_text()

    async with asyncio.timeout(10):
        while not await asyncio.to_thread(saved):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    os.kill(supervisor.process_id("aws"), signal.SIGKILL)
    async with asyncio.timeout(30):
        while "aws is back" not in told:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    users = cognito.list_users(UserPoolId=pool)["Users"]
    assert [user["Username"] for user in users] == ["late@example.com"]
    assert listening(supervisor.process_id("aws")) <= loopback


async def test_state_outlives_a_stop(settings: Settings, state: State, supervisor: Supervisor) -> None:
    """Objects and their headers are there after a stop, and no temporary file is."""
    await supervisor.start(aws.program(settings, state))
    s3 = target_of(settings).client("s3")
    s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "ap-northeast-1"})
    s3.put_object(Bucket="bucket", Key="k", Body=b"x", CacheControl="no-cache", ContentType="text/plain")
    await supervisor.stop("aws")
    assert not list(state.temporary.iterdir())
    await supervisor.start(aws.program(settings, state))
    found = s3.get_object(Bucket="bucket", Key="k")
    assert (found["Body"].read(), found["CacheControl"], found["ContentType"]) == (
        b"x",
        "no-cache",
        "text/plain",
    )


async def test_state_that_cannot_be_written_is_told(
    settings: Settings, state: State, supervisor: Supervisor
) -> None:
    """A save that fails is an error with the reason, not silence."""
    await supervisor.start(aws.program(settings, state))
    target_of(settings).client("cognito-idp").create_user_pool(PoolName="p")
    # A folder cannot be replaced by a file, not even by root.
    (state.aws / "state" / "cognito.json" / "x").mkdir(parents=True)
    with pytest.raises(EmbeddedError, match=r"its state could not be written: .*cognito"):
        await aws.save(settings)


def test_other_version_of_ministack_is_refused() -> None:
    """A name that is not there any more is told by name."""
    module = SimpleNamespace(__name__="ministack.services.rds", _clusters={})
    with pytest.raises(EmbeddedError, match="this version has no _instances"):
        aws._names_of(module, "_clusters", "_instances")
