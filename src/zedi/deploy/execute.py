"""One phase: a change set is proposed, carried out, and followed to its end.

`propose` first clears the way. A stack can be left in states in which it takes no change set; every one of
them has a way on, and where it is safe we take it:

    (none), REVIEW_IN_PROGRESS      a change set of type CREATE
    ROLLBACK_COMPLETE               the first deploy failed and nothing is left of it: deleted, made anew
    *_IN_PROGRESS                   somebody's operation, or ours before an interruption: waited for
    UPDATE_ROLLBACK_FAILED, DELETE_FAILED, CREATE_FAILED, ROLLBACK_FAILED, IMPORT_ROLLBACK_FAILED
                                    DeployError with the command that leads out
    all others                      a change set of type UPDATE

`change_set` is its other half, which takes nothing out of the way: a plan is made with it alone.

Each may be interrupted at any moment: what AWS has begun goes on without us, and `propose` finds
it in one of the states above.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from zedi import preflight
from zedi.deploy import DeployError, plan
from zedi.deploy.events import Event, PhaseNote, ResourceEvent
from zedi.deploy.plan import PhasePlan
from zedi.deploy.stacks import Stack, describe
from zedi.deploy.target import Target

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import ParameterTypeDef, ResourceToImportTypeDef, TagTypeDef

TEMPLATE_BYTES: Final = 51_200
"""The largest template that CloudFormation takes inline."""

STACK_TYPE: Final = "AWS::CloudFormation::Stack"

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 5.0
_BUSY_PAUSE: Final = 1.0
_LIMIT_SECONDS: Final = 4 * 3600.0
"""An ECS service that never gets steady fails after three hours; nothing here takes longer."""

_SUCCEEDED: Final = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE", "DELETE_COMPLETE"})

Tell = Callable[[Event], None]


class Stopped(Exception):
    """We were asked to stop watching. What AWS has begun goes on."""


@dataclass(frozen=True)
class Request:
    """What a phase's stack shall be."""

    phase: str
    stack: str
    template: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    imports: Sequence[ResourceToImportTypeDef] = ()
    """What the stack takes over, all that is new in the template. Empty: it makes what is new itself."""


class Pace:
    """The pauses between two looks: short at first, longer while nothing happens, bounded in all."""

    def __init__(self, stop: threading.Event, limit: float = _LIMIT_SECONDS) -> None:
        self._stop = stop
        self._pause = _FIRST_PAUSE
        self._end = time.monotonic() + limit

    def wait(self, where: str) -> None:
        """Raises Stopped when asked to stop, DeployError when it took too long."""
        if self._stop.wait(self._pause):
            raise Stopped
        if time.monotonic() > self._end:
            raise DeployError(
                where,
                "this takes longer than anything should",
                "Run the same command again to go on waiting.",
            )
        self._pause = min(self._pause * 1.5, _LONGEST_PAUSE)

    def quicken(self) -> None:
        """Something happened: more may follow soon."""
        self._pause = min(self._pause, _BUSY_PAUSE)


class StackEvents:
    """A stack's events: each once, none lost, oldest first.

    Args:
        pages: asks for the events anew: pages of StackEvent, newest first (DescribeStackEvents).
    """

    def __init__(self, pages: Callable[[], Iterable[Sequence[Mapping[str, Any]]]]) -> None:
        self._pages = pages
        self._seen: set[str] = set()
        self._since = datetime.min.replace(tzinfo=UTC)

    def skip_all(self) -> None:
        """What there is now belongs to operations that are over."""
        for page in self._pages():
            self._seen.update(event["EventId"] for event in page)
            if page:
                self._since = page[0]["Timestamp"]
            break

    def skip_to_operation(self) -> None:
        """What there is before the newest operation belongs to earlier ones.

        It starts where the stack says so, or, for one that has no word of its own (a rollback that is
        continued), with the stack's first event after an end.
        """
        newer: Mapping[str, Any] | None = None
        found = False
        for page in self._pages():
            for event in page:
                if found:
                    self._seen.add(event["EventId"])
                elif _begins_operation(event):
                    found = True
                    self._since = event["Timestamp"]
                elif _is_own(event):
                    ended = not event["ResourceStatus"].endswith("_IN_PROGRESS")
                    if ended and newer is not None and newer["ResourceStatus"].endswith("_IN_PROGRESS"):
                        found = True
                        self._since = newer["Timestamp"]
                        self._seen.add(event["EventId"])
                    newer = event
            if found:
                break

    def fresh(self) -> list[Mapping[str, Any]]:
        """What came since the last call.

        A page that holds known events is read to its end: AWS may put a late event below them.
        """
        found: list[Mapping[str, Any]] = []
        for page in self._pages():
            new = [event for event in page if event["EventId"] not in self._seen]
            found += [event for event in new if event["Timestamp"] >= self._since]
            self._seen.update(event["EventId"] for event in new)
            if len(new) < len(page):
                break
        return found[::-1]


def propose(target: Target, request: Request, tell: Tell, stop: threading.Event) -> PhasePlan:
    """Clears the way and makes the change set; nothing is deployed yet.

    Raises DeployError when the stack needs a hand, or AWS takes neither template nor parameters. A change
    set that comes to nothing, or that nobody waits for any more, is not left behind.
    """
    _refuse_too_large(request)  # before anything is cleared away for it
    return change_set(target, request, _clear(target, request, tell, stop), stop)


def change_set(target: Target, request: Request, stack: Stack | None, stop: threading.Event) -> PhasePlan:
    """Makes the change set and nothing else: never is anything deleted that was there before.

    Args:
        stack: as `settled` found it; AWS refuses the change set where it has come into another state since.

    Raises as `propose` does, or botocore's ClientError.
    """
    from botocore.exceptions import ClientError

    _refuse_too_large(request)
    creates = stack is None or stack.status == "REVIEW_IN_PROGRESS"
    kind: Literal["CREATE", "UPDATE", "IMPORT"] = "CREATE" if creates else "UPDATE"
    imports: dict[str, Any] = {}
    if request.imports:
        kind, imports = "IMPORT", {"ResourcesToImport": list(request.imports)}
    cloudformation = target.client("cloudformation")
    parameters: list[ParameterTypeDef] = [
        {"ParameterKey": name, "ParameterValue": value} for name, value in sorted(request.parameters.items())
    ]
    tags: list[TagTypeDef] = [{"Key": key, "Value": value} for key, value in request.tags.items()]
    shown = _masked(request)
    try:
        made = cloudformation.create_change_set(
            StackName=request.stack,
            ChangeSetName=f"zedi-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:8]}",
            ChangeSetType=kind,
            TemplateBody=request.template,
            Parameters=parameters,
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Tags=tags,
            ClientToken=uuid.uuid4().hex,
            **imports,
        )
    except ClientError as error:
        if stack is not None and plan.says_no_changes(error.response["Error"].get("Message", "")):
            return PhasePlan(
                phase=request.phase,
                stack=stack.name,
                action="none",
                changes=(),
                parameters=tuple(sorted(shown.items())),
                template_sha256=plan.template_hash(request.template),
                stack_id=stack.id,
                stack_changed=iso(stack.changed),
                secrets=_secrets(request),
            )
        raise
    kept = False
    try:
        pages = _wait_for_change_set(target, request.phase, made["Id"], stop)
        reason = str(pages[0].get("StatusReason", ""))
        failed = pages[0]["Status"] == "FAILED"
        if failed and not plan.says_no_changes(reason):
            details = _validation(target, change_set=made["Id"]) if "EarlyValidation" in reason else []
            what = "\n".join([f"AWS does not take the change set: {reason}", *details])
            raise DeployError(request.phase, what, advice(what))
        kept = not failed
    finally:
        if not kept:
            _drop(target, made["Id"], made["StackId"] if creates else None)
    planned = plan.from_change_set(
        request.phase, pages, creates=creates, template=request.template, parameters=shown
    )
    changed = None if creates or stack is None else stack.changed
    planned = replace(
        planned,
        action="import" if request.imports else planned.action,
        stack_changed=iso(changed),
        secrets=_secrets(request),
    )
    if stack is not None and plan.lacks_values(planned):
        before: Any = cloudformation.get_template(StackName=stack.id, TemplateStage="Original")[
            "TemplateBody"
        ]
        if isinstance(before, Mapping):  # text: it is YAML, and not ours
            old = plan.Deployed(json.dumps(before), stack.parameters)
            planned = plan.with_values(planned, old, plan.Deployed(request.template, shown))
    return planned


def _refuse_too_large(request: Request) -> None:
    size = len(request.template.encode())
    if size > TEMPLATE_BYTES:
        raise DeployError(
            request.phase,
            f"its template has {size:,} bytes, and CloudFormation takes {TEMPLATE_BYTES:,}",
            "Split the phase in two.",
        )


def outline(request: Request, stack: Stack | None, account: str) -> PhasePlan:
    """The plan of a phase that can have no change set yet, read off its template; `request` may lack values.

    Args:
        stack: as it is now.
    """
    there = stack if stack is not None and stack.status != "REVIEW_IN_PROGRESS" else None
    drawn = plan.outline(
        request.phase,
        request.stack,
        request.template,
        _masked(request),
        account,
        creates=there is None or not there.deployed,
    )
    return replace(
        drawn,
        stack_id=there.id if there else "",
        stack_changed=iso(there.changed if there else None),
        secrets=_secrets(request),
    )


def discard(target: Target, planned: PhasePlan) -> None:
    """Deletes a plan's change set, which nobody will carry out; and its stack, where that is all there is."""
    if planned.change_set is not None:
        _drop(target, planned.change_set, planned.stack_id if planned.action == "create" else None)


def _drop(target: Target, change_set: str, new: str | None) -> None:
    """Deletes a change set: a stack holds a limited number of them.

    Args:
        new: the stack that it would create. It goes as well, unless somebody else's change set is in it.
    """
    from botocore.exceptions import ClientError

    cloudformation = target.client("cloudformation")
    try:
        cloudformation.delete_change_set(ChangeSetName=change_set)
    except ClientError as error:
        # One that is still being made cannot be deleted; it goes with its stack, or is one of many.
        if error.response["Error"].get("Code") != "InvalidChangeSetStatus":
            raise
    stack = describe(target, new) if new is not None else None
    if stack is None or stack.status != "REVIEW_IN_PROGRESS":
        return
    pages = cloudformation.get_paginator("list_change_sets").paginate(StackName=stack.id)
    others = [
        each
        for page in pages
        for each in page["Summaries"]
        if each.get("ChangeSetId") != change_set and not each.get("Status", "").startswith("DELETE_")
    ]
    if not others:
        cloudformation.delete_stack(StackName=stack.id)


def carry_out(target: Target, planned: PhasePlan, tell: Tell, stop: threading.Event) -> None:
    """Executes a plan's change set and follows it to its end.

    Raises DeployError with the first resource that failed and AWS's reason, or when the plan is stale.
    """
    from botocore.exceptions import ClientError

    if planned.change_set is None:
        return
    events = _events_of(target, planned.stack_id)
    # A first deploy that fails leaves nothing behind: what the template retains would block its names.
    only_on_create: dict[str, Any] = {"RetainExceptOnCreate": True} if planned.action == "create" else {}
    try:
        events.skip_all()
        target.client("cloudformation").execute_change_set(
            ChangeSetName=planned.change_set,
            # An answer that was lost and a request that is sent again are one operation.
            ClientRequestToken=uuid.uuid4().hex,
            **only_on_create,
        )
    except ClientError as error:
        code, message = error.response["Error"].get("Code"), error.response["Error"].get("Message", "")
        if code in ("ChangeSetNotFound", "InvalidChangeSetStatus") or "does not exist" in message:
            raise DeployError(
                planned.phase,
                f"the plan is stale: {message}",
                "The stack has changed since the plan was made. Run the same command again for a new one.",
            ) from error
        raise
    happened = _follow(target, events, planned.phase, planned.stack_id, tell, stop)
    if happened[-1]["ResourceStatus"] not in _SUCCEEDED:
        invalid = any(event.get("DetailedStatus") == "VALIDATION_FAILED" for event in happened)
        details = _validation(target, stack_id=planned.stack_id) if invalid else []
        raise failure(planned.phase, happened, details)


def join(
    target: Target, phase: str, stack: Stack, tell: Tell, stop: threading.Event
) -> list[Mapping[str, Any]]:
    """Follows the operation that a stack is in the middle of; returns its events, the end last."""
    tell(PhaseNote(phase, f"{stack.name} is {stack.status}: waiting for its end"))
    events = _events_of(target, stack.id)
    events.skip_to_operation()
    return _follow(target, events, phase, stack.id, tell, stop)


def delete(target: Target, phase: str, stack: Stack, tell: Tell, stop: threading.Event) -> None:
    """Deletes a stack in which no operation is under way, and follows that to its end.

    Raises DeployError with the first resource that could not be deleted and AWS's reason.
    """
    events = _events_of(target, stack.id)
    events.skip_all()
    target.client("cloudformation").delete_stack(StackName=stack.id, ClientRequestToken=uuid.uuid4().hex)
    if stack.status == "REVIEW_IN_PROGRESS":
        # There is nothing in it, and so it may go without a word.
        pace = Pace(stop)
        while (left := describe(target, stack.id)) is not None and left.status != "DELETE_COMPLETE":
            pace.wait(phase)
        return
    refuse_left_over(target, phase, stack, _follow(target, events, phase, stack.id, tell, stop))


def refuse_left_over(target: Target, phase: str, stack: Stack, happened: Sequence[Mapping[str, Any]]) -> None:
    """Raises DeployError when a deletion's events (oldest first) do not end with the stack gone."""
    if happened[-1]["ResourceStatus"] == "DELETE_COMPLETE":
        return
    error = failure(phase, happened)
    failed = [event["LogicalResourceId"] for event in happened if event["ResourceStatus"] == "DELETE_FAILED"]
    left = " ".join(dict.fromkeys(name for name in failed if name != stack.name))
    if left:
        error = DeployError(
            error.where,
            error.what,
            f"{error.fix}\n  What cannot be deleted stays, outside of any stack, with:"
            f" aws cloudformation delete-stack {_place(target, stack)} --retain-resources {left}",
        )
    raise error


def failure(phase: str, happened: Sequence[Mapping[str, Any]], details: Iterable[str] = ()) -> DeployError:
    """The error that a failed operation's events (oldest first) amount to: its first cause."""
    end = happened[-1]
    cause = first_failure(happened) or end
    reason = cause.get("ResourceStatusReason") or f"{cause['ResourceStatus']}, and AWS gives no reason"
    what = "\n".join([reason, *details])
    own = _is_own(cause)
    where = phase if own else f"{phase}/{cause['LogicalResourceId']} ({cause['ResourceType']})"
    return DeployError(where, f"{what}\n  The stack is {end['ResourceStatus']}.", advice(what))


def first_failure(happened: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first event that failed by itself: not one that was cancelled because another failed.

    The stack's own failure counts only where no resource's came before it: it sums up, or says that the
    template was refused before any resource was touched.
    """
    for event in happened:
        failed = event["ResourceStatus"].endswith("_FAILED")
        cancelled = re.search(r"cancell?ed$", event.get("ResourceStatusReason", "").strip().rstrip("."))
        if failed and not cancelled:
            return event
    return None


_ADVICE: Final = (
    (
        r"not authorized|AccessDenied|Access Denied|is not allowed to",
        "Allow that action to whom you are signed in as.",
    ),
    (
        r"LimitExceeded|(limit|quota|maximum).*(exceeded|reached)|(exceeded|reached).*(limit|quota|maximum)",
        "Delete what is not needed any more, or ask for more under Service Quotas.",
    ),
    (
        r"already in use",
        "Something of that name is there and is not this stack's. Delete or rename it.",
    ),
    (
        r"[Cc]ircuit [Bb]reaker|did not stabilize",
        "The tasks did not come up: read the service's log group.",
    ),
)
"""What no rule of preflight stands for: what is known before a deploy is said there, with its fix."""


def advice(reason: str) -> str:
    """What to do about a reason that AWS gives; preflight's fix, where one of its rules stands for it."""
    again = "Then run the same command again: it goes on from here."
    rule = preflight.explain(reason)
    if rule is not None:
        return f"{rule.fix} {again}\n  {rule.id}: {rule.why}"
    for pattern, fix in _ADVICE:
        if re.search(pattern, reason):
            return f"{fix} {again}"
    return "Correct what AWS says above, then run the same command again: it goes on from here."


def settled(target: Target, request: Request, tell: Tell, stop: threading.Event) -> Stack | None:
    """The stack, when nothing is under way in it (None: there is none). Changes nothing.

    Raises DeployError when it needs a hand before it takes a change set.
    """
    pace = Pace(stop)
    while True:
        stack = describe(target, request.stack)
        if stack is None or stack.status == "REVIEW_IN_PROGRESS":
            return stack
        if not stack.status.endswith("_IN_PROGRESS"):
            break
        join(target, request.phase, stack, tell, stop)
        pace.wait(request.phase)
    if _stuck(stack):
        raise _needs_a_hand(target, request.phase, stack)
    return stack


def _clear(target: Target, request: Request, tell: Tell, stop: threading.Event) -> Stack | None:
    """Brings the stack into a state that takes a change set, and returns it (None: there is none)."""
    pace = Pace(stop)
    while True:
        stack = settled(target, request, tell, stop)
        if stack is None or stack.status != "ROLLBACK_COMPLETE":
            return stack
        tell(PhaseNote(request.phase, f"{stack.name} is {stack.status}, so it never was: it is made anew"))
        delete(target, request.phase, stack, tell, stop)
        pace.wait(request.phase)


def _place(target: Target, stack: Stack) -> str:
    """The words by which the AWS CLI finds a stack."""
    endpoint = f" --endpoint-url {target.endpoint_url}" if target.endpoint_url else ""
    return f"--stack-name {stack.name} --region {target.region}{endpoint}"


def way_on(target: Target, stack: Stack, command: str) -> str | None:
    """How to get on from the state that a stack is in, for people; None where nothing is the matter.

    Args:
        command: what deploys it, e.g. `zedi deploy dev`.
    """
    if _stuck(stack):
        return f"{_leads_out(target, stack)}\n  Then: {command}"
    if stack.status == "REVIEW_IN_PROGRESS":
        return f"It is only planned. To create it: {command}"
    if stack.status.endswith("_IN_PROGRESS"):
        return f"AWS is at work on it. To wait for its end, and go on from there: {command}"
    if stack.status == "ROLLBACK_COMPLETE":
        return f"Its first deploy failed, and nothing is left of it. To make it anew: {command}"
    if "ROLLBACK" in stack.status or stack.status.endswith("_FAILED"):
        return f"Its last change failed; what was before it is deployed. Correct the cause, then: {command}"
    return None


def last_failure(target: Target, phase: str, stack: Stack) -> DeployError | None:
    """The first cause of why the stack's last operation failed; None when it did not."""
    if not stack.status.endswith("_FAILED") and "ROLLBACK" not in stack.status:
        return None
    events = _events_of(target, stack.id)
    events.skip_to_operation()
    happened = events.fresh()
    return failure(phase, happened) if first_failure(happened) else None


def _stuck(stack: Stack) -> bool:
    """Whether the stack takes no change set until somebody has lent a hand."""
    return stack.status.endswith("_FAILED") and stack.status != "UPDATE_FAILED"


def _needs_a_hand(target: Target, phase: str, stack: Stack) -> DeployError:
    fix = f"{_leads_out(target, stack)}\n  Then run the same command again."
    reason = stack.reason or "AWS gives no reason"
    return DeployError(phase, f"{stack.name} is {stack.status}: {reason}", fix)


def _leads_out(target: Target, stack: Stack) -> str:
    """The command that leads out of a state in which the stack is stuck."""
    place = _place(target, stack)
    listed = re.search(r"\[([^\]]+)\]", stack.reason)
    resources = listed[1].replace(",", " ").split() if listed else []
    if stack.status == "UPDATE_ROLLBACK_FAILED":
        fix = f"Correct the cause, then: aws cloudformation continue-update-rollback {place}"
        skip = " ".join(resources) or "LOGICAL_ID ..."
        fix += f"\n  What cannot be rolled back is left as it is with: --resources-to-skip {skip}"
    elif stack.status == "IMPORT_ROLLBACK_FAILED":
        # No command leads out of this one for certain, and deleting would take what was to be imported.
        fix = f"See which resource it was: aws cloudformation describe-stack-events {place}"
        fix += "\n  Take it out of the import, or ask AWS's support."
    else:
        fix = f"Correct the cause, then: aws cloudformation delete-stack {place}"
        if stack.status == "DELETE_FAILED":
            retain = " ".join(resources) or "LOGICAL_ID ..."
            fix += (
                f"\n  What cannot be deleted stays, outside of any stack, with: --retain-resources {retain}"
            )
    return fix


def _wait_for_change_set(
    target: Target, phase: str, change_set: str, stop: threading.Event
) -> list[Mapping[str, Any]]:
    """All pages of DescribeChangeSet, once it is finished."""
    cloudformation = target.client("cloudformation")
    pace = Pace(stop)
    while True:
        answer = cloudformation.describe_change_set(ChangeSetName=change_set, IncludePropertyValues=True)
        if answer["Status"] in ("CREATE_COMPLETE", "FAILED"):
            break
        pace.wait(phase)
    pages: list[Mapping[str, Any]] = [answer]
    while token := answer.get("NextToken"):
        answer = cloudformation.describe_change_set(
            ChangeSetName=change_set, IncludePropertyValues=True, NextToken=token
        )
        pages.append(answer)
    return pages


def _validation(target: Target, *, change_set: str = "", stack_id: str = "") -> list[str]:
    """What CloudFormation's own checks found: change set and stack event only say that they did."""
    cloudformation = target.client("cloudformation")
    if change_set:
        answer = cloudformation.describe_events(ChangeSetName=change_set, Filters={"FailedEvents": True})
    else:
        answer = cloudformation.describe_events(StackName=stack_id, Filters={"FailedEvents": True})
    return [
        f"    {event.get('LogicalResourceId', '')} {event.get('ValidationPath', '')}:"
        f" {event.get('ValidationStatusReason', '')}"
        for event in answer.get("OperationEvents", ())
        if event.get("EventType") == "VALIDATION_ERROR"
    ]


def _events_of(target: Target, stack_id: str) -> StackEvents:
    def pages() -> Iterator[Sequence[Mapping[str, Any]]]:
        paginator = target.client("cloudformation").get_paginator("describe_stack_events")
        for page in paginator.paginate(StackName=stack_id):
            yield page["StackEvents"]

    return StackEvents(pages)


def _follow(
    target: Target, events: StackEvents, phase: str, stack_id: str, tell: Tell, stop: threading.Event
) -> list[Mapping[str, Any]]:
    """Tells every event until the operation is over; returns them all, the stack's last one last."""
    pace = Pace(stop)
    happened: list[Mapping[str, Any]] = []
    while True:
        fresh = events.fresh()
        for event in fresh:
            happened.append(event)
            tell(_told(phase, event))
            if ends_operation(event):
                return happened
        if happened and _is_own(happened[-1]) and happened[-1]["ResourceStatus"] in _PERHAPS_LAST:
            stack = describe(target, stack_id)
            if stack is not None and stack.status == happened[-1]["ResourceStatus"]:
                return happened
        if fresh:
            pace.quicken()
        pace.wait(phase)


_PERHAPS_LAST: Final = frozenset({"CREATE_FAILED", "UPDATE_FAILED"})
"""Of a stack: its end where rolling back was forbidden, else its rollback follows."""


def ends_operation(event: Mapping[str, Any]) -> bool:
    """Whether this is surely the stack's last event of an operation."""
    status = event["ResourceStatus"]
    return _is_own(event) and status not in _PERHAPS_LAST and status.endswith(("_COMPLETE", "_FAILED"))


def _begins_operation(event: Mapping[str, Any]) -> bool:
    return _is_own(event) and event["ResourceStatus"] in (
        "CREATE_IN_PROGRESS",
        "UPDATE_IN_PROGRESS",
        "DELETE_IN_PROGRESS",
        "IMPORT_IN_PROGRESS",
    )


def _is_own(event: Mapping[str, Any]) -> bool:
    """Whether the event is of the stack itself; a nested stack is a resource whose ID is not the stack's."""
    return bool(event.get("PhysicalResourceId") == event["StackId"])


def _told(phase: str, event: Mapping[str, Any]) -> ResourceEvent:
    return ResourceEvent(
        phase=phase,
        at=event["Timestamp"],
        logical_id=event["LogicalResourceId"],
        type=event["ResourceType"],
        status=event["ResourceStatus"],
        reason=event.get("ResourceStatusReason", ""),
        physical_id=event.get("PhysicalResourceId", ""),
    )


def _masked(request: Request) -> dict[str, str]:
    """The parameters as a plan may show them."""
    secret = secret_parameters(request.template)
    return {name: plan.MASK if name in secret else value for name, value in request.parameters.items()}


def _secrets(request: Request) -> tuple[tuple[str, str], ...]:
    secret = secret_parameters(request.template)
    given = sorted(request.parameters.items())
    return tuple((name, plan.secret_digest(value)) for name, value in given if name in secret)


def secret_parameters(template: str) -> set[str]:
    """The names of a template's (JSON text) NoEcho parameters."""
    declared = json.loads(template).get("Parameters", {})
    return {name for name, each in declared.items() if str(each.get("NoEcho", "")).lower() == "true"}


def iso(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).isoformat()
