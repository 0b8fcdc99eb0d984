"""How long logs are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from zedi.preflight.rule import ERROR, WARNING, Problem, offline
from zedi.preflight.subject import Subject

_DAYS: Final = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip
_SOURCE: Final = (
    "https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html"
)


@offline(
    "Z008",
    "log group without retention",
    WARNING,
    why="CloudWatch keeps its lines for ever, and bills for them every month for ever.",
    fix="Set the days that its lines are kept.",
    source=_SOURCE,
)
def kept_for_ever(subject: Subject) -> Iterator[Problem]:
    for group in subject.of_type("AWS::Logs::LogGroup"):
        if group.get("RetentionInDays") is None:
            yield Problem("its lines are kept for ever", group, "RetentionInDays")


@offline(
    "Z009",
    "retention that CloudWatch does not take",
    ERROR,
    why="Only certain numbers of days are taken.",
    fix=f"Use one of {', '.join(map(str, _DAYS))}.",
    source=_SOURCE,
    says=(r"retentionInDays' failed to satisfy constraint",),
)
def odd_retention(subject: Subject) -> Iterator[Problem]:
    for group in subject.of_type("AWS::Logs::LogGroup"):
        for days in group.numbers("RetentionInDays"):
            if days not in _DAYS:
                below = max((each for each in _DAYS if each < days), default=_DAYS[0])
                above = min((each for each in _DAYS if each > days), default=_DAYS[-1])
                near = " or ".join(map(str, sorted({below, above})))
                yield Problem(f"{days:g} days is not taken; {near} is", group, "RetentionInDays")
