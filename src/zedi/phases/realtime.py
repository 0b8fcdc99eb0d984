"""Phase 5: the service: its image's repository, its tasks on Fargate, the load balancer before them, and the
bucket for the versions of pages that leave the database.

One task runs two containers of one image: the realtime service, which the load balancer reaches by
default, and the HTTP API under /api. Both read their environment under the names of `contract`.
"""

from __future__ import annotations

import json
from typing import Final

from troposphere import Equals, GetAtt, If, Join, Output, Parameter, Ref, Sub, Template
from troposphere.applicationautoscaling import (
    CustomizedMetricSpecification,
    MetricDimension,
    PredefinedMetricSpecification,
    ScalableTarget,
    ScalingPolicy,
    TargetTrackingScalingPolicyConfiguration,
)
from troposphere.ecr import EncryptionConfiguration, ImageScanningConfiguration, LifecyclePolicy, Repository
from troposphere.ecs import (
    AwsvpcConfiguration,
    CapacityProviderStrategyItem,
    Cluster,
    ContainerDefinition,
    DeploymentCircuitBreaker,
    DeploymentConfiguration,
    Environment,
    HealthCheck,
    LogConfiguration,
    NetworkConfiguration,
    PortMapping,
    RuntimePlatform,
    Secret,
    Service,
    TaskDefinition,
)
from troposphere.ecs import LoadBalancer as ServiceLoadBalancer
from troposphere.elasticloadbalancingv2 import (
    Action,
    Certificate,
    Condition,
    Listener,
    ListenerRule,
    ListenerRuleAction,
    LoadBalancer,
    LoadBalancerAttributes,
    Matcher,
    PathPatternConfig,
    RedirectConfig,
    TargetGroup,
    TargetGroupAttribute,
)
from troposphere.logs import LogGroup
from troposphere.s3 import Bucket, BucketPolicy, LifecycleConfiguration, LifecycleRule

from zedi import contract
from zedi.phases import DEPLOYED_TAG
from zedi.phases.buckets import private_bucket
from zedi.phases.logs import log_group
from zedi.phases.tags import tags
from zedi.settings import Settings

_KEPT_IMAGES: Final = 10
_STICKY_SECONDS: Final = 24 * 3600
_NOBODY: Final = "65534:65534"
"""User and group of the containers: Debian's nobody and nogroup."""
_TLS_POLICY: Final = "ELBSecurityPolicy-TLS13-1-2-2021-06"


def build(settings: Settings) -> Template:
    template = Template(Description=f"{settings.prefix}: realtime service")
    public = settings.networking.egress == "public"
    for name, kind in (
        ("VpcId", "AWS::EC2::VPC::Id"),
        ("PublicSubnetIds", "List<AWS::EC2::Subnet::Id>"),
        *([] if public else [("PrivateSubnetIds", "List<AWS::EC2::Subnet::Id>")]),
        ("AlbSecurityGroupId", "AWS::EC2::SecurityGroup::Id"),
        ("TaskSecurityGroupId", "AWS::EC2::SecurityGroup::Id"),
        ("EcsExecutionRoleArn", "String"),
        ("EcsTaskRoleArn", "String"),
        ("CognitoUserPoolEndpoint", "String"),
        ("CognitoClientId", "String"),
        ("DbCredentialsSecretArn", "String"),
        ("RedisConnectionString", "String"),
        ("ImageUri", "String"),
        ("TaskCount", "Number"),
        ("TokenKeys", "String"),
        ("TokenKeysUrl", "String"),
    ):
        template.add_parameter(Parameter(name, Type=kind))

    repository = _repository(template, settings)
    history = _history(template, settings) if settings.history.bucket else None
    load_balancer, realtime, api, listeners = _load_balancer(template, settings)
    cluster = template.add_resource(
        Cluster(
            "Cluster",
            ClusterName=f"{settings.prefix}-cluster",
            CapacityProviders=["FARGATE", "FARGATE_SPOT"],
            DefaultCapacityProviderStrategy=_capacity(settings),
            Tags=tags(settings, f"{settings.prefix}-cluster"),
        )
    )
    service = template.add_resource(
        Service(
            "Service",
            # ECS refuses target groups that no listener sends to.
            DependsOn=listeners,
            ServiceName=f"{settings.prefix}-realtime",
            Cluster=Ref(cluster),
            TaskDefinition=Ref(_task(template, settings, history)),
            DesiredCount=Ref("TaskCount"),
            CapacityProviderStrategy=_capacity(settings),
            # A new task is healthy before an old one goes, also where there is only one.
            DeploymentConfiguration=DeploymentConfiguration(
                MinimumHealthyPercent=100,
                MaximumPercent=200,
                DeploymentCircuitBreaker=DeploymentCircuitBreaker(Enable=True, Rollback=True),
            ),
            HealthCheckGracePeriodSeconds=60,
            NetworkConfiguration=NetworkConfiguration(
                AwsvpcConfiguration=AwsvpcConfiguration(
                    # The address is for the way out: the security group lets nobody but the load balancer in.
                    Subnets=Ref("PublicSubnetIds" if public else "PrivateSubnetIds"),
                    SecurityGroups=[Ref("TaskSecurityGroupId")],
                    AssignPublicIp="ENABLED" if public else "DISABLED",
                )
            ),
            LoadBalancers=[
                ServiceLoadBalancer(
                    ContainerName=contract.REALTIME_CONTAINER,
                    ContainerPort=settings.realtime.port,
                    TargetGroupArn=Ref(realtime),
                ),
                ServiceLoadBalancer(
                    ContainerName=contract.API_CONTAINER,
                    ContainerPort=settings.realtime.api_port,
                    TargetGroupArn=Ref(api),
                ),
            ],
            EnableECSManagedTags=True,
            PropagateTags="SERVICE",
            Tags=tags(settings, f"{settings.prefix}-realtime"),
        )
    )
    _scaling(template, settings, cluster, service)

    for name, value, description in (
        ("AlbDnsName", GetAtt(load_balancer, "DNSName"), "The load balancer"),
        ("EcrRepositoryUrl", GetAtt(repository, "RepositoryUri"), "Where the service's image is pushed"),
        ("EcsClusterName", Ref(cluster), "The cluster"),
        *(
            [("HistoryBucket", Ref(history), "Where versions of pages go from the database")]
            if history
            else []
        ),
        ("EcsServiceName", GetAtt(service, "Name"), "The service"),
        ("AlbFullName", GetAtt(load_balancer, "LoadBalancerFullName"), "The load balancer, to CloudWatch"),
        (
            "RealtimeTargetGroup",
            GetAtt(realtime, "TargetGroupFullName"),
            "The realtime targets, to CloudWatch",
        ),
        ("ApiTargetGroup", GetAtt(api, "TargetGroupFullName"), "The API's targets, to CloudWatch"),
    ):
        template.add_output(Output(name, Value=value, Description=description))
    return template


def _repository(template: Template, settings: Settings) -> Repository:
    name = f"{settings.prefix}-realtime"
    policy = {
        "rules": [
            {
                # Never expires anything, for one image at most has a tag. But what it matches, no rule after
                # it expires: https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html
                "rulePriority": 1,
                "description": "Keep the image that is deployed",
                "selection": {
                    "tagStatus": "tagged",
                    "tagPatternList": [DEPLOYED_TAG],
                    "countType": "imageCountMoreThan",
                    "countNumber": 1,
                },
                "action": {"type": "expire"},
            },
            {
                "rulePriority": 2,
                "description": f"Keep the last {_KEPT_IMAGES} images",
                "selection": {
                    "tagStatus": "any",
                    "countType": "imageCountMoreThan",
                    "countNumber": _KEPT_IMAGES,
                },
                "action": {"type": "expire"},
            },
        ]
    }
    return template.add_resource(
        Repository(
            "Repository",
            RepositoryName=name,
            ImageScanningConfiguration=ImageScanningConfiguration(ScanOnPush=True),
            EncryptionConfiguration=EncryptionConfiguration(EncryptionType="AES256"),
            LifecyclePolicy=LifecyclePolicy(LifecyclePolicyText=json.dumps(policy, sort_keys=True)),
            EmptyOnDelete=True,  # an image can be built again
            Tags=tags(settings, name),
        )
    )


def _capacity(settings: Settings) -> list[CapacityProviderStrategyItem]:
    """Spot, above as many on-demand tasks as the settings want."""
    spot = CapacityProviderStrategyItem(CapacityProvider="FARGATE_SPOT", Weight=1)
    base = settings.realtime.on_demand_base
    if not base:
        return [spot]
    return [CapacityProviderStrategyItem(CapacityProvider="FARGATE", Base=base, Weight=0), spot]


def _history(template: Template, settings: Settings) -> Bucket:
    """Where versions go that leave the database. They cannot be made again: where the database is protected,
    they are too."""
    bucket = private_bucket(settings, "HistoryBucket", "history", kept=settings.database.deletion_protection)
    if settings.history.bucket_days:
        bucket.LifecycleConfiguration = LifecycleConfiguration(
            Rules=[
                LifecycleRule(
                    Id="expire-versions", Status="Enabled", ExpirationInDays=settings.history.bucket_days
                )
            ]
        )
    template.add_resource(bucket)
    arn = f"${{{bucket.title}.Arn}}"
    template.add_resource(
        BucketPolicy(
            "HistoryBucketPolicy",
            Bucket=Ref(bucket),
            PolicyDocument={
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "OnlyEncrypted",
                        "Effect": "Deny",
                        "Principal": "*",
                        "Action": "s3:*",
                        "Resource": [Sub(arn), Sub(f"{arn}/*")],
                        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                    }
                ],
            },
        )
    )
    return bucket


def _task(template: Template, settings: Settings, history: Bucket | None) -> TaskDefinition:
    realtime = settings.realtime
    name = f"{settings.prefix}-realtime"
    # The task role may write to log groups of this prefix (security.py).
    log_name = f"/ecs/{name}"
    log = template.add_resource(log_group(settings, "ServiceLog", log_name, realtime.log_retention_days))
    return template.add_resource(
        TaskDefinition(
            "Task",
            Family=name,
            RequiresCompatibilities=["FARGATE"],
            NetworkMode="awsvpc",
            Cpu=str(realtime.cpu),
            Memory=str(realtime.memory),
            RuntimePlatform=RuntimePlatform(
                OperatingSystemFamily="LINUX", CpuArchitecture=realtime.architecture
            ),
            ExecutionRoleArn=Ref("EcsExecutionRoleArn"),
            TaskRoleArn=Ref("EcsTaskRoleArn"),
            ContainerDefinitions=[
                _container(settings, log, history, name, command, port)
                for name, command, port in (
                    (contract.REALTIME_CONTAINER, contract.REALTIME_COMMAND, realtime.port),
                    (contract.API_CONTAINER, contract.API_COMMAND, realtime.api_port),
                )
            ],
            Tags=tags(settings, name),
        )
    )


def _container(
    settings: Settings,
    log: LogGroup,
    history: Bucket | None,
    name: str,
    command: tuple[str, ...],
    port: int,
) -> ContainerDefinition:
    realtime = settings.realtime
    environment = {
        contract.ENVIRONMENT: settings.name,
        contract.BIND_ADDRESS: realtime.bind_address,
        contract.PORT: str(port),
        contract.DB_TLS: settings.database.tls,
        contract.REDIS_URL: Ref("RedisConnectionString"),
        contract.COGNITO_ISSUER: Join("", ["https://", Ref("CognitoUserPoolEndpoint")]),
        contract.COGNITO_CLIENT_ID: Ref("CognitoClientId"),
        contract.COGNITO_JWKS: Ref("TokenKeys"),
        contract.COGNITO_JWKS_URL: Ref("TokenKeysUrl"),
        contract.PING_INTERVAL: str(realtime.ping_seconds),
        contract.DRAIN_SECONDS: str(realtime.drain_seconds),
        contract.REGION: settings.region,
        contract.HISTORY_VERSIONS: str(settings.history.versions),
        contract.HISTORY_DAYS: str(settings.history.days),
        contract.HISTORY_MINUTES: str(settings.history.minutes),
        contract.HISTORY_BUCKET: Ref(history) if history else "",
        contract.HISTORY_BUCKET_DAYS: str(settings.history.bucket_days),
    }
    # The image has Python and no curl. urlopen raises, and so fails, on anything but a 2xx.
    health = (
        f"import urllib.request as r; r.urlopen('http://127.0.0.1:{port}{contract.HEALTH_PATH}', timeout=4)"
    )
    return ContainerDefinition(
        Name=name,
        Image=Ref("ImageUri"),
        Essential=True,
        Command=list(command),
        User=_NOBODY,
        ReadonlyRootFilesystem=True,
        PortMappings=[PortMapping(ContainerPort=port, Protocol="tcp")],
        Environment=[Environment(Name=key, Value=value) for key, value in environment.items()],
        Secrets=[Secret(Name=contract.DB_CREDENTIALS_JSON, ValueFrom=Ref("DbCredentialsSecretArn"))],
        HealthCheck=HealthCheck(
            Command=["CMD", "python", "-c", health], Interval=10, Timeout=5, Retries=3, StartPeriod=60
        ),
        StopTimeout=realtime.stop_timeout_seconds,
        LogConfiguration=LogConfiguration(
            LogDriver="awslogs",
            Options={
                "awslogs-group": Ref(log),
                "awslogs-region": settings.region,
                "awslogs-stream-prefix": name,
                # A log that is slow to take lines must not hold up edits.
                "mode": "non-blocking",
                "max-buffer-size": "4m",
            },
        ),
    )


def _load_balancer(
    template: Template, settings: Settings
) -> tuple[LoadBalancer, TargetGroup, TargetGroup, list[str]]:
    """The load balancer, the realtime and API target groups, and the titles of what sends to them."""
    prefix, realtime = settings.prefix, settings.realtime
    load_balancer = template.add_resource(
        LoadBalancer(
            "LoadBalancer",
            Type="application",
            Scheme="internet-facing",
            IpAddressType="ipv4",
            Subnets=Ref("PublicSubnetIds"),
            SecurityGroups=[Ref("AlbSecurityGroupId")],
            LoadBalancerAttributes=[
                LoadBalancerAttributes(Key=key, Value=value)
                for key, value in (
                    ("idle_timeout.timeout_seconds", str(realtime.idle_timeout_seconds)),
                    ("routing.http2.enabled", "true"),
                    ("routing.http.drop_invalid_header_fields.enabled", "true"),
                )
            ],
            Tags=tags(settings, f"{prefix}-alb"),
        )
    )
    # Past troposphere's own check: how long a name may be is preflight's to say.
    load_balancer.properties["Name"] = f"{prefix}-alb"
    sockets = _target_group(
        template,
        settings,
        "RealtimeTargets",
        f"{prefix}-realtime",
        realtime.port,
        {
            "stickiness.enabled": "true",
            "stickiness.type": "lb_cookie",
            "stickiness.lb_cookie.duration_seconds": str(_STICKY_SECONDS),
        },
    )
    api = _target_group(template, settings, "ApiTargets", f"{prefix}-api", realtime.api_port, {})

    forward = Action(Type="forward", TargetGroupArn=Ref(sockets))
    if realtime.certificate_arn:
        listener = Listener(
            "HttpsListener",
            LoadBalancerArn=Ref(load_balancer),
            Port=443,
            Protocol="HTTPS",
            SslPolicy=_TLS_POLICY,
            Certificates=[Certificate(CertificateArn=realtime.certificate_arn)],
            DefaultActions=[forward],
            Tags=tags(settings, f"{prefix}-https"),
        )
        template.add_resource(
            Listener(
                "HttpListener",
                LoadBalancerArn=Ref(load_balancer),
                Port=80,
                Protocol="HTTP",
                DefaultActions=[
                    Action(
                        Type="redirect",
                        RedirectConfig=RedirectConfig(Protocol="HTTPS", Port="443", StatusCode="HTTP_301"),
                    )
                ],
                Tags=tags(settings, f"{prefix}-http"),
            )
        )
    else:
        listener = Listener(
            "HttpListener",
            LoadBalancerArn=Ref(load_balancer),
            Port=80,
            Protocol="HTTP",
            DefaultActions=[forward],
            Tags=tags(settings, f"{prefix}-http"),
        )
    template.add_resource(listener)
    rule = template.add_resource(
        ListenerRule(
            "ApiRule",
            ListenerArn=Ref(listener),
            Priority=10,
            Conditions=[
                Condition(
                    Field="path-pattern",
                    PathPatternConfig=PathPatternConfig(Values=[f"{contract.API_PATH}/*"]),
                )
            ],
            Actions=[ListenerRuleAction(Type="forward", TargetGroupArn=Ref(api))],
            Tags=tags(settings, f"{prefix}-api"),
        )
    )
    return load_balancer, sockets, api, [listener.title, rule.title]


def _target_group(
    template: Template, settings: Settings, title: str, name: str, port: int, attributes: dict[str, str]
) -> TargetGroup:
    delay = {"deregistration_delay.timeout_seconds": str(settings.realtime.deregistration_delay_seconds)}
    return template.add_resource(
        TargetGroup(
            title,
            Name=name,
            TargetType="ip",
            Protocol="HTTP",
            Port=port,
            VpcId=Ref("VpcId"),
            HealthCheckProtocol="HTTP",
            HealthCheckPath=contract.HEALTH_PATH,
            # A task that drains says so at once, and must be out of rotation soon.
            HealthCheckIntervalSeconds=10,
            HealthCheckTimeoutSeconds=5,
            HealthyThresholdCount=2,
            UnhealthyThresholdCount=2,
            Matcher=Matcher(HttpCode="200"),
            TargetGroupAttributes=[
                TargetGroupAttribute(Key=key, Value=value) for key, value in (delay | attributes).items()
            ],
            Tags=tags(settings, name),
        )
    )


def _scaling(template: Template, settings: Settings, cluster: Cluster, service: Service) -> None:
    realtime = settings.realtime
    # Before the image exists nothing must raise the count above 0.
    template.add_condition("HasNoTasks", Equals(Ref("TaskCount"), "0"))
    target = template.add_resource(
        ScalableTarget(
            "ScalableTarget",
            ServiceNamespace="ecs",
            ScalableDimension="ecs:service:DesiredCount",
            ResourceId=Join("/", ["service", Ref(cluster), GetAtt(service, "Name")]),
            MinCapacity=If("HasNoTasks", 0, realtime.min_tasks),
            MaxCapacity=realtime.max_tasks,
            Tags=tags(settings, f"{settings.prefix}-realtime"),
        )
    )
    cpu = TargetTrackingScalingPolicyConfiguration(
        TargetValue=float(realtime.cpu_target_percent),
        PredefinedMetricSpecification=PredefinedMetricSpecification(
            PredefinedMetricType="ECSServiceAverageCPUUtilization"
        ),
    )
    connections = TargetTrackingScalingPolicyConfiguration(
        TargetValue=float(realtime.connections_per_task),
        CustomizedMetricSpecification=CustomizedMetricSpecification(
            Namespace=contract.METRIC_NAMESPACE,
            MetricName=contract.METRIC_CONNECTIONS,
            Dimensions=[MetricDimension(Name=contract.METRIC_DIMENSION, Value=settings.name)],
            Statistic="Average",
        ),
    )
    for kind, configuration in (("Cpu", cpu), ("Connections", connections)):
        # Out quickly; in slowly, because every task that goes makes its clients connect again.
        configuration.ScaleOutCooldown = 60
        configuration.ScaleInCooldown = 300
        template.add_resource(
            ScalingPolicy(
                f"{kind}Scaling",
                PolicyName=f"{settings.prefix}-{kind.lower()}",
                PolicyType="TargetTrackingScaling",
                ScalingTargetId=Ref(target),
                TargetTrackingScalingPolicyConfiguration=configuration,
            )
        )
