"""What CloudFormation says of a stack, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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

    @property
    def deployed(self) -> bool:
        """Whether its resources and outputs are there: a deploy of it succeeded once, whatever came after."""
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
    )
