"""`zedi deploy`: what it prints of plans and events, and the real networking phase on a real embedded AWS."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from zedi import settings as settings_room
from zedi.cli import deploy as verb
from zedi.cli import destroy as destroy_verb
from zedi.cli.deploy import Board, deploy, event_line, plan_lines, summary
from zedi.cli.destroy import NotConfirmedError, destroy
from zedi.cli.outputs import outputs
from zedi.deploy import DeployError, events, rollout
from zedi.deploy.plan import Change, Detail, PhasePlan
from zedi.deploy.publish import Published
from zedi.deploy.rollout import DeployResult, PhaseResult
from zedi.embedded import aws as embedded_aws
from zedi.embedded.state import State


def plan(action: Any, *changes: Change) -> PhasePlan:
    return PhasePlan("cache", "zedi-dev-cache", action, changes, (), "0", "arn", "change-set")


def resource(status: str, logical_id: str = "Redis", reason: str = "") -> events.ResourceEvent:
    kind = "AWS::CloudFormation::Stack" if logical_id == "zedi-dev-cache" else "AWS::ElastiCache::X"
    return events.ResourceEvent("cache", datetime.now(UTC), logical_id, kind, status, reason, "id")


REPLACED = Change(
    "modify",
    "Redis",
    "AWS::ElastiCache::ReplicationGroup",
    "zedi-dev-redis",
    "always",
    "",
    (
        Detail("Properties", "NodeType", "always", "cache.t4g.micro", "cache.t4g.small"),
        Detail("Properties", "SubnetIds", "never", cause="PrivateSubnetIds"),
        Detail("Tags", "", "never"),
    ),
)


def test_a_new_stack_is_counted() -> None:
    """Of a stack that is created, what matters is how much of what."""
    added = [Change("add", name, kind) for name, kind in (("A", "AWS::S3::Bucket"), ("B", "AWS::S3::Policy"))]
    assert plan_lines(plan("create", *added)) == ["cache: creates 2 resources (2 S3)"]


def test_changes_are_listed() -> None:
    """Of an update every change is shown: what is replaced, what is lost, and from what to what."""
    lines = plan_lines(plan("update", REPLACED, Change("remove", "Files", "AWS::S3::Bucket")))
    assert lines == [
        "cache: changes 2 of its resources",
        "  ± Redis (AWS::ElastiCache::ReplicationGroup) is replaced and its data is lost",
        "      NodeType: cache.t4g.micro → cache.t4g.small",
        "      SubnetIds (PrivateSubnetIds)",
        "      Tags",
        "  - Files (AWS::S3::Bucket) with its data",
    ]


def test_long_values_are_cut() -> None:
    """A value that is a whole document stays one line."""
    change = Change("modify", "P", "T", details=(Detail("Properties", "X", "never", "a\nb" * 99, None),))
    line = plan_lines(plan("update", change))[-1]
    assert "\n" not in line and len(line) < 100 and line.endswith("… → (none)")


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (events.PhaseStarted("cache", "zedi-dev-cache"), None),
        (resource("CREATE_IN_PROGRESS"), None),
        (resource("CREATE_COMPLETE"), "cache: CREATE_COMPLETE Redis (AWS::ElastiCache::X)"),
        (resource("CREATE_FAILED", reason="no"), "cache: CREATE_FAILED Redis (AWS::ElastiCache::X): no"),
        (events.PhasePlanned("cache", plan("none")), "cache: nothing to change"),
        (events.PhaseNote("cache", "waits"), "cache: waits"),
        (events.PhaseDone("cache", plan("create"), 1.25), "cache: done in 1.2 s"),
        (events.PhaseDone("cache", plan("none"), 1.25), None),
        (events.PhaseFailed("cache", DeployError("a", "b", "c")), "cache: failed"),
        (
            events.FrontEndPublished(3, 2, 1),
            "front end: 3 files uploaded, 2 unchanged, 1 old ones deleted",
        ),
    ],
)
def test_events_are_lines(event: events.Event, line: str | None) -> None:
    """What ended is a line in a log, what only began is not."""
    assert event_line(event) == line


def shown(board: Board) -> str:
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(board.table())
    return console.export_text()


def test_the_board_counts_what_is_done() -> None:
    """A phase shows its state, the resources that are done of all, and its time."""
    now = 100.0
    board = Board(("networking", "cache"), clock=lambda: now)
    assert shown(board).split()[4:] == ["networking", "waits", "cache", "waits"]
    board.follow(events.PhaseStarted("cache", "zedi-dev-cache"))
    added = [Change("add", name, "AWS::ElastiCache::X") for name in ("Redis", "Group", "Log")]
    board.follow(events.PhasePlanned("cache", plan("create", *added)))
    for name in ("Redis", "Redis", "Group", "zedi-dev-cache"):
        board.follow(resource("CREATE_COMPLETE", name))
    now = 165.0
    text = shown(board)
    assert "cache       creates        2/3  1:05 min" in text
    assert "cache  CREATE_COMPLETE  Group" in text
    board.follow(resource("ROLLBACK_IN_PROGRESS", "zedi-dev-cache"))
    assert "rolls back" in shown(board)
    board.follow(events.PhaseFailed("cache", DeployError("a", "b", "c")))
    now = 999.0
    assert "cache       failed        2/3  1:05 min" in shown(board)


def test_a_phase_that_comes_in_later_is_shown() -> None:
    """Security may be deployed again although the deploy is about another phase."""
    board = Board(("cdn",))
    board.follow(events.PhaseStarted("security", "zedi-dev-security"))
    assert "security" in shown(board)


def test_the_live_display_leaves_plans_and_failures_behind() -> None:
    """On a terminal the table is drawn, and plans and failures stay readable above it."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with verb._live(console, ("cache",)) as listener:
        listener(events.PhaseStarted("cache", "zedi-dev-cache"))
        listener(events.PhasePlanned("cache", plan("update", REPLACED)))
        listener(resource("UPDATE_FAILED", reason="[not markup]"))
    assert isinstance(console.file, io.StringIO)
    text = click.unstyle(console.file.getvalue())
    assert "NodeType: cache.t4g.micro → cache.t4g.small" in text
    assert "UPDATE_FAILED Redis (AWS::ElastiCache::X): [not markup]" in text


def result(action: Any, uploaded: tuple[str, ...] = ()) -> DeployResult:
    return DeployResult(
        {"frontend_url": "https://d1.cloudfront.net"},
        (PhaseResult(plan(action), 1.0),),
        Published(uploaded, (), (), ()),
        2.0,
    )


def test_the_last_words() -> None:
    """They say what was done and where the product is, or that there was nothing to do."""
    assert summary(result("none")) == "Nothing to change (2.0 s)."
    assert summary(result("update", ("index.html",))) == (
        "Deployed cache and 1 files of the front end in 2.0 s.\nThe front end is at https://d1.cloudfront.net"
    )
    assert summary(result("none", ("index.html",))).startswith("Deployed 1 files of the front end in")


def test_a_wrong_phase_is_said_before_anybody_is_asked() -> None:
    """A misspelt phase is an error with the nearest name, whatever the environment."""
    done = CliRunner().invoke(deploy, ["no-such-environment", "--through", "realtme"])
    assert isinstance(done.exception, DeployError)
    assert "realtime?" in done.exception.fix


def test_through_and_only_exclude_each_other() -> None:
    """Two answers to one question are a mistake in the command line."""
    done = CliRunner().invoke(deploy, ["dev", "--through", "cache", "--only", "cache"])
    assert done.exit_code == 2


@pytest.fixture
def embedded(tmp_path: Path, free_ports: Callable[[int], list[int]]) -> Iterator[Path]:
    """A file of settings whose embedded AWS runs."""
    port, database, cache = free_ports(3)
    file = tmp_path / "local.toml"
    file.write_text(
        f'name = "local"\n[database]\nport = {database}\n[cache]\nport = {cache}\n'
        f'[cdn]\nurl = "http://localhost:30000"\n[embedded]\nport = {port}\n'
    )
    state = State(tmp_path / "state")
    program = embedded_aws.program(settings_room.load(str(file)), state)
    with open(state.logs / "aws.log", "wb") as log:
        process = subprocess.Popen(program.command, env=dict(program.environment), stdout=log, stderr=log)

    async def until_ready() -> None:
        async with asyncio.timeout(30):
            while not await program.ready():
                assert process.poll() is None
                await asyncio.sleep(0.02)

    try:
        asyncio.run(until_ready())
        yield file
    finally:
        process.terminate()
        process.wait(timeout=30)
        state.close()


@pytest.mark.server
def test_deploys_a_real_phase(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing to an output, nothing to change, and gone; an interruption says how it goes on."""
    first = CliRunner().invoke(deploy, [str(embedded), "--through", "networking"])
    assert first.exit_code == 0, first.output
    assert "networking: creates" in first.output and "Deployed networking in" in first.output

    again = CliRunner().invoke(deploy, [str(embedded), "--only", "networking"])
    assert (again.exit_code, "Nothing to change" in again.output) == (0, True)
    printed = CliRunner().invoke(outputs, [str(embedded)])
    assert "vpc_id" in printed.output

    asked = CliRunner().invoke(destroy, [str(embedded)])
    assert isinstance(asked.exception, NotConfirmedError)
    assert f"zedi destroy {embedded} --confirm local" in asked.exception.fix
    assert "  - networking: " in asked.output
    with monkeypatch.context() as patch:
        patch.setattr(destroy_verb, "sys", SimpleNamespace(stdin=_Terminal()))
        mistyped = CliRunner().invoke(destroy, [str(embedded)], input="lokal\n")
        assert isinstance(mistyped.exception, NotConfirmedError)
        gone = CliRunner().invoke(destroy, [str(embedded)], input="local\n")
    assert gone.exit_code == 0, gone.output
    assert "Deleted networking in" in gone.output
    nothing = CliRunner().invoke(destroy, [str(embedded)])
    assert (nothing.exit_code, "Nothing is deployed." in nothing.output) == (0, True)

    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rollout, "deploy", interrupted)
    stopped = CliRunner().invoke(deploy, [str(embedded)])
    assert stopped.exit_code == verb.INTERRUPTED
    assert "the same command goes on" in stopped.stderr


class _Terminal(io.StringIO):
    """Standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


LOSS = rollout.DataLossError("dev", "cache", [REPLACED])


def test_without_a_terminal_a_loss_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can be asked, the error says the option that allows it."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(rollout.DataLossError) as caught:
        verb._typed(LOSS)
    assert "zedi deploy dev --allow-replace zedi-dev-redis" in caught.value.fix


@pytest.mark.parametrize(("typed", "lets_go"), [("zedi-dev-redis", True), ("redis", False), ("y", False)])
def test_the_name_of_what_is_lost_is_typed(
    monkeypatch: pytest.MonkeyPatch, typed: str, lets_go: bool
) -> None:
    """Only the resource's own name lets go of it."""
    monkeypatch.setattr(sys, "stdin", _Terminal())
    monkeypatch.setattr(click, "prompt", lambda *words, **options: typed)
    if lets_go:
        assert verb._typed(LOSS) == {"zedi-dev-redis"}
    else:
        with pytest.raises(rollout.DataLossError):
            verb._typed(LOSS)
