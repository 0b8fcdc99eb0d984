"""`zedi outputs`, as a person runs it, against stacks that are there and stacks that are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from zedi.cli.outputs import outputs
from zedi.deploy import outputs as deployed
from zedi.deploy import target as targets
from zedi.deploy.target import Target, TargetError


@pytest.fixture
def local(tmp_path: Path, free_ports: Callable[[int], list[int]]) -> Path:
    (port,) = free_ports(1)
    file = tmp_path / "local.toml"
    file.write_text(f'name = "local"\n[cdn]\nurl = "http://localhost:30000"\n[embedded]\nport = {port}\n')
    return file


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str | list[str]]], None]:
    """Has AWS, the boundary, answer with these outputs."""

    def answer(found: dict[str, str | list[str]]) -> None:
        monkeypatch.setattr(targets, "target_of", lambda settings: Target("ap-northeast-1", "1"))
        monkeypatch.setattr(deployed, "outputs", lambda settings, target: found)

    return answer


def test_prints_names_and_values(local: Path, answers: Callable[[dict[str, str | list[str]]], None]) -> None:
    """One line an output, lists with commas."""
    answers({"vpc_id": "vpc-1", "private_subnet_ids": ["a", "b"]})
    done = CliRunner().invoke(outputs, [str(local)])
    assert done.exit_code == 0
    assert done.output == "vpc_id              vpc-1\nprivate_subnet_ids  a, b\n"


def test_prints_json(local: Path, answers: Callable[[dict[str, str | list[str]]], None]) -> None:
    """With --json, an object in which lists are lists."""
    answers({"vpc_id": "vpc-1", "private_subnet_ids": ["a", "b"]})
    done = CliRunner().invoke(outputs, [str(local), "--json"])
    assert json.loads(done.output) == {"vpc_id": "vpc-1", "private_subnet_ids": ["a", "b"]}


def test_says_that_nothing_is_deployed(
    local: Path, answers: Callable[[dict[str, str | list[str]]], None]
) -> None:
    """Nothing deployed is said to people, and is an empty object to programs."""
    answers({})
    assert "Nothing is deployed in local" in CliRunner().invoke(outputs, [str(local)]).stderr
    assert json.loads(CliRunner().invoke(outputs, [str(local), "--json"]).stdout) == {}


def test_says_that_nobody_answers(local: Path) -> None:
    """Where the embedded AWS does not run, the error goes up to where it is printed for people."""
    done = CliRunner().invoke(outputs, [str(local)])
    assert isinstance(done.exception, TargetError)
