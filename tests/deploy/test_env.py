"""`zedi env` against a real embedded AWS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from zedi import contract
from zedi.cli.env import env
from zedi.deploy import DeployError
from zedi.deploy.outputs import outputs
from zedi.deploy.rollout import deploy
from zedi.deploy.target import Target, target_of
from zedi.settings import Settings

pytestmark = pytest.mark.server


def test_says_what_the_published_front_end_uses(whole: tuple[Settings, Path]) -> None:
    """Lines for an .env file, with the very values of the config.json that the deploy published."""
    settings, file = whole
    done = CliRunner().invoke(env, [str(file)])
    assert done.exit_code == 0 and done.stderr == "", done.output
    said = dict(line.split("=", 1) for line in done.stdout.splitlines())
    target = target_of(settings)
    bucket = str(outputs(settings, target)["frontend_bucket"])
    config = json.loads(
        target.client("s3").get_object(Bucket=bucket, Key=contract.CONFIG_FILE)["Body"].read()
    )
    assert said == {
        "VITE_AWS_REGION": config["region"],
        "VITE_COGNITO_USER_POOL_ID": config["user_pool_id"],
        "VITE_COGNITO_CLIENT_ID": config["client_id"],
        "VITE_COGNITO_HOSTED_UI_URL": config["hosted_ui_url"],
        "VITE_API_URL": config["api_url"],
        "VITE_WEBSOCKET_URL": config["websocket_url"],
    }
    assert json.loads(CliRunner().invoke(env, [str(file), "--json"]).stdout) == said


def test_leaves_out_what_is_not_deployed(settings: Settings, target: Target, file: Path, heard: Any) -> None:
    """With the user pool alone: region, pool, client and sign-in pages; the rest is named apart."""
    deploy(settings, target, listener=heard, only="security")
    done = CliRunner().invoke(env, [str(file)])
    names = [line.split("=")[0] for line in done.stdout.splitlines()]
    assert names[:3] == ["VITE_AWS_REGION", "VITE_COGNITO_USER_POOL_ID", "VITE_COGNITO_CLIENT_ID"]
    assert "VITE_WEBSOCKET_URL" not in names
    assert "VITE_WEBSOCKET_URL is not known before cdn is deployed." in done.stderr


def test_without_a_user_pool_there_is_nothing(file: Path) -> None:
    """Nothing deployed is an error with the command that deploys it."""
    done = CliRunner().invoke(env, [str(file)])
    assert isinstance(done.exception, DeployError)
    assert "--through security" in done.exception.fix
