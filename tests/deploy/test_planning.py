"""Plans against a real embedded AWS: what they say, that nothing is left, and that they are what is done."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from troposphere import Parameter, Ref, Template
from troposphere.s3 import Bucket
from troposphere.ssm import Parameter as Stored

from zedi.deploy import DeployError, execute, planning
from zedi.deploy import plan as plans
from zedi.deploy.events import Outlook, PhasePlanned, PhaseStarted, ResourceEvent
from zedi.deploy.plan import Plan
from zedi.deploy.rollout import DataLossError, deploy
from zedi.deploy.saved import StalePlanError
from zedi.deploy.stacks import describe
from zedi.deploy.target import Target
from zedi.phases import PHASES, Phase
from zedi.settings import Cdn, Settings

pytestmark = pytest.mark.server

Phases = Callable[..., Phase]


def quiet(event: Any) -> None:
    return None


def planned(settings: Settings, target: Target, phases: list[Phase], *, keep: bool = False) -> Plan:
    """A plan as it comes out of a file."""
    return Plan.from_json(planning.plan(settings, target, listener=quiet, phases=phases, keep=keep).to_json())


def stacks_of(settings: Settings, target: Target) -> dict[str, str]:
    """The state of every stack of this environment that there is."""
    pages = target.client("cloudformation").get_paginator("describe_stacks").paginate()
    return {
        stack["StackName"].removeprefix(f"{settings.prefix}-"): stack["StackStatus"]
        for page in pages
        for stack in page["Stacks"]
        if stack["StackName"].startswith(f"{settings.prefix}-") and stack["StackStatus"] != "DELETE_COMPLETE"
    }


def change_sets(settings: Settings, target: Target, phase: str) -> int:
    """How many could still be carried out."""
    summaries = target.client("cloudformation").list_change_sets(StackName=f"{settings.prefix}-{phase}")[
        "Summaries"
    ]
    return sum(each.get("ExecutionStatus") == "AVAILABLE" for each in summaries)


def chain(phase: Phases, display: str = "first") -> list[Phase]:
    """Two phases, the second of which needs what the first gives."""
    return [
        phase("one", display=display),
        phase("two", "one", takes={"OneTopicArn": "String"}, resources=stores(Ref("OneTopicArn"))),
    ]


def stores(value: Any) -> Callable[[Template], None]:
    def add(template: Template) -> None:
        template.add_resource(Stored("Stored", Type="String", Value=value))

    return add


def test_a_first_plan_changes_nothing(settings: Settings, target: Target, phase: Phases) -> None:
    """What can be asked is asked, what depends on that is read off the template, and nothing is left."""
    plan = planned(settings, target, chain(phase))
    one, two = plan.phases
    assert (one.action, two.action) == ("create", "create")
    assert [(change.action, change.logical_id, change.physical_id) for change in one.changes] == [
        ("add", "Topic", f"{settings.prefix}-one")
    ]
    assert {change.logical_id for change in two.changes} == {"Topic", "Stored"}
    assert [(source.parameter, source.phase) for source in two.unknown] == [("OneTopicArn", "one")]
    assert two.outlined and plan.changes
    assert (one.change_set, one.expected, two.expected) == (None, None, None)
    assert stacks_of(settings, target) == {}


def test_a_plan_of_what_is_deployed(settings: Settings, target: Target, phase: Phases, heard: Any) -> None:
    """Unchanged phases are said to be; of a change both values stand there, and what hangs on it is said."""
    deploy(settings, target, listener=heard, phases=chain(phase))
    same = planned(settings, target, chain(phase))
    assert not same.changes
    assert [(each.action, each.unchanged) for each in same.phases] == [("none", 1), ("none", 2)]

    before = stacks_of(settings, target)
    one, two = planned(settings, target, chain(phase, "second")).phases
    (change,) = one.changes
    assert [(detail.name, detail.before, detail.after) for detail in change.details] == [
        ("DisplayName", "first", "second")
    ]
    assert (one.unchanged, one.outlined, two.action) == (0, False, "none")
    assert two.notes == ("planned on the present outputs of one; what changes there may change this too",)
    assert stacks_of(settings, target) == before
    assert change_sets(settings, target, "one") == 0


def test_somebody_elses_plan_is_left_alone(settings: Settings, target: Target, phase: Phases) -> None:
    """A stack that holds a plan which was saved stays when another plan is discarded."""
    kept = planned(settings, target, [phase("one")], keep=True)
    assert stacks_of(settings, target) == {"one": "REVIEW_IN_PROGRESS"}
    planned(settings, target, [phase("one")])
    planning.discard(target, kept.phases)
    assert stacks_of(settings, target) == {}


def test_what_cannot_be_planned_leaves_nothing(settings: Settings, target: Target, phase: Phases) -> None:
    """One phase has no answer: that is the error, and what the others have made meanwhile is gone."""
    other = settings.model_copy(
        update={"database": settings.database.model_copy(update={"engine_version": "99"})}
    )
    phases = [phase("one"), phase("two", takes={"DatabaseVersion": "String"})]
    with pytest.raises(DeployError, match="99 is not offered"):
        planned(other, target, phases, keep=True)
    assert stacks_of(settings, target) == {}


def test_an_interrupted_plan_leaves_nothing(
    settings: Settings, target: Target, phase: Phases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while AWS makes the change set: it is deleted, and its stack too."""

    def stopped(*arguments: Any) -> Any:
        raise execute.Stopped

    monkeypatch.setattr(execute, "_wait_for_change_set", stopped)
    with pytest.raises(execute.Stopped):
        planning.plan(settings, target, listener=quiet, phases=[phase("one")], keep=True)
    assert stacks_of(settings, target) == {}


def test_ctrl_c_leaves_nothing(settings: Settings, target: Target, phase: Phases) -> None:
    """Interrupted while one phase waits and another has its change set already: both are as they were."""
    main = threading.main_thread().ident
    assert main is not None

    def waits(target: Target, request: Any, *rest: Any) -> Any:
        if request.phase == "two":
            signal.pthread_kill(main, signal.SIGINT)  # Ctrl-C
            assert rest[-1].wait(20)
            raise execute.Stopped
        return original(target, request, *rest)

    original = execute.change_set
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(execute, "change_set", waits)
        planning.plan(settings, target, listener=quiet, phases=[phase("one"), phase("two")], keep=True)
    assert stacks_of(settings, target) == {}


def test_a_stack_that_never_was_is_said_and_left(
    settings: Settings, target: Target, phase: Phases, heard: Any
) -> None:
    """A plan does not delete what a failed first deploy has left: it says that a deploy will."""

    def fails(template: Template) -> None:
        template.add_resource(Stored("Stored", Type="String", Value="x", Name=f"/zedi/{settings.name}/x"))
        template.add_resource(
            Stored("Again", Type="String", Value="x", Name=f"/zedi/{settings.name}/x", DependsOn="Stored")
        )

    with pytest.raises(DeployError):
        deploy(settings, target, listener=heard, phases=[phase("one", resources=fails)])
    (one,) = planned(settings, target, [phase("one")]).phases
    assert one.outlined and "made anew" in one.notes[0]
    assert stacks_of(settings, target) == {"one": "ROLLBACK_COMPLETE"}

    # Looked at a moment earlier, while its deploy still ran well: it stays all the same.
    now = describe(target, f"{settings.prefix}-one")
    assert now is not None
    looks, settled = iter([replace(now, status="UPDATE_COMPLETE")]), execute.settled
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "settled", lambda *given: next(looks, None) or settled(*given))
        with contextlib.suppress(DeployError):  # AWS refuses the change set; the embedded one makes it
            planned(settings, target, [phase("one")])
    left = describe(target, f"{settings.prefix}-one")
    assert left is not None and (left.id, left.status) == (now.id, "ROLLBACK_COMPLETE")

    plan = planned(settings, target, [phase("one")], keep=True)
    result = deploy(settings, target, listener=heard, phases=[phase("one")], plan=plan)
    assert [done.plan.action for done in result.phases] == ["create"]


def test_a_first_deploy_as_planned(settings: Settings, target: Target, phase: Phases, heard: Any) -> None:
    """The change set that was kept is carried out; the phase that had none gets one that is what was said."""
    plan = planned(settings, target, chain(phase), keep=True)
    result = deploy(settings, target, listener=heard, phases=chain(phase), plan=plan)
    one, two = (done.plan for done in result.phases)
    assert one.change_set == plan.phases[0].change_set
    assert {change.logical_id for change in two.changes} == {"Topic", "Stored"}
    assert set(stacks_of(settings, target).values()) == {"CREATE_COMPLETE"}

    del heard[:]
    with pytest.raises(StalePlanError) as caught:
        deploy(settings, target, listener=heard, phases=chain(phase), plan=plan)
    assert "one: its stack" in caught.value.what and "has been created since" in caught.value.what
    assert heard == []


def test_an_update_as_planned(settings: Settings, target: Target, phase: Phases, heard: Any) -> None:
    """Exactly the change set that was seen, and phases with nothing to do are left alone."""
    deploy(settings, target, listener=heard, phases=chain(phase))
    plan = planned(settings, target, chain(phase, "second"), keep=True)
    del heard[:]
    result = deploy(settings, target, listener=heard, phases=chain(phase, "second"), plan=plan)
    assert [done.plan.change_set for done in result.phases] == [plan.phases[0].change_set, None]
    assert ("Topic", "UPDATE_COMPLETE") in [(e.logical_id, e.status) for e in heard.of(ResourceEvent)]


def stale(settings: Settings, target: Target, phases: list[Phase], plan: Plan, heard: Any) -> tuple[str, ...]:
    """The reasons for which a plan is refused; nothing has begun."""
    del heard[:]
    with pytest.raises(StalePlanError) as caught:
        deploy(settings, target, listener=heard, phases=phases, plan=plan)
    assert heard.of(PhaseStarted) == []
    return caught.value.reasons


def test_a_stack_that_was_updated_since(
    settings: Settings, target: Target, phase: Phases, heard: Any
) -> None:
    """A phase that somebody has deployed meanwhile makes the plan stale, also where it had nothing to do."""
    deploy(settings, target, listener=heard, phases=chain(phase))
    plan = planned(settings, target, chain(phase), keep=True)
    deploy(settings, target, listener=heard, phases=chain(phase, "meanwhile"))
    (reason,) = [
        each for each in stale(settings, target, chain(phase), plan, heard) if each.startswith("one")
    ]
    assert "was updated since, at 20" in reason


def test_a_stack_that_was_deleted_or_made_anew(
    settings: Settings, target: Target, phase: Phases, heard: Any
) -> None:
    """A stack of the same name is not the same stack."""
    deploy(settings, target, listener=heard, phases=[phase("one")])
    plan = planned(settings, target, [phase("one", display="second")], keep=True)
    stack = describe(target, f"{settings.prefix}-one")
    assert stack is not None
    execute.delete(target, "one", stack, quiet, threading.Event())
    changed = [phase("one", display="second")]
    assert "was deleted since" in stale(settings, target, changed, plan, heard)[0]
    deploy(settings, target, listener=heard, phases=[phase("one")])
    assert "made anew since" in stale(settings, target, changed, plan, heard)[0]


def test_a_change_set_that_is_gone(settings: Settings, target: Target, phase: Phases, heard: Any) -> None:
    """A plan whose change set somebody has deleted says so."""
    deploy(settings, target, listener=heard, phases=[phase("one")])
    changed = [phase("one", display="second")]
    plan = planned(settings, target, changed, keep=True)
    planning.discard(target, plan.phases)
    (reason,) = stale(settings, target, changed, plan, heard)
    assert "change set cannot be carried out" in reason and "deleted" in reason


def test_a_plan_that_was_not_saved(settings: Settings, target: Target, phase: Phases, heard: Any) -> None:
    """One that was only printed has no change sets, and is refused rather than carried out as nothing."""
    deploy(settings, target, listener=heard, phases=[phase("one")])
    changed = [phase("one", display="second")]
    (reason,) = stale(settings, target, changed, planned(settings, target, changed), heard)
    assert "zedi plan --save" in reason


def test_another_template(settings: Settings, target: Target, phase: Phases, heard: Any) -> None:
    """What the plan was made from must be what there is now."""
    deploy(settings, target, listener=heard, phases=[phase("one")])
    plan = planned(settings, target, [phase("one", display="second")], keep=True)
    (reason,) = stale(settings, target, [phase("one", display="third")], plan, heard)
    assert reason.startswith("one: its template is another one")


def test_other_settings_and_places(settings: Settings, target: Target, phase: Phases, heard: Any) -> None:
    """Another environment, account, region or key of the settings is named."""
    plan = planned(settings, target, [phase("one")], keep=True)
    other = settings.model_copy(update={"database": settings.database.model_copy(update={"max_acu": 9.0})})
    assert stale(other, target, [phase("one")], plan, heard) == ("the settings differ: database.max_acu",)
    for difference, word in (
        ({"environment": "prod"}, "another environment: prod"),
        ({"account": "1"}, "another account: 1"),
        ({"account": ""}, "made offline"),
        ({"region": "eu-west-1"}, "another region: eu-west-1"),
        ({"place": ""}, "another place: AWS"),
    ):
        changed: dict[str, Any] = dict(difference)
        reasons = stale(settings, target, [phase("one")], replace(plan, **changed), heard)
        assert word in reasons[0]
    planning.discard(target, plan.phases)


def test_a_phase_that_turns_out_otherwise(
    settings: Settings, target: Target, phase: Phases, heard: Any
) -> None:
    """What AWS would do at a phase's turn is not what was planned: it is not done, and the reason is said."""
    plan = planned(settings, target, chain(phase), keep=True)
    one, two = plan.phases
    plan = replace(plan, phases=(one, replace(two, changes=two.changes[:1])))
    with pytest.raises(StalePlanError) as caught:
        deploy(settings, target, listener=heard, phases=chain(phase), plan=plan)
    assert "is not in the plan" in caught.value.what and "those before it are done" in caught.value.fix
    assert stacks_of(settings, target) == {"one": "CREATE_COMPLETE"}


def test_a_secret_that_changed(
    settings: Settings, target: Target, phase: Phases, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NoEcho parameter is compared, shown nowhere, and kept as a digest only."""
    from zedi.deploy import facts

    secret = "hunter2"

    def tell(*arguments: object) -> str:
        return secret

    monkeypatch.setattr(facts, "FACTS", {**facts.FACTS, "Password": tell})

    def hides(template: Template) -> None:
        template.add_parameter(Parameter("Password", Type="String", NoEcho=True))

    phases = [phase("one", resources=hides)]
    monkeypatch.setattr(planning, "FACTS", {"Password": "a password"})
    plan = planned(settings, target, phases, keep=True)
    assert "hunter2" not in plan.to_json()
    assert dict(plan.phases[0].parameters) == {"Password": plans.MASK}
    secret = "another"
    (reason,) = stale(settings, target, phases, plan, heard)
    assert reason == "one: its parameter Password is another one (a secret)"
    secret = "hunter2"
    deploy(settings, target, listener=heard, phases=phases, plan=plan)


@pytest.fixture
def on_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded AWS, taken for the real one."""
    monkeypatch.setattr(Target, "embedded", property(lambda self: False))


def test_reviewing_is_no_consent(
    settings: Settings, target: Target, phase: Phases, heard: Any, on_aws: None
) -> None:
    """A loss that stands in a saved plan is asked for all the same; allowed, the same plan is carried out."""

    def with_bucket(template: Template) -> None:
        template.add_resource(Bucket("Files", BucketName=f"{settings.prefix}-files"))

    deploy(settings, target, listener=heard, phases=[phase("one", resources=with_bucket)])
    plan = planned(settings, target, [phase("one")], keep=True)
    assert [change.name for change in plan.phases[0].losses] == [f"{settings.prefix}-files"]
    del heard[:]
    with pytest.raises(DataLossError, match="the same command with --allow-replace"):
        deploy(settings, target, listener=heard, phases=[phase("one")], plan=plan)
    assert heard == [] and change_sets(settings, target, "one") == 1
    deploy(
        settings,
        target,
        listener=heard,
        phases=[phase("one")],
        plan=plan,
        allow_replace=[f"{settings.prefix}-files"],
    )
    with pytest.raises(target.client("s3").exceptions.ClientError):
        target.client("s3").head_bucket(Bucket=f"{settings.prefix}-files")


def test_the_outlook_is_told_first(
    settings: Settings, target: Target, phase: Phases, heard: Any, on_aws: None
) -> None:
    """On AWS what is not there yet has an expected time before anything begins, and each plan has one."""
    deploy(settings, target, listener=heard, through="one", phases=chain(phase))
    del heard[:]
    deploy(settings, target, listener=heard, phases=chain(phase, "second"))
    outlook = heard[0]
    assert isinstance(outlook, Outlook)
    assert outlook.after == {"one": (), "two": ("one",)}
    assert list(outlook.seconds) == ["two"] and outlook.seconds["two"] > 0
    assert [event.plan.expected is not None for event in heard.of(PhasePlanned)] == [True, True]


def test_the_embedded_aws_tells_no_times(
    settings: Settings, target: Target, phase: Phases, heard: Any
) -> None:
    """It takes a moment, so nothing is said."""
    deploy(settings, target, listener=heard, phases=chain(phase))
    assert heard.of(Outlook) == []
    assert [event.plan.expected for event in heard.of(PhasePlanned)] == [None, None]


def test_the_real_phases(whole: tuple[Settings, Path]) -> None:
    """Deployed as they are there is nothing to change; a setting changes what it is about, old to new."""
    settings, _ = whole
    from zedi.deploy.target import target_of

    target = target_of(settings)
    plan = planning.plan(settings, target, listener=quiet)
    assert [each.phase for each in plan.phases] == [phase.name for phase in PHASES]
    assert not plan.changes

    other = settings.model_copy(update={"database": settings.database.model_copy(update={"max_acu": 8.0})})
    found: Mapping[str, Any] = {
        each.phase: each for each in planning.plan(other, target, listener=quiet).phases
    }
    (cluster,) = [change for change in found["database"].changes if change.logical_id == "Cluster"]
    assert [(detail.name, detail.before, detail.after) for detail in cluster.details] == [
        ("ServerlessV2ScalingConfiguration/MaxCapacity", "4.0", "8.0")
    ]
    assert found["networking"].action == "none"


def test_an_outline_asks_nobody() -> None:
    """From settings and templates alone: every phase, every resource, where each parameter comes from."""
    plan = planning.outline(Settings(name="dev", cdn=Cdn()))
    assert plan.account == "" and [each.phase for each in plan.phases] == [phase.name for phase in PHASES]
    assert all(each.changes and each.expected for each in plan.phases)
    cdn = plan.phases[5]
    assert [(source.parameter, source.words) for source in cdn.sources] == [
        ("AlbDnsName", "output of realtime"),
        ("CognitoHostedUiUrl", "output of security"),
    ]
