"""What a listener is told while a deploy runs. Every event is frozen; one is delivered at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from zedi.deploy.plan import PhasePlan
from zedi.errors import ZediError


@dataclass(frozen=True)
class Outlook:
    """What is ahead, told first. Nothing of it is told of the embedded AWS, which takes a moment."""

    after: Mapping[str, tuple[str, ...]]
    """What each phase waits for."""
    seconds: Mapping[str, float]
    """That each phase takes by estimate; not of those whose plan must be seen first."""


@dataclass(frozen=True)
class PhaseStarted:
    phase: str
    stack: str


@dataclass(frozen=True)
class PhaseNote:
    """Something was found in the way and dealt with, e.g. a stack that had to be deleted first."""

    phase: str
    text: str


@dataclass(frozen=True)
class PhasePlanned:
    """The change set is there. It is carried out next, unless `plan.action` is none."""

    phase: str
    plan: PhasePlan


@dataclass(frozen=True)
class ResourceEvent:
    """One stack event. The stack's own have `type` AWS::CloudFormation::Stack."""

    phase: str
    at: datetime
    logical_id: str
    type: str
    status: str
    """CREATE_IN_PROGRESS, UPDATE_COMPLETE, DELETE_FAILED ..."""
    reason: str
    physical_id: str


@dataclass(frozen=True)
class PhaseDone:
    phase: str
    plan: PhasePlan
    seconds: float


@dataclass(frozen=True)
class PhaseFailed:
    phase: str
    error: ZediError


@dataclass(frozen=True)
class PhaseDeleted:
    phase: str
    seconds: float


@dataclass(frozen=True)
class FrontEndPublished:
    """Numbers of files."""

    uploaded: int
    unchanged: int
    deleted: int


Event = (
    Outlook
    | PhaseStarted
    | PhaseNote
    | PhasePlanned
    | ResourceEvent
    | PhaseDone
    | PhaseFailed
    | PhaseDeleted
    | FrontEndPublished
)
Listener = Callable[[Event], None]
