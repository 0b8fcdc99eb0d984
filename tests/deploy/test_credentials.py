"""`zedi credentials` against a real embedded AWS: who sees the password, and who does not."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from zedi.cli.credentials import credentials as verb
from zedi.deploy import DeployError
from zedi.deploy.credentials import Credentials, credentials
from zedi.deploy.target import target_of
from zedi.settings import Settings

SECONDS = 30.0


@pytest.fixture
def deployed(whole: tuple[Settings, Path]) -> tuple[Credentials, Path]:
    """What Secrets Manager holds, and the environment's file."""
    settings, file = whole
    return credentials(settings, target_of(settings)), file


@pytest.mark.server
def test_shows_what_the_secret_holds(deployed: tuple[Credentials, Path]) -> None:
    """With --yes lines, with --json an object: where, who, and the password that was generated."""
    found, file = deployed
    assert found.username == "zedi_admin" and found.dbname == "zedi" and len(found.password) == 32
    assert found.password not in repr(found)
    lines = CliRunner().invoke(verb, [str(file), "--yes"]).stdout.splitlines()
    assert f"password  {found.password}" in lines
    said = json.loads(CliRunner().invoke(verb, [str(file), "--json"]).stdout)
    assert said["password"] == found.password and said["port"] == found.port


@pytest.mark.server
def test_refuses_where_nobody_can_be_asked(deployed: tuple[Credentials, Path]) -> None:
    """Into a pipe, without --yes or --json, nothing is shown."""
    found, file = deployed
    done = CliRunner().invoke(verb, [str(file)])
    assert done.exit_code == 2 and "--yes" in done.output
    assert found.password not in done.output


@pytest.mark.server
@pytest.mark.parametrize("flags", [(), ("--json",)])
@pytest.mark.parametrize("answer", ["n", "y"])
def test_asks_on_a_terminal(deployed: tuple[Credentials, Path], answer: str, flags: tuple[str, ...]) -> None:
    """The password comes on the screen after a yes, and not after a no."""
    found, file = deployed
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "zedi.cli", "credentials", str(file), *flags],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
        )
        os.write(ours, f"{answer}\n".encode())
        _, asked = process.communicate(timeout=SECONDS)
        os.set_blocking(ours, False)
        screen = os.read(ours, 65_536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"Show the password of whole's database" in asked
    assert process.returncode == (0 if answer == "y" else 1)
    assert (found.password in screen) is (answer == "y")


@pytest.mark.server
def test_psql_gets_it_in_its_environment(deployed: tuple[Credentials, Path], tmp_path: Path) -> None:
    """psql replaces us, with no argument at all; libpq's variables carry everything."""
    found, file = deployed
    psql = tmp_path / "psql"
    psql.write_text('#!/bin/sh\necho "$# arguments"\nenv | grep ^PG\n')
    psql.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "zedi.cli", "credentials", str(file), "--psql"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    first, *variables = done.stdout.splitlines()
    assert first == "0 arguments"
    assert dict(line.split("=", 1) for line in variables).items() >= found.environment().items()


def test_says_that_psql_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psql: how to get it, before anybody is asked for a secret."""
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "dev.toml"
    file.write_text('name = "dev"\n')
    done = CliRunner().invoke(verb, [str(file), "--psql"])
    assert isinstance(done.exception, DeployError)
    assert "postgresql-client" in done.exception.fix


@pytest.mark.server
def test_says_that_nothing_is_deployed(file: Path) -> None:
    """No database, no credentials: the command that deploys it."""
    done = CliRunner().invoke(verb, [str(file), "--yes"])
    assert isinstance(done.exception, DeployError)
    assert "--through database" in done.exception.fix
