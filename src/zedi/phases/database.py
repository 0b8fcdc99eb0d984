"""Phase 3: Aurora PostgreSQL (Serverless v2) and the secret that holds its master user's credentials."""

from __future__ import annotations

import json
from typing import Any, Final

from troposphere import GetAtt, Join, Output, Parameter, Ref, Template
from troposphere.ec2 import SecurityGroup, SecurityGroupRule
from troposphere.rds import (
    DBCluster,
    DBClusterParameterGroup,
    DBInstance,
    DBParameterGroup,
    DBSubnetGroup,
    ServerlessV2ScalingConfiguration,
)
from troposphere.secretsmanager import GenerateSecretString, Secret, SecretTargetAttachment

from zedi.phases.tags import tags
from zedi.settings import Database, Settings

_ENGINE: Final = "aurora-postgresql"
_UNSAFE: Final = "\"'\\/@:?#%&+$`<>[]{}|^~;=,*()! "
"""Left out of the password: what RDS refuses, and what URLs, shells and psql would have to quote."""


def build(settings: Settings) -> Template:
    template = Template(Description=f"{settings.prefix}: database")
    version = template.add_parameter(Parameter("DatabaseVersion", Type="String"))
    vpc = template.add_parameter(Parameter("VpcId", Type="AWS::EC2::VPC::Id"))
    subnets = template.add_parameter(Parameter("PrivateSubnetIds", Type="List<AWS::EC2::Subnet::Id>"))
    tasks = template.add_parameter(Parameter("TaskSecurityGroupId", Type="AWS::EC2::SecurityGroup::Id"))
    prefix, database = settings.prefix, settings.database

    secret = _secret(template, settings)
    subnet_group = template.add_resource(
        DBSubnetGroup(
            "SubnetGroup",
            DBSubnetGroupName=f"{prefix}-db-subnet",
            DBSubnetGroupDescription="Private subnets",
            SubnetIds=Ref(subnets),
            Tags=tags(settings, f"{prefix}-db-subnet"),
        )
    )
    group = template.add_resource(
        SecurityGroup(
            "SecurityGroup",
            GroupName=f"{prefix}-aurora-sg",
            GroupDescription="Aurora: PostgreSQL from the service",
            VpcId=Ref(vpc),
            SecurityGroupIngress=[
                SecurityGroupRule(
                    IpProtocol="tcp",
                    FromPort=database.port,
                    ToPort=database.port,
                    SourceSecurityGroupId=Ref(tasks),
                )
            ],
            Tags=tags(settings, f"{prefix}-aurora-sg"),
        )
    )
    cluster_parameters, instance_parameters = _parameter_groups(template, settings)

    kept = "Snapshot" if database.final_snapshot else "Delete"
    cluster = template.add_resource(
        DBCluster(
            "Cluster",
            DeletionPolicy=kept,
            UpdateReplacePolicy=kept,
            DBClusterIdentifier=f"{prefix}-cluster",
            Engine=_ENGINE,
            EngineVersion=Ref(version),
            # Without this a version past its end of standard support is kept alive for a fee.
            EngineLifecycleSupport="open-source-rds-extended-support-disabled",
            DatabaseName=database.name,
            Port=database.port,
            MasterUsername=_from_secret(secret, "username"),
            MasterUserPassword=_from_secret(secret, "password"),
            ServerlessV2ScalingConfiguration=_scaling(database),
            DBSubnetGroupName=Ref(subnet_group),
            VpcSecurityGroupIds=[GetAtt(group, "GroupId")],
            DBClusterParameterGroupName=Ref(cluster_parameters),
            BackupRetentionPeriod=database.backup_retention_days,
            PreferredMaintenanceWindow=database.maintenance_window,
            StorageEncrypted=True,
            EnableIAMDatabaseAuthentication=True,
            EnableHttpEndpoint=True,
            CopyTagsToSnapshot=True,
            DeletionProtection=database.deletion_protection,
            Tags=tags(settings, f"{prefix}-cluster"),
        )
    )
    # Past troposphere's own check: which windows RDS takes is preflight's to say.
    cluster.properties["PreferredBackupWindow"] = database.backup_window
    insights = {"PerformanceInsightsRetentionPeriod": database.performance_insights_days}
    for number in range(1, database.instances + 1):
        template.add_resource(
            DBInstance(
                f"Instance{number}",
                DeletionPolicy="Delete",  # the data is the cluster's
                UpdateReplacePolicy="Delete",
                DBInstanceIdentifier=f"{prefix}-instance-{number}",
                DBClusterIdentifier=Ref(cluster),
                DBInstanceClass="db.serverless",
                Engine=_ENGINE,
                DBParameterGroupName=Ref(instance_parameters),
                PubliclyAccessible=False,
                # The version is what was deployed, until somebody asks for another.
                AutoMinorVersionUpgrade=False,
                EnablePerformanceInsights=database.performance_insights_days > 0,
                **(insights if database.performance_insights_days else {}),
                Tags=tags(settings, f"{prefix}-instance-{number}"),
            )
        )
    # Adds engine, host, port and dbname to the secret's JSON.
    template.add_resource(
        SecretTargetAttachment(
            "CredentialsAttachment",
            SecretId=Ref(secret),
            TargetId=Ref(cluster),
            TargetType="AWS::RDS::DBCluster",
        )
    )

    for name, value, description in (
        ("AuroraClusterEndpoint", GetAtt(cluster, "Endpoint.Address"), "The writer"),
        ("AuroraReaderEndpoint", GetAtt(cluster, "ReadEndpoint.Address"), "The readers"),
        ("AuroraDatabaseName", database.name, "The database"),
        # Id is the ARN with its random suffix.
        ("DbCredentialsSecretArn", GetAtt(secret, "Id"), "The secret with the master user's credentials"),
    ):
        template.add_output(Output(name, Value=value, Description=description))
    return template


def _secret(template: Template, settings: Settings) -> Secret:
    database = settings.database
    name = f"{settings.prefix}-db-credentials"
    # CloudFormation deletes at once; a recovery window is given by who deletes the retained secret.
    kept = "Retain" if database.secret_recovery_days else "Delete"
    return template.add_resource(
        Secret(
            "DbCredentials",
            DeletionPolicy=kept,
            UpdateReplacePolicy=kept,
            Name=name,
            Description="Master user of the Aurora cluster",
            GenerateSecretString=GenerateSecretString(
                SecretStringTemplate=json.dumps(
                    {"username": database.master_username, "dbname": database.name, "engine": "postgres"}
                ),
                GenerateStringKey="password",
                PasswordLength=32,
                ExcludeCharacters=_UNSAFE,
            ),
            Tags=tags(settings, name),
        )
    )


def _scaling(database: Database) -> ServerlessV2ScalingConfiguration:
    scaling = ServerlessV2ScalingConfiguration()
    # Past troposphere's own check: it refuses a minimum of 0 ACU, which Aurora accepts. What Aurora refuses
    # is preflight's to say.
    scaling.properties.update(MinCapacity=database.min_acu, MaxCapacity=database.max_acu)
    if database.min_acu == 0:  # Aurora takes it with no other minimum
        scaling.properties["SecondsUntilAutoPause"] = database.auto_pause_seconds
    return scaling


def _from_secret(secret: Secret, key: str) -> Join:
    return Join("", ["{{resolve:secretsmanager:", Ref(secret), f":SecretString:{key}}}}}"])


def _parameter_groups(
    template: Template, settings: Settings
) -> tuple[DBClusterParameterGroup, DBParameterGroup]:
    prefix, database = settings.prefix, settings.database
    family = f"{_ENGINE}{database.engine_version.partition('.')[0]}"
    cluster_values: dict[str, Any] = {
        "log_statement": database.log_statement,
        "log_min_duration_statement": str(database.log_min_duration_ms),
    }
    cluster = template.add_resource(
        DBClusterParameterGroup(
            "ClusterParameters",
            DBClusterParameterGroupName=f"{prefix}-cluster-pg",
            Description="What the cluster logs",
            Family=family,
            Parameters=cluster_values,
            Tags=tags(settings, f"{prefix}-cluster-pg"),
        )
    )
    instance = template.add_resource(
        DBParameterGroup(
            "InstanceParameters",
            DBParameterGroupName=f"{prefix}-db-pg",
            Description="Statistics of statements",
            Family=family,
            Parameters={"shared_preload_libraries": "pg_stat_statements"},
            Tags=tags(settings, f"{prefix}-db-pg"),
        )
    )
    return cluster, instance
