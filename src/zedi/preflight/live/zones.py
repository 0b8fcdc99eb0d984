"""Whether this account has the zones. Zone names differ between accounts: each has its own 1a."""

from __future__ import annotations

from collections.abc import Iterator

from zedi.preflight.live import Account
from zedi.preflight.rule import ERROR, Problem, live
from zedi.preflight.subject import Subject


@live(
    "Z150",
    "zone that this account does not have",
    ERROR,
    why="Newer accounts do not have every zone of a region; a subnet in one that is not there is refused.",
    fix="Use zones that this account has.",
    source="https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeAvailabilityZones.html",
    says=(
        r"Value \(.*\) for parameter availabilityZone is invalid\. Subnets can currently only be created in",
    ),
)
def zones(subject: Subject, account: Account) -> Iterator[Problem]:
    subnets = list(subject.of_type("AWS::EC2::Subnet"))
    if not subnets:
        return
    answer = account.client("ec2").describe_availability_zones(
        Filters=[{"Name": "zone-type", "Values": ["availability-zone"]}]
    )
    there = sorted(
        zone["ZoneName"]
        for zone in answer["AvailabilityZones"]
        if zone.get("State", "available") == "available"
    )
    for subnet in subnets:
        for zone in subnet.literals("AvailabilityZone"):
            if zone not in there:
                yield Problem(
                    f"this account has no {zone}",
                    subnet,
                    "AvailabilityZone",
                    fix=f"Use two of {', '.join(there)}.",
                )
