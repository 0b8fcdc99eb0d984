"""`zedi plan`: the verb, without an account, and against a real embedded AWS."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from zedi import settings as settings_room
from zedi.cli import plan as verb
from zedi.cli.deploy import deploy
from zedi.cli.plan import plan
from zedi.deploy import DeployError, planning
from zedi.deploy import target as target_room
from zedi.deploy.plan import Plan
from zedi.deploy.saved import StalePlanError
from zedi.deploy.stacks import describe
from zedi.deploy.target import TargetError
from zedi.embedded import aws as embedded_aws
from zedi.embedded.state import State
from zedi.phases import PHASES


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    file = tmp_path / "dev.toml"
    file.write_text('name = "dev"\n')
    return file


def test_offline_nobody_is_asked(dev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every phase, names, where parameters come from, and how long all of it takes."""
    monkeypatch.setattr(target_room, "target_of", lambda settings: pytest.fail("somebody was asked"))
    done = CliRunner().invoke(plan, [str(dev), "--offline"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines if ": has " in line] == [phase.name for phase in PHASES]
    assert any(line.split()[1:] == ["Cluster", "AWS::RDS::DBCluster", "zedi-dev-cluster"] for line in lines)
    assert any(line.split() == ["VpcId", "output", "of", "networking"] for line in lines)
    assert lines[-2].endswith("nobody was asked what there is.")
    assert lines[-1].startswith("By estimate a deploy takes about ") and "→ realtime →" in lines[-1]


def test_where_nobody_can_be_asked_it_is_said_once(dev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an account: why, once, and the same as offline; but not where that is no answer."""

    def refuse(settings: object) -> None:
        raise TargetError("dev", "there are no usable AWS credentials", "Sign in.")

    monkeypatch.setattr(target_room, "target_of", refuse)
    done = CliRunner().invoke(plan, [str(dev)])
    offline = CliRunner().invoke(plan, [str(dev), "--offline"])
    assert (done.exit_code, done.stdout) == (0, offline.stdout)
    assert done.stderr.count("no usable AWS credentials") == 1 and "Sign in." in done.stderr
    for option in (["--exit-code"], ["--save", str(dev.parent / "plan.json")]):
        assert isinstance(CliRunner().invoke(plan, [str(dev), *option]).exception, TargetError)


@pytest.mark.parametrize(
    "options",
    [("--through", "cache", "--only", "cache"), ("--offline", "--exit-code"), ("--offline", "--save", "x")],
)
def test_what_cannot_go_together(dev: Path, options: tuple[str, ...]) -> None:
    """Options that contradict each other are a mistake in the command line."""
    assert CliRunner().invoke(plan, [str(dev), *options]).exit_code == 2


def test_a_place_to_save_is_looked_at_first(dev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that cannot be written is not made."""
    monkeypatch.setattr(target_room, "target_of", lambda settings: pytest.fail("somebody was asked"))
    for place in (dev.parent, dev.parent / "nowhere" / "plan.json"):
        done = CliRunner().invoke(plan, [str(dev), "--save", str(place)])
        assert isinstance(done.exception, DeployError) and done.exception.where == str(place)


def test_json_is_the_plan(dev: Path) -> None:
    """One object, the one that is saved."""
    done = CliRunner().invoke(plan, [str(dev), "--offline", "--only", "cache", "--json"])
    assert [phase.phase for phase in Plan.from_json(done.stdout).phases] == ["cache"]
    assert json.loads(done.stdout)["phases"][0]["changes"][0]["action"] == "add"


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
def test_plans_saves_and_deploys_it(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing: planned, saved, carried out, nothing more to do; the plan is good for once."""
    kept = embedded.parent / "plan.json"
    words = [str(embedded), "--through", "cache"]
    first = CliRunner().invoke(plan, words)
    assert first.exit_code == 0, first.output
    assert "networking: creates 22 resources (22 EC2)\n" in first.stdout
    assert "depends on what networking will give; until then this is read off the template" in first.stdout
    assert " min" not in first.stdout
    assert CliRunner().invoke(plan, [*words, "--exit-code"]).exit_code == verb.CHANGES

    saved = CliRunner().invoke(plan, [*words, "--save", str(kept)])
    assert f"zedi deploy {embedded} --plan {kept}" in saved.stdout
    refused = CliRunner().invoke(deploy, [*words, "--plan", str(kept)])
    assert refused.exit_code == 2
    done = CliRunner().invoke(deploy, [str(embedded), "--plan", str(kept)])
    assert done.exit_code == 0, done.output
    assert f"As planned at {Plan.from_json(kept.read_text()).made} in {kept}." in done.output
    assert "Deployed networking, cache in" in done.output

    again = CliRunner().invoke(plan, [*words, "--exit-code"])
    assert (again.exit_code, "In all: nothing to change." in again.stdout) == (0, True), again.output
    stale = CliRunner().invoke(deploy, [str(embedded), "--plan", str(kept)])
    assert isinstance(stale.exception, StalePlanError)
    assert f"zedi plan {embedded}" in stale.exception.fix or "zedi plan local" in stale.exception.fix


@pytest.mark.server
def test_leaves_nothing_when_it_cannot_end(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted, or not to be written after all: no stack and no change set stays."""
    settings = settings_room.load(str(embedded))
    target = target_room.target_of(settings)
    words = [str(embedded), "--only", "networking", "--save", str(embedded.parent / "plan.json")]

    def fails(*arguments: Any) -> None:
        raise DeployError("plan.json", "the disk is full", "Name another file.")

    with monkeypatch.context() as patch:
        patch.setattr("zedi.deploy.saved.write", fails)
        done = CliRunner().invoke(plan, words)
    assert isinstance(done.exception, DeployError) and done.exception.what == "the disk is full"
    assert describe(target, "zedi-local-networking") is None

    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(planning, "plan", interrupted)
    stopped = CliRunner().invoke(plan, words)
    assert stopped.exit_code == verb.INTERRUPTED and "Nothing was changed." in stopped.stderr
