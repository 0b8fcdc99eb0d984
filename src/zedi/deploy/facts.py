"""What a phase needs and no earlier phase outputs: one function a fact, by the parameter's name.

A fact is found out when the first phase that needs it is deployed, so that it may depend on what has been
deployed until then. `outputs` are the outputs of the phases before, by their names in the templates.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from zedi.deploy import DeployError, revision
from zedi.deploy.stacks import describe
from zedi.deploy.target import Target, TargetError
from zedi.phases import stack_name
from zedi.settings import Settings


class NotDeployedError(DeployError):
    """A fact depends on an output of a phase that is not deployed."""


Fact = Callable[[Settings, Target, Mapping[str, str]], str]

PARAMETER_CHARACTERS: Final = 4096
"""The longest value of a CloudFormation parameter."""

NO_IMAGE: Final = "none"
"""The tag that stands where there is no image; nothing is ever pushed under it."""

_FETCH_SECONDS: Final = 10.0
_KEY_SET_BYTES: Final = 65_536


def token_keys_url(settings: Settings, target: Target, outputs: Mapping[str, str]) -> str:
    """Where the user pool's public keys can be fetched.

    https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html
    """
    base = target.endpoint_url or f"https://cognito-idp.{target.region}.amazonaws.com"
    return f"{base}/{_needed(outputs, 'CognitoUserPoolId')}/.well-known/jwks.json"


def token_keys(settings: Settings, target: Target, outputs: Mapping[str, str]) -> str:
    """The user pool's public keys as compact JSON: a task in a private subnet cannot fetch them itself."""
    url = token_keys_url(settings, target, outputs)
    # A proxy that the machine goes through has no business with loopback.
    handlers = [urllib.request.ProxyHandler({})] if target.embedded else []
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(url, timeout=_FETCH_SECONDS) as answer:
            body: bytes = answer.read(_KEY_SET_BYTES + 1)
    except OSError as error:  # URLError, HTTPError and a timeout while reading are all of its kind
        raise TargetError(
            "TokenKeys", f"cannot fetch {url}: {error}", "Run the same command again when it answers."
        ) from error
    return key_set(body, url)


def key_set(body: bytes, url: str) -> str:
    """A JSON key set (RFC 7517), checked and without spaces.

    Raises DeployError when `body` is anything else, holds no key with an ID, or a private one.
    """
    fix = "It must be a JSON key set with public keys only: look at what answers there."
    try:
        keys: Any = json.loads(body)["keys"]
        usable = bool(keys) and all(
            isinstance(key["kid"], str) and isinstance(key["kty"], str) and "d" not in key for key in keys
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DeployError("TokenKeys", f"{url} is not a key set ({error!r})", fix) from error
    if not usable:
        raise DeployError("TokenKeys", f"{url} has no usable keys", fix)
    text = json.dumps({"keys": keys}, separators=(",", ":"), sort_keys=True)
    if len(text) > PARAMETER_CHARACTERS:
        raise DeployError(
            "TokenKeys",
            f"the key set has {len(text)} characters, and a parameter takes {PARAMETER_CHARACTERS}",
            "Retire keys that no token is signed with any more.",
        )
    return text


def database_version(settings: Settings, target: Target, outputs: Mapping[str, str]) -> str:
    """The exact version of Aurora PostgreSQL.

    An exact version in the settings is taken as it is. A major means: what the cluster has, when it has one
    of that major (a version is never moved without being asked), else the newest that is offered. The same
    holds for the embedded AWS, which has a list of its own and takes no version that is not in it.
    """
    asked = settings.database.engine_version
    if "." in asked:
        return asked
    rds = target.client("rds")
    current = _cluster_version(settings, target)
    if current is not None and current.partition(".")[0] == asked:
        return current
    pages = rds.get_paginator("describe_db_engine_versions").paginate(Engine="aurora-postgresql")
    offered = [
        version["EngineVersion"]
        for page in pages
        for version in page["DBEngineVersions"]
        if version.get("Status", "available") == "available"
    ]
    return newest(offered, asked)


def newest(offered: Iterable[str], major: str) -> str:
    """The newest plain version of `major`: variants such as 16.4-limitless are other products.

    Raises DeployError when none is offered.
    """
    plain = [version for version in offered if re.fullmatch(r"\d+\.\d+", version)]
    numbers = sorted(tuple(map(int, version.split("."))) for version in plain)
    of_major = [number for number in numbers if number[0] == int(major)]
    if not of_major:
        majors = ", ".join(str(number) for number in sorted({number[0] for number in numbers})) or "none"
        raise DeployError(
            "DatabaseVersion",
            f"Aurora PostgreSQL {major} is not offered; there are: {majors}",
            "Set database.engine_version to one of them.",
        )
    return ".".join(map(str, of_major[-1]))


@dataclass(frozen=True)
class Image:
    """The image that a deploy would run."""

    uri: str
    ready: bool
    """Whether it is in the repository, so that tasks can be started from it."""
    why: str
    """How it was chosen, in words; empty where there is nothing to choose."""


def image(settings: Settings, target: Target) -> Image:
    """Chooses the service's image, by its digest, so that rolling back finds the image of before.

    1. `realtime.image_tag`, where the settings name one; else the revision that is checked out, when its
       image has been pushed. So an older revision is deployed again by checking it out.
    2. While no tag is named and the revision has not been pushed: the image that is deployed now. A change
       of settings alone needs no new image.
    3. Where none was ever deployed: none, and no task runs. So the first deploy into an empty account
       succeeds and makes the repository that the image is then pushed to.

    In the embedded AWS there is none: the service runs from the installed package.

    Raises DeployError rather than stopping a service that runs: when the tag that the settings name, or the
    image that is deployed, is not in the repository.
    """
    place = f"{target.account}.dkr.ecr.{target.region}.amazonaws.com/{repository(settings)}"
    tag = settings.realtime.image_tag
    nothing = f"{place}:{tag or NO_IMAGE}"
    if target.embedded:
        return Image(nothing, ready=False, why="")
    wanted, called = (tag, f"{tag} (realtime.image_tag)") if tag is not None else _revision()
    digest = image_digest(settings, target, tag=wanted) if wanted is not None else None
    if digest is not None:
        return Image(f"{place}@{digest}", ready=True, why=f"the image is that of {called}")
    push = f"zedi image build {settings.name} && zedi image push {settings.name}"
    deployed = _deployed_image(settings, target)
    if deployed is None:
        why = f"no task runs yet, there is no image of {called}: {push}, then deploy again"
        return Image(nothing, ready=False, why=why)
    if tag is not None:
        raise DeployError(
            "ImageUri",
            f"there is no image {tag} in the repository, and what runs now is not stopped for that",
            f"Push it, or let realtime.image_tag name one that there is: {push}",
        )
    if image_digest(settings, target, digest=deployed.partition("@")[2]) is None:
        raise DeployError(
            "ImageUri",
            f"the image that is deployed ({deployed}) is no longer in the repository, nor is one of {called}",
            f"Push one: {push}",
        )
    return Image(deployed, ready=True, why=f"the image stays as it is, {called} has not been pushed")


def image_uri(settings: Settings, target: Target, outputs: Mapping[str, str]) -> str:
    """The service's image, as `image` chooses it."""
    return image(settings, target).uri


def task_count(settings: Settings, target: Target, outputs: Mapping[str, str]) -> str:
    """How many tasks to start: none while there is no image, or the service would never get steady.

    Once there are more than `min_tasks`, because auto scaling wanted them, it is their number: a deploy must
    not scale in. In the embedded AWS there is no image: the service runs from the installed package.
    """
    least = settings.realtime.min_tasks
    if target.embedded:
        return str(least)
    if not image(settings, target).ready:
        return "0"
    return str(min(max(least, _running_tasks(settings, target)), settings.realtime.max_tasks))


def frontend_url(settings: Settings, target: Target, outputs: Mapping[str, str]) -> str:
    """Where browsers find the front end: as the settings say, else CloudFront's name, else (yet) nothing."""
    if settings.cdn.public_url is not None:
        return settings.cdn.public_url
    stack = describe(target, stack_name(settings, "cdn"))
    return stack.outputs.get("FrontendUrl", "") if stack is not None and stack.deployed else ""


FACTS: Final[Mapping[str, Fact]] = {
    "TokenKeys": token_keys,
    "TokenKeysUrl": token_keys_url,
    "DatabaseVersion": database_version,
    "ImageUri": image_uri,
    "TaskCount": task_count,
    "FrontendUrl": frontend_url,
}


def _needed(outputs: Mapping[str, str], name: str) -> str:
    if name not in outputs:
        raise NotDeployedError(
            name, "no phase before has this output", "Deploy the phases before: --through."
        )
    return outputs[name]


@dataclass(frozen=True)
class Values:
    """What is known of a template's parameters, and what is not."""

    known: Mapping[str, str]
    unknown: Mapping[str, DeployError]
    """Why, by name."""


def values(
    settings: Settings,
    target: Target,
    phase: str,
    declared: Mapping[str, Mapping[str, object]],
    outputs: Mapping[str, str],
) -> Values:
    """Fills the parameters that a phase's template declares: with outputs of the phases before, or facts."""
    known: dict[str, str] = {}
    unknown: dict[str, DeployError] = {}
    for name, declaration in declared.items():
        try:
            if name in outputs:
                known[name] = outputs[name]
            elif name in FACTS:
                known[name] = FACTS[name](settings, target, outputs)
            elif "Default" not in declaration:
                raise NotDeployedError(
                    phase,
                    f"its parameter {name} is neither an output of an earlier phase nor a known fact",
                    "Deploy the earlier phases anew; if it stays, this version of Zedi is at fault.",
                )
        except NotDeployedError as error:
            unknown[name] = error
    return Values(known, unknown)


def repository(settings: Settings) -> str:
    """The name of the image's repository."""
    # The same phase makes the repository and needs its image's address, so the name cannot be an output.
    return f"{settings.prefix}-realtime"


def _cluster_name(settings: Settings) -> str:
    return f"{settings.prefix}-cluster"


def _cluster_version(settings: Settings, target: Target) -> str | None:
    rds = target.client("rds")
    try:
        clusters = rds.describe_db_clusters(DBClusterIdentifier=_cluster_name(settings))["DBClusters"]
    except rds.exceptions.DBClusterNotFoundFault:
        return None
    return clusters[0]["EngineVersion"] if clusters else None


def image_digest(
    settings: Settings, target: Target, *, tag: str | None = None, digest: str | None = None
) -> str | None:
    """The digest of the image in the repository that has this tag or this digest, or None."""
    ecr = target.client("ecr")
    try:
        images = ecr.describe_images(
            repositoryName=repository(settings),
            imageIds=[{"imageTag": tag} if tag is not None else {"imageDigest": digest or ""}],
        )["imageDetails"]
    except (ecr.exceptions.RepositoryNotFoundException, ecr.exceptions.ImageNotFoundException):
        return None
    return images[0]["imageDigest"] if images else None


def _revision() -> tuple[str | None, str]:
    """The revision that is checked out, and what to call it; None where there is no repository."""
    try:
        commit = revision.current().commit
    except revision.RevisionError as error:
        return None, f"this revision ({error.what})"
    return commit, f"revision {commit[:12]}"


def _deployed_image(settings: Settings, target: Target) -> str | None:
    """The image that the service's stack was deployed with, or None when it was deployed without one."""
    stack = describe(target, stack_name(settings, "realtime"))
    if stack is None or not stack.deployed:
        return None
    uri = stack.parameters.get("ImageUri", "")
    return uri if "@" in uri else None


def _running_tasks(settings: Settings, target: Target) -> int:
    stack = describe(target, stack_name(settings, "realtime"))
    if stack is None or not stack.deployed or "EcsServiceName" not in stack.outputs:
        return 0
    services = target.client("ecs").describe_services(
        cluster=stack.outputs["EcsClusterName"], services=[stack.outputs["EcsServiceName"]]
    )["services"]
    return max((service["desiredCount"] for service in services if service["status"] == "ACTIVE"), default=0)
