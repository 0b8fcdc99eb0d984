"""What every resource is labelled with."""

from __future__ import annotations

from troposphere import Tags

from zedi.settings import Settings


def labels(settings: Settings, name: str | None = None) -> dict[str, str]:
    """The labels of one resource; `name` is what AWS's consoles show, where they show one."""
    common = {"Project": "zedi", "Environment": settings.name, "ManagedBy": "zedi"}
    return {**common, "Name": name} if name else common


def tags(settings: Settings, name: str | None = None) -> Tags:
    """The same labels in the form that most resources take."""
    return Tags(**labels(settings, name))
