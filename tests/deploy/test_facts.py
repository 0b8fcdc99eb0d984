"""What the deployer finds out, and the agreement with the templates that need it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from troposphere import Output, Ref, Template
from troposphere.cognito import UserPool
from troposphere.rds import DBCluster

from zedi import phases
from zedi.deploy import DeployError, facts
from zedi.deploy.outputs import deployed_stacks
from zedi.deploy.rollout import deploy
from zedi.deploy.target import Target
from zedi.phases import PHASES, Phase
from zedi.settings import Cdn, Database, Settings

AWS = Target("ap-northeast-1", "123456789012")
KEY = {"kid": "a", "kty": "RSA", "n": "1", "e": "AQAB"}


def test_every_fact_that_templates_need_is_known() -> None:
    """The templates and the deployer name the same facts."""
    assert facts.FACTS.keys() == phases.FACTS.keys()


def test_the_image_is_in_the_repository_that_is_made() -> None:
    """The image's address is that of the repository in the realtime phase's own template."""
    settings = Settings(name="dev")
    realtime = next(phase for phase in PHASES if phase.name == "realtime").build(settings).to_dict()
    (made,) = (
        resource["Properties"]["RepositoryName"]
        for resource in realtime["Resources"].values()
        if resource["Type"] == "AWS::ECR::Repository"
    )
    assert facts._repository(settings) == made


def test_the_version_is_kept_of_the_cluster_that_is_made() -> None:
    """The cluster whose version is asked for is the one in the database phase's own template."""
    settings = Settings(name="dev")
    database = next(phase for phase in PHASES if phase.name == "database").build(settings).to_dict()
    (made,) = (
        resource["Properties"]["DBClusterIdentifier"]
        for resource in database["Resources"].values()
        if resource["Type"] == "AWS::RDS::DBCluster"
    )
    assert facts._cluster_name(settings) == made


def test_token_keys_url_on_aws() -> None:
    """On AWS the pool's keys stand under the region's own host."""
    url = facts.token_keys_url(Settings(name="dev"), AWS, {"CognitoUserPoolId": "ap-northeast-1_X"})
    assert url == "https://cognito-idp.ap-northeast-1.amazonaws.com/ap-northeast-1_X/.well-known/jwks.json"


def test_a_key_set_is_made_small() -> None:
    """Spaces and what is not the key set go."""
    body = json.dumps({"keys": [KEY], "more": 1}, indent=4).encode()
    assert json.loads(facts.key_set(body, "url")) == {"keys": [KEY]}
    assert " " not in facts.key_set(body, "url")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys": []}',
        b'{"keys": [1]}',
        b'{"keys": [{"kty": "RSA"}]}',
        json.dumps({"keys": [{**KEY, "d": "secret"}]}).encode(),
        json.dumps({"keys": [{**KEY, "n": "9" * 4096}]}).encode(),
    ],
)
def test_refuses_what_is_no_key_set(body: bytes) -> None:
    """No service is started with keys that cannot be used, or that are too many or private."""
    with pytest.raises(DeployError):
        facts.key_set(body, "https://example.com")


def test_the_newest_is_by_number() -> None:
    """15.10 is newer than 15.9, and a variant is another product."""
    assert facts.newest(["15.9", "15.10", "15.2", "16.1", "15.11-limitless"], "15") == "15.10"


def test_a_major_that_is_not_offered_is_said() -> None:
    """The error names the majors that there are."""
    with pytest.raises(DeployError, match="15, 16"):
        facts.newest(["15.9", "16.1"], "14")


def test_an_exact_version_is_taken_as_it_is() -> None:
    """Nobody is asked about an exact version."""
    settings = Settings(name="dev", database=Database(engine_version="15.12"))
    assert facts.database_version(settings, AWS, {}) == "15.12"


def test_the_settings_know_the_address() -> None:
    """An address in the settings is the front end's before anything is deployed."""
    settings = Settings(name="dev", cdn=Cdn(url="https://example.com"))
    assert facts.frontend_url(settings, AWS, {}) == "https://example.com"


def clusters(version: str, settings: Settings) -> Callable[[Template], None]:
    def add(template: Template) -> None:
        template.add_resource(
            DBCluster(
                "Cluster",
                DBClusterIdentifier=f"{settings.prefix}-cluster",
                Engine="aurora-postgresql",
                EngineVersion=version,
                MasterUsername="someone",
                MasterUserPassword="not-a-secret-1",
                DeletionPolicy="Delete",
            )
        )

    return add


@pytest.mark.server
def test_a_cluster_is_never_moved(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """A major is the newest of it for a new cluster, and what it has for one that is there."""
    newest = facts.database_version(settings, target, {})
    assert newest.startswith("15.") and newest != "15.12"
    deploy(settings, target, listener=heard, phases=[phase("one", resources=clusters("15.12", settings))])
    assert facts.database_version(settings, target, {}) == "15.12"
    asks_for_16 = settings.model_copy(update={"database": Database(engine_version="16")})
    assert facts.database_version(asks_for_16, target, {}).startswith("16.")


@pytest.mark.server
def test_fetches_the_keys_of_a_real_pool(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """The keys that the pool signs with come as compact JSON, and fit into a parameter."""

    def pool(template: Template) -> None:
        template.add_resource(UserPool("Pool", UserPoolName=f"{settings.prefix}-users"))
        template.add_output(Output("CognitoUserPoolId", Value=Ref("Pool")))

    one = phase("one", resources=pool)
    deploy(settings, target, listener=heard, phases=[one])
    outputs = deployed_stacks(settings, target, [one])["one"].outputs
    keys = json.loads(facts.token_keys(settings, target, outputs))["keys"]
    assert keys and all(key["kty"] == "RSA" and key["kid"] for key in keys)
    assert facts.token_keys_url(settings, target, outputs).startswith(settings.endpoint_url or "?")
    with pytest.raises(DeployError, match=r"cannot fetch|not a key set"):
        facts.token_keys(settings, target, {"CognitoUserPoolId": "ap-northeast-1_None"})


@pytest.mark.parametrize(
    ("digest", "running", "image", "tasks"),
    [
        (None, 0, ":latest", "0"),
        (None, 2, ":latest", "0"),
        ("sha256:aa", 0, "@sha256:aa", "1"),
        ("sha256:aa", 3, "@sha256:aa", "3"),
        ("sha256:aa", 9, "@sha256:aa", "4"),
    ],
)
def test_tasks_follow_the_image(
    monkeypatch: pytest.MonkeyPatch, digest: str | None, running: int, image: str, tasks: str
) -> None:
    """No image, no tasks; an image is run by its digest, in as many tasks as auto scaling wants by now."""
    monkeypatch.setattr(facts, "_image_digest", lambda settings, target: digest)
    monkeypatch.setattr(facts, "_running_tasks", lambda settings, target: running)
    settings = Settings(name="dev")
    host = "123456789012.dkr.ecr.ap-northeast-1.amazonaws.com"
    assert facts.image_uri(settings, AWS, {}) == f"{host}/{facts._repository(settings)}{image}"
    assert facts.task_count(settings, AWS, {}) == tasks


@pytest.mark.server
def test_looks_for_the_image(settings: Settings, target: Target) -> None:
    """The image of the settings' tag is found once it was pushed, and the embedded AWS needs none."""
    assert facts.task_count(settings, target, {}) == str(settings.realtime.min_tasks)
    assert facts.image_uri(settings, target, {}).endswith(":latest")
    assert facts._running_tasks(settings, target) == 0
    assert facts._image_digest(settings, target) is None
    ecr = target.client("ecr")
    ecr.create_repository(repositoryName=facts._repository(settings))
    assert facts._image_digest(settings, target) is None
    pushed = ecr.put_image(
        repositoryName=facts._repository(settings),
        imageTag="latest",
        imageManifest=json.dumps({"schemaVersion": 2, "layers": []}),
    )
    assert facts._image_digest(settings, target) == pushed["image"]["imageId"]["imageDigest"]
