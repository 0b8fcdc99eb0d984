"""What the platform must contain, as data written by hand, against the templates of dev and prod.

A row names a phase and a resource's type, what tells this resource from others of its type (`where`), and
the properties that it must have. Expected values may be part of what is there: a dict must hold the keys
given, anything else must be equal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

Templates = Mapping[str, dict[str, Any]]
Synthesize = Callable[[str], Templates]

REGION = "ap-northeast-1"
ACCOUNT = "${AWS::AccountId}"


@dataclass(frozen=True)
class Row:
    """`where` and `properties` may name a nested property with dots; {env} stands for the environment."""

    phase: str
    type: str
    where: dict[str, Any]
    properties: dict[str, Any] = field(default_factory=dict)
    prod: dict[str, Any] = field(default_factory=dict)
    """What prod has instead."""

    def __str__(self) -> str:
        named = next(iter(self.where.values()), "")
        return f"{self.phase}-{self.type.split('::', 1)[1]}-{named if isinstance(named, str) else ''}"


def ref(name: str) -> dict[str, str]:
    return {"Ref": name}


def att(name: str, attribute: str) -> dict[str, list[str]]:
    return {"Fn::GetAtt": [name, attribute]}


def sub(text: str) -> dict[str, str]:
    return {"Fn::Sub": text}


def rule(port: int, **source: Any) -> dict[str, Any]:
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **source}


def subnet(kind: str, cidr: str, zone: str) -> Row:
    return Row(
        "networking",
        "AWS::EC2::Subnet",
        {"CidrBlock": cidr},
        {
            "AvailabilityZone": zone,
            "MapPublicIpOnLaunch": kind == "public",
            "VpcId": ref("Vpc"),
            "Tags.Name": f"zedi-{{env}}-{kind}-{zone}",
        },
    )


PRIVATE_SUBNETS = [ref("PrivateSubnet1"), ref("PrivateSubnet2")]

NETWORKING = [
    Row(
        "networking",
        "AWS::EC2::VPC",
        {"Tags.Name": "zedi-{env}-vpc"},
        {"CidrBlock": "10.0.0.0/16", "EnableDnsSupport": True, "EnableDnsHostnames": True},
    ),
    subnet("public", "10.0.0.0/24", "ap-northeast-1a"),
    subnet("public", "10.0.1.0/24", "ap-northeast-1c"),
    subnet("private", "10.0.100.0/24", "ap-northeast-1a"),
    subnet("private", "10.0.101.0/24", "ap-northeast-1c"),
    Row(
        "networking",
        "AWS::EC2::Route",
        {"RouteTableId": ref("PublicRouteTable")},
        {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": ref("InternetGateway")},
    ),
    *(
        Row(
            "networking",
            "AWS::EC2::SubnetRouteTableAssociation",
            {"SubnetId": ref(f"{kind}Subnet{number}")},
            {"RouteTableId": ref(f"{kind}RouteTable")},
        )
        for kind in ("Public", "Private")
        for number in (1, 2)
    ),
    *(
        Row(
            "networking",
            "AWS::EC2::VPCEndpoint",
            {"ServiceName": f"com.amazonaws.{REGION}.{service}"},
            {
                "VpcEndpointType": "Interface",
                "PrivateDnsEnabled": True,
                "SubnetIds": PRIVATE_SUBNETS,
                "SecurityGroupIds": [att("EndpointSecurityGroup", "GroupId")],
            },
        )
        for service in ("ecr.api", "ecr.dkr", "logs", "secretsmanager")
    ),
    Row(
        "networking",
        "AWS::EC2::VPCEndpoint",
        {"ServiceName": f"com.amazonaws.{REGION}.s3"},
        {"VpcEndpointType": "Gateway", "RouteTableIds": [ref("PrivateRouteTable")]},
    ),
    Row(
        "networking",
        "AWS::EC2::SecurityGroup",
        {"GroupName": "zedi-{env}-endpoints-sg"},
        {"SecurityGroupIngress": [rule(443, CidrIp="10.0.0.0/16")]},
    ),
    Row(
        "networking",
        "AWS::EC2::SecurityGroup",
        {"GroupName": "zedi-{env}-alb-sg"},
        {"SecurityGroupIngress": [rule(80, CidrIp="0.0.0.0/0")]},
    ),
    Row(
        "networking",
        "AWS::EC2::SecurityGroup",
        {"GroupName": "zedi-{env}-tasks-sg"},
        {
            "SecurityGroupIngress": [
                rule(port, SourceSecurityGroupId=att("AlbSecurityGroup", "GroupId")) for port in (1234, 8080)
            ]
        },
    ),
]

SECURITY = [
    Row(
        "security",
        "AWS::Cognito::UserPool",
        {"UserPoolName": "zedi-{env}-users"},
        {
            "UsernameAttributes": ["email"],
            "AutoVerifiedAttributes": ["email"],
            "UserAttributeUpdateSettings": {"AttributesRequireVerificationBeforeUpdate": ["email"]},
            "AccountRecoverySetting": {"RecoveryMechanisms": [{"Name": "verified_email", "Priority": 1}]},
            "Schema": [
                {
                    "Name": "display_name",
                    "AttributeDataType": "String",
                    "Mutable": True,
                    "StringAttributeConstraints": {"MinLength": "0", "MaxLength": "100"},
                }
            ],
            "MfaConfiguration": "OPTIONAL",
            "EnabledMfas": ["SOFTWARE_TOKEN_MFA"],
            "Policies.PasswordPolicy": {
                "MinimumLength": 8,
                "RequireUppercase": True,
                "RequireLowercase": True,
                "RequireNumbers": True,
                "RequireSymbols": True,
                "TemporaryPasswordValidityDays": 7,
            },
            "VerificationMessageTemplate": {
                "DefaultEmailOption": "CONFIRM_WITH_CODE",
                "EmailSubject": "[Zedi] メールアドレスの確認",
                "EmailMessage": "確認コード: {####}",
            },
            "DeletionProtection": "INACTIVE",
        },
        prod={"DeletionProtection": "ACTIVE"},
    ),
    Row(
        "security",
        "AWS::Cognito::UserPoolClient",
        {"ClientName": "zedi-{env}-web-client"},
        {
            "GenerateSecret": False,
            "AllowedOAuthFlowsUserPoolClient": True,
            "AllowedOAuthFlows": ["code"],
            "AllowedOAuthScopes": ["email", "openid", "profile"],
            "ExplicitAuthFlows": ["ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
            "AccessTokenValidity": 1,
            "IdTokenValidity": 1,
            "RefreshTokenValidity": 30,
            "TokenValidityUnits": {"AccessToken": "hours", "IdToken": "hours", "RefreshToken": "days"},
            "EnableTokenRevocation": True,
            "PreventUserExistenceErrors": "ENABLED",
            "CallbackURLs": {
                "Fn::If": [
                    "HasFrontend",
                    [
                        "http://localhost:30000/callback",
                        "http://localhost:30000/auth/callback",
                        sub("${FrontendUrl}/callback"),
                    ],
                    ["http://localhost:30000/callback", "http://localhost:30000/auth/callback"],
                ]
            },
            "LogoutURLs": {
                "Fn::If": [
                    "HasFrontend",
                    ["http://localhost:30000", ref("FrontendUrl")],
                    ["http://localhost:30000"],
                ]
            },
        },
    ),
    Row(
        "security",
        "AWS::Cognito::UserPoolDomain",
        {"Domain": sub(f"zedi-{{env}}-{ACCOUNT}")},
        {"UserPoolId": ref("UserPool")},
    ),
    Row(
        "security",
        "AWS::IAM::Role",
        {"RoleName": "zedi-{env}-ecs-execution-role"},
        {
            "ManagedPolicyArns": ["arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"],
            "AssumeRolePolicyDocument.Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                }
            ],
            "Policies": [
                {
                    "PolicyName": "zedi-{env}-ecs-execution-secrets",
                    "PolicyDocument": {
                        "Version": "2012-10-17",
                        "Statement": [
                            {
                                "Effect": "Allow",
                                "Action": ["secretsmanager:GetSecretValue"],
                                "Resource": sub(
                                    f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:zedi-{{env}}-*"
                                ),
                            }
                        ],
                    },
                }
            ],
        },
    ),
    Row(
        "security",
        "AWS::IAM::Role",
        {"RoleName": "zedi-{env}-ecs-task-role"},
        {
            "Policies": [
                {
                    "PolicyName": "zedi-{env}-ecs-task-s3",
                    "PolicyDocument": {
                        "Version": "2012-10-17",
                        "Statement": [
                            {
                                "Effect": "Allow",
                                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
                                "Resource": "arn:aws:s3:::zedi-{env}-*/*",
                            },
                            {
                                "Effect": "Allow",
                                "Action": ["s3:ListBucket"],
                                "Resource": "arn:aws:s3:::zedi-{env}-*",
                            },
                        ],
                    },
                },
                {
                    "PolicyName": "zedi-{env}-ecs-task-logs",
                    "PolicyDocument": {
                        "Version": "2012-10-17",
                        "Statement": [
                            {
                                "Effect": "Allow",
                                "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                                "Resource": sub(
                                    f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/ecs/zedi-{{env}}-*:*"
                                ),
                            }
                        ],
                    },
                },
                {
                    "PolicyName": "zedi-{env}-ecs-task-ssm",
                    "PolicyDocument": {
                        "Version": "2012-10-17",
                        "Statement": [
                            {
                                "Effect": "Allow",
                                "Action": [
                                    "ssm:GetParameter",
                                    "ssm:GetParameters",
                                    "ssm:GetParametersByPath",
                                ],
                                "Resource": sub(f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/zedi/{{env}}/*"),
                            }
                        ],
                    },
                },
            ],
        },
    ),
]

DATABASE = [
    Row(
        "database",
        "AWS::RDS::DBCluster",
        {"DBClusterIdentifier": "zedi-{env}-cluster"},
        {
            "Engine": "aurora-postgresql",
            "EngineVersion": ref("DatabaseVersion"),
            "EngineLifecycleSupport": "open-source-rds-extended-support-disabled",
            "ServerlessV2ScalingConfiguration": {"MinCapacity": 0.5, "MaxCapacity": 4.0},
            "DatabaseName": "zedi",
            "Port": 5432,
            "MasterUsername": {
                "Fn::Join": [
                    "",
                    ["{{resolve:secretsmanager:", ref("DbCredentials"), ":SecretString:username}}"],
                ]
            },
            "MasterUserPassword": {
                "Fn::Join": [
                    "",
                    ["{{resolve:secretsmanager:", ref("DbCredentials"), ":SecretString:password}}"],
                ]
            },
            "DBSubnetGroupName": ref("SubnetGroup"),
            "VpcSecurityGroupIds": [att("SecurityGroup", "GroupId")],
            "DBClusterParameterGroupName": ref("ClusterParameters"),
            "BackupRetentionPeriod": 7,
            "PreferredBackupWindow": "03:00-04:00",
            "PreferredMaintenanceWindow": "sun:04:00-sun:05:00",
            "StorageEncrypted": True,
            "EnableIAMDatabaseAuthentication": True,
            "EnableHttpEndpoint": True,
            "DeletionProtection": False,
        },
        prod={"BackupRetentionPeriod": 14, "DeletionProtection": True},
    ),
    Row(
        "database",
        "AWS::RDS::DBInstance",
        {"DBInstanceIdentifier": "zedi-{env}-instance-1"},
        {
            "DBClusterIdentifier": ref("Cluster"),
            "DBInstanceClass": "db.serverless",
            "Engine": "aurora-postgresql",
            "PubliclyAccessible": False,
            "AutoMinorVersionUpgrade": False,
            "EnablePerformanceInsights": True,
            "PerformanceInsightsRetentionPeriod": 7,
            "DBParameterGroupName": ref("InstanceParameters"),
        },
    ),
    Row(
        "database",
        "AWS::RDS::DBSubnetGroup",
        {"DBSubnetGroupName": "zedi-{env}-db-subnet"},
        {"SubnetIds": ref("PrivateSubnetIds")},
    ),
    Row(
        "database",
        "AWS::EC2::SecurityGroup",
        {"GroupName": "zedi-{env}-aurora-sg"},
        {"SecurityGroupIngress": [rule(5432, SourceSecurityGroupId=ref("TaskSecurityGroupId"))]},
    ),
    Row(
        "database",
        "AWS::SecretsManager::Secret",
        {"Name": "zedi-{env}-db-credentials"},
        {"GenerateSecretString": {"GenerateStringKey": "password", "PasswordLength": 32}},
    ),
    # Adds host and port (and engine and dbname once more) to the secret.
    Row(
        "database",
        "AWS::SecretsManager::SecretTargetAttachment",
        {"SecretId": ref("DbCredentials")},
        {"TargetId": ref("Cluster"), "TargetType": "AWS::RDS::DBCluster"},
    ),
    Row(
        "database",
        "AWS::RDS::DBClusterParameterGroup",
        {"DBClusterParameterGroupName": "zedi-{env}-cluster-pg"},
        {
            "Family": "aurora-postgresql15",
            "Parameters": {"log_statement": "all", "log_min_duration_statement": "1000"},
        },
        prod={"Parameters": {"log_statement": "ddl", "log_min_duration_statement": "1000"}},
    ),
    Row(
        "database",
        "AWS::RDS::DBParameterGroup",
        {"DBParameterGroupName": "zedi-{env}-db-pg"},
        {
            "Family": "aurora-postgresql15",
            "Parameters": {"shared_preload_libraries": "pg_stat_statements"},
        },
    ),
]

CACHE = [
    Row(
        "cache",
        "AWS::ElastiCache::ReplicationGroup",
        {"ReplicationGroupId": "zedi-{env}-redis"},
        {
            "Engine": "redis",
            "EngineVersion": "7.1",
            "CacheNodeType": "cache.t4g.micro",
            "NumCacheClusters": 1,
            "AutomaticFailoverEnabled": False,
            "MultiAZEnabled": False,
            "Port": 6379,
            "TransitEncryptionEnabled": True,
            "AtRestEncryptionEnabled": True,
            "CacheParameterGroupName": ref("Parameters"),
            "CacheSubnetGroupName": ref("SubnetGroup"),
            "SecurityGroupIds": [att("SecurityGroup", "GroupId")],
            "PreferredMaintenanceWindow": "sun:05:00-sun:06:00",
            "SnapshotWindow": "04:00-05:00",
            "SnapshotRetentionLimit": 1,
            "LogDeliveryConfigurations": [
                {
                    "LogType": kind,
                    "LogFormat": "json",
                    "DestinationType": "cloudwatch-logs",
                    "DestinationDetails": {"CloudWatchLogsDetails": {"LogGroup": ref(group)}},
                }
                for kind, group in (("slow-log", "SlowLog"), ("engine-log", "EngineLog"))
            ],
        },
        prod={
            "NumCacheClusters": 2,
            "AutomaticFailoverEnabled": True,
            "MultiAZEnabled": True,
            "SnapshotRetentionLimit": 7,
        },
    ),
    Row(
        "cache",
        "AWS::ElastiCache::ParameterGroup",
        # CloudFormation names it itself.
        {"Tags.Name": "zedi-{env}-redis-pg"},
        {
            "CacheParameterGroupFamily": "redis7",
            "Properties": {
                "maxmemory-policy": "allkeys-lru",
                "notify-keyspace-events": "Ex",
                "tcp-keepalive": "300",
            },
        },
    ),
    Row(
        "cache",
        "AWS::ElastiCache::SubnetGroup",
        {"CacheSubnetGroupName": "zedi-{env}-redis-subnet"},
        {"SubnetIds": ref("PrivateSubnetIds")},
    ),
    Row(
        "cache",
        "AWS::EC2::SecurityGroup",
        {"GroupName": "zedi-{env}-redis-sg"},
        {"SecurityGroupIngress": [rule(6379, SourceSecurityGroupId=ref("TaskSecurityGroupId"))]},
    ),
    *(
        Row(
            "cache",
            "AWS::Logs::LogGroup",
            {"LogGroupName": f"/aws/elasticache/zedi-{{env}}/{kind}"},
            {"RetentionInDays": 7},
            prod={"RetentionInDays": 30},
        )
        for kind in ("slow-log", "engine-log")
    ),
]

SPOT = {"CapacityProvider": "FARGATE_SPOT", "Weight": 1}


def target_group(name: str, port: int, extra: dict[str, str]) -> Row:
    attributes = {"deregistration_delay.timeout_seconds": "100", **extra}
    return Row(
        "realtime",
        "AWS::ElasticLoadBalancingV2::TargetGroup",
        {"Name": name},
        {
            "TargetType": "ip",
            "Protocol": "HTTP",
            "Port": port,
            "HealthCheckPath": "/health",
            "Matcher": {"HttpCode": "200"},
            "TargetGroupAttributes": [{"Key": key, "Value": value} for key, value in attributes.items()],
        },
    )


def container(name: str, module: str, port: int) -> dict[str, Any]:
    environment = {
        "ZEDI_ENVIRONMENT": "{env}",
        "BIND_ADDRESS": "0.0.0.0",
        "PORT": str(port),
        "DB_TLS": "require",
        "REDIS_URL": ref("RedisConnectionString"),
        "COGNITO_ISSUER": {"Fn::Join": ["", ["https://", ref("CognitoUserPoolEndpoint")]]},
        "COGNITO_CLIENT_ID": ref("CognitoClientId"),
        "COGNITO_JWKS": ref("TokenKeys"),
        "COGNITO_JWKS_URL": ref("TokenKeysUrl"),
        "PING_INTERVAL": "25",
        "DRAIN_SECONDS": "100",
        "AWS_REGION": REGION,
        "HISTORY_VERSIONS": "30",
        "HISTORY_DAYS": "90",
        "HISTORY_MINUTES": "10",
        "HISTORY_BUCKET": ref("HistoryBucket"),
        "HISTORY_BUCKET_DAYS": "365",
    }
    health = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{port}/health', timeout=4)"
    return {
        "Name": name,
        "Image": ref("ImageUri"),
        "Essential": True,
        "Command": ["python", "-m", module],
        "User": "65534:65534",
        "ReadonlyRootFilesystem": True,
        "PortMappings": [{"ContainerPort": port, "Protocol": "tcp"}],
        "Environment": [{"Name": key, "Value": value} for key, value in environment.items()],
        "Secrets": [{"Name": "DB_CREDENTIALS_JSON", "ValueFrom": ref("DbCredentialsSecretArn")}],
        "HealthCheck": {
            "Command": ["CMD", "python", "-c", health],
            "Interval": 10,
            "Timeout": 5,
            "Retries": 3,
            "StartPeriod": 60,
        },
        "StopTimeout": 120,
        "LogConfiguration": {
            "LogDriver": "awslogs",
            "Options": {
                "awslogs-group": ref("ServiceLog"),
                "awslogs-region": REGION,
                "awslogs-stream-prefix": name,
                "mode": "non-blocking",
                "max-buffer-size": "4m",
            },
        },
    }


PRIVATE_BUCKET = {
    "PublicAccessBlockConfiguration": {
        "BlockPublicAcls": True,
        "BlockPublicPolicy": True,
        "IgnorePublicAcls": True,
        "RestrictPublicBuckets": True,
    },
    "BucketEncryption": {
        "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
    },
}

REALTIME = [
    Row(
        "realtime",
        "AWS::S3::Bucket",
        {"BucketName": sub(f"zedi-{{env}}-history-{ACCOUNT}")},
        {
            **PRIVATE_BUCKET,
            "LifecycleConfiguration.Rules": [
                {"Id": "expire-versions", "Status": "Enabled", "ExpirationInDays": 365}
            ],
        },
    ),
    Row(
        "realtime",
        "AWS::S3::BucketPolicy",
        {"Bucket": ref("HistoryBucket")},
        {
            "PolicyDocument.Statement": [
                {
                    "Sid": "OnlyEncrypted",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "s3:*",
                    "Resource": [sub("${HistoryBucket.Arn}"), sub("${HistoryBucket.Arn}/*")],
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                }
            ]
        },
    ),
    Row(
        "realtime",
        "AWS::ECR::Repository",
        {"RepositoryName": "zedi-{env}-realtime"},
        {
            "ImageScanningConfiguration": {"ScanOnPush": True},
            "EncryptionConfiguration": {"EncryptionType": "AES256"},
        },
    ),
    Row(
        "realtime",
        "AWS::ECS::Cluster",
        {"ClusterName": "zedi-{env}-cluster"},
        {"CapacityProviders": ["FARGATE", "FARGATE_SPOT"]},
    ),
    Row(
        "realtime",
        "AWS::ECS::TaskDefinition",
        {"Family": "zedi-{env}-realtime"},
        {
            "RequiresCompatibilities": ["FARGATE"],
            "NetworkMode": "awsvpc",
            "Cpu": "256",
            "Memory": "512",
            "RuntimePlatform": {"OperatingSystemFamily": "LINUX", "CpuArchitecture": "X86_64"},
            "ExecutionRoleArn": ref("EcsExecutionRoleArn"),
            "TaskRoleArn": ref("EcsTaskRoleArn"),
            "ContainerDefinitions": [
                container("realtime", "zedi.realtime", 1234),
                container("api", "zedi.notes", 8080),
            ],
        },
    ),
    Row(
        "realtime",
        "AWS::ECS::Service",
        {"ServiceName": "zedi-{env}-realtime"},
        {
            "DesiredCount": ref("TaskCount"),
            "CapacityProviderStrategy": [SPOT],
            "DeploymentConfiguration": {
                "MinimumHealthyPercent": 100,
                "MaximumPercent": 200,
                "DeploymentCircuitBreaker": {"Enable": True, "Rollback": True},
            },
            "NetworkConfiguration.AwsvpcConfiguration": {
                "Subnets": ref("PrivateSubnetIds"),
                "SecurityGroups": [ref("TaskSecurityGroupId")],
                "AssignPublicIp": "DISABLED",
            },
            "LoadBalancers": [
                {
                    "ContainerName": "realtime",
                    "ContainerPort": 1234,
                    "TargetGroupArn": ref("RealtimeTargets"),
                },
                {"ContainerName": "api", "ContainerPort": 8080, "TargetGroupArn": ref("ApiTargets")},
            ],
        },
        prod={"CapacityProviderStrategy": [{"CapacityProvider": "FARGATE", "Base": 1, "Weight": 0}, SPOT]},
    ),
    Row(
        "realtime",
        "AWS::ElasticLoadBalancingV2::LoadBalancer",
        {"Name": "zedi-{env}-alb"},
        {
            "Type": "application",
            "Scheme": "internet-facing",
            "Subnets": ref("PublicSubnetIds"),
            "SecurityGroups": [ref("AlbSecurityGroupId")],
            "LoadBalancerAttributes": [
                {"Key": "idle_timeout.timeout_seconds", "Value": "120"},
                {"Key": "routing.http2.enabled", "Value": "true"},
                {"Key": "routing.http.drop_invalid_header_fields.enabled", "Value": "true"},
            ],
        },
    ),
    target_group(
        "zedi-{env}-realtime",
        1234,
        {
            "stickiness.enabled": "true",
            "stickiness.type": "lb_cookie",
            "stickiness.lb_cookie.duration_seconds": "86400",
        },
    ),
    target_group("zedi-{env}-api", 8080, {}),
    Row(
        "realtime",
        "AWS::ElasticLoadBalancingV2::Listener",
        {"Port": 80},
        {
            "Protocol": "HTTP",
            "DefaultActions": [{"Type": "forward", "TargetGroupArn": ref("RealtimeTargets")}],
        },
    ),
    Row(
        "realtime",
        "AWS::ElasticLoadBalancingV2::ListenerRule",
        {"ListenerArn": ref("HttpListener")},
        {
            "Conditions": [{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/api/*"]}}],
            "Actions": [{"Type": "forward", "TargetGroupArn": ref("ApiTargets")}],
        },
    ),
    Row(
        "realtime",
        "AWS::ApplicationAutoScaling::ScalableTarget",
        {"ScalableDimension": "ecs:service:DesiredCount"},
        {
            "ServiceNamespace": "ecs",
            "ResourceId": {"Fn::Join": ["/", ["service", ref("Cluster"), att("Service", "Name")]]},
            "MinCapacity": {"Fn::If": ["HasNoTasks", 0, 1]},
            "MaxCapacity": 4,
        },
        prod={"MinCapacity": {"Fn::If": ["HasNoTasks", 0, 2]}, "MaxCapacity": 8},
    ),
    Row(
        "realtime",
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        {"PolicyName": "zedi-{env}-cpu"},
        {
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": {
                "TargetValue": 60.0,
                "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
            },
        },
    ),
    Row(
        "realtime",
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        {"PolicyName": "zedi-{env}-connections"},
        {
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": {
                "TargetValue": 500.0,
                "CustomizedMetricSpecification": {
                    "Namespace": "Zedi",
                    "MetricName": "Connections",
                    "Dimensions": [{"Name": "Environment", "Value": "{env}"}],
                    "Statistic": "Average",
                },
            },
        },
    ),
    Row(
        "realtime",
        "AWS::Logs::LogGroup",
        {"LogGroupName": "/ecs/zedi-{env}-realtime"},
        {"RetentionInDays": 7},
        prod={"RetentionInDays": 30},
    ),
]

NO_CACHE = {
    "TargetOriginId": "service",
    "ViewerProtocolPolicy": "https-only",
    "AllowedMethods": ["GET", "HEAD", "OPTIONS", "PUT", "POST", "PATCH", "DELETE"],
    "Compress": True,
    "CachePolicyId": "4135ea2d-6df8-44a3-9df3-4b5a84be39ad",
    "OriginRequestPolicyId": "216adef6-5c7f-47e4-b989-5492eafa07d3",
    "ResponseHeadersPolicyId": ref("SecurityHeaders"),
}

CDN = [
    Row(
        "cdn",
        "AWS::S3::Bucket",
        {"BucketName": sub(f"zedi-{{env}}-frontend-{ACCOUNT}")},
        {**PRIVATE_BUCKET, "VersioningConfiguration": None},
        prod={"VersioningConfiguration": {"Status": "Enabled"}},
    ),
    Row(
        "cdn",
        "AWS::S3::BucketPolicy",
        {"Bucket": ref("FrontendBucket")},
        {
            "PolicyDocument.Statement": [
                {
                    "Sid": "CloudFrontReads",
                    "Effect": "Allow",
                    "Principal": {"Service": "cloudfront.amazonaws.com"},
                    "Action": "s3:GetObject",
                    "Resource": sub("${FrontendBucket.Arn}/*"),
                    "Condition": {
                        "StringEquals": {
                            "AWS:SourceArn": sub(
                                f"arn:aws:cloudfront::{ACCOUNT}:distribution/${{Distribution}}"
                            )
                        }
                    },
                }
            ]
        },
    ),
    Row(
        "cdn",
        "AWS::CloudFront::OriginAccessControl",
        {"OriginAccessControlConfig.Name": "zedi-{env}-frontend"},
        {
            "OriginAccessControlConfig": {
                "OriginAccessControlOriginType": "s3",
                "SigningBehavior": "always",
                "SigningProtocol": "sigv4",
            }
        },
    ),
    Row(
        "cdn",
        "AWS::CloudFront::Distribution",
        {"Tags.Name": "zedi-{env}-cdn"},
        {
            "DistributionConfig": {
                "Enabled": True,
                "HttpVersion": "http2and3",
                "DefaultRootObject": "index.html",
                "ViewerCertificate": {"CloudFrontDefaultCertificate": True},
                "CustomErrorResponses": None,
            },
            "DistributionConfig.Origins": [
                {
                    "Id": "frontend",
                    "DomainName": att("FrontendBucket", "RegionalDomainName"),
                    "OriginAccessControlId": ref("OriginAccess"),
                    "S3OriginConfig": {"OriginAccessIdentity": ""},
                },
                {
                    "Id": "service",
                    "DomainName": ref("AlbDnsName"),
                    "CustomOriginConfig": {
                        "OriginProtocolPolicy": "http-only",
                        "OriginSSLProtocols": ["TLSv1.2"],
                        "OriginReadTimeout": 60,
                    },
                },
            ],
            "DistributionConfig.DefaultCacheBehavior": {
                "TargetOriginId": "frontend",
                "ViewerProtocolPolicy": "redirect-to-https",
                "Compress": True,
                "CachePolicyId": "658327ea-f89d-4fab-a63d-7e88639e58f6",
                "ResponseHeadersPolicyId": ref("SecurityHeaders"),
                "FunctionAssociations": [
                    {"EventType": "viewer-request", "FunctionARN": att("SinglePage", "FunctionARN")}
                ],
            },
            # No function here: a path of the API is never a page.
            "DistributionConfig.CacheBehaviors": [
                {"PathPattern": "/api/*", **NO_CACHE},
                {"PathPattern": "/realtime*", **NO_CACHE},
            ],
        },
    ),
    Row(
        "cdn",
        "AWS::CloudFront::Function",
        {"Name": "zedi-{env}-single-page"},
        {"AutoPublish": True, "FunctionConfig": {"Runtime": "cloudfront-js-2.0"}},
    ),
    Row(
        "cdn",
        "AWS::CloudFront::ResponseHeadersPolicy",
        {"ResponseHeadersPolicyConfig.Name": "zedi-{env}-security-headers"},
        {
            "ResponseHeadersPolicyConfig.SecurityHeadersConfig": {
                "ContentTypeOptions": {"Override": True},
                "FrameOptions": {"FrameOption": "DENY", "Override": True},
                "ReferrerPolicy": {"ReferrerPolicy": "strict-origin-when-cross-origin", "Override": True},
                "StrictTransportSecurity": {
                    "AccessControlMaxAgeSec": 31_536_000,
                    "IncludeSubdomains": True,
                    "Override": True,
                },
            }
        },
    ),
]


def alarm(
    name: str, metric: str, threshold: float, statistic: str, dimensions: dict[str, Any], minutes: int
) -> Row:
    namespace, metric_name = metric.rsplit("/", 1)
    return Row(
        "monitoring",
        "AWS::CloudWatch::Alarm",
        {"AlarmName": f"zedi-{{env}}-{name}"},
        {
            "Namespace": namespace,
            "MetricName": metric_name,
            "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
            ("ExtendedStatistic" if statistic.startswith("p") else "Statistic"): statistic,
            "Threshold": threshold,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
            "EvaluationPeriods": minutes,
            "Period": 60,
            "AlarmActions": [ref("AlarmTopic")],
            "OKActions": [ref("AlarmTopic")],
        },
    )


SERVICE = {"Environment": "{env}"}
ECS = {"ClusterName": "zedi-{env}-cluster", "ServiceName": "zedi-{env}-realtime"}
REDIS = {"CacheClusterId": "zedi-{env}-redis-001"}
AURORA = {"DBClusterIdentifier": "zedi-{env}-cluster"}
ALB = {"LoadBalancer": sub("${AlbFullName}")}


def service_sum(name: str, metric: str) -> dict[str, Any]:
    return {
        "Id": name,
        "ReturnData": False,
        "MetricStat": {
            "Metric": {
                "Namespace": "Zedi",
                "MetricName": metric,
                "Dimensions": [{"Name": "Environment", "Value": "{env}"}],
            },
            "Period": 60,
            "Stat": "Sum",
        },
    }


MONITORING = [
    Row("monitoring", "AWS::SNS::Topic", {"TopicName": "zedi-{env}-alarms"}, {"Subscription": None}),
    alarm("connections", "Zedi/Connections", 500.0, "Average", SERVICE, 15),
    alarm("latency", "Zedi/SyncLatency", 500.0, "p99", SERVICE, 5),
    Row(
        "monitoring",
        "AWS::CloudWatch::Alarm",
        {"AlarmName": "zedi-{env}-error-rate"},
        {
            "Threshold": 1.0,
            "ComparisonOperator": "GreaterThanThreshold",
            "EvaluationPeriods": 5,
            "Metrics": [
                service_sum("errors", "Errors"),
                service_sum("messages", "Messages"),
                {
                    "Id": "value",
                    "Label": "More than 1 % of messages refused or failed",
                    "Expression": "IF(messages > 0, 100 * FILL(errors, 0) / messages, 0)",
                    "ReturnData": True,
                },
            ],
            "AlarmActions": [ref("AlarmTopic")],
        },
    ),
    alarm("service-cpu", "AWS/ECS/CPUUtilization", 80.0, "Average", ECS, 5),
    alarm("service-memory", "AWS/ECS/MemoryUtilization", 80.0, "Average", ECS, 5),
    alarm("redis1-connections", "AWS/ElastiCache/CurrConnections", 52_000.0, "Maximum", REDIS, 5),
    alarm("redis1-memory", "AWS/ElastiCache/DatabaseMemoryUsagePercentage", 80.0, "Average", REDIS, 5),
    # 4 ACU take 823 connections.
    alarm("aurora-connections", "AWS/RDS/DatabaseConnections", 658.4, "Maximum", AURORA, 5),
    alarm("aurora-capacity", "AWS/RDS/ACUUtilization", 90.0, "Maximum", AURORA, 15),
    *(
        Row(
            "monitoring",
            "AWS::CloudWatch::Alarm",
            {"AlarmName": f"zedi-{{env}}-alb-{name}-errors"},
            {
                "Namespace": "AWS/ApplicationELB",
                "MetricName": metric,
                "Dimensions": [{"Name": "LoadBalancer", "Value": sub("${AlbFullName}")}],
                "Statistic": "Sum",
                "Period": 300,
                "EvaluationPeriods": 1,
                "Threshold": 10.0,
                "AlarmActions": [ref("AlarmTopic")],
            },
        )
        for name, metric in (("own", "HTTPCode_ELB_5XX_Count"), ("service", "HTTPCode_Target_5XX_Count"))
    ),
    *(
        alarm(
            f"unhealthy-{name}",
            "AWS/ApplicationELB/UnHealthyHostCount",
            0.0,
            "Maximum",
            {"TargetGroup": sub(f"${{{group}}}"), **ALB},
            3,
        )
        for name, group in (("realtime", "RealtimeTargetGroup"), ("api", "ApiTargetGroup"))
    ),
    Row(
        "monitoring",
        "AWS::Budgets::Budget",
        {"Budget.BudgetName": "zedi-{env}-monthly"},
        {
            "Budget": {
                "BudgetType": "COST",
                "TimeUnit": "MONTHLY",
                "BudgetLimit": {"Amount": 200, "Unit": "USD"},
            },
            "NotificationsWithSubscribers": [
                {
                    "Notification": {
                        "NotificationType": kind,
                        "ComparisonOperator": "GREATER_THAN",
                        "Threshold": percent,
                        "ThresholdType": "PERCENTAGE",
                    },
                    "Subscribers": [{"SubscriptionType": "SNS", "Address": ref("AlarmTopic")}],
                }
                for kind, percent in (("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100))
            ],
        },
    ),
    Row("monitoring", "AWS::CloudWatch::Dashboard", {"DashboardName": "zedi-{env}"}),
]

ROWS = [*NETWORKING, *SECURITY, *DATABASE, *CACHE, *REALTIME, *CDN, *MONITORING]

OUTPUTS: dict[str, dict[str, Any]] = {
    "database": {
        "AuroraClusterEndpoint": att("Cluster", "Endpoint.Address"),
        "AuroraReaderEndpoint": att("Cluster", "ReadEndpoint.Address"),
        "AuroraDatabaseName": "zedi",
        "DbCredentialsSecretArn": att("DbCredentials", "Id"),
    },
    "security": {
        "CognitoUserPoolId": ref("UserPool"),
        "CognitoClientId": ref("WebClient"),
        "CognitoUserPoolEndpoint": att("UserPool", "ProviderName"),
        "CognitoHostedUiUrl": sub(f"https://${{UserPoolDomain}}.auth.{REGION}.amazoncognito.com"),
        "EcsExecutionRoleArn": att("EcsExecutionRole", "Arn"),
        "EcsTaskRoleArn": att("EcsTaskRole", "Arn"),
    },
    "cache": {
        "RedisEndpoint": att("ReplicationGroup", "PrimaryEndPoint.Address"),
        "RedisConnectionString": {
            "Fn::Join": ["", ["rediss://", att("ReplicationGroup", "PrimaryEndPoint.Address"), ":6379"]]
        },
    },
    "networking": {
        "VpcId": ref("Vpc"),
        "PublicSubnetIds": {"Fn::Join": [",", [ref("PublicSubnet1"), ref("PublicSubnet2")]]},
        "PrivateSubnetIds": {"Fn::Join": [",", PRIVATE_SUBNETS]},
        "TaskSecurityGroupId": att("TaskSecurityGroup", "GroupId"),
    },
    "realtime": {
        "AlbDnsName": att("LoadBalancer", "DNSName"),
        "EcrRepositoryUrl": att("Repository", "RepositoryUri"),
        "EcsClusterName": ref("Cluster"),
        "EcsServiceName": att("Service", "Name"),
        "HistoryBucket": ref("HistoryBucket"),
    },
    "cdn": {
        "WebsocketUrl": {"Fn::Join": ["", ["wss://", att("Distribution", "DomainName"), "/realtime"]]},
        "CloudfrontDistributionId": ref("Distribution"),
        "CloudfrontDomainName": att("Distribution", "DomainName"),
        "FrontendUrl": {"Fn::Join": ["", ["https://", att("Distribution", "DomainName")]]},
        "FrontendBucket": ref("FrontendBucket"),
    },
    "monitoring": {
        "AlarmTopicArn": ref("AlarmTopic"),
        "DashboardUrl": sub(
            f"https://{REGION}.console.aws.amazon.com/cloudwatch/home?region={REGION}"
            "#dashboards/dashboard/${Dashboard}"
        ),
    },
}

UNTAGGABLE = {
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::CloudFront::OriginAccessControl",
    "AWS::CloudFront::ResponseHeadersPolicy",
    "AWS::Cognito::UserPoolClient",
    "AWS::Cognito::UserPoolDomain",
    "AWS::EC2::Route",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::TopicPolicy",
    "AWS::SecretsManager::SecretTargetAttachment",
}


def for_environment(value: Any, environment: str) -> Any:
    """`value` with {env} replaced wherever it stands."""
    if isinstance(value, str):
        return value.replace("{env}", environment)
    if isinstance(value, list):
        return [for_environment(item, environment) for item in value]
    if isinstance(value, dict):
        return {key: for_environment(item, environment) for key, item in value.items()}
    return value


def tag_map(properties: Mapping[str, Any]) -> dict[str, str]:
    """A resource's tags, in whichever of the three forms its type has."""
    tags = properties.get("Tags") or properties.get("ResourceTags") or properties.get("UserPoolTags") or {}
    return {tag["Key"]: tag["Value"] for tag in tags} if isinstance(tags, list) else dict(tags)


def at(properties: Mapping[str, Any], path: str) -> Any:
    """The property at a dotted path; None where there is none."""
    value: Any = {**properties, "Tags": tag_map(properties)} if path.startswith("Tags.") else properties
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def differences(expected: Any, actual: Any, path: str) -> Iterator[str]:
    """What of `expected` is not in `actual`."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key, value in expected.items():
            yield from differences(value, actual.get(key), f"{path}.{key}")
    elif expected != actual or type(expected) is not type(actual):
        yield f"{path}: expected {expected!r}, is {actual!r}"


def resources(template: Mapping[str, Any], kind: str, where: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The resources of a type that have the values of `where`."""
    return [
        resource
        for resource in template["Resources"].values()
        if resource["Type"] == kind
        and all(at(resource["Properties"], path) == value for path, value in where.items())
    ]


@pytest.mark.parametrize("environment", ["dev", "prod"])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_resource(templates: Synthesize, row: Row, environment: str) -> None:
    """There is exactly one such resource, and it has the values that it must have."""
    template = templates(environment)[row.phase]
    found = resources(template, row.type, for_environment(row.where, environment))
    assert len(found) == 1, f"{len(found)} of {row.type} {row.where}"

    expected = {**row.properties, **(row.prod if environment == "prod" else {})}
    problems = [
        difference
        for path, value in for_environment(expected, environment).items()
        for difference in differences(value, at(found[0]["Properties"], path), path)
    ]
    assert not problems


@pytest.mark.parametrize("environment", ["dev", "lean", "staging", "prod", "local"])
def test_nothing_is_there_that_no_row_tells_of(templates: Synthesize, environment: str) -> None:
    """Every type of every phase has its rows, but for what only glues these together."""
    glue = {
        ("networking", "AWS::EC2::InternetGateway"),
        ("networking", "AWS::EC2::RouteTable"),
        ("networking", "AWS::EC2::VPCGatewayAttachment"),
        ("monitoring", "AWS::SNS::TopicPolicy"),
    }
    there = {
        (phase, resource["Type"])
        for phase, template in templates(environment).items()
        for resource in template["Resources"].values()
    }
    assert there == {(row.phase, row.type) for row in ROWS} | glue


@pytest.mark.parametrize("phase", OUTPUTS)
def test_outputs(templates: Synthesize, phase: str) -> None:
    """Every output has its name and its value, and none is exported, which would lock it."""
    outputs = templates("dev")[phase]["Outputs"]
    assert {name: outputs[name]["Value"] for name in OUTPUTS[phase]} == OUTPUTS[phase]
    assert not [name for name, output in outputs.items() if "Export" in output]


@pytest.mark.parametrize("environment", ["dev", "lean", "staging", "prod", "local"])
def test_tags(templates: Synthesize, environment: str) -> None:
    """Every resource that can carry tags says whose it is."""
    for phase, template in templates(environment).items():
        for title, resource in template["Resources"].items():
            if resource["Type"] in UNTAGGABLE:
                continue
            tags = tag_map(resource["Properties"])
            named = tags.pop("Name")
            assert f"zedi-{environment}" in named, f"{phase}.{title}"
            expected = {"Project": "zedi", "Environment": environment, "ManagedBy": "zedi"}
            assert tags == expected, f"{phase}.{title}"


@pytest.mark.parametrize("environment", ["dev", "lean", "staging", "prod", "local"])
def test_names(templates: Synthesize, environment: str) -> None:
    """Every name that we give starts with the environment's prefix."""
    named = 0
    for phase, template in templates(environment).items():
        for title, resource in template["Resources"].items():
            short = resource["Type"].rsplit("::", 1)[1]
            for key in (f"{short}Name", "Name", "GroupName", f"{short}Identifier", f"{short}Id"):
                name = resource["Properties"].get(key)
                if not isinstance(name, str):
                    continue
                named += 1
                plain = name.removeprefix("/ecs/").removeprefix("/aws/elasticache/")
                assert plain.startswith(f"zedi-{environment}"), f"{phase}.{title}.{key}: {name}"
    assert named > 30


@pytest.mark.parametrize(
    ("environment", "kept"),
    [
        (
            "dev",
            {
                "cluster": "Delete",
                "secret": "Delete",
                "pool": "Delete",
                "bucket": "Delete",
                "history": "Delete",
            },
        ),
        (
            "prod",
            {
                "cluster": "Snapshot",
                "secret": "Retain",
                "pool": "Retain",
                "bucket": "Retain",
                "history": "Retain",
            },
        ),
    ],
)
def test_what_holds_data_is_kept_where_settings_say_so(
    templates: Synthesize, environment: str, kept: dict[str, str]
) -> None:
    """Deleting or replacing prod's data leaves a snapshot, or the thing itself."""
    holders = {
        "cluster": ("database", "AWS::RDS::DBCluster"),
        "secret": ("database", "AWS::SecretsManager::Secret"),
        "pool": ("security", "AWS::Cognito::UserPool"),
        "bucket": ("cdn", "AWS::S3::Bucket"),
        "history": ("realtime", "AWS::S3::Bucket"),
    }
    for holder, policy in kept.items():
        phase, kind = holders[holder]
        (resource,) = resources(templates(environment)[phase], kind, {})
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == (policy, policy), holder


def test_prod_has_a_reader(templates: Synthesize) -> None:
    """Prod has a second Aurora instance, and dev has one."""
    for environment, count in (("dev", 1), ("prod", 2)):
        found = resources(templates(environment)["database"], "AWS::RDS::DBInstance", {})
        assert len(found) == count


def test_secret_is_complete(templates: Synthesize) -> None:
    """With the host and port that the attachment adds, the secret has all six keys, safe in a URL."""
    (secret,) = resources(templates("dev")["database"], "AWS::SecretsManager::Secret", {})
    generated = secret["Properties"]["GenerateSecretString"]
    assert json.loads(generated["SecretStringTemplate"]) == {
        "username": "zedi_admin",
        "dbname": "zedi",
        "engine": "postgres",
    }
    assert set(" \"'@/\\:?#%&+") <= set(generated["ExcludeCharacters"])


@pytest.mark.parametrize("environment", ["dev", "lean"])
def test_private_subnets_have_no_way_out(templates: Synthesize, environment: str) -> None:
    """The only route is the public table's."""
    (route,) = resources(templates(environment)["networking"], "AWS::EC2::Route", {})
    assert route["Properties"]["RouteTableId"] == ref("PublicRouteTable")


def test_tasks_with_public_addresses(templates: Synthesize) -> None:
    """They stand in the public subnets, let in the load balancer only, and pay for no endpoint but S3's."""
    lean = templates("lean")
    (service,) = resources(lean["realtime"], "AWS::ECS::Service", {})
    assert at(service["Properties"], "NetworkConfiguration.AwsvpcConfiguration") == {
        "Subnets": ref("PublicSubnetIds"),
        "SecurityGroups": [ref("TaskSecurityGroupId")],
        "AssignPublicIp": "ENABLED",
    }
    assert "PrivateSubnetIds" not in lean["realtime"]["Parameters"]
    (group,) = resources(lean["networking"], "AWS::EC2::SecurityGroup", {"GroupName": "zedi-lean-tasks-sg"})
    assert group["Properties"]["SecurityGroupIngress"] == [
        rule(port, SourceSecurityGroupId=att("AlbSecurityGroup", "GroupId")) for port in (1234, 8080)
    ]
    (endpoint,) = resources(lean["networking"], "AWS::EC2::VPCEndpoint", {})
    assert endpoint["Properties"]["RouteTableIds"] == [ref("PublicRouteTable"), ref("PrivateRouteTable")]
    assert not resources(
        lean["networking"], "AWS::EC2::SecurityGroup", {"GroupName": "zedi-lean-endpoints-sg"}
    )
    # What holds data stays where nothing from outside reaches it.
    for phase, kind in (("database", "AWS::RDS::DBSubnetGroup"), ("cache", "AWS::ElastiCache::SubnetGroup")):
        (subnets,) = resources(lean[phase], kind, {})
        assert subnets["Properties"]["SubnetIds"] == ref("PrivateSubnetIds")
    # Fetching the keys is possible there, and still not relied on.
    for definition in resources(lean["realtime"], "AWS::ECS::TaskDefinition", {})[0]["Properties"][
        "ContainerDefinitions"
    ]:
        assert {"Name": "COGNITO_JWKS", "Value": ref("TokenKeys")} in definition["Environment"]


@pytest.mark.parametrize(
    ("per_zone", "gateways"),
    [
        ("false", {"PrivateRouteTable": "PublicSubnet1"}),
        ("true", {"PrivateRouteTable": "PublicSubnet1", "PrivateRouteTable2": "PublicSubnet2"}),
    ],
)
def test_nat(templates_of: Synthesize, per_zone: str, gateways: dict[str, str]) -> None:
    """Each private table leads to a gateway with an address, in a public subnet; there are no endpoints."""
    templates = templates_of(f"[networking]\negress = 'nat'\nnat_per_zone = {per_zone}")
    network = templates["networking"]
    routes = [
        route["Properties"]
        for route in resources(network, "AWS::EC2::Route", {"DestinationCidrBlock": "0.0.0.0/0"})
        if "NatGatewayId" in route["Properties"]
    ]
    found = {}
    for route in routes:
        gateway = network["Resources"][route["NatGatewayId"]["Ref"]]
        address, attribute = gateway["Properties"]["AllocationId"]["Fn::GetAtt"]
        assert attribute == "AllocationId"
        assert network["Resources"][address] == {
            "Type": "AWS::EC2::EIP",
            "DependsOn": "GatewayAttachment",
            "Properties": network["Resources"][address]["Properties"],
        }
        found[route["RouteTableId"]["Ref"]] = gateway["Properties"]["SubnetId"]["Ref"]
    assert found == gateways
    assert len(resources(network, "AWS::EC2::EIP", {})) == len(gateways)
    tables = [f"PrivateRouteTable{number}" for number in (["", "2"] if per_zone == "true" else ["", ""])]
    for number, table in enumerate(tables, start=1):
        (association,) = resources(
            network, "AWS::EC2::SubnetRouteTableAssociation", {"SubnetId": ref(f"PrivateSubnet{number}")}
        )
        assert association["Properties"]["RouteTableId"] == ref(table)
    assert [
        endpoint["Properties"]["VpcEndpointType"]
        for endpoint in resources(network, "AWS::EC2::VPCEndpoint", {})
    ] == ["Gateway"]
    (service,) = resources(templates["realtime"], "AWS::ECS::Service", {})
    assert at(service["Properties"], "NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp") == "DISABLED"


def test_images_beyond_ten_expire(templates: Synthesize) -> None:
    """The repository keeps the last ten images, and whichever is deployed."""
    (repository,) = resources(templates("dev")["realtime"], "AWS::ECR::Repository", {})
    policy = json.loads(repository["Properties"]["LifecyclePolicy"]["LifecyclePolicyText"])
    assert policy["rules"] == [
        {
            "rulePriority": 1,
            "description": "Keep the image that is deployed",
            "selection": {
                "tagStatus": "tagged",
                "tagPatternList": ["deployed"],
                "countType": "imageCountMoreThan",
                "countNumber": 1,
            },
            "action": {"type": "expire"},
        },
        {
            "rulePriority": 2,
            "description": "Keep the last 10 images",
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 10},
            "action": {"type": "expire"},
        },
    ]
    # The tag moves from image to image.
    assert repository["Properties"].get("ImageTagMutability", "MUTABLE") == "MUTABLE"


def test_dashboard_shows_what_it_must(templates: Synthesize) -> None:
    """Users, documents, operations, latency, errors, and the state of each managed service."""
    (dashboard,) = resources(templates("dev")["monitoring"], "AWS::CloudWatch::Dashboard", {})
    body = json.loads(dashboard["Properties"]["DashboardBody"]["Fn::Sub"])
    assert {widget["properties"]["title"] for widget in body["widgets"]} == {
        "Alarms",
        "Concurrent users",
        "Active documents",
        "Sync operations per second",
        "Sync latency (ms)",
        "Error rate (%)",
        "Service: CPU and memory (%)",
        "Load balancer: targets",
        "Load balancer: requests and errors",
        "Aurora: capacity (ACU) and connections",
        "Aurora: commit latency (ms)",
        "Redis: memory (%) and connections",
        "CloudFront: requests and errors",
    }
    namespaces = {
        row[0]
        for widget in body["widgets"]
        for row in widget["properties"].get("metrics", [])
        if isinstance(row[0], str)
    }
    assert namespaces == {
        "Zedi",
        "AWS/ECS",
        "AWS/ApplicationELB",
        "AWS/RDS",
        "AWS/ElastiCache",
        "AWS/CloudFront",
    }


def test_every_redis_node_is_watched(templates: Synthesize) -> None:
    """Prod's second node has its alarms too."""
    watched = {
        dimension["Value"]
        for alarm in resources(
            templates("prod")["monitoring"], "AWS::CloudWatch::Alarm", {"Namespace": "AWS/ElastiCache"}
        )
        for dimension in alarm["Properties"]["Dimensions"]
    }
    assert watched == {"zedi-prod-redis-001", "zedi-prod-redis-002"}


def test_topic_mails_to_whom_settings_name(templates_of: Synthesize) -> None:
    """An e-mail address in the settings subscribes to the topic."""
    template = templates_of('[monitoring]\nemail = "ops@example.com"')["monitoring"]
    (topic,) = resources(template, "AWS::SNS::Topic", {})
    assert topic["Properties"]["Subscription"] == [{"Protocol": "email", "Endpoint": "ops@example.com"}]


def test_budget_and_alarms_may_publish(templates: Synthesize) -> None:
    """The topic takes messages from CloudWatch and Budgets of this account."""
    (policy,) = resources(templates("dev")["monitoring"], "AWS::SNS::TopicPolicy", {})
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"]}
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": ref("AWS::AccountId")}}


CERTIFICATE = f"arn:aws:acm:{REGION}:111122223333:certificate/12345678-1234-1234-1234-123456789012"


def test_certificate_makes_the_load_balancer_speak_https(templates_of: Synthesize) -> None:
    """HTTPS forwards, HTTP redirects, CloudFront uses HTTPS, and the group lets 443 in."""
    templates = templates_of(f'[realtime]\ncertificate_arn = "{CERTIFICATE}"')
    kind = "AWS::ElasticLoadBalancingV2::Listener"
    (https,) = resources(templates["realtime"], kind, {"Port": 443})
    (http,) = resources(templates["realtime"], kind, {"Port": 80})
    assert https["Properties"]["Certificates"] == [{"CertificateArn": CERTIFICATE}]
    assert https["Properties"]["DefaultActions"] == [
        {"Type": "forward", "TargetGroupArn": ref("RealtimeTargets")}
    ]
    assert http["Properties"]["DefaultActions"] == [
        {
            "Type": "redirect",
            "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"},
        }
    ]
    (rule_,) = resources(templates["realtime"], "AWS::ElasticLoadBalancingV2::ListenerRule", {})
    assert rule_["Properties"]["ListenerArn"] == ref("HttpsListener")
    (group,) = resources(templates["networking"], "AWS::EC2::SecurityGroup", {"GroupName": "zedi-dev-alb-sg"})
    assert [rule["ToPort"] for rule in group["Properties"]["SecurityGroupIngress"]] == [80, 443]
    (distribution,) = resources(templates["cdn"], "AWS::CloudFront::Distribution", {})
    origin = distribution["Properties"]["DistributionConfig"]["Origins"][1]
    assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"


def test_own_domain(templates_of: Synthesize) -> None:
    """A domain with its certificate is the distribution's alias, the URL, and a callback."""
    certificate = CERTIFICATE.replace(REGION, "us-east-1")
    templates = templates_of(f'[cdn]\ndomain_name = "notes.example.com"\ncertificate_arn = "{certificate}"')
    (distribution,) = resources(templates["cdn"], "AWS::CloudFront::Distribution", {})
    config = distribution["Properties"]["DistributionConfig"]
    assert config["Aliases"] == ["notes.example.com"]
    assert config["ViewerCertificate"] == {
        "AcmCertificateArn": certificate,
        "MinimumProtocolVersion": "TLSv1.2_2021",
        "SslSupportMethod": "sni-only",
    }
    outputs = templates["cdn"]["Outputs"]
    assert outputs["FrontendUrl"]["Value"] == "https://notes.example.com"
    assert outputs["WebsocketUrl"]["Value"] == "wss://notes.example.com/realtime"
    (client,) = resources(templates["security"], "AWS::Cognito::UserPoolClient", {})
    assert client["Properties"]["CallbackURLs"][-1] == "https://notes.example.com/callback"
    assert client["Properties"]["LogoutURLs"] == ["http://localhost:30000", "https://notes.example.com"]
    assert calls_of(templates["cdn"]) == "connect-src 'self' ... wss://notes.example.com"


def calls_of(template: Mapping[str, Any]) -> str:
    """The connect-src of the content security policy, with the hosted sign-in as three dots."""
    (policy,) = resources(template, "AWS::CloudFront::ResponseHeadersPolicy", {})
    directives = at(
        policy["Properties"],
        "ResponseHeadersPolicyConfig.SecurityHeadersConfig.ContentSecurityPolicy.ContentSecurityPolicy",
    )["Fn::Join"][1]
    (calls,) = [directive["Fn::Join"][1] for directive in directives if isinstance(directive, dict)]
    return " ".join("..." if call == ref("CognitoHostedUiUrl") else call for call in calls)


def test_content_security_policy(templates: Synthesize) -> None:
    """Pages may call their own host and the sign-in, and no script comes from elsewhere."""
    assert calls_of(templates("dev")["cdn"]) == "connect-src 'self' ..."
    assert calls_of(templates("local")["cdn"]) == "connect-src 'self' ... ws://localhost:30000"
    (policy,) = resources(templates("dev")["cdn"], "AWS::CloudFront::ResponseHeadersPolicy", {})
    text = json.dumps(policy)
    assert "script-src 'self'\"" in text
    assert "style-src 'self' 'unsafe-inline'" in text


def test_local_is_on_loopback(templates: Synthesize) -> None:
    """The embedded environment has the same templates with its own ports, and no TLS on loopback."""
    local = templates("local")
    (cluster,) = resources(local["database"], "AWS::RDS::DBCluster", {})
    assert cluster["Properties"]["Port"] == 54320
    assert local["cache"]["Outputs"]["RedisConnectionString"]["Value"]["Fn::Join"][1][::2] == [
        "redis://",
        ":63790",
    ]
    assert local["cdn"]["Outputs"]["FrontendUrl"]["Value"] == "http://localhost:30000"
    assert local["cdn"]["Outputs"]["WebsocketUrl"]["Value"] == "ws://localhost:30000/realtime"
    # The embedded AWS shows the sign-in pages itself: no name server knows the pool's domain.
    assert local["security"]["Outputs"]["CognitoHostedUiUrl"]["Value"] == "http://127.0.0.1:4566"
    (client,) = resources(local["security"], "AWS::Cognito::UserPoolClient", {})
    assert client["Properties"]["CallbackURLs"] == [
        "http://localhost:30000/callback",
        "http://localhost:30000/auth/callback",
    ]
    (task,) = resources(local["realtime"], "AWS::ECS::TaskDefinition", {})
    environment = {
        item["Name"]: item["Value"] for item in task["Properties"]["ContainerDefinitions"][1]["Environment"]
    }
    assert (environment["BIND_ADDRESS"], environment["PORT"], environment["DB_TLS"]) == (
        "127.0.0.1",
        "8080",
        "disable",
    )


def test_versions_of_pages_may_stay_in_the_database(templates_of: Synthesize) -> None:
    """Without a bucket there is none, and tasks are told so; kept for ever, nothing expires."""
    without = templates_of("[history]\nbucket = false\nversions = 3")["realtime"]
    assert not resources(without, "AWS::S3::Bucket", {}) and "HistoryBucket" not in without["Outputs"]
    (task,) = resources(without, "AWS::ECS::TaskDefinition", {})
    for each in task["Properties"]["ContainerDefinitions"]:
        found = {variable["Name"]: variable["Value"] for variable in each["Environment"]}
        assert (found["HISTORY_BUCKET"], found["HISTORY_VERSIONS"]) == ("", "3")
    for_ever = templates_of("[history]\nbucket_days = 0")["realtime"]
    (bucket,) = resources(for_ever, "AWS::S3::Bucket", {})
    assert "LifecycleConfiguration" not in bucket["Properties"]
