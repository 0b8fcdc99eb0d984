"""The tag that keeps the deployed image from its repository's lifecycle policy, in a real embedded AWS."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from zedi.deploy import facts
from zedi.deploy.events import PhaseDone, PhaseNote
from zedi.deploy.rollout import deploy
from zedi.deploy.target import Target
from zedi.phases import Phase
from zedi.settings import Settings

pytestmark = pytest.mark.server

OCI = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def run(
    settings: Settings,
    target: Target,
    phase: Callable[..., Phase],
    heard: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], None]:
    """Deploys a realtime phase with an image of this digest."""

    def with_image(digest: str) -> None:
        uri = f"{target.account}.dkr.ecr.{target.region}.amazonaws.com/{facts.repository(settings)}@{digest}"
        monkeypatch.setitem(facts.FACTS, "ImageUri", lambda *_: uri)
        realtime = phase("realtime", takes={"ImageUri": "String"}, display=digest[-12:])
        deploy(settings, target, listener=heard, phases=[realtime])

    return with_image


def test_the_tag_moves_to_what_is_deployed(
    settings: Settings, target: Target, run: Callable[[str], None]
) -> None:
    """One image has the tag, that of the last deploy, with the manifest and the tags that it had."""
    ecr = target.client("ecr")
    name = facts.repository(settings)
    ecr.create_repository(repositoryName=name)
    digests = {}
    for tag in ("one", "two"):
        manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI, "layers": [], "annotations": {"x": tag}})
        made = ecr.put_image(
            repositoryName=name, imageTag=tag, imageManifest=manifest, imageManifestMediaType=OCI
        )
        digests[tag] = made["image"]["imageId"]["imageDigest"]

    def tags() -> dict[str, set[str]]:
        found = ecr.describe_images(repositoryName=name)["imageDetails"]
        assert {each["imageManifestMediaType"] for each in found} == {OCI}
        return {each["imageDigest"]: set(each["imageTags"]) for each in found}

    run(digests["one"])
    assert tags() == {digests["one"]: {"one", "deployed"}, digests["two"]: {"two"}}
    run(digests["two"])
    assert tags() == {digests["one"]: {"one"}, digests["two"]: {"two", "deployed"}}

    # By hand it was taken away: a deploy with nothing to change puts it back, and the next leaves it alone.
    ecr.batch_delete_image(repositoryName=name, imageIds=[{"imageDigest": digests["two"]}])
    ecr.put_image(repositoryName=name, imageTag="two", imageManifest=manifest, imageManifestMediaType=OCI)
    asked: list[str] = []
    ecr.meta.events.register("before-call.ecr.*", lambda model, **_: asked.append(model.name))
    run(digests["two"])
    assert tags()[digests["two"]] == {"two", "deployed"} and "PutImage" in asked
    asked.clear()
    run(digests["two"])
    assert asked == ["DescribeImages"]


def test_a_tag_that_cannot_be_put_is_told(run: Callable[[str], None], heard: Any) -> None:
    """The service is deployed all the same; what may come of it is said."""
    run(f"sha256:{'0' * 64}")
    (note,) = heard.of(PhaseNote)
    assert "its repository may let go of it" in note.text and "next deploy tries again" in note.text
    assert heard.of(PhaseDone)
