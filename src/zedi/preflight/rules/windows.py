"""Maintenance, backup and snapshot windows: long enough, and apart from each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from zedi.preflight.rule import ERROR, Problem, offline
from zedi.preflight.subject import Resource, Subject

_RDS: Final = (
    "https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/USER_UpgradeDBInstance.Maintenance.html"
)
_CACHE: Final = "https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/maintenance-window.html"
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = 24 * 60
_WEEK: Final = 7 * _DAY
_WINDOW: Final = re.compile(r"(?:([a-z]{3}):)?(\d\d):(\d\d)-(?:([a-z]{3}):)?(\d\d):(\d\d)", re.IGNORECASE)

Window = tuple[int, int]
"""Start, in minutes from Monday 00:00 (or from midnight, daily), and length."""


def _window(text: str | None) -> Window | None:
    found = _WINDOW.fullmatch(text or "")
    if not found:
        return None
    first, hour, minute, last, to_hour, to_minute = found.groups()
    start, end = int(hour) * 60 + int(minute), int(to_hour) * 60 + int(to_minute)
    if first and last:
        if first.lower() not in _DAYS or last.lower() not in _DAYS:
            return None
        start += _DAYS.index(first.lower()) * _DAY
        end += _DAYS.index(last.lower()) * _DAY
        return start, (end - start) % _WEEK
    return start, (end - start) % _DAY


def _overlap(daily: Window, weekly: Window) -> bool:
    for day in range(8):  # the week before's last, too: a window may cross midnight on Sunday
        start = daily[0] + (day - 1) * _DAY
        for shift in (-_WEEK, 0, _WEEK):
            if start < weekly[0] + shift + weekly[1] and weekly[0] + shift < start + daily[1]:
                return True
    return False


def _both(resource: Resource, daily: str, weekly: str) -> Iterator[Problem]:
    one, other = resource.name(daily), resource.name(weekly)
    first, second = _window(one), _window(other)
    if first and second and _overlap(first, second):
        yield Problem(
            f"{one} meets the maintenance window {other}", resource, daily, rivals=((resource, weekly),)
        )


def _short(resource: Resource, path: str, least: int) -> Iterator[Problem]:
    text = resource.name(path)
    window = _window(text)
    if window is not None and window[1] < least:
        yield Problem(f"{text} lasts {window[1]} minutes; {least} at least", resource, path)


@offline(
    "Z309",
    "database backup during maintenance",
    ERROR,
    why="RDS refuses a backup window that meets the maintenance window.",
    fix="Move one of them: backups at 03:00-04:00, maintenance on sun:04:00-sun:05:00.",
    source=_RDS,
    says=(r"backup window and maintenance window must not overlap",),
)
def database_overlap(subject: Subject) -> Iterator[Problem]:
    for cluster in subject.of_type("AWS::RDS::DBCluster", "AWS::RDS::DBInstance"):
        yield from _both(cluster, "PreferredBackupWindow", "PreferredMaintenanceWindow")


@offline(
    "Z310",
    "database window too short",
    ERROR,
    why="RDS takes windows of 30 minutes or more.",
    fix="Make it longer.",
    source=_RDS,
    says=(r"window must be at least 30 minutes",),
)
def database_length(subject: Subject) -> Iterator[Problem]:
    for cluster in subject.of_type("AWS::RDS::DBCluster", "AWS::RDS::DBInstance"):
        yield from _short(cluster, "PreferredBackupWindow", 30)
        yield from _short(cluster, "PreferredMaintenanceWindow", 30)


@offline(
    "Z405",
    "cache snapshot during maintenance",
    ERROR,
    why="ElastiCache refuses a snapshot window that meets the maintenance window.",
    fix="Move one of them: snapshots at 04:00-05:00, maintenance on sun:05:00-sun:06:00.",
    source=_CACHE,
    says=(r"snapshot window and maintenance window must not overlap", r"SnapshotWindow.*overlaps"),
)
def cache_overlap(subject: Subject) -> Iterator[Problem]:
    for group in subject.of_type("AWS::ElastiCache::ReplicationGroup"):
        yield from _both(group, "SnapshotWindow", "PreferredMaintenanceWindow")


@offline(
    "Z406",
    "cache window too short",
    ERROR,
    why="ElastiCache takes windows of 60 minutes or more.",
    fix="Make it longer.",
    source=_CACHE,
    says=(r"window must be at least 60 minutes",),
)
def cache_length(subject: Subject) -> Iterator[Problem]:
    for group in subject.of_type("AWS::ElastiCache::ReplicationGroup"):
        yield from _short(group, "SnapshotWindow", 60)
        yield from _short(group, "PreferredMaintenanceWindow", 60)
