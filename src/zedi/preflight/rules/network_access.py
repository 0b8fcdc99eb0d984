"""Who may come in, and whether the tasks can reach what they need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from zedi.preflight.rule import ERROR, Problem, offline
from zedi.preflight.subject import Resource, Subject, flag, numbers

_WORLD: Final = ("0.0.0.0/0", "::/0")
_PUBLIC_PORTS: Final = (80, 443)
_NEEDED: Final = ("ecr.api", "ecr.dkr", "logs", "secretsmanager", "s3")


@offline(
    "Z108",
    "port open to the world",
    ERROR,
    why="Anybody on the internet may try the database, the cache or the service itself, past load"
    " balancer and CloudFront. Only 80 and 443 of the load balancer are for everybody.",
    fix="Let in the security group that needs it, not an address range.",
    source="https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html",
    covers=("W9005",),
)
def open_to_the_world(subject: Subject) -> Iterator[Problem]:
    for group in subject.of_type("AWS::EC2::SecurityGroup"):
        for index, rule in enumerate(group.get("SecurityGroupIngress") or ()):
            if isinstance(rule, dict):
                yield from _judged(group, rule, f"SecurityGroupIngress.{index}")
    for rule in subject.of_type("AWS::EC2::SecurityGroupIngress"):
        yield from _judged(rule, dict(rule.properties), None)


def _judged(resource: Resource, rule: dict[str, Any], path: str | None) -> Iterator[Problem]:
    def read(key: str) -> list[Any]:
        return resource.subject.literals(resource.phase, rule.get(key))

    world = [cidr for key in ("CidrIp", "CidrIpv6") for cidr in read(key) if cidr in _WORLD]
    if not world:
        return
    first, last = list(numbers(read("FromPort"))), list(numbers(read("ToPort")))
    protocol = str(rule.get("IpProtocol"))
    if protocol in ("tcp", "6") and first and first == last and int(first[0]) in _PUBLIC_PORTS:
        return
    ports = "every port" if protocol == "-1" or not first else f"port {first[0]:g}"
    if first and last and first != last:
        ports = f"ports {first[0]:g} to {last[0]:g}"
    yield Problem(f"{ports} is open to {world[0]}", resource, path)


@offline(
    "Z109",
    "private DNS in a VPC without DNS",
    ERROR,
    why="An interface endpoint with private DNS is refused where the VPC has no DNS support or host names.",
    fix="Set EnableDnsSupport and EnableDnsHostnames of the VPC.",
    source="https://docs.aws.amazon.com/vpc/latest/privatelink/create-interface-endpoint.html",
    says=(r"Enabling private DNS requires both enableDnsSupport and enableDnsHostnames",),
)
def private_dns(subject: Subject) -> Iterator[Problem]:
    for endpoint in subject.of_type("AWS::EC2::VPCEndpoint"):
        if flag(endpoint.get("PrivateDnsEnabled")) is not True:
            continue
        for vpc in endpoint.targets("VpcId"):
            support, names = vpc.get("EnableDnsSupport"), vpc.get("EnableDnsHostnames")
            # Support is on by default, host names are off.
            if flag(support) is False or flag(names) is not True:
                yield Problem(
                    f"{vpc.title} has no DNS support or no host names", endpoint, "PrivateDnsEnabled"
                )


@offline(
    "Z110",
    "tasks that cannot reach what they need",
    ERROR,
    why="A task in a private subnet without a route out reaches ECR, S3, Secrets Manager and CloudWatch Logs"
    " through VPC endpoints only. Without one it never starts: ResourceInitializationError.",
    fix="Add the endpoint, a NAT gateway's route, or public addresses for the tasks.",
    source="https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html",
    says=(
        r"ResourceInitializationError: unable to pull",
        r"CannotPullContainerError.*(i/o timeout|request canceled)",
    ),
)
def missing_endpoints(subject: Subject) -> Iterator[Problem]:
    endpoints = list(subject.of_type("AWS::EC2::VPCEndpoint"))
    for service in subject.of_type("AWS::ECS::Service"):
        path = "NetworkConfiguration.AwsvpcConfiguration"
        subnets = service.targets(f"{path}.Subnets")
        public = service.get(f"{path}.AssignPublicIp") == "ENABLED"
        if not subnets or public or any(_leads_out(subject, subnet) for subnet in subnets):
            continue
        there = {str(name).split(".", 3)[-1] for end in endpoints for name in end.literals("ServiceName")}
        missing = [name for name in _NEEDED if name not in there]
        if missing:
            yield Problem(
                f"its subnets have no route out and no endpoint for {', '.join(missing)}",
                service,
                f"{path}.Subnets",
            )


def _leads_out(subject: Subject, subnet: Resource) -> bool:
    tables = {
        table
        for association in subject.of_type("AWS::EC2::SubnetRouteTableAssociation")
        if subnet in association.targets("SubnetId")
        for table in association.targets("RouteTableId")
    }
    return any(
        route.get("DestinationCidrBlock") == _WORLD[0] and set(route.targets("RouteTableId")) & tables
        for route in subject.of_type("AWS::EC2::Route")
    )
