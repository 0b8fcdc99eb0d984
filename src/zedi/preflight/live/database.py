"""What RDS offers today, and what is left of an earlier database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from zedi.preflight.live import Account
from zedi.preflight.rule import ERROR, INFO, Problem, live
from zedi.preflight.subject import Resource, Subject

_ENGINE: Final = "aurora-postgresql"


def _clusters(subject: Subject) -> Iterator[tuple[Resource, str]]:
    for cluster in subject.of_type("AWS::RDS::DBCluster"):
        if cluster.get("Engine") == _ENGINE:
            for version in cluster.literals("EngineVersion")[:1]:
                yield cluster, str(version)


def _offered(account: Account) -> list[tuple[int, int]]:
    """The plain versions that new clusters may have; 16.4-limitless and the like are other products."""
    pages = account.client("rds").get_paginator("describe_db_engine_versions").paginate(Engine=_ENGINE)
    found = []
    for page in pages:
        for version in page["DBEngineVersions"]:
            plain = re.fullmatch(r"(\d+)\.(\d+)", version["EngineVersion"])
            if plain and version.get("Status", "available") == "available":
                found.append((int(plain[1]), int(plain[2])))
    return sorted(found)


def _running(account: Account, cluster: Resource) -> str | None:
    """The version of the cluster of that name, when there is one."""
    rds = account.client("rds")
    name = cluster.name("DBClusterIdentifier")
    if name is None:
        return None
    try:
        found: list[Any] = rds.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"]
    except rds.exceptions.DBClusterNotFoundFault:
        return None
    return str(found[0]["EngineVersion"]) if found else None


def _key(subject: Subject) -> str | None:
    return "database.engine_version" if subject.settings else None


@live(
    "Z350",
    "database version that AWS does not offer",
    ERROR,
    why="RDS creates clusters of the versions that it offers, and of no others; one that exists keeps"
    " its own.",
    fix="Name the major alone, and the newest is taken; or one that is offered.",
    source="https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeDBEngineVersions.html",
    says=(r"Cannot find version .* for aurora-postgresql",),
)
def version(subject: Subject, account: Account) -> Iterator[Problem]:
    for cluster, wanted in _clusters(subject):
        if _running(account, cluster) == wanted:
            continue
        offered = _offered(account)
        major, _, minor = wanted.partition(".")
        of_major = [each for each in offered if str(each[0]) == major]
        if minor and (int(major), int(minor)) in of_major:
            continue
        if not minor and of_major:
            continue
        if of_major:
            there = ", ".join(f"{one}.{two}" for one, two in of_major)
            fix = f'Set engine_version = "{major}" (the newest is taken), or one of {there}.'
        else:
            majors = ", ".join(map(str, sorted({one for one, _ in offered})))
            fix = f"Use one of the majors {majors or '(none is offered)'}."
        yield Problem(
            f"{wanted} is not offered for new clusters", cluster, "EngineVersion", key=_key(subject), fix=fix
        )


@live(
    "Z353",
    "newer minor of the database",
    INFO,
    why="A newer minor has fixes, and is supported longer. A version is never moved without being asked.",
    fix="Name the newer one, or the major alone.",
    source="https://docs.aws.amazon.com/AmazonRDS/latest/AuroraPostgreSQLReleaseNotes/AuroraPostgreSQL.Updates.html",
)
def newer(subject: Subject, account: Account) -> Iterator[Problem]:
    for cluster, wanted in _clusters(subject):
        found = re.fullmatch(r"(\d+)\.(\d+)", wanted)
        if not found:
            continue
        of_major = [each for each in _offered(account) if each[0] == int(found[1])]
        if of_major and of_major[-1] > (int(found[1]), int(found[2])):
            newest = f"{of_major[-1][0]}.{of_major[-1][1]}"
            yield Problem(
                f"{newest} is the newest, and {wanted} is set", cluster, "EngineVersion", key=_key(subject)
            )


@live(
    "Z351",
    "database instance that cannot be ordered here",
    ERROR,
    why="Not every class is offered for every version and in every zone; without two zones the"
    " instance is refused.",
    fix="Use zones that have it, or another version.",
    source="https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeOrderableDBInstanceOptions.html",
    says=(
        r"does not support the requested configuration",
        r"Cannot create a .* instance because there are no",
    ),
)
def orderable(subject: Subject, account: Account) -> Iterator[Problem]:
    zones = {
        str(zone)
        for subnet in subject.of_type("AWS::EC2::Subnet")
        for zone in subnet.literals("AvailabilityZone")
    }
    for cluster, wanted in _clusters(subject):
        asked: dict[str, Any] = {"Engine": _ENGINE}
        if "." in wanted:
            asked["EngineVersion"] = wanted
        for instance in subject.of_type("AWS::RDS::DBInstance"):
            class_ = instance.name("DBInstanceClass")
            if class_ is None or cluster not in instance.targets("DBClusterIdentifier"):
                continue
            pages = account.client("rds").get_paginator("describe_orderable_db_instance_options")
            there = {
                zone["Name"]
                for page in pages.paginate(**asked, DBInstanceClass=class_)
                for option in page["OrderableDBInstanceOptions"]
                for zone in option.get("AvailabilityZones", ())
            }
            missing = sorted(zones - there)
            if missing:
                yield Problem(f"no {class_} of {wanted} in {', '.join(missing)}", instance, "DBInstanceClass")


@live(
    "Z352",
    "secret that waits for its deletion",
    ERROR,
    why="A secret that was deleted with a recovery window keeps its name until the window is over.",
    fix="Restore it (aws secretsmanager restore-secret), or delete it at once (delete-secret"
    " --force-delete-without-recovery).",
    source="https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_delete-secret.html",
    says=(r"a secret with this name is already scheduled for deletion",),
)
def deleted_secret(subject: Subject, account: Account) -> Iterator[Problem]:
    secrets = account.client("secretsmanager")
    for secret in subject.of_type("AWS::SecretsManager::Secret"):
        name = secret.name("Name")
        if name is None:
            continue
        try:
            found = secrets.describe_secret(SecretId=name)
        except secrets.exceptions.ResourceNotFoundException:
            continue
        if "DeletedDate" in found:
            yield Problem(f"{name} was deleted on {found['DeletedDate']:%Y-%m-%d}", secret, "Name")
