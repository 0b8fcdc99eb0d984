"""Log groups."""

from __future__ import annotations

from troposphere.logs import LogGroup

from zedi.phases.tags import tags
from zedi.settings import Settings


def log_group(settings: Settings, title: str, name: str, days: int) -> LogGroup:
    """A log group `name` that keeps its lines for `days`; 0: for ever."""
    group = LogGroup(title, LogGroupName=name, Tags=tags(settings, name))
    if days:
        # Past troposphere's own check: which numbers CloudWatch takes is preflight's to say.
        group.properties["RetentionInDays"] = days
    return group
