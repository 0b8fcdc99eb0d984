"""How a deploy is shown while it runs: lines, a table, expected times and what the rest hangs on."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import click
import pytest
from rich.console import Console

from zedi.cli import board as display
from zedi.cli.board import Board, event_line
from zedi.deploy import DeployError, events
from zedi.deploy.plan import Change, Detail, PhasePlan


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
        (events.PhaseFailed("cache", DeployError("a", "b\nd", "c")), "cache: failed: b"),
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
    with display._live(console, ("cache",)) as listener:
        listener(events.PhaseStarted("cache", "zedi-dev-cache"))
        listener(events.PhasePlanned("cache", plan("update", REPLACED)))
        listener(resource("UPDATE_FAILED", reason="[not markup]"))
    assert isinstance(console.file, io.StringIO)
    text = click.unstyle(console.file.getvalue())
    assert "NodeType: cache.t4g.micro → cache.t4g.small" in text
    assert "UPDATE_FAILED Redis (AWS::ElastiCache::X): [not markup]" in text


AFTER = {
    "networking": (),
    "database": ("networking",),
    "cache": ("networking",),
    "realtime": ("database", "cache"),
}


def test_the_board_says_what_is_left_and_what_it_hangs_on() -> None:
    """The longest chain of what is left, as time goes by, phases end, and plans turn out otherwise."""
    now = 0.0
    board = Board(tuple(AFTER), clock=lambda: now)
    seconds = {"networking": 120.0, "database": 540.0, "cache": 480.0, "realtime": 240.0}
    board.follow(events.Outlook(AFTER, seconds))
    assert "about 15 min left: networking → database → realtime" in shown(board)
    assert "networking  waits                   about 2 min" in shown(board)
    board.follow(events.PhaseStarted("networking", "s"))
    now = 60.0
    assert "about 14 min left: networking → database" in shown(board)
    board.follow(events.PhaseDone("networking", replace(plan("create"), expected=120.0), 60.0))
    board.follow(events.PhaseStarted("database", "s"))
    board.follow(events.PhasePlanned("database", replace(plan("update"), phase="database", expected=60.0)))
    assert "about 12 min left: cache → realtime" in shown(board)
    now = 9999.0
    assert "about 12 min left" in shown(board)  # what takes longer than usual takes no negative time
    board.follow(events.PhaseFailed("database", DeployError("a", "b", "c")))
    assert "left" not in shown(board)


def test_the_board_says_that_it_does_not_know_all() -> None:
    """Where a phase's plan must be seen first, what is known is the least."""
    board = Board(tuple(AFTER), clock=lambda: 0.0)
    board.follow(events.Outlook(AFTER, {"networking": 120.0}))
    assert "at least about 2 min left: networking" in shown(board)


def test_the_board_says_nothing_rather_than_something_wrong() -> None:
    """Without an outlook, as of the embedded AWS, there is no word of minutes."""
    board = Board(tuple(AFTER), clock=lambda: 0.0)
    board.follow(events.PhaseStarted("networking", "s"))
    board.follow(events.PhasePlanned("networking", plan("create")))
    text = shown(board)
    assert "min" not in text and "usually" not in text and "left" not in text


def test_a_line_says_the_expected_time_once() -> None:
    """In a log it stands where the phase begins."""
    planned = replace(plan("create", Change("add", "A", "AWS::RDS::DBCluster")), expected=540.0)
    assert (
        event_line(events.PhasePlanned("cache", planned)) == "cache: creates 1 resources (1 RDS), about 9 min"
    )
    assert event_line(events.PhaseDone("cache", planned, 2.0)) == "cache: done in 2.0 s"
    assert event_line(events.Outlook({}, {})) is None
