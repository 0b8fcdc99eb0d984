"""What the deployer finds out, and the agreement with the templates that need it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from troposphere import Output, Ref, Template
from troposphere.cognito import UserPool
from troposphere.rds import DBCluster

from zedi import phases
from zedi.deploy import DeployError, facts, revision
from zedi.deploy.outputs import deployed_stacks
from zedi.deploy.revision import Revision, RevisionError
from zedi.deploy.rollout import deploy
from zedi.deploy.target import Target
from zedi.phases import PHASES, Phase
from zedi.settings import Cdn, Database, Realtime, Settings

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
    assert facts.repository(settings) == made


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


HOST = "123456789012.dkr.ecr.ap-northeast-1.amazonaws.com/zedi-dev-realtime"
COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class Registry:
    """What AWS, the boundary, answers: which images there are, and which one is deployed."""

    digests: dict[str, str] = field(default_factory=dict)
    """By tag."""
    deployed: str | None = None
    running: int = 0
    commit: str | None = COMMIT

    def choose(self, tag: str | None = None) -> facts.Image:
        return facts.image(self.settings(tag), AWS)

    def settings(self, tag: str | None = None) -> Settings:
        return Settings(name="dev", realtime=Realtime(image_tag=tag))


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    answers = Registry()

    def digest_of(
        settings: Settings, target: Target, *, tag: str | None = None, digest: str | None = None
    ) -> str | None:
        if digest is not None:
            return digest if digest in answers.digests.values() else None
        return answers.digests.get(tag or "")

    def current() -> Revision:
        if answers.commit is None:
            raise RevisionError("here", "not a git repository", "clone it")
        return Revision(Path(), answers.commit, 0)

    monkeypatch.setattr(facts, "image_digest", digest_of)
    monkeypatch.setattr(facts, "_deployed_image", lambda settings, target: answers.deployed)
    monkeypatch.setattr(facts, "_running_tasks", lambda settings, target: answers.running)
    monkeypatch.setattr(revision, "current", current)
    return answers


def test_the_first_deploy_runs_no_task(registry: Registry) -> None:
    """Before anything was pushed there is no task, and the words say how to get one."""
    chosen = registry.choose()
    assert chosen.uri == f"{HOST}:none"
    assert "zedi image push dev" in chosen.why and COMMIT[:12] in chosen.why
    assert facts.task_count(registry.settings(), AWS, {}) == "0"
    assert registry.choose("v1").uri == f"{HOST}:v1"
    assert facts.task_count(registry.settings("v1"), AWS, {}) == "0"


def test_the_revision_is_deployed_when_it_was_pushed(registry: Registry) -> None:
    """The image of what is checked out is run by its digest, instead of the one before."""
    registry.digests = {COMMIT: "sha256:new", "older": "sha256:old"}
    registry.deployed = f"{HOST}@sha256:old"
    assert registry.choose().uri == f"{HOST}@sha256:new"
    assert facts.image_uri(registry.settings(), AWS, {}) == f"{HOST}@sha256:new"
    assert facts.task_count(registry.settings(), AWS, {}) == "1"


@pytest.mark.parametrize("commit", [COMMIT, None])
def test_what_is_deployed_stays_while_nothing_newer_was_pushed(
    registry: Registry, commit: str | None
) -> None:
    """A deploy from a revision without an image, or from no repository at all, keeps it and says so."""
    registry.commit = commit
    registry.digests = {"older": "sha256:old"}
    registry.deployed = f"{HOST}@sha256:old"
    chosen = registry.choose()
    assert chosen.uri == f"{HOST}@sha256:old" and chosen.ready
    assert "stays as it is" in chosen.why and (commit is None or commit[:12] in chosen.why)


def test_a_tag_in_the_settings_is_taken(registry: Registry) -> None:
    """A tag that the settings name goes before the revision."""
    registry.digests = {COMMIT: "sha256:new", "v1": "sha256:v1"}
    assert registry.choose("v1").uri == f"{HOST}@sha256:v1"


def test_an_image_of_uncommitted_files_is_not_taken_by_itself(registry: Registry) -> None:
    """What `zedi image push --allow-dirty` pushed runs only where the settings name it."""
    registry.digests = {f"{COMMIT}-dirty": "sha256:dirty"}
    assert not registry.choose().ready
    assert registry.choose(f"{COMMIT}-dirty").uri == f"{HOST}@sha256:dirty"


@pytest.mark.parametrize(
    ("digests", "tag"),
    [
        ({"older": "sha256:old"}, "v2"),  # the tag was never pushed
        ({}, None),  # the repository has let go of what is deployed
    ],
)
def test_a_running_service_is_never_moved_to_nothing(
    registry: Registry, digests: dict[str, str], tag: str | None
) -> None:
    """Where something is deployed, a missing image is an error and not a service without tasks."""
    registry.digests, registry.deployed = digests, f"{HOST}@sha256:old"
    with pytest.raises(DeployError, match="in the repository") as caught:
        facts.task_count(registry.settings(tag), AWS, {})
    assert "zedi image push dev" in caught.value.fix


@pytest.mark.parametrize(("running", "tasks"), [(0, "1"), (3, "3"), (9, "4")])
def test_a_deploy_does_not_scale_in(registry: Registry, running: int, tasks: str) -> None:
    """There are as many tasks as auto scaling wants by now, within the settings' bounds."""
    registry.digests, registry.running = {COMMIT: "sha256:new"}, running
    assert facts.task_count(registry.settings(), AWS, {}) == tasks


@pytest.mark.server
def test_looks_for_the_image(settings: Settings, target: Target) -> None:
    """An image is found by its tag and its digest once it was pushed, and the embedded AWS needs none."""
    assert facts.task_count(settings, target, {}) == str(settings.realtime.min_tasks)
    assert facts.image_uri(settings, target, {}).endswith(":none")
    assert facts._running_tasks(settings, target) == 0
    assert facts.image_digest(settings, target, tag="a") is None
    ecr = target.client("ecr")
    ecr.create_repository(repositoryName=facts.repository(settings))
    assert facts.image_digest(settings, target, tag="a") is None
    pushed = ecr.put_image(
        repositoryName=facts.repository(settings),
        imageTag="a",
        imageManifest=json.dumps({"schemaVersion": 2, "layers": []}),
    )
    digest = pushed["image"]["imageId"]["imageDigest"]
    assert facts.image_digest(settings, target, tag="a") == digest
    assert facts.image_digest(settings, target, tag="b") is None
    assert facts.image_digest(settings, target, digest=digest) == digest
    assert facts.image_digest(settings, target, digest=digest[:-1] + "x") is None


@pytest.mark.server
def test_the_deployed_image_is_what_the_stack_was_given(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any, monkeypatch: Any
) -> None:
    """The image that stays is read off the deployed stack, which may have been deployed without one."""
    takes = {"ImageUri": "String"}
    for uri, known in ((f"{HOST}:none", None), (f"{HOST}@sha256:aa", f"{HOST}@sha256:aa")):
        assert facts._deployed_image(settings, target) is None
        monkeypatch.setitem(facts.FACTS, "ImageUri", lambda *_, uri=uri: uri)
        realtime = phase("realtime", takes=takes, display=uri)
        deploy(settings, target, listener=heard, phases=[realtime])
        assert facts._deployed_image(settings, target) == known
