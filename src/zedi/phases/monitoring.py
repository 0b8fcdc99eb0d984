"""Phase 7: what tells a person that something is wrong: alarms, a budget, and one dashboard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from troposphere import Output, Parameter, Ref, Sub, Template
from troposphere.budgets import (
    Budget,
    BudgetData,
    Notification,
    NotificationWithSubscribers,
    ResourceTag,
    Spend,
    Subscriber,
)
from troposphere.cloudwatch import Alarm, Dashboard, Metric, MetricDataQuery, MetricDimension, MetricStat
from troposphere.sns import Subscription, Topic, TopicPolicy

from zedi import contract
from zedi.phases import output_name
from zedi.phases.tags import labels, tags
from zedi.settings import Settings

_REDIS_MAX_CONNECTIONS: Final = 65_000
"""Of a node of ElastiCache; it cannot be changed there."""
_CAPACITY_PERCENT: Final = 90
"""Of the maximum ACU: near it."""
_ALB_ERRORS: Final = 10
"""5xx answers in five minutes."""
_MINUTE: Final = 60


def build(settings: Settings) -> Template:
    template = Template(Description=f"{settings.prefix}: monitoring")
    for name in ("AlbFullName", "RealtimeTargetGroup", "ApiTargetGroup", "CloudfrontDistributionId"):
        template.add_parameter(Parameter(name, Type="String"))

    topic = _topic(template, settings)
    for alarm in (*_service_alarms(settings), *_state_alarms(settings)):
        alarm.AlarmActions = [Ref(topic)]
        alarm.OKActions = [Ref(topic)]
        template.add_resource(alarm)
    _budget(template, settings, topic)

    titles = [title for title, resource in template.resources.items() if isinstance(resource, Alarm)]
    dashboard = template.add_resource(
        Dashboard(
            "Dashboard",
            DashboardName=settings.prefix,
            DashboardBody=Sub(json.dumps(_dashboard(settings, titles), sort_keys=True)),
            Tags=tags(settings, settings.prefix),
        )
    )
    console = f"https://{settings.region}.console.aws.amazon.com/cloudwatch/home?region={settings.region}"
    template.add_output(
        Output("AlarmTopicArn", Value=Ref(topic), Description="Where alarms and the budget report")
    )
    template.add_output(
        Output(
            "DashboardUrl",
            Value=Sub(f"{console}#dashboards/dashboard/${{{dashboard.title}}}"),
            Description="The dashboard",
        )
    )
    return template


def _topic(template: Template, settings: Settings) -> Topic:
    name = f"{settings.prefix}-alarms"
    topic = Topic("AlarmTopic", TopicName=name, Tags=tags(settings, name))
    if settings.monitoring.email:
        topic.Subscription = [Subscription(Protocol="email", Endpoint=settings.monitoring.email)]
    template.add_resource(topic)
    template.add_resource(
        TopicPolicy(
            "AlarmTopicPolicy",
            Topics=[Ref(topic)],
            PolicyDocument={
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "AlarmsAndBudgetsPublish",
                        "Effect": "Allow",
                        "Principal": {"Service": ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"]},
                        "Action": "sns:Publish",
                        "Resource": Ref(topic),
                        "Condition": {"StringEquals": {"aws:SourceAccount": Ref("AWS::AccountId")}},
                    }
                ],
            },
        )
    )
    return topic


# Metrics: what the service writes, and what AWS writes about each managed service.


@dataclass(frozen=True)
class _Source:
    """One metric: namespace, name, and dimensions in which ${X} stands for the parameter X."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]

    def for_alarm(self) -> list[MetricDimension]:
        return [
            MetricDimension(Name=name, Value=Sub(value) if "${" in value else value)
            for name, value in self.dimensions.items()
        ]

    def row(self, **options: Any) -> list[Any]:
        """As a dashboard's widget has it."""
        flat = [part for pair in self.dimensions.items() for part in pair]
        return [self.namespace, self.name, *flat, options]

    def query(self, name: str, stat: str, period: int) -> MetricDataQuery:
        """As an alarm on an expression has it; `name` is what the expression calls it."""
        return MetricDataQuery(
            Id=name,
            ReturnData=False,
            MetricStat=MetricStat(
                Metric=Metric(Namespace=self.namespace, MetricName=self.name, Dimensions=self.for_alarm()),
                Period=period,
                Stat=stat,
            ),
        )


def _service_metric(settings: Settings, name: str) -> _Source:
    return _Source(contract.METRIC_NAMESPACE, name, {contract.METRIC_DIMENSION: settings.name})


def _ecs(settings: Settings, name: str) -> _Source:
    return _Source(
        "AWS/ECS",
        name,
        {"ClusterName": f"{settings.prefix}-cluster", "ServiceName": f"{settings.prefix}-realtime"},
    )


def _alb(name: str, target_group: str | None = None) -> _Source:
    """`target_group`: the parameter that holds it."""
    dimensions = {"LoadBalancer": "${AlbFullName}"}
    if target_group:
        dimensions = {"TargetGroup": f"${{{target_group}}}", **dimensions}
    return _Source("AWS/ApplicationELB", name, dimensions)


def _redis(settings: Settings, name: str, node: int) -> _Source:
    # ElastiCache numbers a group's nodes like this.
    return _Source("AWS/ElastiCache", name, {"CacheClusterId": f"{settings.prefix}-redis-{node:03}"})


def _aurora(settings: Settings, name: str) -> _Source:
    return _Source("AWS/RDS", name, {"DBClusterIdentifier": f"{settings.prefix}-cluster"})


def _cloudfront(name: str) -> _Source:
    return _Source(
        "AWS/CloudFront", name, {"Region": "Global", "DistributionId": "${CloudfrontDistributionId}"}
    )


# Alarms.


def _alarm(
    settings: Settings,
    title: str,
    description: str,
    threshold: float,
    *,
    minutes: int,
    source: _Source | None = None,
    statistic: str = "Average",
    queries: list[MetricDataQuery] | None = None,
    expression: str | None = None,
    period: int = _MINUTE,
) -> Alarm:
    """An alarm when the value is above `threshold` in every period of the last `minutes`.

    The value is `statistic` of `source`, or `expression` over `queries`. Where there is no data, all is
    well: a stopped environment has none.
    """
    name = f"{settings.prefix}-{output_name(title).replace('_', '-')}"
    alarm = Alarm(
        f"{title}Alarm",
        AlarmName=name,
        AlarmDescription=description,
        ComparisonOperator="GreaterThanThreshold",
        Threshold=threshold,
        EvaluationPeriods=minutes * _MINUTE // period,
        TreatMissingData="notBreaching",
        Tags=tags(settings, name),
    )
    if source:
        alarm.Namespace = source.namespace
        alarm.MetricName = source.name
        alarm.Dimensions = source.for_alarm()
        alarm.Period = period
        if statistic.startswith("p"):
            alarm.ExtendedStatistic = statistic
        else:
            alarm.Statistic = statistic
    else:
        alarm.Metrics = [
            *(queries or []),
            MetricDataQuery(Id="value", Expression=expression, Label=description, ReturnData=True),
        ]
    return alarm


def _service_alarms(settings: Settings) -> list[Alarm]:
    monitoring, percent = settings.monitoring, settings.monitoring.utilisation_percent
    target = settings.realtime.connections_per_task
    return [
        _alarm(
            settings,
            "Connections",
            f"More than {target} connections a task: auto scaling does not keep up",
            float(target),
            source=_service_metric(settings, contract.METRIC_CONNECTIONS),
            minutes=15,
        ),
        _alarm(
            settings,
            "Latency",
            f"Sync latency p99 above {monitoring.latency_p99_ms} ms",
            float(monitoring.latency_p99_ms),
            source=_service_metric(settings, contract.METRIC_LATENCY),
            statistic="p99",
            minutes=5,
        ),
        _alarm(
            settings,
            "ErrorRate",
            f"More than {monitoring.error_rate_percent:g} % of messages refused or failed",
            monitoring.error_rate_percent,
            queries=[
                _service_metric(settings, contract.METRIC_ERRORS).query("errors", "Sum", _MINUTE),
                _service_metric(settings, contract.METRIC_MESSAGES).query("messages", "Sum", _MINUTE),
            ],
            expression="IF(messages > 0, 100 * FILL(errors, 0) / messages, 0)",
            minutes=5,
        ),
        *(
            _alarm(
                settings,
                f"Service{resource}",
                f"Service: {metric} above {percent} %",
                float(percent),
                source=_ecs(settings, f"{metric}Utilization"),
                minutes=5,
            )
            for resource, metric in (("Cpu", "CPU"), ("Memory", "Memory"))
        ),
    ]


def _state_alarms(settings: Settings) -> list[Alarm]:
    """Of the managed services."""
    percent = settings.monitoring.utilisation_percent
    alarms = []
    for node in range(1, settings.cache.nodes + 1):
        alarms += [
            _alarm(
                settings,
                f"Redis{node}Connections",
                f"Redis node {node}: connections above {percent} % of {_REDIS_MAX_CONNECTIONS}",
                _REDIS_MAX_CONNECTIONS * percent / 100,
                source=_redis(settings, "CurrConnections", node),
                statistic="Maximum",
                minutes=5,
            ),
            _alarm(
                settings,
                f"Redis{node}Memory",
                f"Redis node {node}: memory above {percent} %",
                float(percent),
                source=_redis(settings, "DatabaseMemoryUsagePercentage", node),
                minutes=5,
            ),
        ]
    connections = max_connections(settings.database.min_acu, settings.database.max_acu)
    alarms += [
        _alarm(
            settings,
            "AuroraConnections",
            f"Aurora: connections of an instance above {percent} % of {connections}",
            connections * percent / 100,
            source=_aurora(settings, "DatabaseConnections"),
            statistic="Maximum",
            minutes=5,
        ),
        _alarm(
            settings,
            "AuroraCapacity",
            f"Aurora: capacity above {_CAPACITY_PERCENT} % of {settings.database.max_acu:g} ACU",
            float(_CAPACITY_PERCENT),
            source=_aurora(settings, "ACUUtilization"),
            statistic="Maximum",
            minutes=15,
        ),
        *(
            _alarm(
                settings,
                f"Alb{title}Errors",
                f"Load balancer: more than {_ALB_ERRORS} answers with 5xx in five minutes, {words}",
                float(_ALB_ERRORS),
                source=_alb(f"HTTPCode_{origin}_5XX_Count"),
                statistic="Sum",
                minutes=5,
                period=5 * _MINUTE,
            )
            for title, origin, words in (
                ("Own", "ELB", "its own"),
                ("Service", "Target", "the service's"),
            )
        ),
        *(
            _alarm(
                settings,
                f"Unhealthy{name}",
                f"Load balancer: unhealthy targets, {name.lower()}",
                0.0,
                source=_alb("UnHealthyHostCount", target_group),
                statistic="Maximum",
                minutes=3,
            )
            for name, target_group in (("Realtime", "RealtimeTargetGroup"), ("Api", "ApiTargetGroup"))
        ),
    ]
    return alarms


def max_connections(min_acu: float, max_acu: float) -> int:
    """How many connections one Aurora PostgreSQL instance takes.

    Aurora derives it from the memory of the maximum capacity (189 at 1 ACU, 823 at 4, 1,669 at 8, 3,360 at
    16), never above 5,000, and never above 2,000 where the minimum is 0 or 0.5 ACU.
    Source: Amazon Aurora User Guide, "Maximum connections for Aurora Serverless v2".
    """
    ceiling = 2000 if min_acu <= 0.5 else 5000
    return min(ceiling, max(1, round(211.4 * max_acu - 22.4)))


def _budget(template: Template, settings: Settings, topic: Topic) -> None:
    """Over the whole account: a budget on a tag that nobody has activated for billing stays at $0."""
    name = f"{settings.prefix}-monthly"
    template.add_resource(
        Budget(
            "MonthlyBudget",
            DependsOn="AlarmTopicPolicy",  # Budgets checks that it may publish
            Budget=BudgetData(
                BudgetName=name,
                BudgetType="COST",
                TimeUnit="MONTHLY",
                BudgetLimit=Spend(Amount=settings.monitoring.budget_usd, Unit="USD"),
            ),
            NotificationsWithSubscribers=[
                NotificationWithSubscribers(
                    Notification=Notification(
                        NotificationType=kind,
                        ComparisonOperator="GREATER_THAN",
                        Threshold=percent,
                        ThresholdType="PERCENTAGE",
                    ),
                    Subscribers=[Subscriber(SubscriptionType="SNS", Address=Ref(topic))],
                )
                for kind, percent in (("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100))
            ],
            ResourceTags=[ResourceTag(Key=key, Value=value) for key, value in labels(settings, name).items()],
        )
    )


# The dashboard. Twenty-four columns wide, three widgets a row.


def _dashboard(settings: Settings, alarms: list[str]) -> dict[str, Any]:
    connections = _service_metric(settings, contract.METRIC_CONNECTIONS)
    documents = _service_metric(settings, contract.METRIC_DOCUMENTS)
    edits = _service_metric(settings, contract.METRIC_EDITS)
    latency = _service_metric(settings, contract.METRIC_LATENCY)
    errors = _service_metric(settings, contract.METRIC_ERRORS)
    messages = _service_metric(settings, contract.METRIC_MESSAGES)
    nodes = range(1, settings.cache.nodes + 1)
    charts: list[dict[str, Any]] = [
        # Each task writes once a period: their sum over one period is the total.
        _chart(settings, "Concurrent users", [connections.row(stat="Sum", label="connections")]),
        _chart(settings, "Active documents", [documents.row(stat="Sum", label="documents")]),
        _chart(
            settings,
            "Sync operations per second",
            [
                [{"expression": "edits / PERIOD(edits)", "label": "operations/s"}],
                edits.row(stat="Sum", id="edits", visible=False),
            ],
        ),
        _chart(
            settings,
            "Sync latency (ms)",
            [latency.row(stat=stat, label=stat) for stat in ("p50", "p90", "p99", "Maximum")],
        ),
        _chart(
            settings,
            "Error rate (%)",
            [
                [
                    {
                        "expression": "IF(messages > 0, 100 * FILL(errors, 0) / messages, 0)",
                        "label": "errors",
                    }
                ],
                errors.row(stat="Sum", id="errors", visible=False),
                messages.row(stat="Sum", id="messages", visible=False),
            ],
        ),
        _chart(
            settings,
            "Service: CPU and memory (%)",
            [
                _ecs(settings, "CPUUtilization").row(label="CPU"),
                _ecs(settings, "MemoryUtilization").row(label="memory"),
            ],
        ),
        _chart(
            settings,
            "Load balancer: targets",
            [
                _alb(metric, group).row(stat="Maximum", label=f"{name} {label}")
                for name, group in (("realtime", "RealtimeTargetGroup"), ("api", "ApiTargetGroup"))
                for metric, label in (("HealthyHostCount", "healthy"), ("UnHealthyHostCount", "unhealthy"))
            ],
        ),
        _chart(
            settings,
            "Load balancer: requests and errors",
            [
                _alb("RequestCount").row(stat="Sum", label="requests"),
                _alb("HTTPCode_ELB_5XX_Count").row(stat="Sum", label="own 5xx"),
                _alb("HTTPCode_Target_5XX_Count").row(stat="Sum", label="5xx from behind"),
            ],
        ),
        _chart(
            settings,
            "Aurora: capacity (ACU) and connections",
            [
                _aurora(settings, "ServerlessDatabaseCapacity").row(stat="Maximum", label="ACU"),
                _aurora(settings, "DatabaseConnections").row(
                    stat="Maximum", label="connections", yAxis="right"
                ),
            ],
        ),
        _chart(
            settings,
            "Aurora: commit latency (ms)",
            [_aurora(settings, "CommitLatency").row(label="commit")],
        ),
        _chart(
            settings,
            "Redis: memory (%) and connections",
            [
                _redis(settings, metric, node).row(stat="Maximum", label=f"{label} {node}", yAxis=axis)
                for node in nodes
                for metric, label, axis in (
                    ("DatabaseMemoryUsagePercentage", "memory", "left"),
                    ("CurrConnections", "connections", "right"),
                )
            ],
        ),
        # CloudFront's metrics are in us-east-1 only.
        _chart(
            settings,
            "CloudFront: requests and errors",
            [
                _cloudfront("Requests").row(stat="Sum", label="requests"),
                _cloudfront("5xxErrorRate").row(label="5xx (%)", yAxis="right"),
            ],
            region="us-east-1",
        ),
    ]
    status = {
        "type": "alarm",
        "x": 0,
        "y": 0,
        "width": 24,
        "height": 4,
        "properties": {"title": "Alarms", "alarms": [f"${{{title}.Arn}}" for title in alarms]},
    }
    for index, chart in enumerate(charts):
        chart.update(x=index % 3 * 8, y=4 + index // 3 * 6, width=8, height=6)
    return {"widgets": [status, *charts]}


def _chart(
    settings: Settings, title: str, metrics: list[list[Any]], region: str | None = None
) -> dict[str, Any]:
    return {
        "type": "metric",
        "properties": {
            "title": title,
            "region": region or settings.region,
            "view": "timeSeries",
            "period": contract.METRIC_PERIOD,
            "stat": "Average",
            "metrics": metrics,
        },
    }
