"""What the Dockerfile says, held against the templates, the lock and the rooms of the service."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from zedi import contract
from zedi.image import layout, release
from zedi.phases import PHASES
from zedi.settings import Settings

ROOT = Path(__file__).parents[2]


def definition() -> dict[str, Any]:
    template = next(phase for phase in PHASES if phase.name == "realtime").build(Settings(name="dev"))
    (task,) = (
        resource["Properties"]["ContainerDefinitions"]
        for resource in template.to_dict()["Resources"].values()
        if resource["Type"] == "AWS::ECS::TaskDefinition"
    )
    found: dict[str, Any] = next(each for each in task if each["Name"] == contract.REALTIME_CONTAINER)
    return found


def last(dockerfile: Sequence[Any], name: str) -> Any:
    return [step for step in dockerfile if step.name == name][-1]


def test_the_base_is_pinned_and_the_same_twice(dockerfile: Sequence[Any]) -> None:
    """One exact Python on one Debian for both stages, of the minor version that the locks are made for."""
    bases = [step.words[0] for step in dockerfile if step.name == "FROM"]
    assert bases == ["python:${PYTHON}"] * 2
    (version,) = (step.words[0] for step in dockerfile if step.name == "ARG" and "=" in step.words[0])
    pinned = re.fullmatch(r"PYTHON=(\d+\.\d+)\.\d+-slim-[a-z]+", version)
    assert pinned
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["requires-python"] == f">={pinned[1]}"
    assert f"--python-version {pinned[1]} " in (ROOT / "scripts" / "lock").read_text("utf-8")


def test_runs_as_the_task_definition_does(dockerfile: Sequence[Any]) -> None:
    """The user, the default command and the ports are those of the task definition."""
    assert last(dockerfile, "USER").words == (definition()["User"],)
    assert last(dockerfile, "CMD").words == contract.REALTIME_COMMAND
    assert last(dockerfile, "EXPOSE").words == (str(contract.REALTIME_PORT), str(contract.API_PORT))


def test_is_checked_as_the_task_definition_does(dockerfile: Sequence[Any]) -> None:
    """The same request in the same rhythm, without curl; only the port is read from the environment."""
    step, wanted = last(dockerfile, "HEALTHCHECK"), definition()["HealthCheck"]
    assert step.flags == {
        "interval": f"{wanted['Interval']}s",
        "timeout": f"{wanted['Timeout']}s",
        "retries": str(wanted["Retries"]),
        "start-period": f"{wanted['StartPeriod']}s",
    }
    kind, *theirs = wanted["Command"]
    assert kind == "CMD"
    *words, code = ast.literal_eval(step.text.partition("CMD ")[2])
    assert words == theirs[:-1]
    with_port = code.replace('{os.environ.get("PORT", 1234)}', "1234").replace("f'http", "'http")
    assert with_port == f"import os, {theirs[-1].removeprefix('import ')}"


def test_nothing_is_run_in_the_last_stage(dockerfile: Sequence[Any]) -> None:
    """Files are copied and that is all, so that an image for another architecture needs no emulation."""
    start = max(number for number, step in enumerate(dockerfile) if step.name == "FROM")
    assert {step.name for step in dockerfile[start:]}.isdisjoint({"RUN", "ADD"})
    assert [step.flags.get("platform") for step in dockerfile if step.name == "FROM"] == [
        "$BUILDPLATFORM",
        None,
    ]


def test_python_finds_what_was_laid_out(dockerfile: Sequence[Any]) -> None:
    """The packages are where the image's Python looks."""
    assert f"PYTHONPATH={layout.SITE}" in last(dockerfile, "ENV").words


def test_names_no_registry(dockerfile: Sequence[Any]) -> None:
    """Where a base comes from is for each machine to say."""
    assert "://" not in "".join(step.text for step in dockerfile if step.name != "HEALTHCHECK")
    assert all("/" not in step.words[0] for step in dockerfile if step.name == "FROM")


def test_only_what_the_image_is_made_of_is_sent() -> None:
    """.dockerignore lets in what `zedi image` wants committed, and nothing else."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {line[1:] for line in lines if line.startswith("!")} == set(release.CONTEXT)
    assert all((ROOT / path).exists() for path in release.CONTEXT)


@pytest.mark.parametrize(
    "words", [[], ["packages", "x"], ["packages", "x", "sparc"], ["service"], ["x", "y"]]
)
def test_the_layout_refuses_other_words(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake in the Dockerfile is told and not guessed at."""
    assert layout.main(words) == 2
    assert "layout.py packages ROOT" in capsys.readouterr().err
