"""Secrets as ECS resolves them, and containers as processes."""

from __future__ import annotations

import json
import sys

import pytest

from zedi import contract
from zedi.embedded import EmbeddedError, task
from zedi.embedded.state import State
from zedi.embedded.task import Container
from zedi.settings import Cdn, Embedded, Settings

ARN = "arn:aws:secretsmanager:ap-northeast-1:000000000000:secret:zedi-local-db-credentials-0905f2"
SETTINGS = Settings(name="test", cdn=Cdn(url="http://localhost:30000"), embedded=Embedded(port=4566))
TEXT = json.dumps({"username": "zedi_admin", "port": 5432})


def fetch(arn: str) -> str:
    assert arn == ARN
    return TEXT


@pytest.mark.parametrize(
    ("value_from", "value"),
    [
        (ARN, TEXT),
        (f"{ARN}:::", TEXT),
        (f"{ARN}:username::", "zedi_admin"),
        (f"{ARN}:port::", "5432"),
    ],
)
def test_secret_is_the_whole_text_or_one_of_its_keys(value_from: str, value: str) -> None:
    """An ARN alone is the whole secret; a JSON key picks one value, as text."""
    assert task.resolve(value_from, fetch, "realtime.X") == value


def test_key_that_is_not_there_is_a_clear_error() -> None:
    """A missing JSON key names container, variable, secret and key."""
    with pytest.raises(EmbeddedError, match=f"{ARN} has no JSON key passwort") as caught:
        task.resolve(f"{ARN}:passwort::", fetch, "realtime.X")
    assert caught.value.where == "realtime.X"


def test_old_version_of_a_secret_is_refused() -> None:
    """What cannot be had here is not answered with something else."""
    with pytest.raises(EmbeddedError, match="wants a version of a secret"):
        task.resolve(f"{ARN}::AWSPREVIOUS:", fetch, "realtime.X")


def container(**environment: str) -> Container:
    return Container("realtime", ("python", "-m", "zedi.realtime"), environment, 120.0)


def test_container_runs_with_its_own_environment(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image's Python is ours; the environment is the definition's, what ECS adds, and nothing of ours."""
    monkeypatch.setenv("AWS_PROFILE", "production")
    program = task.program(container(PORT="1234", BIND_ADDRESS="127.0.0.1"), SETTINGS, state)
    assert program.command == (sys.executable, "-P", "-m", "zedi.realtime")
    assert program.environment["BIND_ADDRESS"] == "127.0.0.1"
    ours = {"PATH", "HOME", "LANG", "TMPDIR", "PYTHONUNBUFFERED"}
    aws = {"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert set(program.environment) == ours | aws | {"PORT", "BIND_ADDRESS"}
    assert program.environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"
    assert program.stop_seconds <= 10.0


def test_container_without_a_port_is_a_clear_error(state: State) -> None:
    """A definition that names no port cannot be waited for."""
    with pytest.raises(EmbeddedError, match=f"gives it no {contract.PORT}"):
        task.program(container(), SETTINGS, state)
