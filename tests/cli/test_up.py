"""`zedi up`: words in, the platform's work, words out."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from zedi.cli.up import _show
from zedi.embedded.platform import Running
from zedi.settings import ExampleUser


def up(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zedi.cli", "up", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd)


def test_environment_without_embedded_is_three_lines(tmp_path: Path) -> None:
    """An environment for AWS: where, what and what to do, status 1, and no folder made."""
    (tmp_path / "x.toml").write_text('name = "dev"\n')
    done = up("x.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "environment dev" in done.stderr and "no [embedded] table" in done.stderr
    assert not (tmp_path / ".zedi").exists()


def test_taken_ports_are_told_before_anything_is_started(
    tmp_path: Path, embedded_environment: Callable[[Path], tuple[Path, str]]
) -> None:
    """Every taken port is one line; status 1; no server has been started."""
    file, url = embedded_environment(tmp_path)
    with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))):
        done = up(str(file), cwd=tmp_path)
    assert done.returncode == 1
    assert "cdn.url = " in done.stderr and "(process " in done.stderr
    assert not list((tmp_path / ".zedi" / "logs").iterdir())


def test_unknown_environment_is_refused(tmp_path: Path) -> None:
    """A file that is not there is the settings' own error."""
    assert up("nowhere.toml", cwd=tmp_path).returncode == 1


def test_what_runs_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Lists are shown as one value, and nothing that is needed is left out."""
    _show(
        Running(
            address="http://localhost:30000",
            users=(ExampleUser(email="a@example.com", display_name="あ", password="pass"),),
            outputs={"vpc_id": "vpc-1", "public_subnet_ids": ["s-1", "s-2"]},
            logs=Path("/x/logs"),
            seconds=1.25,
        )
    )
    said = capsys.readouterr().out
    for text in ("ready in 1.2 s", "http://localhost:30000", "a@example.com", "pass", "s-1,s-2", "/x/logs"):
        assert text in said
