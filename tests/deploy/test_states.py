"""Every state that CloudFormation's own model knows has a way on: for a deploy, a status and a destroy.

The stack, its events and what becomes of it are the embedded AWS's. Only the word that DescribeStacks answers
is put in its place, until something is done about it, because most states last for no time there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import botocore.exceptions
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from zedi.deploy import execute
from zedi.deploy.destroy import destroy
from zedi.deploy.events import PhaseNote
from zedi.deploy.rollout import deploy
from zedi.deploy.stacks import Stack, describe
from zedi.deploy.target import Target, TargetError
from zedi.errors import ZediError
from zedi.phases import Phase
from zedi.settings import Settings


@dataclass(frozen=True)
class Way:
    deploy: Literal["changed", "made", "waited for", "made anew", "told"]
    status: str = ""
    """A word of what status tells; empty: nothing is the matter."""


WAYS = {
    "CREATE_IN_PROGRESS": Way("waited for", "at work"),
    "CREATE_FAILED": Way("told", "delete-stack"),
    "CREATE_COMPLETE": Way("changed"),
    "ROLLBACK_IN_PROGRESS": Way("waited for", "at work"),
    "ROLLBACK_FAILED": Way("told", "delete-stack"),
    "ROLLBACK_COMPLETE": Way("made anew", "make it anew"),
    "DELETE_IN_PROGRESS": Way("waited for", "at work"),
    "DELETE_FAILED": Way("told", "--retain-resources"),
    "UPDATE_IN_PROGRESS": Way("waited for", "at work"),
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS": Way("waited for", "at work"),
    "UPDATE_COMPLETE": Way("changed"),
    "UPDATE_FAILED": Way("changed", "last change failed"),
    "UPDATE_ROLLBACK_IN_PROGRESS": Way("waited for", "at work"),
    "UPDATE_ROLLBACK_FAILED": Way("told", "continue-update-rollback"),
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS": Way("waited for", "at work"),
    "UPDATE_ROLLBACK_COMPLETE": Way("changed", "last change failed"),
    "REVIEW_IN_PROGRESS": Way("made", "only planned"),
    "IMPORT_IN_PROGRESS": Way("waited for", "at work"),
    "IMPORT_COMPLETE": Way("changed"),
    "IMPORT_ROLLBACK_IN_PROGRESS": Way("waited for", "at work"),
    "IMPORT_ROLLBACK_FAILED": Way("told", "describe-stack-events"),
    "IMPORT_ROLLBACK_COMPLETE": Way("changed", "last change failed"),
}


def test_no_state_is_forgotten() -> None:
    """Another botocore with another state fails here. A deleted stack has no name, so it is never found."""
    model: Any = botocore.session.Session().get_service_model("cloudformation")
    assert set(WAYS) | {"DELETE_COMPLETE"} == set(model.shape_for("StackStatus").enum)


@pytest.mark.parametrize("state", WAYS)
def test_status_tells(state: str) -> None:
    """What is the matter with it and the command that leads on, or nothing."""
    stack = Stack("zedi-dev-cache", "arn", state, "", {}, {})
    said = execute.way_on(Target("ap-northeast-1", "1"), stack, "zedi deploy dev")
    if not WAYS[state].status:
        assert said is None
    else:
        assert said is not None and WAYS[state].status in said and said.endswith("zedi deploy dev")


@contextlib.contextmanager
def said_to_be(target: Target, state: str) -> Iterator[None]:
    """The stack is said to be in that state until something is done to it, or its end was waited for."""
    events = target.client("cloudformation").meta.events
    over = threading.Event()

    def answer(parsed: dict[str, Any], **_: Any) -> None:
        for stack in parsed.get("Stacks", ()):
            if not over.is_set():
                stack["StackStatus"] = state
                stack["StackStatusReason"] = "The following resource(s) failed: [Topic]. "

    def end(**_: Any) -> None:
        over.set()

    ends = ["before-call.cloudformation.ExecuteChangeSet", "before-call.cloudformation.DeleteStack"]
    if state.endswith("_IN_PROGRESS") and state != "REVIEW_IN_PROGRESS":
        ends.append("after-call.cloudformation.DescribeStackEvents")
    events.register("after-call.cloudformation.DescribeStacks", answer)
    for name in ends:
        events.register(name, end)
    try:
        yield
    finally:
        events.unregister("after-call.cloudformation.DescribeStacks", answer)
        for name in ends:
            events.unregister(name, end)


@pytest.mark.server
@pytest.mark.parametrize("state", [state for state in WAYS if state != "REVIEW_IN_PROGRESS"])
def test_deploy_goes_on(
    state: str, settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """It changes the stack, waits, makes it anew, or names state, resource and command; nothing else."""
    deploy(settings, target, listener=heard, phases=[phase("one")])
    before = describe(target, f"{settings.prefix}-one")
    del heard[:]
    way = WAYS[state].deploy
    with said_to_be(target, state):
        if way == "told":
            with pytest.raises(ZediError) as caught:
                deploy(settings, target, listener=heard, phases=[phase("one", display="second")])
            assert state in caught.value.what and WAYS[state].status in caught.value.fix
            assert describe(target, f"{settings.prefix}-one") is not None
        else:
            result = deploy(settings, target, listener=heard, phases=[phase("one", display="second")])
            expected = "create" if way == "made anew" else "update"
            assert [each.plan.action for each in result.phases] == [expected]
            assert any(state in note.text for note in heard.of(PhaseNote)) == (way != "changed")
    after = describe(target, f"{settings.prefix}-one")
    assert before is not None and after is not None
    assert (before.id != after.id) == (way == "made anew")
    destroy(settings, target, listener=heard, phases=[phase("one")])


@pytest.mark.server
@pytest.mark.parametrize("state", [state for state in WAYS if state != "REVIEW_IN_PROGRESS"])
def test_destroy_goes_on(
    state: str, settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """From every state it gets to where there is nothing; what is under way is waited for."""
    deploy(settings, target, listener=heard, phases=[phase("one")])
    del heard[:]
    if state == "DELETE_IN_PROGRESS":
        target.client("cloudformation").delete_stack(StackName=f"{settings.prefix}-one")
        assert destroy(settings, target, listener=heard, phases=[phase("one")]).phases in ((), ("one",))
    else:
        with said_to_be(target, state):
            assert destroy(settings, target, listener=heard, phases=[phase("one")]).phases == ("one",)
        waited = any("waiting for its end" in note.text for note in heard.of(PhaseNote))
        assert waited == state.endswith("_IN_PROGRESS")
    assert describe(target, f"{settings.prefix}-one") is None


def refused(code: str) -> AWSResponse:
    class Raw:
        def stream(self, **_: Any) -> Iterator[bytes]:
            body = (
                f"<ErrorResponse><Error><Code>{code}</Code><Message>Not now</Message></Error></ErrorResponse>"
            )
            yield body.encode()

    return AWSResponse("http://127.0.0.1", 400, HTTPHeaders(), Raw())


def raises(error: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


URL = "http://127.0.0.1"
LOST: dict[str, tuple[Callable[[], Any], str]] = {
    "refused": (
        raises(botocore.exceptions.EndpointConnectionError(endpoint_url=URL)),
        "does not answer",
    ),
    "timed out": (raises(botocore.exceptions.ReadTimeoutError(endpoint_url=URL)), "does not answer"),
    "throttled": (lambda: refused("ThrottlingException"), "run the same command again"),
    "expired": (lambda: refused("ExpiredToken"), "Sign in again"),
}


@pytest.mark.server
@pytest.mark.parametrize("operation", ["CreateChangeSet", "ExecuteChangeSet", "DescribeStackEvents"])
@pytest.mark.parametrize("how", LOST)
def test_a_lost_line_is_said_and_gone_on_from(
    how: str, operation: str, settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """In the middle of a deploy AWS is not reached any more: an error says so; then the same call ends it."""
    lost, words = LOST[how]
    events = target.client("cloudformation").meta.events
    name = f"before-send.cloudformation.{operation}"

    def handler(**_: Any) -> Any:
        return lost()

    events.register(name, handler)
    try:
        with pytest.raises(TargetError) as caught:
            deploy(settings, target, listener=heard, phases=[phase("one")])
    finally:
        events.unregister(name, handler)
    assert words in f"{caught.value.what} {caught.value.fix}" and caught.value.where == "one"
    result = deploy(settings, target, listener=heard, phases=[phase("one")])
    assert list(result.outputs) == ["one_topic_arn"]
