"""`zedi deploy`: its questions, its last words, and the real networking phase on a real embedded AWS."""

from __future__ import annotations

import io
import json
import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

from zedi.cli import deploy as verb
from zedi.cli import destroy as destroy_verb
from zedi.cli.deploy import deploy, summary
from zedi.cli.destroy import NotConfirmedError, destroy
from zedi.cli.outputs import outputs
from zedi.deploy import DeployError, rollout
from zedi.deploy import target as target_room
from zedi.deploy.events import PhaseFailed
from zedi.deploy.plan import Change, Detail, PhasePlan
from zedi.deploy.publish import Published
from zedi.deploy.rollout import DeployResult, PhaseResult


def plan(action: Any, *changes: Change) -> PhasePlan:
    return PhasePlan("cache", "zedi-dev-cache", action, changes, (), "0", "arn", "change-set")


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


@pytest.mark.server
def test_deploys_a_real_phase(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing to an output, nothing to change, and gone; an interruption says how it goes on."""
    first = CliRunner().invoke(deploy, [str(file), "--through", "networking"])
    assert first.exit_code == 0, first.output
    assert "networking: creates" in first.output and "Deployed networking in" in first.output

    again = CliRunner().invoke(deploy, [str(file), "--only", "networking"])
    assert (again.exit_code, "Nothing to change" in again.output) == (0, True)
    printed = CliRunner().invoke(outputs, [str(file)])
    assert "vpc_id" in printed.output

    asked = CliRunner().invoke(destroy, [str(file)])
    assert isinstance(asked.exception, NotConfirmedError)
    assert f"zedi destroy {file} --confirm {file.stem}" in asked.exception.fix
    assert "  - networking: " in asked.output
    with monkeypatch.context() as patch:
        patch.setattr(destroy_verb, "sys", SimpleNamespace(stdin=_Terminal()))
        mistyped = CliRunner().invoke(destroy, [str(file)], input="lokal\n")
        assert isinstance(mistyped.exception, NotConfirmedError)
        gone = CliRunner().invoke(destroy, [str(file)], input=f"{file.stem}\n")
    assert gone.exit_code == 0, gone.output
    assert "Deleted networking in" in gone.output
    nothing = CliRunner().invoke(destroy, [str(file)])
    assert (nothing.exit_code, "Nothing is deployed." in nothing.output) == (0, True)

    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rollout, "deploy", interrupted)
    stopped = CliRunner().invoke(deploy, [str(file)])
    assert stopped.exit_code == verb.INTERRUPTED
    assert "the same command goes on" in stopped.stderr


def lines_of(printed: str) -> list[dict[str, Any]]:
    """What --json printed; every line must be an object with its event and its moment."""
    found = [json.loads(line) for line in printed.splitlines()]
    assert all(list(each)[:2] == ["event", "at"] and datetime.fromisoformat(each["at"]) for each in found)
    return found


@pytest.mark.server
def test_json_lines(file: Path) -> None:
    """Deploy and destroy: an object a line, the result last, and nothing else on standard output."""
    words = [str(file), "--only", "networking", "--json"]
    first = CliRunner().invoke(deploy, words)
    assert (first.exit_code, first.stderr) == (0, ""), first.output
    started, *events, last = lines_of(first.stdout)
    assert (started["event"], started["phases"]) == ("deploy_started", ["networking"])
    assert [each["event"] for each in events if each["event"] != "resource_event"] == [
        "phase_started",
        "phase_planned",
        "phase_done",
    ]
    planned = next(each for each in events if each["event"] == "phase_planned")
    assert planned["phase"] == "networking" and planned["plan"]["action"] == "create"
    resource = next(each for each in events if each["event"] == "resource_event")
    assert resource["phase"] == "networking" and resource["logical_id"] and resource["status"]
    assert (last["event"], last["changed"], last["phases"][0]["action"]) == ("result", True, "create")
    assert last["outputs"]["vpc_id"].startswith("vpc-")
    assert isinstance(last["outputs"]["public_subnet_ids"], list)
    assert lines_of(CliRunner().invoke(deploy, words).stdout)[-1]["changed"] is False

    unsaid = CliRunner().invoke(destroy, [str(file), "--json"])
    assert (unsaid.exit_code, unsaid.stdout) == (2, "") and "--confirm" in unsaid.stderr
    words = [str(file), "--json", "--confirm", file.stem]
    gone = CliRunner().invoke(destroy, words)
    assert (gone.exit_code, gone.stderr) == (0, ""), gone.output
    started, *events, last = lines_of(gone.stdout)
    assert (started["event"], started["phases"]) == ("destroy_started", ["networking"])
    assert {each["event"] for each in events} >= {"phase_started", "resource_event", "phase_deleted"}
    assert (last["event"], last["phases"], last["left"]) == ("result", ["networking"], [])
    again = lines_of(CliRunner().invoke(destroy, words).stdout)
    assert [each["event"] for each in again] == ["destroy_started", "result"] and not again[-1]["changed"]


def test_json_asks_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A loss is an error also on a terminal; the failure is a line before it, and no result follows."""

    def loses(*arguments: Any, listener: Any, **options: Any) -> None:
        listener(PhaseFailed("cache", LOSS))
        raise LOSS

    file = tmp_path / "dev.toml"
    file.write_text('name = "dev"\n')
    monkeypatch.setattr(target_room, "target_of", lambda wanted: target_room.Target(wanted.region, "1"))
    monkeypatch.setattr(rollout, "deploy", loses)
    monkeypatch.setattr(verb, "_typed", lambda loss: pytest.fail("it asked"))
    done = CliRunner().invoke(deploy, [str(file), "--json"])
    assert isinstance(done.exception, rollout.DataLossError)
    started, failed = lines_of(done.stdout)
    assert failed["event"] == "phase_failed" and failed["phase"] == "cache"
    assert failed["error"]["fix"] == LOSS.fix and started["place"] == "account 1, ap-northeast-1"


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
