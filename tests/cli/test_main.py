from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from zedi import cli

HEAVY = ("boto3", "botocore", "troposphere", "pydantic", "rich", "asyncpg", "ministack", "cryptography")


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zedi.cli", *words], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_help_lists_every_verb() -> None:
    """The help page names every verb with a line of its own."""
    result = CliRunner().invoke(cli.zedi, ["--help"])
    assert result.exit_code == 0
    for verb in cli.VERBS:
        assert any(
            line.split()[:1] == [verb] and len(line.split()) > 2 for line in result.output.splitlines()
        )


def test_help_loads_nothing_heavy() -> None:
    """What a verb needs is imported when it runs, so that the help page is there at once."""
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom zedi import cli\n"
        "assert CliRunner().invoke(cli.zedi, ['--help']).exit_code == 0\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == []


@pytest.mark.parametrize("words", [("deploi",), ("deploy", "--thruogh", "database", "dev"), ("synth",)])
def test_mistyped_words_are_a_usage_error(words: tuple[str, ...]) -> None:
    """A verb or an option that does not exist is refused with status 2 and a pointer to the help."""
    result = CliRunner().invoke(cli.zedi, list(words))
    assert result.exit_code == 2
    assert "--help" in result.output


def test_an_error_is_three_lines_and_no_traceback(tmp_path: Path) -> None:
    """Where, what, and what to do, on standard error, with status 1."""
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments" / "dev.toml").write_text('name = "dev"\n[database]\nmin_acus = 1\n')
    result = run("synth", "dev", "--output", "out", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "environments/dev.toml" in result.stderr
    assert "did you mean database.min_acu?" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()
