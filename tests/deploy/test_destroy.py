"""Taking down what was deployed in a real embedded AWS: backwards, from every state, and what stays."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from troposphere import Template
from troposphere.ecr import Repository
from troposphere.s3 import Bucket, VersioningConfiguration
from troposphere.ssm import Parameter as Stored

from zedi.deploy import DeployError, destroy, execute
from zedi.deploy.events import PhaseDeleted, PhaseFailed, PhaseNote, PhaseStarted, ResourceEvent
from zedi.deploy.execute import Request
from zedi.deploy.rollout import deploy
from zedi.deploy.stacks import describe
from zedi.deploy.target import Target
from zedi.phases import PHASES, Phase, render
from zedi.phases.tags import labels
from zedi.settings import Settings, load

ENVIRONMENTS = Path(__file__).parents[2] / "environments"

MANIFEST = '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}'

pytestmark = pytest.mark.server


def gone(settings: Settings, target: Target, *phases: str) -> bool:
    return all(describe(target, f"{settings.prefix}-{phase}") is None for phase in phases)


def versioned(template: Template) -> None:
    template.add_resource(Bucket("Files", VersioningConfiguration=VersioningConfiguration(Status="Enabled")))
    template.add_resource(Repository("Images", RepositoryName="images-of-destroy"))


def test_goes_backwards_and_independent_ones_together(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """What stands on another goes before it, and two that do not are under way at one moment."""
    phases = [phase("one"), phase("two", "one"), phase("three", "one"), phase("four", "two", "three")]
    deploy(settings, target, listener=heard, phases=phases)
    both = threading.Barrier(2, timeout=20)
    lock = threading.Lock()
    inside = 0
    most = 0

    original = execute.delete

    def meets(target: Target, name: str, *rest: Any) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        if name in ("two", "three"):
            both.wait()  # one after the other would break this barrier
        original(target, name, *rest)
        with lock:
            inside -= 1

    del heard[:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "delete", meets)
        done = destroy.destroy(settings, target, listener=heard, phases=phases)
    assert (done.phases[0], done.phases[-1]) == ("four", "one") and len(done.phases) == 4
    assert most == 2
    assert gone(settings, target, "one", "two", "three", "four")
    assert next(event.phase for event in heard.of(PhaseStarted)) == "four"
    statuses = [(e.logical_id, e.status) for e in heard.of(ResourceEvent) if e.phase == "one"]
    assert statuses[-1] == (f"{settings.prefix}-one", "DELETE_COMPLETE")

    again = destroy.destroy(settings, target, listener=heard, phases=phases)
    assert again.phases == () and again.kept == ()


def test_empties_what_must_be_empty(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """Every version, delete marker and image goes first; more than a page of them too."""
    phases = [phase("one", resources=versioned)]
    deploy(settings, target, listener=heard, phases=phases)
    (bucket,) = [r for r in destroy.survey(settings, target, phases).resources if r.type == "AWS::S3::Bucket"]
    s3 = target.client("s3")
    for number in range(5):
        for body in (b"old", b"new"):
            s3.put_object(Bucket=bucket.physical_id, Key=f"k{number}", Body=body)
    s3.delete_object(Bucket=bucket.physical_id, Key="k0")
    target.client("ecr").put_image(repositoryName="images-of-destroy", imageManifest=MANIFEST, imageTag="a")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(destroy, "_OBJECTS_AT_ONCE", 3)
        destroy.destroy(settings, target, listener=heard, phases=phases)
    notes = " ".join(note.text for note in heard.of(PhaseNote))
    assert "deleted 11 objects" in notes and "deleted 1 images" in notes
    assert gone(settings, target, "one")
    with pytest.raises(s3.exceptions.ClientError):
        s3.head_bucket(Bucket=bucket.physical_id)


def test_a_failure_shows_its_cause_and_the_same_call_goes_on(
    settings: Settings,
    target: Target,
    phase: Callable[..., Phase],
    heard: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What cannot be deleted is named with AWS's reason and the way on; what it stands on is left alone."""
    name = f"images-{settings.name}"

    def images(template: Template) -> None:
        template.add_resource(Repository("Images", RepositoryName=name))

    phases = [phase("one"), phase("two", "one", resources=images)]
    deploy(settings, target, listener=heard, phases=phases)
    target.client("ecr").put_image(repositoryName=name, imageManifest=MANIFEST, imageTag="late")
    with monkeypatch.context() as patch, pytest.raises(DeployError) as caught:
        patch.setattr(destroy, "_empty_repository", lambda *arguments: 0)  # pushed after it was emptied
        destroy.destroy(settings, target, listener=heard, phases=phases)
    assert caught.value.where == "two/Images (AWS::ECR::Repository)"
    assert "images" in caught.value.what and "DELETE_FAILED" in caught.value.what
    assert "--retain-resources Images" in caught.value.fix
    assert [failed.phase for failed in heard.of(PhaseFailed)] == ["two"]
    assert not gone(settings, target, "one")
    left = describe(target, f"{settings.prefix}-two")
    assert left is not None and left.status == "DELETE_FAILED"

    done = destroy.destroy(settings, target, listener=heard, phases=phases)
    assert done.phases == ("two", "one")


def test_a_change_set_nobody_executed(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """A stack in REVIEW_IN_PROGRESS has nothing in it and goes."""
    one = phase("one")
    request = Request("one", f"{settings.prefix}-one", render(one.build(settings)), {}, labels(settings))
    execute.propose(target, request, heard, threading.Event())
    assert destroy.destroy(settings, target, listener=heard, phases=[one]).phases == ("one",)
    assert gone(settings, target, "one")


def test_a_first_deploy_that_failed(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """A stack in ROLLBACK_COMPLETE goes, and so does what was deployed before it."""

    def invalid(template: Template) -> None:
        template.add_resource(Stored("Taken", Name=f"/{settings.name}/x", Type="String", Value="a"))

    phases = [phase("one", resources=invalid), phase("two", "one", resources=invalid)]
    with pytest.raises(DeployError, match="ROLLBACK_COMPLETE"):
        deploy(settings, target, listener=heard, phases=phases)
    assert destroy.destroy(settings, target, listener=heard, phases=phases).phases == ("two", "one")
    assert gone(settings, target, "one", "two")


def test_goes_on_after_an_interruption(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """Ctrl-C at any event leaves what the same call finishes."""
    phases = [phase("one"), phase("two", "one")]
    deploy(settings, target, listener=heard, phases=phases)

    def interrupt(happened: Any) -> None:
        if isinstance(happened, ResourceEvent) and happened.status == "DELETE_IN_PROGRESS":
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        destroy.destroy(settings, target, listener=interrupt, phases=phases)
    assert not gone(settings, target, "one")
    destroy.destroy(settings, target, listener=heard, phases=phases)
    assert gone(settings, target, "one", "two")


@pytest.mark.parametrize("kind", ["DELETE_IN_PROGRESS", "UPDATE_IN_PROGRESS"])
def test_joins_what_is_under_way(
    settings: Settings,
    target: Target,
    phase: Callable[..., Phase],
    heard: Any,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """An operation that has begun is followed to its end; a deletion is not begun twice."""
    phases = [phase("one")]
    deploy(settings, target, listener=heard, phases=phases)
    seen = describe(target, f"{settings.prefix}-one")
    assert seen is not None
    if kind == "DELETE_IN_PROGRESS":
        target.client("cloudformation").delete_stack(StackName=seen.id)
    answers = [type(seen)(**{**vars(seen), "status": kind})]
    monkeypatch.setattr(destroy, "describe", lambda *a: answers.pop() if answers else describe(*a))
    monkeypatch.setattr(destroy, "survey", lambda *a: destroy.Survey((), ()))
    assert destroy.destroy(settings, target, listener=heard, phases=phases).phases == ("one",)
    assert any(kind in note.text for note in heard.of(PhaseNote))
    assert gone(settings, target, "one")


@pytest.fixture
def prod(settings: Settings) -> Settings:
    """prod, in the embedded AWS, under this test's own name."""
    chosen = load("prod", ENVIRONMENTS)
    ports = {
        "database": chosen.database.model_copy(update={"port": settings.database.port}),
        "cache": chosen.cache.model_copy(update={"port": settings.cache.port}),
        "cdn": chosen.cdn.model_copy(update={"url": settings.cdn.url}),
    }
    return chosen.model_copy(update={"name": settings.name, "embedded": settings.embedded, **ports})


def test_prod_keeps_what_its_settings_keep(
    prod: Settings, target: Target, heard: Any, tmp_path: Path
) -> None:
    """Protected it is refused with nothing touched; unprotected a snapshot, secret, pool and buckets stay."""
    (tmp_path / "index.html").write_text("<!doctype html>", "utf-8")
    deploy(prod, target, listener=heard, web=tmp_path)
    del heard[:]
    with pytest.raises(DeployError) as caught:
        destroy.destroy(prod, target, listener=heard)
    assert caught.value.where.startswith("database/Cluster") and heard == []
    assert "database.deletion_protection = false" in caught.value.fix

    open_ = prod.model_copy(
        update={"database": prod.database.model_copy(update={"deletion_protection": False})}
    )
    deploy(open_, target, listener=heard, only="database")
    done = destroy.destroy(open_, target, listener=heard, delete_secrets=True)
    assert set(done.phases) == {phase.name for phase in PHASES}
    assert {(each.type, each.kept, each.why_kept) for each in done.kept} == {
        ("AWS::Cognito::UserPool", "retained", "database.deletion_protection"),
        ("AWS::RDS::DBCluster", "snapshot", "database.final_snapshot"),
        ("AWS::SecretsManager::Secret", "retained", "database.secret_recovery_days"),
        ("AWS::S3::Bucket", "retained", "cdn.versioned"),
        ("AWS::S3::Bucket", "retained", "database.deletion_protection"),
    }
    assert done.secrets == ((f"{prod.prefix}-db-credentials", 30),)
    secret = target.client("secretsmanager").describe_secret(SecretId=done.secrets[0][0])
    assert "DeletedDate" in secret
    (bucket,) = [each.physical_id for each in done.kept if each.why_kept == "cdn.versioned"]
    assert target.client("s3").list_objects_v2(Bucket=bucket)["KeyCount"] >= 2
    assert len(heard.of(PhaseDeleted)) == len(PHASES)
