"""Whether the service's image is there before the service is."""

from __future__ import annotations

from collections.abc import Iterator

from zedi.preflight.live import Account
from zedi.preflight.rule import WARNING, Problem, live
from zedi.preflight.subject import Subject


@live(
    "Z551",
    "image that is not in ECR",
    WARNING,
    why="A service whose image is not there starts no task: a deploy then asks for none, and the"
    " product does not run until the image is pushed and deployed.",
    fix="Push the image (zedi image push), or build, push and deploy in one go: zedi deploy ENV --image.",
    source="https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html",
    says=(r"CannotPullContainerError.*not found", r"CannotPullImageManifestError"),
)
def image(subject: Subject, account: Account) -> Iterator[Problem]:
    if subject.settings is None:
        return
    tag = subject.settings.realtime.image_tag
    ecr = account.client("ecr")
    for repository in subject.of_type("AWS::ECR::Repository"):
        name = repository.name("RepositoryName")
        if name is None:
            continue
        try:
            # Without a tag in the settings a deploy chooses among what was pushed: then any will do.
            if tag is None:
                found = ecr.describe_images(repositoryName=name, maxResults=1)["imageDetails"]
            else:
                found = ecr.describe_images(repositoryName=name, imageIds=[{"imageTag": tag}])["imageDetails"]
        except (ecr.exceptions.RepositoryNotFoundException, ecr.exceptions.ImageNotFoundException):
            found = []
        if not found:
            what = f"there is no {name}:{tag}" if tag else f"there is no image in {name}"
            yield Problem(what, repository, "RepositoryName", key="realtime.image_tag")
