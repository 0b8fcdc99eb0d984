"""Aurora: its version, its parameters, its names, and what protects its data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from zedi.preflight.rule import ERROR, INFO, WARNING, Problem, offline
from zedi.preflight.subject import Resource, Subject, flag

_VERSIONS: Final = (
    "https://docs.aws.amazon.com/AmazonRDS/latest/AuroraPostgreSQLReleaseNotes/AuroraPostgreSQL.Updates.html"
)
_CREATE: Final = "https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBCluster.html"
_AS_OF: Final = "2026-08"
_OFFERED: Final = {
    15: (10, 12, 13, 14, 15, 17, 18),
    16: (8, 9, 10, 11, 13, 14),
    17: (4, 5, 6, 7, 9, 10),
    18: (3, 4),
}
"""Minors that accepted new clusters on `_AS_OF`. AWS's own answer (Z350) counts, where it can be had."""


def _versions(subject: Subject) -> Iterator[tuple[Resource, str]]:
    for cluster in subject.of_type("AWS::RDS::DBCluster"):
        if cluster.get("Engine") == "aurora-postgresql":
            for version in cluster.literals("EngineVersion"):
                yield cluster, str(version)


@offline(
    "Z306",
    "parameter group of another version",
    ERROR,
    why="A parameter group serves the versions of its family; the cluster is refused with another's.",
    fix="Use the family of the version's major: aurora-postgresql15 for 15.x.",
    source="https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/USER_WorkingWithParamGroups.html",
    says=(
        r"The Parameter Group .* with DBParameterGroupFamily .* (cannot|can't) be used",
        r"parameter group .* cannot be used for this instance",
    ),
)
def family(subject: Subject) -> Iterator[Problem]:
    for cluster, version in _versions(subject):
        wanted = f"aurora-postgresql{version.partition('.')[0]}"
        groups = cluster.targets("DBClusterParameterGroupName")
        for instance in subject.of_type("AWS::RDS::DBInstance"):
            if cluster in instance.targets("DBClusterIdentifier"):
                groups += instance.targets("DBParameterGroupName")
        for group in dict.fromkeys(groups):
            for found in group.literals("Family"):
                if found != wanted:
                    yield Problem(f"{found} is not for {version}: {wanted} is", group, "Family")


@offline(
    "Z307",
    "database version that takes no new clusters",
    ERROR,
    why=f"AWS withdraws old minors for new clusters (this list is of {_AS_OF}); one that exists goes on"
    " running. `--live` asks AWS instead.",
    fix="Name the major alone, and the newest is taken; or one of those that are offered.",
    source=_VERSIONS,
    settled_by="Z350",
    covers=("E3690", "W3690", "E3691", "W3691"),
    says=(r"Cannot find version .* for aurora-postgresql", r"Cannot upgrade aurora-postgresql from .* to"),
)
def withdrawn(subject: Subject) -> Iterator[Problem]:
    for cluster, version in _versions(subject):
        found = re.fullmatch(r"(\d+)(?:\.(\d+))?", version)
        if not found or not subject.on_aws:
            continue
        major, minor = int(found[1]), int(found[2]) if found[2] else None
        offered = _OFFERED.get(major)
        if offered is None:
            if major < min(_OFFERED):
                yield Problem(
                    f"{version} is not offered any more", cluster, "EngineVersion", key=_key(subject)
                )
        elif minor is not None and minor < max(offered) and minor not in offered:
            known = ", ".join(f"{major}.{each}" for each in offered)
            yield Problem(
                f"{version} is not offered", cluster, "EngineVersion", key=_key(subject),
                fix=f'Set engine_version = "{major}" (the newest is taken), or one of {known}.',
            )  # fmt: skip


@offline(
    "Z308",
    "database version that is not known here",
    INFO,
    why=f"It is newer than what was offered in {_AS_OF}; only AWS can say.",
    fix="Ask it: zedi preflight --live.",
    source=_VERSIONS,
    settled_by="Z350",
)
def unknown(subject: Subject) -> Iterator[Problem]:
    for cluster, version in _versions(subject):
        found = re.fullmatch(r"(\d+)(?:\.(\d+))?", version)
        if not found or not subject.on_aws:
            continue
        offered = _OFFERED.get(int(found[1]), ())
        newer = int(found[2]) > max(offered) if found[2] and offered else int(found[1]) > max(_OFFERED)
        if newer:
            yield Problem(
                f"{version} is not on the list of {_AS_OF}", cluster, "EngineVersion", key=_key(subject)
            )


def _key(subject: Subject) -> str | None:
    # The version is a parameter: no change of a template shows which key it comes from.
    return "database.engine_version" if subject.settings else None


@offline(
    "Z311",
    "retention that Performance Insights does not take",
    ERROR,
    why="Performance Insights keeps 7 days, 31 times a number of months up to 23, or 731 days.",
    fix="Use 7 (free), or 0 to turn it off.",
    source="https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/USER_PerfInsights.Overview.cost.html",
    says=(r"Invalid Performance Insights retention period",),
)
def insights(subject: Subject) -> Iterator[Problem]:
    for instance in subject.of_type("AWS::RDS::DBInstance", "AWS::RDS::DBCluster"):
        path = "PerformanceInsightsRetentionPeriod"
        for days in instance.numbers(path):
            if not (days in (7, 731) or (days % 31 == 0 and 1 <= days // 31 <= 23)):
                yield Problem(f"{days:g} days is not taken", instance, path)


@offline(
    "Z313",
    "production without protection",
    WARNING,
    why="A wrong name in one command, or one replacement, and the users' pages are gone.",
    fix="In prod: deletion_protection and final_snapshot true, secret_recovery_days 30.",
    source="https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/USER_DeleteCluster.html",
)
def protection(subject: Subject) -> Iterator[Problem]:
    if subject.settings is None or not subject.settings.name.startswith("prod"):
        return
    database = subject.settings.database
    for key, wrong in (
        ("deletion_protection", not database.deletion_protection),
        ("final_snapshot", not database.final_snapshot),
        ("secret_recovery_days", not database.secret_recovery_days),
    ):
        if wrong:
            yield Problem(
                f"{key} is {getattr(database, key)}".lower(), phase="database", key=f"database.{key}"
            )


@offline(
    "Z314",
    "recovery window that Secrets Manager does not take",
    ERROR,
    why="A deleted secret can be restored for 7 to 30 days, or is gone at once (0).",
    fix="Use 0, or 7 to 30.",
    source="https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html",
    says=(r"RecoveryWindowInDays value must be between 7 and 30",),
)
def recovery(subject: Subject) -> Iterator[Problem]:
    if subject.settings and 0 < subject.settings.database.secret_recovery_days < 7:
        days = subject.settings.database.secret_recovery_days
        yield Problem(
            f"{days} days is neither 0 nor 7 to 30", phase="database", key="database.secret_recovery_days"
        )


_USERS: Final = frozenset(
    {"admin", "rdsadmin", "rdsrepladmin", "rdswriteforwarduser", "public", "none", "master"}
)
_NAMES: Final = frozenset(
    {"postgres", "template0", "template1", "rdsadmin", "db", "user", "default", "database"}
)


@offline(
    "Z315",
    "reserved name in the database",
    ERROR,
    why="PostgreSQL or RDS keeps some names of users and databases for itself.",
    fix="Choose another name.",
    source=_CREATE,
    says=(r"cannot be used as it is a reserved word", r"DatabaseName .* cannot be used"),
)
def reserved(subject: Subject) -> Iterator[Problem]:
    for cluster in subject.of_type("AWS::RDS::DBCluster"):
        name = cluster.name("DatabaseName")
        if name and name.lower() in _NAMES:
            yield Problem(f"a database cannot be called {name}", cluster, "DatabaseName")
        for where, user, path in _users(cluster):
            if user.lower() in _USERS or user.lower().startswith(("rds_", "pg_")):
                yield Problem(f"a master user cannot be called {user}", where, path)


def _users(cluster: Resource) -> Iterator[tuple[Resource, str, str]]:
    name = cluster.name("MasterUsername")
    if name:
        yield cluster, name, "MasterUsername"
    for secret in cluster.targets("MasterUsername"):
        path = "GenerateSecretString.SecretStringTemplate"
        try:
            found = json.loads(secret.name(path) or "{}").get("username")
        except (ValueError, AttributeError):
            continue
        if isinstance(found, str):
            yield secret, found, path


@offline(
    "Z316",
    "database within reach, or not encrypted",
    ERROR,
    why="A public instance can be reached from the internet. Storage that was not encrypted at first"
    " can only be replaced, not encrypted.",
    fix="Set PubliclyAccessible to false and StorageEncrypted to true.",
    source=_CREATE,
    covers=("W9008", "W9011"),
)
def exposed(subject: Subject) -> Iterator[Problem]:
    for instance in subject.of_type("AWS::RDS::DBInstance"):
        if flag(instance.get("PubliclyAccessible")):
            yield Problem("it can be reached from the internet", instance, "PubliclyAccessible")
    for cluster in subject.of_type("AWS::RDS::DBCluster"):
        if not flag(cluster.get("StorageEncrypted")):
            yield Problem("its storage is not encrypted", cluster, "StorageEncrypted")


@offline(
    "Z319",
    "extended support that bills by itself",
    WARNING,
    why="A version past its end of standard support is kept alive for a fee for each vCPU-hour,"
    " unless that was refused when the cluster was made.",
    fix="Set EngineLifecycleSupport to open-source-rds-extended-support-disabled.",
    source="https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/extended-support.html",
)
def extended_support(subject: Subject) -> Iterator[Problem]:
    for cluster in subject.of_type("AWS::RDS::DBCluster"):
        if cluster.get("EngineLifecycleSupport") != "open-source-rds-extended-support-disabled":
            yield Problem("extended support is not refused", cluster, "EngineLifecycleSupport")
