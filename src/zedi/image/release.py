"""Building the image of the current revision, and pushing it to an environment's repository."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

from zedi.deploy import facts
from zedi.deploy.revision import Revision, origin, uncommitted
from zedi.deploy.target import Target, asking
from zedi.image import ImageError, layout
from zedi.image.engine import Engine
from zedi.settings import Settings

CONTEXT: Final = (
    layout.LOCK,
    "src/zedi/image/layout.py",
    *(f"src/zedi/{name}" for name in layout.SERVICE),
)
"""The files and folders that the image is made of; .dockerignore lets nothing else through."""
DIRTY: Final = "-dirty"
"""Ends the tag of an image that was made of files that are not committed."""

_PLATFORMS: Final = {"X86_64": "amd64", "ARM64": "arm64"}
"""What ECS calls an architecture, and what container engines do."""


@dataclass(frozen=True)
class Pushed:
    name: str
    """Repository and tag."""
    digest: str
    """What the repository knows it by: sha256:…"""


def refuse_embedded(settings: Settings) -> None:
    """Raises ImageError for an environment that runs on this machine."""
    if settings.embedded is not None:
        raise ImageError(
            f"environment {settings.name}",
            "runs the service from this package and has no use for an image",
            "Name an environment on AWS.",
        )


def tag_of(revision: Revision, *, allow_dirty: bool) -> str:
    """The tag for an image of what is checked out: the commit's ID.

    Raises ImageError when files that go into the image differ from the commit, unless `allow_dirty`: then
    the tag ends in -dirty.
    """
    changed = uncommitted(revision, ("Dockerfile", ".dockerignore", *CONTEXT))
    if not changed:
        return revision.commit
    if allow_dirty:
        return revision.commit + DIRTY
    raise ImageError(
        str(revision.root),
        f"the image would not be what its tag says; not committed: {', '.join(changed)}",
        "Commit or stash that, or give --allow-dirty.",
    )


def local_name(settings: Settings, tag: str) -> str:
    """What the image is called on this machine, before it has a repository."""
    return f"{facts.repository(settings)}:{tag}"


def build(settings: Settings, revision: Revision, engine: Engine, *, allow_dirty: bool = False) -> str:
    """Builds the image for the environment's architecture; returns its local name. Raises ImageError."""
    if not (revision.root / "Dockerfile").is_file():
        raise ImageError(
            str(revision.root), "there is no Dockerfile", "Run this in a clone of Zedi's repository."
        )
    name = local_name(settings, tag_of(revision, allow_dirty=allow_dirty))
    labels = {"org.opencontainers.image.revision": name.partition(":")[2]}
    if (source := origin(revision)) is not None:
        labels["org.opencontainers.image.source"] = source
    platform = f"linux/{_PLATFORMS[settings.realtime.architecture]}"
    engine.build(revision.root, name, platform, labels, revision.time)
    return name


def push(
    settings: Settings, target: Target, revision: Revision, engine: Engine, *, allow_dirty: bool = False
) -> Pushed:
    """Pushes what `build` made of this revision. Raises ImageError, or DeployError when AWS refuses.

    An image that was built from the commit may be pushed whatever has been changed since; with `allow_dirty`
    it is the image of the changed files, where there are any.
    """
    tag = tag_of(revision, allow_dirty=True) if allow_dirty else revision.commit
    image = local_name(settings, tag)
    wanted = _PLATFORMS[settings.realtime.architecture]
    found = engine.architecture(image)
    flag = " --allow-dirty" if tag.endswith(DIRTY) else ""
    again = f"zedi image build {settings.name}{flag} --engine {engine.name}"
    if found is None:
        raise ImageError(image, f"{engine.name} has no such image", f"Build it: {again}")
    if found != wanted:
        raise ImageError(
            image, f"is for {found}, and {settings.name} runs on {wanted}", f"Build it anew: {again}"
        )
    address = repository(settings, target)
    if address is None:
        raise ImageError(
            facts.repository(settings),
            "there is no such repository yet: the realtime phase makes it",
            f"Deploy that first, it starts no task without an image: zedi deploy {settings.name}",
        )
    registry = address.partition("/")[0]
    with asking(target, "image"):
        data = target.client("ecr").get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(data[0]["authorizationToken"]).decode().partition(":")
    engine.login(registry, user, password)
    try:
        engine.push(image, f"{address}:{tag}")
    finally:
        engine.logout(registry)
    with asking(target, "image"):
        digest = facts.image_digest(settings, target, tag=tag)
    if digest is None:
        raise ImageError(
            f"{address}:{tag}", "was pushed, but the repository does not have it", "Push it again."
        )
    return Pushed(f"{address}:{tag}", digest)


def repository(settings: Settings, target: Target) -> str | None:
    """The address of the environment's repository; None while the realtime phase has not made it."""
    ecr = target.client("ecr")
    with asking(target, "image"):
        try:
            found = ecr.describe_repositories(repositoryNames=[facts.repository(settings)])["repositories"]
        except ecr.exceptions.RepositoryNotFoundException:
            found = []
    return found[0]["repositoryUri"] if found else None
