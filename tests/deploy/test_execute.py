"""Following a stack's events, finding the first cause, and every state that a stack can be left in."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from troposphere import Ref, Template
from troposphere.cloudformation import WaitCondition, WaitConditionHandle

from zedi.deploy import DeployError, execute, plan
from zedi.deploy.events import PhaseNote, ResourceEvent
from zedi.deploy.execute import Request, StackEvents, advice, ends_operation, failure
from zedi.deploy.rollout import deploy
from zedi.deploy.stacks import Stack, describe
from zedi.deploy.target import Target
from zedi.phases import Phase, render
from zedi.phases.tags import labels
from zedi.settings import Settings

_STACK = "arn:aws:cloudformation:ap-northeast-1:123456789012:stack/zedi-dev-cache/1"
_START = datetime(2026, 11, 23, 12, tzinfo=UTC)


def event(
    number: int, logical_id: str = "Topic", status: str = "CREATE_COMPLETE", reason: str = ""
) -> dict[str, Any]:
    own = logical_id == "zedi-dev-cache"
    return {
        "EventId": f"e{number}",
        "StackId": _STACK,
        "StackName": "zedi-dev-cache",
        "LogicalResourceId": logical_id,
        "PhysicalResourceId": _STACK if own else logical_id.lower(),
        "ResourceType": "AWS::CloudFormation::Stack" if own else "AWS::SNS::Topic",
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
        "Timestamp": _START + timedelta(seconds=number),
    }


class Source:
    """DescribeStackEvents: newest first, in pages; `reads` counts the pages that were asked for."""

    def __init__(self, page_size: int = 3) -> None:
        self.events: list[dict[str, Any]] = []
        self.page_size = page_size
        self.reads = 0

    def __call__(self) -> Iterable[Sequence[dict[str, Any]]]:
        newest_first = self.events[::-1]
        for start in range(0, max(1, len(newest_first)), self.page_size):
            self.reads += 1
            yield newest_first[start : start + self.page_size]


def ids(events: Iterable[Any]) -> list[str]:
    return [event["EventId"] for event in events]


def test_tells_each_event_once_and_oldest_first() -> None:
    """However many pages come between two looks, no event is told twice and none is lost."""
    source = Source()
    events = StackEvents(source)
    source.events += [event(number) for number in range(7)]
    assert ids(events.fresh()) == [f"e{number}" for number in range(7)]
    assert events.fresh() == []
    source.events += [event(number) for number in range(7, 15)]
    assert ids(events.fresh()) == [f"e{number}" for number in range(7, 15)]


def test_does_not_read_what_it_knows() -> None:
    """A look at a long history asks for the newest page only."""
    source = Source()
    source.events += [event(number) for number in range(30)]
    events = StackEvents(source)
    events.fresh()
    source.reads = 0
    assert events.fresh() == []
    assert source.reads == 1


def test_hears_an_event_that_came_late() -> None:
    """An event that appears below one that is known already is told as well."""
    source = Source()
    events = StackEvents(source)
    source.events += [event(1), event(3)]
    events.fresh()
    source.events = [event(1), event(2), event(3)]
    assert ids(events.fresh()) == ["e2"]


def test_skips_earlier_operations() -> None:
    """What stood there before is not told, even when more than a page of news comes at once."""
    source = Source()
    source.events += [event(number) for number in range(10)]
    events = StackEvents(source)
    events.skip_all()
    source.events += [event(number) for number in range(10, 15)]
    assert ids(events.fresh()) == ["e10", "e11", "e12", "e13", "e14"]


def test_joins_an_operation_at_its_start() -> None:
    """An operation under way is told from its first event on, its rollback included."""
    source = Source()
    stack = "zedi-dev-cache"
    source.events += [
        event(0, stack, "CREATE_IN_PROGRESS"),
        event(1, stack, "CREATE_COMPLETE"),
        event(2, stack, "UPDATE_IN_PROGRESS"),
        event(3, status="UPDATE_FAILED"),
        event(4, stack, "UPDATE_ROLLBACK_IN_PROGRESS"),
    ]
    events = StackEvents(source)
    events.skip_to_operation()
    assert ids(events.fresh()) == ["e2", "e3", "e4"]


def test_joins_a_rollback_that_is_continued() -> None:
    """A continued rollback starts after the failure of the one before, whose end is not its own."""
    source = Source(page_size=2)
    stack = "zedi-dev-cache"
    source.events += [
        event(0, stack, "UPDATE_IN_PROGRESS"),
        event(1, stack, "UPDATE_ROLLBACK_IN_PROGRESS"),
        event(2, stack, "UPDATE_ROLLBACK_FAILED"),
        event(3, stack, "UPDATE_ROLLBACK_IN_PROGRESS"),
        event(4, status="UPDATE_IN_PROGRESS"),
    ]
    events = StackEvents(source)
    events.skip_to_operation()
    assert ids(events.fresh()) == ["e3", "e4"]


def test_joins_an_operation_that_has_just_ended() -> None:
    """One that ended before its events were read is told whole, its end included."""
    source = Source()
    stack = "zedi-dev-cache"
    source.events += [
        event(0, stack, "CREATE_COMPLETE"),
        event(1, stack, "UPDATE_IN_PROGRESS"),
        event(2, stack, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"),
        event(3, stack, "UPDATE_COMPLETE"),
    ]
    events = StackEvents(source)
    events.skip_to_operation()
    assert ids(events.fresh()) == ["e1", "e2", "e3"]


@pytest.mark.parametrize(
    ("status", "ends"),
    [
        ("CREATE_COMPLETE", True),
        ("ROLLBACK_COMPLETE", True),
        ("ROLLBACK_FAILED", True),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", False),
        ("UPDATE_ROLLBACK_COMPLETE", True),
        ("CREATE_FAILED", False),
        ("UPDATE_FAILED", False),
        ("DELETE_COMPLETE", True),
    ],
)
def test_knows_the_end(status: str, ends: bool) -> None:
    """Only the stack's own event ends an operation, and not one that a rollback may follow."""
    assert ends_operation(event(1, "zedi-dev-cache", status)) is ends
    assert not ends_operation(event(1, "Topic", status))


def test_finds_the_first_cause() -> None:
    """The cause is the first that failed by itself, not what was cancelled, and not the summary."""
    error = failure(
        "cache",
        [
            event(0, "zedi-dev-cache", "CREATE_IN_PROGRESS"),
            event(1, "First", "CREATE_FAILED", "Resource creation cancelled"),
            event(2, "Redis", "CREATE_FAILED", "zedi-dev-redis already exists"),
            event(3, "Third", "CREATE_FAILED", "Something else"),
            event(4, "zedi-dev-cache", "ROLLBACK_IN_PROGRESS", "The following resource(s) failed: [Redis]"),
            event(5, "zedi-dev-cache", "ROLLBACK_COMPLETE"),
        ],
    )
    assert error.where == "cache/Redis (AWS::SNS::Topic)"
    assert error.what.startswith("zedi-dev-redis already exists\n")
    assert "ROLLBACK_COMPLETE" in error.what
    assert "Delete or rename what is there" in error.fix


def test_a_stack_can_fail_by_itself() -> None:
    """Where no resource failed, the stack's own reason is the cause."""
    error = failure(
        "cache",
        [
            event(1, "zedi-dev-cache", "CREATE_FAILED", "Validation failed for 1 resource"),
            event(2, "zedi-dev-cache", "ROLLBACK_COMPLETE"),
        ],
        ["    Bucket /Properties/BucketName: taken"],
    )
    assert error.where == "cache"
    assert "Validation failed" in error.what and "Bucket /Properties/BucketName: taken" in error.what


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("User: x is not authorized to perform: rds:CreateDBCluster", "Allow"),
        ("Cannot find version 15.4 for aurora-postgresql", "Z307"),
        ("The maximum number of VPCs has been reached.", "Z151"),
        ("The maximum number of rules has been reached.", "Service Quotas"),
        (
            "You can't create this secret because a secret with this name is already scheduled for deletion",
            "Z352",
        ),
        ("Resource handler returned message: ECS Deployment Circuit Breaker was triggered", "log group"),
        ("The sun was in my eyes", "Correct what AWS says"),
    ],
)
def test_advises(reason: str, word: str) -> None:
    """Reasons that preflight or we know come with what to do about them, and every other with the way on."""
    assert word in advice(reason)


def test_preflight_stays_left_of_deploys() -> None:
    """Deploys ask preflight what a reason means; nothing of preflight imports a deploy."""
    code = (
        "import sys\nfrom zedi.preflight import explain\nassert explain('x already exists')\n"
        "print(*[name for name in sys.modules if name.startswith('zedi.deploy')])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == []


def request_of(phase: Phase, settings: Settings, **parameters: str) -> Request:
    return Request(
        phase=phase.name,
        stack=f"{settings.prefix}-{phase.name}",
        template=render(phase.build(settings)),
        parameters=parameters,
        tags=labels(settings),
    )


def tell_nobody(event: Any) -> None:
    return None


def test_refuses_a_template_that_is_too_large() -> None:
    """A template that CloudFormation does not take inline is refused before anybody is asked."""
    request = Request("one", "zedi-dev-one", " " * 51_201, {}, {})
    with pytest.raises(DeployError, match="51,201 bytes"):
        execute.propose(Target("ap-northeast-1", "1"), request, tell_nobody, threading.Event())


def test_a_plan_shows_no_secret() -> None:
    """A NoEcho parameter is masked in what is shown and saved."""
    declared = {"Secret": {"Type": "String", "NoEcho": True}, "Name": {"Type": "String"}}
    request = Request("one", "s", json.dumps({"Parameters": declared}), {"Secret": "x", "Name": "y"}, {})
    assert execute._masked(request) == {"Secret": plan.MASK, "Name": "y"}


@pytest.mark.parametrize(
    ("status", "command"),
    [
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback --stack-name zedi-dev-cache --region"),
        ("DELETE_FAILED", "delete-stack --stack-name zedi-dev-cache --region ap-northeast-1"),
        ("ROLLBACK_FAILED", "delete-stack"),
        ("CREATE_FAILED", "delete-stack"),
        ("IMPORT_ROLLBACK_FAILED", "describe-stack-events"),
    ],
)
def test_says_the_command_that_leads_out(monkeypatch: pytest.MonkeyPatch, status: str, command: str) -> None:
    """A stack that needs a hand gives an error with the command, and with the resources that AWS names."""
    stuck = Stack(
        "zedi-dev-cache", _STACK, status, "The following resource(s) failed: [Redis, Topic]. ", {}, {}
    )
    monkeypatch.setattr(execute, "describe", lambda target, stack: stuck)
    request = Request("cache", "zedi-dev-cache", "{}", {}, {})
    with pytest.raises(DeployError) as caught:
        execute.propose(Target("ap-northeast-1", "1"), request, tell_nobody, threading.Event())
    assert status in caught.value.what
    assert command in caught.value.fix
    if status in ("UPDATE_ROLLBACK_FAILED", "DELETE_FAILED"):
        assert "Redis Topic" in caught.value.fix


@pytest.mark.server
def test_a_change_set_that_is_still_being_made_goes_with_its_stack(
    settings: Settings,
    target: Target,
    phase: Callable[..., Phase],
    heard: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """AWS deletes no change set that it is making; the stack that was made for it can go all the same."""
    planned = execute.propose(target, request_of(phase("one"), settings), heard, threading.Event())
    cloudformation = target.client("cloudformation")

    def refuse(**words: Any) -> None:
        answer: Any = {"Error": {"Code": "InvalidChangeSetStatus", "Message": "CREATE_IN_PROGRESS"}}
        raise ClientError(answer, "DeleteChangeSet")

    monkeypatch.setattr(cloudformation, "delete_change_set", refuse)
    execute.discard(target, planned)
    assert describe(target, planned.stack) is None


@pytest.mark.server
def test_goes_on_from_review_in_progress(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """A change set that nobody executed leaves REVIEW_IN_PROGRESS, and the next deploy creates the stack."""
    one = phase("one")
    left = execute.propose(target, request_of(one, settings), heard, threading.Event())
    stack = describe(target, left.stack)
    assert stack is not None and stack.status == "REVIEW_IN_PROGRESS" and not stack.deployed

    result = deploy(settings, target, listener=heard, phases=[one])
    assert [done.plan.action for done in result.phases] == ["create"]
    with pytest.raises(DeployError, match="stale"):
        execute.carry_out(target, left, heard, threading.Event())


@pytest.mark.server
def test_goes_on_after_an_interruption(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """Interrupted while AWS works, the same deploy waits for what AWS has begun and finds nothing to do."""

    def waits(template: Template) -> None:
        handle = template.add_resource(WaitConditionHandle("Handle"))
        template.add_resource(WaitCondition("Wait", Handle=Ref(handle), Timeout="60"))

    one = phase("one", resources=waits)

    def interrupt(happened: Any) -> None:
        heard(happened)
        if isinstance(happened, ResourceEvent) and happened.logical_id == "Wait":
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGINT)  # Ctrl-C

    with pytest.raises(KeyboardInterrupt):
        deploy(settings, target, listener=interrupt, phases=[one])
    left = describe(target, f"{settings.prefix}-one")
    assert left is not None and left.status == "CREATE_IN_PROGRESS"

    def proceed(happened: Any) -> None:
        heard(happened)
        if isinstance(happened, PhaseNote):
            url = next(
                e.physical_id for e in heard.of(ResourceEvent) if e.logical_id == "Handle" and e.physical_id
            )
            body = json.dumps({"Status": "SUCCESS", "UniqueId": "1", "Data": "", "Reason": ""}).encode()
            signalled = urllib.request.Request(url, data=body, method="PUT", headers={"Content-Type": ""})
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(signalled, timeout=10) as answer:
                assert answer.status == 200

    result = deploy(settings, target, listener=proceed, phases=[one])
    assert [done.plan.action for done in result.phases] == ["none"]
    after = describe(target, left.name)
    assert after is not None and after.status == "CREATE_COMPLETE"
