"""The stacks that are there, and whether CloudFormation can go on with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from zedi.phases import PHASES, stack_name
from zedi.preflight.live import Account
from zedi.preflight.rule import ERROR, WARNING, Problem, live
from zedi.preflight.subject import Subject

_STATES: Final = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html"
_BY_HAND: Final[Mapping[str, str]] = {
    "ROLLBACK_COMPLETE": "Its first deploy failed; it can only be deleted: aws cloudformation delete-stack"
    " --stack-name {stack}",
    "ROLLBACK_FAILED": "Its first deploy failed and could not be undone; delete it: aws cloudformation"
    " delete-stack --stack-name {stack}",
    "CREATE_FAILED": "Delete it: aws cloudformation delete-stack --stack-name {stack}",
    "DELETE_FAILED": "See in its events what could not be deleted, then delete it again, keeping that:"
    " aws cloudformation delete-stack --stack-name {stack} --retain-resources ...",
    "UPDATE_ROLLBACK_FAILED": "Go on rolling back: aws cloudformation continue-update-rollback --stack-name"
    " {stack} (--resources-to-skip ... where a resource cannot be)",
    "IMPORT_ROLLBACK_FAILED": "See in its events what is left of the import, and delete or import it again.",
}


def deployed(account: Account, stack: str) -> dict[str, Any] | None:
    """What CloudFormation says of the stack of that name, or None: there is none."""
    from botocore.exceptions import ClientError

    try:
        answer = account.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        # There is no code of its own for this: a plain ValidationError with these words.
        if "does not exist" in error.response.get("Error", {}).get("Message", ""):
            return None
        raise
    return dict(answer[0]) if answer else None


def owned(account: Account, stack: str) -> set[str]:
    """The physical IDs of the stack's resources; empty when there is no stack."""
    if deployed(account, stack) is None:
        return set()
    pages = account.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
    return {
        resource["PhysicalResourceId"]
        for page in pages
        for resource in page["StackResourceSummaries"]
        if "PhysicalResourceId" in resource
    }


@live(
    "Z053",
    "stack that cannot be updated",
    ERROR,
    why="CloudFormation refuses a change set for a stack whose last operation left it half-way.",
    fix="Bring the stack to an end first.",
    source=_STATES,
    says=(r"is in (ROLLBACK_COMPLETE|[A-Z_]+_FAILED) state and can ?not be updated",),
)
def stuck(subject: Subject, account: Account) -> Iterator[Problem]:
    for phase, stack, status in _states(subject, account):
        if status in _BY_HAND:
            yield Problem(f"{stack} is in {status}", phase=phase, fix=_BY_HAND[status].format(stack=stack))


@live(
    "Z054",
    "stack that somebody is changing",
    WARNING,
    why="CloudFormation does one operation at a time on a stack.",
    fix="Wait until it has ended: a deploy waits by itself.",
    source=_STATES,
    says=(r"is in [A-Z_]+_IN_PROGRESS state and can ?not be updated",),
)
def busy(subject: Subject, account: Account) -> Iterator[Problem]:
    for phase, stack, status in _states(subject, account):
        # REVIEW_IN_PROGRESS is a change set that was never carried out: the next one takes its place.
        if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
            yield Problem(f"{stack} is in {status}", phase=phase)


def _states(subject: Subject, account: Account) -> Iterator[tuple[str, str, str]]:
    if subject.settings is None:
        return
    for phase in PHASES:
        stack = stack_name(subject.settings, phase.name)
        found = deployed(account, stack)
        if found is not None:
            yield phase.name, stack, found["StackStatus"]
