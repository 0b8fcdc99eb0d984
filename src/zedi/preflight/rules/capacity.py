"""Aurora's capacity units (ACU) and its pause."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from zedi.preflight.rule import ERROR, WARNING, Problem, offline
from zedi.preflight.subject import Resource, Subject

_SETTING: Final = (
    "https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.setting-capacity.html"
)
_PAUSE: Final = (
    "https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2-auto-pause.html"
)
_SCALING: Final = "ServerlessV2ScalingConfiguration"
_PAUSES_FROM: Final = {13: 15, 14: 12, 15: 7, 16: 3}
"""The first minor of each major that can pause; from 17 on all can."""


def _capacities(subject: Subject) -> Iterator[tuple[Resource, float | None, float | None]]:
    for cluster in subject.of_type("AWS::RDS::DBCluster"):
        if cluster.get(_SCALING) is not None:
            lows, highs = (
                cluster.numbers(f"{_SCALING}.MinCapacity"),
                cluster.numbers(f"{_SCALING}.MaxCapacity"),
            )
            yield cluster, lows[0] if lows else None, highs[0] if highs else None


@offline(
    "Z302",
    "capacity minimum above maximum",
    ERROR,
    why="Aurora refuses a minimum above the maximum.",
    fix="Lower database.min_acu or raise database.max_acu.",
    source=_SETTING,
    says=(r"MaxCapacity.*(greater|less) than.*MinCapacity", r"MinCapacity.*(greater|less) than.*MaxCapacity"),
)
def order(subject: Subject) -> Iterator[Problem]:
    for cluster, low, high in _capacities(subject):
        if low is not None and high is not None and low > high:
            yield Problem(
                f"{low:g} ACU is above the maximum of {high:g}",
                cluster,
                f"{_SCALING}.MinCapacity",
                rivals=((cluster, f"{_SCALING}.MaxCapacity"),),
            )


@offline(
    "Z303",
    "capacity that Aurora does not take",
    ERROR,
    why="Capacity goes in steps of half an ACU, the minimum from 0 and the maximum from 1 to 256.",
    fix="Use a multiple of 0.5 in that range.",
    source=_SETTING,
    says=(r"Serverless v2 (minimum|maximum) capacity .* (isn't|is not) valid",),
)
def grid(subject: Subject) -> Iterator[Problem]:
    for cluster, low, high in _capacities(subject):
        for name, value, least in (("MinCapacity", low, 0.0), ("MaxCapacity", high, 1.0)):
            if value is None:
                continue
            if value * 2 != int(value * 2):
                yield Problem(f"{value:g} ACU is no multiple of a half", cluster, f"{_SCALING}.{name}")
            elif not least <= value <= 256:
                yield Problem(
                    f"{value:g} ACU is not between {least:g} and 256", cluster, f"{_SCALING}.{name}"
                )


@offline(
    "Z304",
    "engine that cannot pause",
    ERROR,
    why="A minimum of 0 ACU is taken from Aurora PostgreSQL 13.15, 14.12, 15.7, 16.3 and 17 on.",
    fix="Use a later version, or a minimum of 0.5 ACU.",
    source=_PAUSE,
    says=(r"doesn't support.*minimum.*capacity of 0", r"auto-?pause (is not|isn't) supported"),
)
def can_pause(subject: Subject) -> Iterator[Problem]:
    for cluster, low, _ in _capacities(subject):
        versions = cluster.literals("EngineVersion")
        if low == 0 and versions and not _pauses(str(versions[0])):
            yield Problem(f"{versions[0]} cannot go to 0 ACU", cluster, f"{_SCALING}.MinCapacity")


def _pauses(version: str) -> bool:
    major, _, minor = version.partition(".")
    if not major.isdigit() or (minor and not minor.isdigit()):
        return True  # no version at all: another rule's matter
    if int(major) >= 17:
        return True
    first = _PAUSES_FROM.get(int(major))
    # A major alone is resolved to its newest.
    return first is not None and (not minor or int(minor) >= first)


@offline(
    "Z305",
    "pause after too short or too long a time",
    ERROR,
    why="Aurora pauses after 300 to 86,400 seconds without a connection.",
    fix="Use 300 (five minutes) or more, at most a day.",
    source=_PAUSE,
    says=(r"SecondsUntilAutoPause",),
)
def pause_range(subject: Subject) -> Iterator[Problem]:
    for cluster, _, _ in _capacities(subject):
        for seconds in cluster.numbers(f"{_SCALING}.SecondsUntilAutoPause"):
            if not 300 <= seconds <= 86_400:
                yield Problem(
                    f"{seconds:g} s is not between 300 and 86,400",
                    cluster,
                    f"{_SCALING}.SecondsUntilAutoPause",
                )


@offline(
    "Z318",
    "pause that never comes",
    WARNING,
    why="Only a minimum of 0 ACU lets Aurora pause: with more, the time until then means nothing and"
    " every hour is billed.",
    fix="Set the minimum to 0 ACU, or leave out the time.",
    source=_PAUSE,
)
def pause_without_zero(subject: Subject) -> Iterator[Problem]:
    for cluster, low, _ in _capacities(subject):
        if low and cluster.get(f"{_SCALING}.SecondsUntilAutoPause") is not None:
            yield Problem(f"the minimum is {low:g} ACU", cluster, f"{_SCALING}.SecondsUntilAutoPause")
