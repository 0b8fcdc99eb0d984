"""Phases small enough to see through, and a listener that remembers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jmespath  # type: ignore[import-untyped]
import pytest
from troposphere import Equals as EqualTo
from troposphere import If, Output, Parameter, Ref, Template
from troposphere.cloudfront import (
    DefaultCacheBehavior,
    Distribution,
    DistributionConfig,
    ForwardedValues,
    S3OriginConfig,
)
from troposphere.cloudfront import Origin as DistributionOrigin
from troposphere.s3 import Bucket
from troposphere.sns import Topic
from troposphere.ssm import Parameter as Stored

from zedi.deploy.rollout import deploy
from zedi.deploy.target import Target, target_of
from zedi.phases import Phase
from zedi.settings import Settings


@pytest.fixture
def phase() -> Callable[..., Phase]:
    """Makes a phase with one SNS topic, or with what `resources` adds to a template."""

    def make(
        name: str,
        *after: str,
        display: str = "first",
        takes: Mapping[str, str] | None = None,
        resources: Callable[[Template], None] | None = None,
    ) -> Phase:
        def build(settings: Settings) -> Template:
            template = Template(Description=f"{settings.prefix}: {name}")
            for parameter, kind in (takes or {}).items():
                template.add_parameter(Parameter(parameter, Type=kind))
            topic = template.add_resource(
                Topic("Topic", TopicName=f"{settings.prefix}-{name}", DisplayName=display)
            )
            template.add_output(Output(f"{name.capitalize()}TopicArn", Value=Ref(topic)))
            if resources is not None:
                resources(template)
            return template

        return Phase(name, after, build)

    return make


def _front_end(template: Template) -> None:
    template.add_resource(Bucket("Files"))
    template.add_resource(
        Distribution(
            "Distribution",
            DistributionConfig=DistributionConfig(
                Enabled=True,
                Origins=[
                    DistributionOrigin(
                        Id="files",
                        DomainName="files.s3.amazonaws.com",
                        S3OriginConfig=S3OriginConfig(OriginAccessIdentity=""),
                    )
                ],
                DefaultCacheBehavior=DefaultCacheBehavior(
                    TargetOriginId="files",
                    ViewerProtocolPolicy="redirect-to-https",
                    ForwardedValues=ForwardedValues(QueryString=False),
                ),
            ),
        )
    )
    values: Mapping[str, Any] = {
        "FrontendBucket": Ref("Files"),
        "CloudfrontDistributionId": Ref("Distribution"),
        "FrontendUrl": "https://d111.cloudfront.net",
        "WebsocketUrl": "wss://d111.cloudfront.net/realtime",
    }
    for name, value in values.items():
        template.add_output(Output(name, Value=value))


def _identity(template: Template) -> None:
    template.add_parameter(Parameter("FrontendUrl", Type="String", Default=""))
    template.add_condition("Unknown", EqualTo(Ref("FrontendUrl"), ""))
    template.add_resource(Stored("Callback", Type="String", Value=If("Unknown", "none", Ref("FrontendUrl"))))
    for name in ("CognitoUserPoolId", "CognitoClientId", "CognitoHostedUiUrl"):
        template.add_output(Output(name, Value=f"the-{name}"))


@pytest.fixture
def front_end(phase: Callable[..., Phase]) -> list[Phase]:
    """The two phases that a front end needs: sign-in, which learns its address, and what serves it."""
    return [phase("security", resources=_identity), phase("cdn", "security", resources=_front_end)]


@pytest.fixture(scope="session")
def whole(
    embedded: Settings,
    tmp_path_factory: pytest.TempPathFactory,
    write_settings: Callable[[Settings, Path], Path],
) -> tuple[Settings, Path]:
    """An environment with all phases deployed, and its file; who changes it puts it back."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "index.html").write_text("<!doctype html>", "utf-8")
    settings = embedded.model_copy(update={"name": "whole"})
    deploy(settings, target_of(settings), listener=lambda event: None, web=folder)
    return settings, write_settings(settings, folder)


@pytest.fixture
def here(embedded: Settings, settings: Settings) -> Callable[[Settings], Settings]:
    """Moves an environment into the embedded AWS, under this test's own name; all else is left as it is."""

    def move(chosen: Settings) -> Settings:
        return chosen.model_copy(
            update={
                "name": f"{chosen.name}-{settings.name}",
                "embedded": embedded.embedded,
                "database": chosen.database.model_copy(update={"port": embedded.database.port}),
                "cache": chosen.cache.model_copy(update={"port": embedded.cache.port}),
            }
        )

    return move


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """The smallest front end."""
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html>", "utf-8")
    return folder


_LISTED: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("cloudformation", "describe_stacks", {}, "Stacks[].StackName"),
    ("ec2", "describe_vpcs", {}, "Vpcs[].VpcId"),
    ("ec2", "describe_subnets", {}, "Subnets[].SubnetId"),
    ("ec2", "describe_route_tables", {}, "RouteTables[].RouteTableId"),
    ("ec2", "describe_security_groups", {}, "SecurityGroups[].GroupId"),
    ("ec2", "describe_internet_gateways", {}, "InternetGateways[].InternetGatewayId"),
    ("ec2", "describe_vpc_endpoints", {}, "VpcEndpoints[].VpcEndpointId"),
    ("elbv2", "describe_load_balancers", {}, "LoadBalancers[].LoadBalancerArn"),
    ("elbv2", "describe_target_groups", {}, "TargetGroups[].TargetGroupArn"),
    ("ecs", "list_clusters", {}, "clusterArns"),
    ("ecs", "list_task_definitions", {}, "taskDefinitionArns"),
    ("ecr", "describe_repositories", {}, "repositories[].repositoryName"),
    ("rds", "describe_db_clusters", {}, "DBClusters[].DBClusterIdentifier"),
    ("rds", "describe_db_instances", {}, "DBInstances[].DBInstanceIdentifier"),
    (
        "rds",
        "describe_db_cluster_parameter_groups",
        {},
        "DBClusterParameterGroups[].DBClusterParameterGroupName",
    ),
    ("rds", "describe_db_parameter_groups", {}, "DBParameterGroups[].DBParameterGroupName"),
    ("rds", "describe_db_subnet_groups", {}, "DBSubnetGroups[].DBSubnetGroupName"),
    ("rds", "describe_db_cluster_snapshots", {}, "DBClusterSnapshots[].DBClusterSnapshotIdentifier"),
    ("elasticache", "describe_replication_groups", {}, "ReplicationGroups[].ReplicationGroupId"),
    ("elasticache", "describe_cache_parameter_groups", {}, "CacheParameterGroups[].CacheParameterGroupName"),
    ("elasticache", "describe_cache_subnet_groups", {}, "CacheSubnetGroups[].CacheSubnetGroupName"),
    ("secretsmanager", "list_secrets", {"IncludePlannedDeletion": True}, "SecretList[].Name"),
    ("cognito-idp", "list_user_pools", {"MaxResults": 60}, "UserPools[].Id"),
    ("iam", "list_roles", {}, "Roles[].RoleName"),
    ("s3", "list_buckets", {}, "Buckets[].Name"),
    ("cloudfront", "list_distributions", {}, "DistributionList.Items[].Id"),
    ("cloudfront", "list_functions", {}, "FunctionList.Items[].Name"),
    ("cloudfront", "list_origin_access_controls", {}, "OriginAccessControlList.Items[].Id"),
    (
        "cloudfront",
        "list_response_headers_policies",
        {"Type": "custom"},
        "ResponseHeadersPolicyList.Items[].ResponseHeadersPolicy.Id",
    ),
    ("cloudwatch", "describe_alarms", {}, "MetricAlarms[].AlarmName"),
    ("cloudwatch", "list_dashboards", {}, "DashboardEntries[].DashboardName"),
    ("logs", "describe_log_groups", {}, "logGroups[].logGroupName"),
    ("sns", "list_topics", {}, "Topics[].TopicArn"),
)
"""How to ask for everything of the kinds that our templates make, and that stands by itself."""


@pytest.fixture(scope="session")
def there_is() -> Callable[[Target], Counter[tuple[str, str]]]:
    """Asks each service what there is in the account, not CloudFormation: (question, identifier)."""

    def ask(target: Target) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for service, operation, parameters, names in _LISTED:
            client = target.client(service)
            pages: Iterable[Any]
            if client.can_paginate(operation) and operation != "list_buckets":
                pages = client.get_paginator(operation).paginate(**parameters)
            else:
                pages = [getattr(client, operation)(**parameters)]
            for page in pages:
                found.update((operation, name) for name in jmespath.search(names, page) or ())
        budgets = target.client("budgets").describe_budgets(AccountId=target.account)["Budgets"]
        found.update(("describe_budgets", budget["BudgetName"]) for budget in budgets)
        return found

    return ask


class Heard(list[Any]):
    """A listener that keeps every event."""

    def __call__(self, event: Any) -> None:
        self.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]


@pytest.fixture
def heard() -> Heard:
    return Heard()
