"""Quotas of the account: what is there already, and what is still to come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from zedi.phases import stack_name
from zedi.preflight.live import Account
from zedi.preflight.live.stacks import deployed
from zedi.preflight.rule import ERROR, WARNING, Problem, live
from zedi.preflight.subject import Subject

_VPCS: Final = "L-F678F1CE"
_ADDRESSES: Final = "L-0263D0A3"
_VCPUS: Final = {"FARGATE": ("L-3032A538", "on-demand"), "FARGATE_SPOT": ("L-36FBB829", "Spot")}
_UNITS: Final = 1024
"""CPU units of a vCPU."""


def _quota(account: Account, service: str, code: str) -> float:
    quotas = account.client("service-quotas")
    try:
        answer: Any = quotas.get_service_quota(ServiceCode=service, QuotaCode=code)
    except quotas.exceptions.NoSuchResourceException:  # never changed: only the default is known
        answer = quotas.get_aws_default_service_quota(ServiceCode=service, QuotaCode=code)
    return float(answer["Quota"]["Value"])


@live(
    "Z151",
    "no room for another VPC",
    ERROR,
    why="An account has five VPCs a region, until it asks for more.",
    fix="Delete a VPC that nobody uses, or ask for more: Service Quotas, VPCs per Region.",
    source="https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html",
    says=(r"VpcLimitExceeded", r"maximum number of VPCs has been reached"),
)
def vpcs(subject: Subject, account: Account) -> Iterator[Problem]:
    for vpc in subject.of_type("AWS::EC2::VPC"):
        if _there(subject, account, "networking"):
            return
        pages = account.client("ec2").get_paginator("describe_vpcs").paginate()
        count = sum(len(page["Vpcs"]) for page in pages)
        quota = _quota(account, "vpc", _VPCS)
        if count >= quota:
            yield Problem(f"{count} of {quota:g} VPCs are there already", vpc)


@live(
    "Z152",
    "no room for the addresses",
    ERROR,
    why="An account has five elastic addresses a region, until it asks for more.",
    fix="Release an address that nobody uses, or ask for more: Service Quotas, EC2-VPC Elastic IPs.",
    source="https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/elastic-ip-addresses-eip.html",
    says=(r"AddressLimitExceeded", r"maximum number of addresses has been reached"),
)
def addresses(subject: Subject, account: Account) -> Iterator[Problem]:
    wanted = list(subject.of_type("AWS::EC2::EIP"))
    if not wanted or _there(subject, account, wanted[0].phase):
        return
    count = len(account.client("ec2").describe_addresses()["Addresses"])
    quota = _quota(account, "ec2", _ADDRESSES)
    if count + len(wanted) > quota:
        yield Problem(f"{len(wanted)} are wanted, and {count} of {quota:g} are taken", wanted[0])


@live(
    "Z550",
    "not enough vCPUs on Fargate",
    WARNING,
    why="The service cannot grow past the account's vCPUs, and while it is deployed it has up to"
    " twice its tasks.",
    fix="Ask for more in Service Quotas (AWS Fargate), or lower realtime.max_tasks or realtime.cpu.",
    source="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html",
    says=(r"You've reached the limit on the number of vCPUs", r"VcpuLimitExceeded"),
)
def vcpus(subject: Subject, account: Account) -> Iterator[Problem]:
    most = [
        tasks
        for target in subject.of_type("AWS::ApplicationAutoScaling::ScalableTarget")
        for tasks in target.numbers("MaxCapacity")
    ]
    for service in subject.of_type("AWS::ECS::Service"):
        units = [cpu for task in service.targets("TaskDefinition") for cpu in task.numbers("Cpu")]
        strategy = service.get("CapacityProviderStrategy") or []
        if not most or not units:
            continue
        for index, item in enumerate(strategy):
            kind = item.get("CapacityProvider")
            weight, base = item.get("Weight", 0), item.get("Base", 0)
            tasks = max(most) if weight else base
            needed = 2 * tasks * units[0] / _UNITS
            if kind not in _VCPUS or not tasks:
                continue
            code, words = _VCPUS[kind]
            quota = _quota(account, "fargate", code)
            if needed > quota:
                yield Problem(
                    f"up to {needed:g} {words} vCPUs in a deploy, and the account has {quota:g}",
                    service,
                    f"CapacityProviderStrategy.{index}",
                    key="realtime.max_tasks" if subject.settings else None,
                )


def _there(subject: Subject, account: Account, phase: str) -> bool:
    """Whether what a phase wants is counted already."""
    return subject.settings is not None and deployed(account, stack_name(subject.settings, phase)) is not None
