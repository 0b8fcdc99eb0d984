"""The image that is deployed, kept from the lifecycle policy of its repository.

The policy expires all but the newest images, and not what has the tag `deployed`: a rule before that one
matches it, and what a rule matches no later one expires. That a task definition names a digest protects
nothing, and a task that starts again, or a service that rolls back, needs its image.
https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zedi.deploy import DeployError
from zedi.deploy.facts import repository
from zedi.deploy.stacks import Stack
from zedi.deploy.target import Target
from zedi.phases import DEPLOYED_TAG
from zedi.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_ecr.type_defs import ImageIdentifierTypeDef


def keep(settings: Settings, target: Target, stack: Stack) -> None:
    """Moves the tag to the image that the realtime stack was deployed with, where it is not there already.

    The image stays byte for byte what it is: its manifest gets one more name. A stack without an image, such
    as every one in the embedded AWS, has nothing to keep. Raises DeployError, or botocore's ClientError.
    """
    digest = stack.parameters.get("ImageUri", "").partition("@")[2]
    if not digest:
        return
    ecr = target.client("ecr")
    name = repository(settings)
    image: ImageIdentifierTypeDef = {"imageDigest": digest}
    known = ecr.describe_images(repositoryName=name, imageIds=[image])["imageDetails"]
    if not known:
        raise DeployError(name, f"{digest} is not in the repository", "Push it, and deploy again.")
    if DEPLOYED_TAG in known[0].get("imageTags", ()):
        return
    # Asked for as the type that it is: as another it would have another digest.
    kind = known[0]["imageManifestMediaType"]
    found = ecr.batch_get_image(repositoryName=name, imageIds=[image], acceptedMediaTypes=[kind])["images"]
    ecr.put_image(
        repositoryName=name,
        imageManifest=found[0]["imageManifest"],
        imageManifestMediaType=kind,
        imageTag=DEPLOYED_TAG,
        imageDigest=digest,  # ECR refuses a manifest that has another
    )
