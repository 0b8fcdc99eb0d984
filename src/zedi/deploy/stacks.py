"""What CloudFormation says of a stack, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from zedi.deploy.target import Target


@dataclass(frozen=True)
class Stack:
    name: str
    id: str
    """The ARN: it goes on naming this stack after it was deleted."""
    status: str
    reason: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]
    protected: bool = False
    """Termination protection: AWS refuses to delete it."""
    changed: datetime | None = None
    """When its last operation began, or it was made."""
    drift: str = "NOT_CHECKED"
    """What the last drift detection found: IN_SYNC, DRIFTED, UNKNOWN; NOT_CHECKED: there was none."""
    drift_checked: datetime | None = None

    @property
    def deployed(self) -> bool:
        """Whether its resources are there: a deploy or an import of it succeeded once, whatever came after.

        So are its outputs, but for a stack that was imported and not deployed yet: an import has none.
        """
        return self.status.startswith(("UPDATE_", "IMPORT_")) or self.status == "CREATE_COMPLETE"


def describe(target: Target, stack: str) -> Stack | None:
    """The stack of that name (a deleted one does not count) or ARN, or None."""
    from botocore.exceptions import ClientError

    try:
        answer = target.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        # There is no code of its own for this: a plain ValidationError with these words.
        if "does not exist" in error.response["Error"].get("Message", ""):
            return None
        raise
    if not answer:
        return None
    found = answer[0]
    drift = found.get("DriftInformation")
    return Stack(
        name=found["StackName"],
        id=found.get("StackId", ""),
        status=found["StackStatus"],
        reason=found.get("StackStatusReason", ""),
        parameters={
            parameter["ParameterKey"]: parameter.get("ParameterValue", "")
            for parameter in found.get("Parameters", ())
            if "ParameterKey" in parameter
        },
        outputs={
            output["OutputKey"]: output.get("OutputValue", "")
            for output in found.get("Outputs", ())
            if "OutputKey" in output
        },
        protected=found.get("EnableTerminationProtection", False),
        changed=found.get("LastUpdatedTime") or found.get("CreationTime"),
        drift=drift["StackDriftStatus"] if drift else "NOT_CHECKED",
        drift_checked=drift.get("LastCheckTimestamp") if drift else None,
    )


@dataclass(frozen=True)
class Resource:
    logical_id: str
    physical_id: str
    type: str
    status: str
    reason: str
    drift: str
    """MODIFIED, DELETED, IN_SYNC; or NOT_CHECKED: never, or its type cannot be; or UNKNOWN, UNSUPPORTED."""

    @property
    def settled(self) -> bool:
        return self.status.endswith("_COMPLETE")


def resources(target: Target, stack: Stack) -> tuple[Resource, ...]:
    """The resources of a stack, by name; without those that were deleted."""
    pages = target.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack.id)
    found = [
        Resource(
            logical_id=each["LogicalResourceId"],
            physical_id=each.get("PhysicalResourceId", ""),
            type=each["ResourceType"],
            status=each["ResourceStatus"],
            reason=each.get("ResourceStatusReason", ""),
            drift=each["DriftInformation"]["StackResourceDriftStatus"]
            if "DriftInformation" in each
            else "NOT_CHECKED",
        )
        for page in pages
        for each in page["StackResourceSummaries"]
        if each["ResourceStatus"] != "DELETE_COMPLETE"
    ]
    return tuple(sorted(found, key=lambda resource: resource.logical_id))
