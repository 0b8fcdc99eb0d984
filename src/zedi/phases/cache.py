"""Phase 4: Redis or Valkey, which carries messages between tasks and keeps nothing that matters."""

from __future__ import annotations

from troposphere import GetAtt, Join, Output, Parameter, Ref, Template
from troposphere.ec2 import SecurityGroup, SecurityGroupRule
from troposphere.elasticache import (
    CloudWatchLogsDestinationDetails,
    DestinationDetails,
    LogDeliveryConfigurationRequest,
    ParameterGroup,
    ReplicationGroup,
    SubnetGroup,
)

from zedi.phases.logs import log_group
from zedi.phases.tags import tags
from zedi.settings import Cache, Settings


def build(settings: Settings) -> Template:
    template = Template(Description=f"{settings.prefix}: cache")
    vpc = template.add_parameter(Parameter("VpcId", Type="AWS::EC2::VPC::Id"))
    subnets = template.add_parameter(Parameter("PrivateSubnetIds", Type="List<AWS::EC2::Subnet::Id>"))
    tasks = template.add_parameter(Parameter("TaskSecurityGroupId", Type="AWS::EC2::SecurityGroup::Id"))
    prefix, cache = settings.prefix, settings.cache

    subnet_group = template.add_resource(
        SubnetGroup(
            "SubnetGroup",
            CacheSubnetGroupName=f"{prefix}-redis-subnet",
            Description="Private subnets",
            SubnetIds=Ref(subnets),
            Tags=tags(settings, f"{prefix}-redis-subnet"),
        )
    )
    group = template.add_resource(
        SecurityGroup(
            "SecurityGroup",
            GroupName=f"{prefix}-redis-sg",
            GroupDescription="Redis: from the service",
            VpcId=Ref(vpc),
            SecurityGroupIngress=[
                SecurityGroupRule(
                    IpProtocol="tcp",
                    FromPort=cache.port,
                    ToPort=cache.port,
                    SourceSecurityGroupId=Ref(tasks),
                )
            ],
            Tags=tags(settings, f"{prefix}-redis-sg"),
        )
    )
    # CloudFormation makes this group's name up; ours is in the tag and the description.
    parameters = template.add_resource(
        ParameterGroup(
            "Parameters",
            CacheParameterGroupFamily=_family(cache),
            Description=f"{prefix}-redis-pg",
            Properties={
                "maxmemory-policy": "allkeys-lru",
                "notify-keyspace-events": "Ex",
                "tcp-keepalive": "300",
            },
            Tags=tags(settings, f"{prefix}-redis-pg"),
        )
    )
    replicated = cache.nodes > 1
    replication_group = template.add_resource(
        ReplicationGroup(
            "ReplicationGroup",
            ReplicationGroupId=f"{prefix}-redis",
            ReplicationGroupDescription="Messages between the tasks of the service",
            Engine=cache.engine,
            EngineVersion=cache.engine_version,
            CacheNodeType=cache.node_type,
            NumCacheClusters=cache.nodes,
            AutomaticFailoverEnabled=replicated,
            MultiAZEnabled=replicated,
            Port=cache.port,
            TransitEncryptionEnabled=cache.tls,
            AtRestEncryptionEnabled=True,
            CacheParameterGroupName=Ref(parameters),
            CacheSubnetGroupName=Ref(subnet_group),
            SecurityGroupIds=[GetAtt(group, "GroupId")],
            PreferredMaintenanceWindow=cache.maintenance_window,
            SnapshotWindow=cache.snapshot_window,
            SnapshotRetentionLimit=cache.snapshot_retention_days,
            LogDeliveryConfigurations=[_log(template, settings, kind) for kind in ("slow-log", "engine-log")],
            Tags=tags(settings, f"{prefix}-redis"),
        )
    )

    endpoint = GetAtt(replication_group, "PrimaryEndPoint.Address")
    scheme = "rediss" if cache.tls else "redis"
    connection = Join("", [f"{scheme}://", endpoint, f":{cache.port}"])
    template.add_output(Output("RedisEndpoint", Value=endpoint, Description="The primary node"))
    template.add_output(
        Output("RedisConnectionString", Value=connection, Description="The primary node as a URL")
    )
    return template


def _family(cache: Cache) -> str:
    """The family of parameter groups that an engine's version takes, e.g. redis7, valkey8.

    Source: Amazon ElastiCache User Guide, "Engine specific parameters".
    """
    major, _, minor = cache.engine_version.partition(".")
    if cache.engine == "redis" and int(major) < 7:
        return "redis6.x" if major == "6" else f"redis{major}.{minor}"
    return f"{cache.engine}{major}"


def _log(template: Template, settings: Settings, kind: str) -> LogDeliveryConfigurationRequest:
    name = f"/aws/elasticache/{settings.prefix}/{kind}"
    title = "".join(part.capitalize() for part in kind.split("-"))
    group = template.add_resource(log_group(settings, title, name, settings.cache.log_retention_days))
    return LogDeliveryConfigurationRequest(
        LogType=kind,
        LogFormat="json",
        DestinationType="cloudwatch-logs",
        DestinationDetails=DestinationDetails(
            CloudWatchLogsDetails=CloudWatchLogsDestinationDetails(LogGroup=Ref(group))
        ),
    )
