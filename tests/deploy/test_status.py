"""What `zedi status` says of a real embedded AWS: whole, in part, broken, stuck."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner
from troposphere import Template
from troposphere.ssm import Parameter

from zedi.cli.status import age, lines
from zedi.cli.status import status as verb
from zedi.deploy import DeployError, execute, stacks
from zedi.deploy.execute import Request
from zedi.deploy.rollout import deploy
from zedi.deploy.stacks import Stack, describe
from zedi.deploy.status import PhaseStatus, Status, status
from zedi.deploy.target import EMBEDDED_ACCESS_KEY, Target
from zedi.phases import PHASES, Phase, render
from zedi.settings import Settings


@pytest.mark.server
def test_everything_is_deployed(whole: tuple[Settings, Path]) -> None:
    """Seven phases in order, all complete; the service with its image; and what was not looked at."""
    settings, file = whole
    done = CliRunner().invoke(verb, [str(file), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [each["phase"] for each in found["phases"]] == [phase.name for phase in PHASES]
    assert {each["state"] for each in found["phases"]} <= {"CREATE_COMPLETE", "UPDATE_COMPLETE"}
    for phase, each in zip(PHASES, found["phases"], strict=True):
        assert each["resources"] == len(phase.build(settings).to_dict()["Resources"])
        assert each["not_complete"] == [] and each["way_on"] is None and each["cause"] is None
    assert found["service"]["name"] == "zedi-whole-realtime"
    assert found["service"]["desired"] == 1
    assert found["service"]["images"] and found["service"]["deployment"]
    assert 0 <= found["age_seconds"] < 3600
    assert any("whether the front end" in note for note in found["not_checked"])


@pytest.mark.server
def test_it_is_readable(whole: tuple[Settings, Path]) -> None:
    """For people: a line a phase, columns under their heads, the tasks, and what was not checked."""
    _, file = whole
    done = CliRunner().invoke(verb, [str(file)])
    assert done.exit_code == 0, done.output
    printed = done.stdout.splitlines()
    head = next(line for line in printed if line.startswith("phase"))
    realtime = next(line for line in printed if line.startswith("realtime"))
    assert realtime[head.index("state") :].startswith("CREATE_COMPLETE")
    assert any(line.startswith("service") and "tasks run" in line for line in printed)
    assert "Not checked:" in printed


@pytest.mark.server
def test_what_is_not_deployed_says_so(file: Path) -> None:
    """Nothing deployed: each phase says so, and nothing else is claimed."""
    found = json.loads(CliRunner().invoke(verb, [str(file), "--json"]).stdout)
    assert [each["state"] for each in found["phases"]] == [None] * len(PHASES)
    assert found["deployed_at"] is None and found["service"] is None and found["not_checked"] == []
    printed = CliRunner().invoke(verb, [str(file)]).stdout
    assert "Nothing is deployed." in printed
    assert printed.count("not deployed") == len(PHASES)


@pytest.mark.server
def test_a_plan_nobody_carried_out_leads_on(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """A stack that was only planned counts as not deployed, and names the command that creates it."""
    one = phase("one")
    template = render(one.build(settings))
    request = Request("one", f"{settings.prefix}-one", template, {}, {})
    execute.propose(target, request, heard, threading.Event())
    (found,) = status(settings, target, [one]).phases
    assert found.stack is not None and not found.stack.deployed
    assert found.way_on == f"It is only planned. To create it: zedi deploy {settings.name}"


@pytest.mark.server
def test_a_change_that_failed_has_its_first_cause(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """After a rollback: the resource that failed, AWS's reason, and that what was before is deployed."""
    deploy(settings, target, listener=heard, phases=[phase("one")])

    name = f"/zedi/{settings.name}/taken"
    boto3.client(
        "ssm",
        region_name=target.region,
        endpoint_url=target.endpoint_url,
        aws_access_key_id=EMBEDDED_ACCESS_KEY,
        aws_secret_access_key=EMBEDDED_ACCESS_KEY,
    ).put_parameter(Name=name, Value="somebody's", Type="String")

    def refused(template: Template) -> None:
        template.add_resource(Parameter("Bad", Name=name, Type="String", Value="ours"))

    with pytest.raises(DeployError):
        deploy(settings, target, listener=heard, phases=[phase("one", resources=refused)])
    (found,) = status(settings, target, [phase("one")]).phases
    assert found.stack is not None and found.stack.status == "UPDATE_ROLLBACK_COMPLETE"
    assert found.cause is not None and found.cause.startswith("one/Bad (AWS::SSM::Parameter): ")
    assert found.way_on is not None and found.way_on.endswith(f"zedi deploy {settings.name}")


@pytest.mark.server
def test_changed_is_when_the_stack_changed(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """The age is that of the newest change, and a resource of each phase is named with its state."""
    before = datetime.now(UTC) - timedelta(seconds=2)
    phases = [phase("one"), phase("two")]
    deploy(settings, target, listener=heard, phases=phases)
    found = status(settings, target, phases)
    assert found.deployed_at is not None and before <= found.deployed_at <= datetime.now(UTC)
    stack = describe(target, f"{settings.prefix}-one")
    assert stack is not None
    (resource,) = stacks.resources(target, stack)
    assert (resource.logical_id, resource.type, resource.settled) == ("Topic", "AWS::SNS::Topic", True)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("CREATE_COMPLETE", None),
        ("UPDATE_COMPLETE", None),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "AWS is at work"),
        ("ROLLBACK_COMPLETE", "make it anew: zedi deploy dev"),
        ("UPDATE_FAILED", "Its last change failed"),
        ("UPDATE_ROLLBACK_COMPLETE", "Its last change failed"),
        ("UPDATE_ROLLBACK_FAILED", "aws cloudformation continue-update-rollback --stack-name zedi-dev-cache"),
        ("DELETE_FAILED", "aws cloudformation delete-stack --stack-name zedi-dev-cache"),
        ("IMPORT_ROLLBACK_FAILED", "aws cloudformation describe-stack-events"),
    ],
)
def test_every_state_has_a_way_on(state: str, words: str | None) -> None:
    """A good state needs none; every other one names the command."""
    stack = Stack("zedi-dev-cache", "arn", state, "", {}, {})
    said = execute.way_on(Target("ap-northeast-1", "1"), stack, "zedi deploy dev")
    if words is None:
        assert said is None
    else:
        assert said is not None and words in said and said.endswith("zedi deploy dev")


def test_what_is_the_matter_stands_below() -> None:
    """A resource that is not complete is named with its reason, and the way on after it."""
    stack = Stack("zedi-dev-cache", "arn", "UPDATE_ROLLBACK_FAILED", "", {}, {})
    bad = stacks.Resource("Redis", "r", "AWS::X::Y", "UPDATE_FAILED", "壊れた", "NOT_CHECKED")
    found = Status("dev", "here", (PhaseStatus("cache", stack, (bad,), "why", "go on"),), None, ())
    printed = list(lines(found, datetime.now(UTC)))
    at = printed.index("cache: zedi-dev-cache is UPDATE_ROLLBACK_FAILED")
    assert printed[at + 1 :] == ["  why", "  UPDATE_FAILED Redis (AWS::X::Y) 壊れた", "  → go on"]
    assert any("1, 1 not complete" in line for line in printed)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0 s"), (119, "119 s"), (120, "2 minutes"), (7200, "2 hours"), (86_400 * 3, "3 days")],
)
def test_an_age_is_short(seconds: int, words: str) -> None:
    """In the largest unit of which there are two; a clock that is behind makes no negative age."""
    assert age(timedelta(seconds=seconds)) == words
