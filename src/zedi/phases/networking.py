"""Phase 1: the VPC, its subnets, the service's way out to AWS, and the service's security groups.

The way out is `networking.egress`: interface endpoints, a public address for each task, or NAT.

The security groups of the load balancer and the tasks stand here, before the database and the cache, so
that both can accept the tasks and nobody else.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Final

from troposphere import GetAtt, Join, Output, Ref, Template
from troposphere.ec2 import (
    EIP,
    VPC,
    InternetGateway,
    NatGateway,
    Route,
    RouteTable,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    SubnetRouteTableAssociation,
    VPCEndpoint,
    VPCGatewayAttachment,
)

from zedi.phases.tags import tags
from zedi.settings import Settings

_INTERFACE_ENDPOINTS: Final = ("ecr.api", "ecr.dkr", "logs", "secretsmanager")
_FIRST_PRIVATE: Final = 100
_ANYWHERE: Final = "0.0.0.0/0"


def build(settings: Settings) -> Template:
    template = Template(Description=f"{settings.prefix}: network")
    prefix, zones = settings.prefix, settings.networking.availability_zones
    cidr = settings.networking.vpc_cidr

    vpc = template.add_resource(
        VPC(
            "Vpc",
            CidrBlock=str(cidr),
            EnableDnsSupport=True,
            EnableDnsHostnames=True,
            Tags=tags(settings, f"{prefix}-vpc"),
        )
    )
    gateway = template.add_resource(InternetGateway("InternetGateway", Tags=tags(settings, f"{prefix}-igw")))
    attachment = template.add_resource(
        VPCGatewayAttachment("GatewayAttachment", VpcId=Ref(vpc), InternetGatewayId=Ref(gateway))
    )

    public_table = _route_table(template, settings, vpc, "public")
    private_tables = _private_tables(template, settings, vpc)
    tables = {"Public": [public_table] * len(zones), "Private": private_tables}
    template.add_resource(
        Route(
            "InternetRoute",
            DependsOn=attachment.title,
            RouteTableId=Ref(public_table),
            DestinationCidrBlock=_ANYWHERE,
            GatewayId=Ref(gateway),
        )
    )

    subnets: dict[str, list[Subnet]] = {"Public": [], "Private": []}
    for kind, first in (("Public", 0), ("Private", _FIRST_PRIVATE)):
        for index, zone in enumerate(zones):
            subnet = template.add_resource(
                Subnet(
                    f"{kind}Subnet{index + 1}",
                    VpcId=Ref(vpc),
                    CidrBlock=str(_slice(cidr, first + index)),
                    AvailabilityZone=zone,
                    MapPublicIpOnLaunch=kind == "Public",
                    Tags=tags(settings, f"{prefix}-{kind.lower()}-{zone}"),
                )
            )
            subnets[kind].append(subnet)
            template.add_resource(
                SubnetRouteTableAssociation(
                    f"{kind}Subnet{index + 1}Routes",
                    SubnetId=Ref(subnet),
                    RouteTableId=Ref(tables[kind][index]),
                )
            )

    egress = settings.networking.egress
    if egress == "endpoints":
        _interface_endpoints(template, settings, vpc, subnets["Private"])
    elif egress == "nat":
        _nat(template, settings, subnets["Public"], private_tables, attachment.title)
    # Costs nothing, and the layers of images come from S3.
    of_tasks = [public_table, *private_tables] if egress == "public" else private_tables
    template.add_resource(
        VPCEndpoint(
            "S3Endpoint",
            VpcEndpointType="Gateway",
            ServiceName=f"com.amazonaws.{settings.region}.s3",
            VpcId=Ref(vpc),
            RouteTableIds=[Ref(title) for title in dict.fromkeys(table.title for table in of_tasks)],
            Tags=tags(settings, f"{prefix}-s3"),
        )
    )
    load_balancer, tasks = _service_groups(template, settings, vpc)

    for name, value, description in (
        ("VpcId", Ref(vpc), "The VPC"),
        ("PublicSubnetIds", _ids(subnets["Public"]), "Subnets with a route to the internet"),
        ("PrivateSubnetIds", _ids(subnets["Private"]), "Subnets that nothing reaches from the internet"),
        ("AlbSecurityGroupId", GetAtt(load_balancer, "GroupId"), "The load balancer's security group"),
        ("TaskSecurityGroupId", GetAtt(tasks, "GroupId"), "The service's security group"),
    ):
        template.add_output(Output(name, Value=value, Description=description))
    return template


def _slice(cidr: IPv4Network, index: int) -> IPv4Network:
    """The index-th /24 counted from the network's start. Whether it lies inside is preflight's question."""
    return IPv4Network(((int(cidr.network_address) + (index << 8)) % 2**32, 24), strict=False)


def _ids(subnets: list[Subnet]) -> Join:
    return Join(",", [Ref(subnet) for subnet in subnets])


def _route_table(template: Template, settings: Settings, vpc: VPC, kind: str, number: int = 1) -> RouteTable:
    suffix = "" if number == 1 else str(number)
    name = f"{settings.prefix}-{kind}-rt{suffix and f'-{suffix}'}"
    return template.add_resource(
        RouteTable(f"{kind.capitalize()}RouteTable{suffix}", VpcId=Ref(vpc), Tags=tags(settings, name))
    )


def _private_tables(template: Template, settings: Settings, vpc: VPC) -> list[RouteTable]:
    """The table of each zone's private subnet: one and the same, unless each zone has its own way out."""
    networking = settings.networking
    zones = len(networking.availability_zones)
    if networking.egress == "nat" and networking.nat_per_zone:
        return [_route_table(template, settings, vpc, "private", number + 1) for number in range(zones)]
    return [_route_table(template, settings, vpc, "private")] * zones


def _nat(
    template: Template, settings: Settings, public: list[Subnet], tables: list[RouteTable], attachment: str
) -> None:
    """A NAT gateway for each table, in the public subnet of the same zone."""
    for number, title in enumerate(dict.fromkeys(table.title for table in tables), start=1):
        name = f"{settings.prefix}-nat-{number}"
        address = template.add_resource(
            EIP(
                f"NatAddress{number}",
                DependsOn=attachment,  # there is no address before the VPC has its way to the internet
                Domain="vpc",
                Tags=tags(settings, name),
            )
        )
        gateway = template.add_resource(
            NatGateway(
                f"NatGateway{number}",
                DependsOn=attachment,
                AllocationId=GetAtt(address, "AllocationId"),
                SubnetId=Ref(public[number - 1]),
                Tags=tags(settings, name),
            )
        )
        template.add_resource(
            Route(
                f"NatRoute{number}",
                RouteTableId=Ref(title),
                DestinationCidrBlock=_ANYWHERE,
                NatGatewayId=Ref(gateway),
            )
        )


def _interface_endpoints(template: Template, settings: Settings, vpc: VPC, subnets: list[Subnet]) -> None:
    prefix = settings.prefix
    group = template.add_resource(
        SecurityGroup(
            "EndpointSecurityGroup",
            GroupName=f"{prefix}-endpoints-sg",
            GroupDescription="VPC endpoints: HTTPS from the VPC",
            VpcId=Ref(vpc),
            SecurityGroupIngress=[
                SecurityGroupRule(
                    IpProtocol="tcp", FromPort=443, ToPort=443, CidrIp=str(settings.networking.vpc_cidr)
                )
            ],
            Tags=tags(settings, f"{prefix}-endpoints-sg"),
        )
    )
    for service in _INTERFACE_ENDPOINTS:
        title = "".join(part.capitalize() for part in service.split("."))
        template.add_resource(
            VPCEndpoint(
                f"{title}Endpoint",
                VpcEndpointType="Interface",
                ServiceName=f"com.amazonaws.{settings.region}.{service}",
                VpcId=Ref(vpc),
                SubnetIds=[Ref(subnet) for subnet in subnets],
                SecurityGroupIds=[GetAtt(group, "GroupId")],
                PrivateDnsEnabled=True,
                Tags=tags(settings, f"{prefix}-{service.replace('.', '-')}"),
            )
        )


def _service_groups(template: Template, settings: Settings, vpc: VPC) -> tuple[SecurityGroup, SecurityGroup]:
    """The groups of the load balancer and of the tasks; the tasks accept the load balancer only."""
    prefix = settings.prefix
    open_ports = (80, 443) if settings.realtime.certificate_arn else (80,)
    load_balancer = template.add_resource(
        SecurityGroup(
            "AlbSecurityGroup",
            GroupName=f"{prefix}-alb-sg",
            GroupDescription="Load balancer: from the internet",
            VpcId=Ref(vpc),
            SecurityGroupIngress=[
                SecurityGroupRule(IpProtocol="tcp", FromPort=port, ToPort=port, CidrIp=_ANYWHERE)
                for port in open_ports
            ],
            Tags=tags(settings, f"{prefix}-alb-sg"),
        )
    )
    tasks = template.add_resource(
        SecurityGroup(
            "TaskSecurityGroup",
            GroupName=f"{prefix}-tasks-sg",
            GroupDescription="Service tasks: from the load balancer",
            VpcId=Ref(vpc),
            SecurityGroupIngress=[
                SecurityGroupRule(
                    IpProtocol="tcp",
                    FromPort=port,
                    ToPort=port,
                    SourceSecurityGroupId=GetAtt(load_balancer, "GroupId"),
                )
                for port in (settings.realtime.port, settings.realtime.api_port)
            ],
            Tags=tags(settings, f"{prefix}-tasks-sg"),
        )
    )
    return load_balancer, tasks
