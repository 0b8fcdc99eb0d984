"""The VPC's addresses: whether its subnets lie in it, apart from each other, and are large enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Network, ip_network
from itertools import combinations
from typing import Final

from zedi.preflight.rule import ERROR, WARNING, Problem, offline
from zedi.preflight.subject import Resource, Subject

_SIZES: Final = "https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html"
_VPC_SIZES: Final = "https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html"
_PRIVATE: Final = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
_LOAD_BALANCER_PREFIX: Final = 27


def network(resource: Resource) -> IPv4Network | None:
    """The addresses of a VPC or subnet, when they are known and are any."""
    text = resource.name("CidrBlock")
    try:
        found = ip_network(text) if text else None
    except ValueError:
        return None  # not aligned or no network at all: the linters say so
    return found if isinstance(found, IPv4Network) else None


def _subnets(subject: Subject) -> Iterator[tuple[Resource, IPv4Network]]:
    for subnet in subject.of_type("AWS::EC2::Subnet"):
        found = network(subnet)
        if found is not None:
            yield subnet, found


def _vpcs(subject: Subject) -> dict[Resource, IPv4Network]:
    found = {vpc: network(vpc) for vpc in subject.of_type("AWS::EC2::VPC")}
    return {vpc: addresses for vpc, addresses in found.items() if addresses is not None}


@offline(
    "Z103",
    "subnet outside its VPC",
    ERROR,
    why="EC2 refuses a subnet whose addresses are not the VPC's. Public subnet i is the i-th /24 of the VPC,"
    " private subnet i the (100+i)-th, so the VPC must hold at least 102 of them.",
    fix="Give the VPC a larger block, such as 10.0.0.0/16.",
    source=_SIZES,
    covers=("E3059",),
    says=(r"InvalidSubnet\.Range", r"CIDR '.*' is invalid\.?$"),
)
def outside(subject: Subject) -> Iterator[Problem]:
    vpcs = _vpcs(subject)
    for subnet, addresses in _subnets(subject):
        for vpc in subnet.targets("VpcId"):
            if vpc in vpcs and not addresses.subnet_of(vpcs[vpc]):
                yield Problem(f"{addresses} is not in the VPC's {vpcs[vpc]}", subnet, "CidrBlock")


@offline(
    "Z104",
    "subnets that overlap",
    ERROR,
    why="EC2 refuses a subnet whose addresses another one has.",
    fix="Give each subnet its own block.",
    source=_SIZES,
    covers=("E3060",),
    says=(r"InvalidSubnet\.Conflict", r"conflicts with another subnet"),
)
def overlapping(subject: Subject) -> Iterator[Problem]:
    for (one, first), (other, second) in combinations(_subnets(subject), 2):
        if first.overlaps(second) and one.targets("VpcId") == other.targets("VpcId"):
            yield Problem(f"{second} overlaps {one.title}'s {first}", other, "CidrBlock")


@offline(
    "Z105",
    "network of a size that AWS does not take",
    ERROR,
    why="A VPC or subnet has between 16 (/28) and 65,536 (/16) addresses; a load balancer's subnet at"
    " least 32 (/27), of which eight must stay free.",
    fix="Use a VPC of /16; its subnets are /24.",
    source=_VPC_SIZES,
    covers=("E3059",),
    says=(r"InvalidVpc\.Range", r"The CIDR '.*' is invalid", r"has insufficient free addresses"),
)
def sizes(subject: Subject) -> Iterator[Problem]:
    for vpc, addresses in _vpcs(subject).items():
        if not 16 <= addresses.prefixlen <= 28:
            yield Problem(f"{addresses} is not between /16 and /28", vpc, "CidrBlock")
    balanced = {
        subnet
        for balancer in subject.of_type("AWS::ElasticLoadBalancingV2::LoadBalancer")
        for subnet in balancer.targets("Subnets")
    }
    for subnet, addresses in _subnets(subject):
        if not 16 <= addresses.prefixlen <= 28:
            yield Problem(f"{addresses} is not between /16 and /28", subnet, "CidrBlock")
        elif subnet in balanced and addresses.prefixlen > _LOAD_BALANCER_PREFIX:
            yield Problem(f"{addresses} is too small for a load balancer: /27 at least", subnet, "CidrBlock")


@offline(
    "Z106",
    "VPC with addresses of the internet",
    WARNING,
    why="Hosts of the internet that have those addresses cannot be reached from the VPC.",
    fix="Use a private block: 10.0.0.0/16, or one in 172.16.0.0/12 or 192.168.0.0/16.",
    source=_VPC_SIZES,
)
def public_addresses(subject: Subject) -> Iterator[Problem]:
    for vpc, addresses in _vpcs(subject).items():
        if not any(addresses.subnet_of(private) for private in _PRIVATE):
            yield Problem(f"{addresses} is no private block", vpc, "CidrBlock")


@offline(
    "Z107",
    "zone of another region",
    ERROR,
    why="A subnet can only stand in a zone of the region that is deployed to: a letter behind the"
    " region's name.",
    fix="Use zones of this region; `zedi preflight --live` says which this account has.",
    source="https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-regions-availability-zones.html",
    settled_by="Z150",
    says=(
        r"Value \(.*\) for parameter availabilityZone is invalid",
        r"InvalidParameterValue.*availabilityZone",
    ),
)
def foreign_zones(subject: Subject) -> Iterator[Problem]:
    for subnet in subject.of_type("AWS::EC2::Subnet"):
        for zone in subnet.literals("AvailabilityZone"):
            region, letter = str(zone)[:-1], str(zone)[-1:]
            if region != subject.region or not letter.isalpha():
                yield Problem(f"{zone} is no zone of {subject.region}", subnet, "AvailabilityZone")


@offline(
    "Z102",
    "two subnets of one zone",
    ERROR,
    why="A load balancer and an interface endpoint take one subnet of a zone each, and refuse a second.",
    fix="Name different zones.",
    source="https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html",
    says=(
        r"cannot be attached to multiple subnets in the same Availability Zone",
        r"DuplicateSubnetsInSameZone",
    ),
)
def same_zone(subject: Subject) -> Iterator[Problem]:
    users = (
        ("AWS::ElasticLoadBalancingV2::LoadBalancer", "Subnets"),
        ("AWS::EC2::VPCEndpoint", "SubnetIds"),
    )
    for type_, path in users:
        for user in subject.of_type(type_):
            zones = Counter(
                zone for subnet in user.targets(path) for zone in subnet.literals("AvailabilityZone")
            )
            for zone, count in zones.items():
                if count > 1:
                    yield Problem(
                        f"{count} of its subnets are in {zone}", user, path, key=_zones_key(subject)
                    )


def zones_of(resource: Resource, path: str) -> tuple[list[Resource], set[str]] | None:
    """The subnets at `path` and their zones; None when they cannot all be known."""
    subnets = [found for found in resource.targets(path) if found.type == "AWS::EC2::Subnet"]
    zones = {str(zone) for subnet in subnets for zone in subnet.literals("AvailabilityZone")}
    known = bool(subnets) and all(subnet.literals("AvailabilityZone") for subnet in subnets)
    return (subnets, zones) if known else None


def _zones_key(subject: Subject) -> str | None:
    # No one property of the user shows the zones: they stand in the subnets of another phase.
    return "networking.availability_zones" if subject.settings else None


@offline(
    "Z301",
    "database in fewer than two zones",
    ERROR,
    why="Aurora keeps its storage in several zones and refuses a subnet group of one.",
    fix='Name two zones or more, e.g. availability_zones = ["ap-northeast-1a", "ap-northeast-1c"].',
    source="https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/USER_VPC.WorkingWithRDSInstanceinaVPC.html",
    says=(
        r"DBSubnetGroupDoesNotCoverEnoughAZs",
        r"DB subnet group doesn't meet Availability Zone \(AZ\) coverage requirement",
    ),
)
def database_zones(subject: Subject) -> Iterator[Problem]:
    yield from _too_few(subject, "AWS::RDS::DBSubnetGroup", "SubnetIds")


@offline(
    "Z517",
    "load balancer in fewer than two zones",
    ERROR,
    why="An application load balancer is refused with subnets of fewer than two zones.",
    fix='Name two zones or more, e.g. availability_zones = ["ap-northeast-1a", "ap-northeast-1c"].',
    source="https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html",
    covers=("E3680",),
    says=(r"At least two subnets in two different Availability Zones must be specified",),
)
def load_balancer_zones(subject: Subject) -> Iterator[Problem]:
    yield from _too_few(subject, "AWS::ElasticLoadBalancingV2::LoadBalancer", "Subnets")


def _too_few(subject: Subject, type_: str, path: str) -> Iterator[Problem]:
    for user in subject.of_type(type_):
        found = zones_of(user, path)
        if found is not None and len(found[1]) < 2:
            subnets, zones = found
            yield Problem(
                f"{len(subnets)} of one zone: {', '.join(zones)}"
                if len(subnets) > 1
                else f"one subnet, in {zones.pop()}",
                user,
                path,
                key=_zones_key(subject),
            )
