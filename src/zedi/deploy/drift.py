"""What was changed behind the templates' back, and what nobody can say that about.

CloudFormation compares the properties that a template sets, of the types that it can read. It is silent about
all others, so they are counted here by type: no difference found is not the same as none there.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from zedi.deploy import stacks
from zedi.deploy.execute import Pace
from zedi.deploy.target import Target, asking
from zedi.phases import PHASES, Phase, stack_name
from zedi.settings import Settings

_DETECTABLE: Final = frozenset(
    {
        "CREATE_COMPLETE",
        "UPDATE_COMPLETE",
        "UPDATE_ROLLBACK_COMPLETE",
        "UPDATE_ROLLBACK_FAILED",
        "IMPORT_COMPLETE",
        "IMPORT_ROLLBACK_COMPLETE",
    }
)
"""The states in which CloudFormation takes DetectStackDrift."""
_COMPARED: Final = frozenset({"IN_SYNC", "MODIFIED", "DELETED"})
_LIMIT_SECONDS: Final = 1800.0


@dataclass(frozen=True)
class Difference:
    path: str
    """A JSON pointer into the resource's properties, e.g. /RetentionInDays."""
    kind: str
    """ADD, REMOVE or NOT_EQUAL, seen from the template."""
    expected: str
    """JSON or text, as CloudFormation gives it; so is actual."""
    actual: str


@dataclass(frozen=True)
class Drifted:
    logical_id: str
    physical_id: str
    type: str
    deleted: bool
    differences: tuple[Difference, ...]
    """Empty when it was deleted."""


@dataclass(frozen=True)
class PhaseDrift:
    phase: str
    state: str | None
    """The stack's; None: not deployed."""
    compared: int
    """Resources."""
    drifted: tuple[Drifted, ...]
    not_checked: Mapping[str, int]
    """How many resources were not compared, by type."""
    reason: str
    """Why the phase, or some of it, could not be looked at; empty where it could."""


def drift(settings: Settings, target: Target, phases: Sequence[Phase] = PHASES) -> tuple[PhaseDrift, ...]:
    """Has CloudFormation compare every deployed phase, and waits for it.

    Raises TargetError, or DeployError when AWS refuses or takes longer than half an hour.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(max(1, len(phases)), thread_name_prefix="drift") as threads:
        running = [threads.submit(_phase, settings, target, phase.name, stop) for phase in phases]
        try:
            return tuple(future.result() for future in running)
        except BaseException:
            stop.set()
            raise


def _phase(settings: Settings, target: Target, name: str, stop: threading.Event) -> PhaseDrift:
    with asking(target, name):
        stack = stacks.describe(target, stack_name(settings, name))
        if stack is None:
            return PhaseDrift(name, None, 0, (), {}, "")
        reason = f"the stack is {stack.status}"
        found: dict[str, Drifted | None] = {}
        if stack.status in _DETECTABLE:
            reason = _detect(target, name, stack.id, stop)
            found = _compared(target, stack.id)
        unread = Counter(
            resource.type for resource in stacks.resources(target, stack) if resource.logical_id not in found
        )
    return PhaseDrift(
        phase=name,
        state=stack.status,
        compared=len(found),
        drifted=tuple(each for each in found.values() if each is not None),
        not_checked=dict(sorted(unread.items())),
        reason=reason,
    )


def _detect(target: Target, phase: str, stack_id: str, stop: threading.Event) -> str:
    """Detects drift and waits for the end; returns why a part of it failed, if it did."""
    cloudformation = target.client("cloudformation")
    detection = cloudformation.detect_stack_drift(StackName=stack_id)["StackDriftDetectionId"]
    pace = Pace(stop, _LIMIT_SECONDS)
    while True:
        answer = cloudformation.describe_stack_drift_detection_status(StackDriftDetectionId=detection)
        if answer["DetectionStatus"] == "DETECTION_COMPLETE":
            return ""
        if answer["DetectionStatus"] == "DETECTION_FAILED":
            # What could be compared was, and is there to be read.
            return answer.get("DetectionStatusReason", "AWS gives no reason")
        pace.wait(phase)


def _compared(target: Target, stack_id: str) -> dict[str, Drifted | None]:
    """The resources that were compared, by name; None for those that are as their template says."""
    cloudformation = target.client("cloudformation")
    found: dict[str, Drifted | None] = {}
    token: str | None = None
    while True:
        more: dict[str, Any] = {"NextToken": token} if token else {}
        answer = cloudformation.describe_stack_resource_drifts(StackName=stack_id, **more)
        for each in answer["StackResourceDrifts"]:
            status = each["StackResourceDriftStatus"]
            if status not in _COMPARED:
                continue
            found[each["LogicalResourceId"]] = (
                None
                if status == "IN_SYNC"
                else Drifted(
                    logical_id=each["LogicalResourceId"],
                    physical_id=each.get("PhysicalResourceId", ""),
                    type=each["ResourceType"],
                    deleted=status == "DELETED",
                    differences=tuple(
                        Difference(
                            path=difference["PropertyPath"],
                            kind=difference["DifferenceType"],
                            expected=difference.get("ExpectedValue", ""),
                            actual=difference.get("ActualValue", ""),
                        )
                        for difference in each.get("PropertyDifferences", ())
                    ),
                )
            )
        token = answer.get("NextToken")
        if not token:
            return found
