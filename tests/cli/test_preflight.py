"""`zedi preflight`: arguments, formats, exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from zedi import settings
from zedi.cli.preflight import preflight
from zedi.phases import PHASES, render
from zedi.preflight.subject import TemplatesError

DEV = str(Path(__file__).parents[2] / "environments" / "dev.toml")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(preflight, ["--no-linters", *arguments], catch_exceptions=False)


def test_warnings_do_not_fail() -> None:
    """Nothing worse than a warning is exit status 0."""
    result = run(DEV, "--offline")
    assert result.exit_code == 0
    assert "warning Z606" in result.output and result.output.endswith("1 warning, 1 info.\n")


def test_errors_do(tmp_path: Path) -> None:
    """An error is exit status 1, with file, line and key; ignored, it is not."""
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\n\n[database]\nmin_acu = 9.0\n', "utf-8")
    result = run(str(file), "--offline")
    assert result.exit_code == 1
    assert f"at {file}:4 database.min_acu → database/Cluster" in result.output
    assert run(str(file), "--offline", "--ignore", "z302").exit_code == 0


def test_formats() -> None:
    """JSON is a list, and GitHub's are commands; both say the same findings."""
    found = json.loads(run(DEV, "--offline", "--format", "json").output)
    assert [each["id"] for each in found] == ["Z606", "Z701"]
    lines = run(DEV, "--offline", "--format", "github", "--ignore", "Z701").output.splitlines()
    assert len(lines) == 1 and lines[0].startswith("::warning ")


def test_a_folder_of_templates(tmp_path: Path) -> None:
    """Templates of another tool, or edited by hand, are looked at without settings."""
    chosen = settings.load(DEV)
    for phase in PHASES:
        (tmp_path / f"{phase.name}.json").write_text(render(phase.build(chosen)), "utf-8")
    result = run("--templates", str(tmp_path))
    assert result.exit_code == 0 and f"{tmp_path}/cdn.json" in result.output
    template = json.loads((tmp_path / "cache.json").read_text("utf-8"))
    template["Resources"]["ReplicationGroup"]["Properties"]["MultiAZEnabled"] = True
    (tmp_path / "cache.json").write_text(json.dumps(template, indent=2), "utf-8")
    result = run("--templates", str(tmp_path), "--format", "json")
    assert result.exit_code == 1
    (error,) = [each for each in json.loads(result.output) if each["severity"] == "error"]
    assert (error["id"], error["where"]["phase"], error["where"]["resource"]) == (
        "Z404",
        "cache",
        "ReplicationGroup",
    )


@pytest.mark.parametrize(
    "arguments", [[], [DEV, "--templates", "."], ["--templates", ".", "--live"], [DEV, "--format", "xml"]]
)
def test_what_is_not_understood(arguments: list[str]) -> None:
    """A wrong use is exit status 2."""
    assert run(*arguments).exit_code == 2


def test_a_folder_without_templates(tmp_path: Path) -> None:
    """An empty folder, and one with something else in it, are told apart from templates without findings."""
    with pytest.raises(TemplatesError, match="there is no template here"):
        run("--templates", str(tmp_path))
    (tmp_path / "package.json").write_text("{}", "utf-8")
    with pytest.raises(TemplatesError, match="has no Resources"):
        run("--templates", str(tmp_path))
