"""Deploying small phases to a real embedded AWS: in order, side by side, again, and after failures."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from troposphere import Output, Ref, Template
from troposphere.s3 import Bucket
from troposphere.ssm import Parameter as Stored

from zedi.deploy import DeployError
from zedi.deploy.events import (
    FrontEndPublished,
    PhaseDone,
    PhaseFailed,
    PhaseNote,
    PhasePlanned,
    ResourceEvent,
)
from zedi.deploy.rollout import DataLossError, chosen, deploy
from zedi.deploy.stacks import describe
from zedi.deploy.target import EMBEDDED_ACCESS_KEY, Target
from zedi.phases import PHASES, Phase
from zedi.settings import Cdn, Settings


def names(phases: tuple[Phase, ...]) -> list[str]:
    return [phase.name for phase in phases]


def test_through_takes_what_it_needs() -> None:
    """A phase with everything that it needs, directly or not, and nothing else; in order."""
    assert names(chosen(PHASES, through="cache")) == ["networking", "cache"]
    assert names(chosen(PHASES, through="realtime")) == names(PHASES[:5])
    assert names(chosen(PHASES)) == names(PHASES)
    assert names(chosen(PHASES, only="cache")) == ["cache"]


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    """A misspelt phase is an error that names the one that was probably meant."""
    with pytest.raises(DeployError) as caught:
        chosen(PHASES, only="monitorng")
    assert "monitoring?" in caught.value.fix and "networking, security" in caught.value.fix


@pytest.mark.server
def test_deploys_from_nothing_then_again_then_a_change(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """A first deploy creates, the same again has nothing to do, and a changed property is one change."""
    first = deploy(settings, target, listener=heard, phases=[phase("one")])
    assert first.changed
    assert [(done.plan.action, len(done.plan.changes)) for done in first.phases] == [("create", 1)]
    assert list(first.outputs) == ["one_topic_arn"]
    told = [(event.logical_id, event.status) for event in heard.of(ResourceEvent)]
    assert told[0] == (f"{settings.prefix}-one", "CREATE_IN_PROGRESS")
    assert told[-1] == (f"{settings.prefix}-one", "CREATE_COMPLETE")
    assert ("Topic", "CREATE_COMPLETE") in told
    assert len(told) == len(set(told))

    again = deploy(settings, target, listener=heard, phases=[phase("one")])
    assert not again.changed
    assert again.outputs == first.outputs
    kept = target.client("cloudformation").list_change_sets(StackName=f"{settings.prefix}-one")["Summaries"]
    assert [summary for summary in kept if summary["Status"] == "FAILED"] == []

    third = deploy(settings, target, listener=heard, phases=[phase("one", display="second")])
    (change,) = third.phases[0].plan.changes
    assert (change.action, change.logical_id, change.replacement) == ("modify", "Topic", "never")
    assert change.physical_id == first.outputs["one_topic_arn"]
    assert [detail.name for detail in change.details] == ["DisplayName"]


@pytest.mark.server
def test_tags_every_stack(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """A stack says whose it is."""
    deploy(settings, target, listener=heard, phases=[phase("one")])
    (stack,) = target.client("cloudformation").describe_stacks(StackName=f"{settings.prefix}-one")["Stacks"]
    assert {tag["Key"]: tag["Value"] for tag in stack["Tags"]} == {
        "Project": "zedi",
        "Environment": settings.name,
        "ManagedBy": "zedi",
    }


def stores(value: Any) -> Callable[[Template], None]:
    def add(template: Template) -> None:
        template.add_resource(Stored("Stored", Type="String", Value=value))
        template.add_output(Output("StoredValue", Value=Ref("Stored")))

    return add


@pytest.mark.server
def test_outputs_become_parameters(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """An output of an earlier phase fills the parameter of the same name, of any later phase."""
    phases = [
        phase("one"),
        phase("two", "one"),
        phase("three", "two", takes={"OneTopicArn": "String"}, resources=stores(Ref("OneTopicArn"))),
    ]
    result = deploy(settings, target, listener=heard, phases=phases)
    assert dict(result.phases[2].plan.parameters) == {"OneTopicArn": result.outputs["one_topic_arn"]}


@pytest.mark.server
def test_an_unknown_parameter_is_said(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """A parameter that nothing fills is an error that names it, not AWS's refusal."""
    with pytest.raises(DeployError, match="Mystery"):
        deploy(settings, target, listener=heard, phases=[phase("one", takes={"Mystery": "String"})])


@pytest.mark.server
def test_independent_phases_run_at_the_same_time(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """Two phases that do not need each other are both under way at one moment, and the third waits."""
    both = threading.Barrier(2, timeout=20)
    lock = threading.Lock()
    order: list[str] = []

    def meets(name: str) -> Callable[[Template], None]:
        def meet(template: Template) -> None:
            both.wait()  # one after the other would break this barrier
            with lock:
                order.append(name)

        return meet

    def last(template: Template) -> None:
        with lock:
            order.append("three")

    phases = [
        phase("one", resources=meets("one")),
        phase("two", resources=meets("two")),
        phase("three", "one", "two", resources=last),
    ]
    deploy(settings, target, listener=heard, phases=phases)
    assert sorted(order[:2]) == ["one", "two"] and order[2] == "three"


def stores_under(name: str) -> Callable[[Template], None]:
    def add(template: Template) -> None:
        template.add_resource(Stored("Stored", Name=name, Type="String", Value="ours"))

    return add


@pytest.mark.server
def test_a_failure_shows_its_cause_and_the_same_command_goes_on(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """The first cause is named with what to do; after the fix the stack, never created, is made anew."""
    name = f"/zedi/{settings.name}/taken"
    ssm = another_client(target, "ssm")
    ssm.put_parameter(Name=name, Value="somebody's", Type="String")
    phases = [phase("one"), phase("two", "one", resources=stores_under(name)), phase("three", "two")]

    with pytest.raises(DeployError) as caught:
        deploy(settings, target, listener=heard, phases=phases)
    assert caught.value.where == "two/Stored (AWS::SSM::Parameter)"
    assert "already exists" in caught.value.what and "ROLLBACK_COMPLETE" in caught.value.what
    assert "Delete or rename what is there" in caught.value.fix and "Z055" in caught.value.fix
    assert [failed.phase for failed in heard.of(PhaseFailed)] == ["two"]
    assert [done.phase for done in heard.of(PhaseDone)] == ["one"]
    left = describe(target, f"{settings.prefix}-two")
    assert left is not None and left.status == "ROLLBACK_COMPLETE" and not left.deployed

    ssm.delete_parameter(Name=name)
    result = deploy(settings, target, listener=heard, phases=phases)
    assert [(done.plan.phase, done.plan.action) for done in result.phases] == [
        ("one", "none"),
        ("two", "create"),
        ("three", "create"),
    ]
    assert any("made anew" in note.text for note in heard.of(PhaseNote))


@pytest.mark.server
def test_a_failed_update_leaves_what_was_and_goes_on(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """An update that fails is rolled back, and the next one starts from there."""
    name = f"/zedi/{settings.name}/taken"
    another_client(target, "ssm").put_parameter(Name=name, Value="somebody's", Type="String")
    deploy(settings, target, listener=heard, phases=[phase("one")])
    with pytest.raises(DeployError, match="UPDATE_ROLLBACK_COMPLETE"):
        deploy(settings, target, listener=heard, phases=[phase("one", resources=stores_under(name))])
    result = deploy(settings, target, listener=heard, phases=[phase("one", display="second")])
    assert [done.plan.action for done in result.phases] == ["update"]


def another_client(target: Target, service: str) -> Any:
    """A client of a service that deploys themselves never ask."""
    return boto3.client(
        service,  # type: ignore[call-overload]
        region_name=target.region,
        endpoint_url=target.endpoint_url,
        aws_access_key_id=EMBEDDED_ACCESS_KEY,
        aws_secret_access_key=EMBEDDED_ACCESS_KEY,
    )


@pytest.mark.server
def test_aws_checks_before_it_begins(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """What AWS's own validation finds is told with the resource and the reason, not only that it failed."""
    name = f"{settings.prefix}-taken"
    target.client("s3").create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": "ap-northeast-1"}
    )

    def takes_it(template: Template) -> None:
        template.add_resource(Bucket("Bucket", BucketName=name))

    with pytest.raises(DeployError) as caught:
        deploy(settings, target, listener=heard, phases=[phase("one", resources=takes_it)])
    assert name in caught.value.what and "Bucket" in f"{caught.value.where} {caught.value.what}"
    assert "already" in caught.value.what


@pytest.mark.server
def test_only_needs_what_comes_before(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """One phase alone takes its parameters from deployed stacks, and says which of them is missing."""
    phases = [phase("one"), phase("two", "one", takes={"OneTopicArn": "String"})]
    with pytest.raises(DeployError) as caught:
        deploy(settings, target, listener=heard, only="two", phases=phases)
    assert "one" in caught.value.what
    assert f"zedi deploy {settings.name} --through two" in caught.value.fix
    assert heard == []

    deploy(settings, target, listener=heard, through="one", phases=phases)
    result = deploy(settings, target, listener=heard, only="two", phases=phases)
    assert [done.plan.phase for done in result.phases] == ["two"]
    assert list(result.outputs) == ["one_topic_arn", "two_topic_arn"]


@pytest.mark.server
@pytest.mark.parametrize("by", ["physical", "logical"])
def test_data_is_not_lost_unasked(
    settings: Settings,
    target: Target,
    phase: Callable[..., Phase],
    heard: Any,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
) -> None:
    """On AWS, a change that removes or replaces what holds data stops the phase until that is named."""
    monkeypatch.setattr(Target, "embedded", property(lambda self: False))

    def with_bucket(template: Template) -> None:
        template.add_resource(Bucket("Files", BucketName=f"{settings.prefix}-files"))

    deploy(settings, target, listener=heard, phases=[phase("one", resources=with_bucket)])
    name = f"{settings.prefix}-files"
    for others in ((), ("another",)):
        with pytest.raises(DataLossError) as caught:
            deploy(settings, target, listener=heard, allow_replace=others, phases=[phase("one")])
        assert f"{name}: Files (AWS::S3::Bucket) is removed" in caught.value.what
        assert f"--allow-replace {name}" in caught.value.fix
        assert [change.name for change in caught.value.changes] == [name]
    target.client("s3").head_bucket(Bucket=name)
    left = target.client("cloudformation").list_change_sets(StackName=f"{settings.prefix}-one")["Summaries"]
    assert [each for each in left if each.get("ExecutionStatus") == "AVAILABLE"] == []

    allowed = name if by == "physical" else "Files"
    result = deploy(settings, target, listener=heard, allow_replace=[allowed], phases=[phase("one")])
    assert [change.action for change in result.phases[0].plan.changes] == ["remove"]


@pytest.mark.server
def test_sign_in_learns_the_front_ends_address(
    settings: Settings, target: Target, front_end: list[Phase], heard: Any, tmp_path: Path
) -> None:
    """Once CloudFront has made up its name, security is deployed again with it, once; then files follow."""
    (tmp_path / "index.html").write_text("<!doctype html>")
    settings = settings.model_copy(update={"cdn": Cdn()})

    result = deploy(settings, target, listener=heard, phases=front_end, web=tmp_path)
    assert [(done.plan.phase, done.plan.action) for done in result.phases] == [
        ("security", "create"),
        ("cdn", "create"),
        ("security", "update"),
    ]
    security = describe(target, f"{settings.prefix}-security")
    assert security is not None and security.parameters["FrontendUrl"] == "https://d111.cloudfront.net"
    assert result.published is not None and result.published.uploaded == ("config.json", "index.html")
    assert heard.of(FrontEndPublished) == [FrontEndPublished(2, 0, 0)]

    again = deploy(settings, target, listener=heard, phases=front_end, web=tmp_path)
    assert [done.plan.action for done in again.phases] == ["none", "none"]
    assert not again.changed


@pytest.mark.server
def test_a_front_end_that_is_not_built_is_said_first(
    settings: Settings, target: Target, front_end: list[Phase], heard: Any, tmp_path: Path
) -> None:
    """Without a built front end nothing is deployed at all, and the error says how to build it."""
    with pytest.raises(DeployError, match="not built"):
        deploy(settings, target, listener=heard, phases=front_end, web=tmp_path)
    assert heard.of(PhasePlanned) == []
