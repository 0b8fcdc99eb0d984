"""Who is asked, with what, and what is said when there is nobody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from zedi.deploy import DeployError
from zedi.deploy.target import Target, TargetError, asking, target_of
from zedi.settings import Cdn, Embedded, Settings

AWS = Target("ap-northeast-1", "123456789012")


def test_an_embedded_aws_that_does_not_run_is_said(free_ports: Callable[[int], list[int]]) -> None:
    """Nobody at the embedded AWS's port: the error says how to start it."""
    (port,) = free_ports(1)
    settings = Settings(name="local", cdn=Cdn(url="http://localhost:30000"), embedded=Embedded(port=port))
    with pytest.raises(TargetError) as caught:
        target_of(settings)
    assert f"http://127.0.0.1:{port}" in caught.value.what
    assert "make up" in caught.value.fix


def test_missing_credentials_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A profile that does not exist is an error that says how to sign in."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(TargetError, match="nobody") as caught:
        target_of(Settings(name="dev", region="eu-north-1"))
    assert "sso login" in caught.value.fix


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "DescribeStacks")


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (NoCredentialsError(), TargetError, "Sign in"),
        (EndpointConnectionError(endpoint_url="https://x"), TargetError, "Check the network"),
        (refusal("ExpiredToken"), TargetError, "Sign in again"),
        (refusal("AccessDenied"), DeployError, "Allow DescribeStacks"),
        (refusal("ValidationError"), DeployError, "Run the same command again"),
    ],
)
def test_what_boto3_raises_is_for_people(raised: Exception, kind: type[DeployError], words: str) -> None:
    """Every way in which AWS cannot be asked, or refuses, says what to do."""
    with pytest.raises(kind) as caught, asking(AWS, "cache"):
        raise raised
    assert type(caught.value) is kind
    assert caught.value.where == "cache"
    assert words in caught.value.fix


def test_our_own_errors_pass() -> None:
    """A defect is not dressed up as something that AWS said."""
    with pytest.raises(ZeroDivisionError), asking(AWS, "cache"):
        raise ZeroDivisionError


@pytest.mark.server
def test_the_embedded_aws_needs_no_configuration(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the owner has configured for AWS, and a proxy, do not matter to the embedded one."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    target = target_of(settings)
    assert target.embedded
    assert (target.region, target.account) == ("ap-northeast-1", "000000000000")
