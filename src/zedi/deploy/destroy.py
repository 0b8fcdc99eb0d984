"""Everything that is deployed, taken down: stacks backwards, independent ones at the same time.

    survey      what is there, what stays when it goes, and what forbids it; asks AWS and changes nothing
    destroy     empties what must be empty, deletes each stack, follows it to its end

What stays is what the deployed templates keep: what counts is what was deployed, not what the settings have
come to say since. What the deletion of an earlier stack kept is told again as long as it is there, so that a
call that goes on after an interruption tells of everything; CloudFormation remembers it for 90 days.

Either may be interrupted at any moment; the same call goes on from there, whatever state
the stacks are in:

    (none)                          nothing to do
    DELETE_IN_PROGRESS              ours before an interruption, or somebody's: followed to its end
    *_IN_PROGRESS                   waited for, then deleted
    REVIEW_IN_PROGRESS, *_FAILED, *_COMPLETE    deleted; what failed to be deleted is tried again
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from zedi.deploy import DeployError, execute
from zedi.deploy.events import Event, Listener, PhaseDeleted, PhaseFailed, PhaseNote, PhaseStarted
from zedi.deploy.execute import Pace
from zedi.deploy.order import in_order
from zedi.deploy.stacks import Stack, describe
from zedi.deploy.target import NOT_ALLOWED, Target, asking
from zedi.errors import ZediError
from zedi.phases import PHASES, Phase, stack_name
from zedi.phases.tags import labels
from zedi.settings import Settings

RECOVERY_DAYS: Final = range(7, 31)
"""The recovery windows that Secrets Manager takes."""

_BUCKET: Final = "AWS::S3::Bucket"
_REPOSITORY: Final = "AWS::ECR::Repository"
_CLUSTER: Final = "AWS::RDS::DBCluster"
_USER_POOL: Final = "AWS::Cognito::UserPool"
_SECRET: Final = "AWS::SecretsManager::Secret"

_GONE: Final = frozenset({"DELETE_COMPLETE", "DELETE_SKIPPED"})
_NOT_THERE: Final = frozenset({"404", "DBClusterNotFoundFault", "ResourceNotFoundException"})
_IMAGES_AT_ONCE: Final = 100
_OBJECTS_AT_ONCE: Final = 1000

_WHY: Final[Mapping[str, str]] = {
    _BUCKET: "cdn.versioned",
    _CLUSTER: "database.final_snapshot",
    _USER_POOL: "database.deletion_protection",
    _SECRET: "database.secret_recovery_days",
}
"""The key of the settings that makes a template keep a resource, by type."""


@dataclass(frozen=True)
class Resource:
    phase: str
    logical_id: str
    type: str
    physical_id: str
    policy: str
    """The deployed template's DeletionPolicy: Delete, Retain, RetainExceptOnCreate or Snapshot."""
    properties: Mapping[str, Any]
    """As the deployed template has them: references are not resolved."""

    @property
    def kept(self) -> Literal["retained", "snapshot"] | None:
        """What is left of it when its stack is deleted: itself, a snapshot, or nothing."""
        if self.policy.startswith("Retain"):
            return "retained"
        return "snapshot" if self.policy == "Snapshot" else None

    @property
    def why_kept(self) -> str:
        """The key of the settings, or the template's own word."""
        if self.logical_id == "HistoryBucket":
            return "database.deletion_protection"
        return _WHY.get(self.type, f"DeletionPolicy {self.policy}")


@dataclass(frozen=True)
class Survey:
    stacks: tuple[tuple[str, Stack], ...]
    """(phase, stack), in the order of the phases."""
    resources: tuple[Resource, ...]
    """What there is of them."""
    left: tuple[Resource, ...] = ()
    """What deletions before this one have kept, and is there still."""

    @property
    def kept(self) -> tuple[Resource, ...]:
        return *self.left, *(resource for resource in self.resources if resource.kept)


@dataclass(frozen=True)
class Destroyed:
    phases: tuple[str, ...]
    """Whose stacks are gone, in the order in which they went."""
    kept: tuple[Resource, ...]
    secrets: tuple[tuple[str, int], ...]
    """(name, days) of the secrets that were scheduled for deletion."""
    seconds: float


def survey(settings: Settings, target: Target, phases: Sequence[Phase] = PHASES) -> Survey:
    """What would be destroyed, and what of it stays.

    Raises DeployError when something may not be deleted, with what to change.
    """
    stacks: list[tuple[str, Stack]] = []
    resources: list[Resource] = []
    for phase in phases:
        with asking(target, phase.name):
            stack = describe(target, stack_name(settings, phase.name))
            if stack is None:
                continue
            stacks.append((phase.name, stack))
            if stack.status != "REVIEW_IN_PROGRESS":  # it has neither a template nor resources
                resources += _resources(target, phase.name, stack)
    with asking(target, settings.name):
        _refuse_protected(settings, target, stacks, resources)
        left = tuple(_left(settings, target, phases, stacks, resources))
    return Survey(tuple(stacks), tuple(resources), left)


def destroy(
    settings: Settings,
    target: Target,
    *,
    listener: Listener,
    delete_secrets: bool = False,
    phases: Sequence[Phase] = PHASES,
) -> Destroyed:
    """Deletes every stack of an environment.

    Args:
        listener: is told what happens, one event at a time, from several threads.
        delete_secrets: schedule retained secrets for deletion as well, those of an earlier call included.
            They can be restored for database.secret_recovery_days, or 30 where that is no window.

    Raises:
        DeployError: something may not be deleted, before anything is; or the first failure, when everything
            that had begun has ended.
        KeyboardInterrupt: as it came; what AWS has begun goes on, and the same call goes on from there.
    """
    began = time.monotonic()
    found = survey(settings, target, phases)
    teardown = _Teardown(settings, target, listener)
    # A stack goes when all those that were made on it are gone. One that is not there is gone already, but
    # it still stands between its neighbours.
    needs = {phase.name: {later.name for later in phases if phase.name in later.after} for phase in phases}
    in_order(needs, teardown.phase, teardown.stop)
    secrets: tuple[tuple[str, int], ...] = ()
    if delete_secrets:
        with asking(target, settings.name):
            secrets = tuple(_schedule(settings, target))
    return Destroyed(tuple(teardown.gone), found.kept, secrets, time.monotonic() - began)


class _Teardown:
    def __init__(self, settings: Settings, target: Target, listener: Listener) -> None:
        self._settings = settings
        self._target = target
        self._listener = listener
        self._telling = threading.Lock()
        self.stop = threading.Event()
        self.gone: list[str] = []

    def phase(self, name: str) -> None:
        """In a thread of its own: one stack."""
        try:
            with asking(self._target, name):
                self._delete(name)
        except ZediError as error:
            self._tell(PhaseFailed(name, error))
            raise

    def _delete(self, name: str) -> None:
        began = time.monotonic()
        # Its ARN goes on naming this stack: one that somebody makes anew meanwhile is not ours to delete.
        stack = describe(self._target, stack_name(self._settings, name))
        if stack is None:
            return
        self._tell(PhaseStarted(name, stack.name))
        pace = Pace(self.stop)
        while stack is not None and stack.status != "DELETE_COMPLETE":
            if stack.status == "DELETE_IN_PROGRESS":
                happened = execute.join(self._target, name, stack, self._tell, self.stop)
                execute.refuse_left_over(self._target, name, stack, happened)
            elif stack.status.endswith("_IN_PROGRESS") and stack.status != "REVIEW_IN_PROGRESS":
                execute.join(self._target, name, stack, self._tell, self.stop)
            else:
                self._empty(name, stack)
                execute.delete(self._target, name, stack, self._tell, self.stop)
            stack = describe(self._target, stack.id)
            if stack is not None and stack.status != "DELETE_COMPLETE":
                pace.wait(name)
        self.gone.append(name)
        self._tell(PhaseDeleted(name, time.monotonic() - began))

    def _empty(self, name: str, stack: Stack) -> None:
        """AWS deletes neither a bucket nor a repository that has something in it."""
        if stack.status == "REVIEW_IN_PROGRESS":
            return
        for resource in _resources(self._target, name, stack):
            if resource.kept:
                continue
            if resource.type == _BUCKET:
                count, what = _empty_bucket(self._target, name, resource.physical_id, self.stop), "objects"
            elif resource.type == _REPOSITORY and resource.properties.get("EmptyOnDelete") is not True:
                count, what = _empty_repository(self._target, resource.physical_id), "images"
            else:
                continue
            if count:
                self._tell(PhaseNote(name, f"{resource.physical_id}: deleted {count} {what}"))

    def _tell(self, event: Event) -> None:
        with self._telling:
            self._listener(event)


def _resources(target: Target, phase: str, stack: Stack) -> list[Resource]:
    """What there is of a deployed stack."""
    cloudformation = target.client("cloudformation")
    body: Any = cloudformation.get_template(StackName=stack.id, TemplateStage="Original")["TemplateBody"]
    declared = body.get("Resources", {}) if isinstance(body, Mapping) else {}
    found: list[Resource] = []
    for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack.id):
        for entry in page["StackResourceSummaries"]:
            if entry["ResourceStatus"] in _GONE or not entry.get("PhysicalResourceId"):
                continue
            declaration = declared.get(entry["LogicalResourceId"], {})
            found.append(
                Resource(
                    phase=phase,
                    logical_id=entry["LogicalResourceId"],
                    type=entry["ResourceType"],
                    physical_id=entry["PhysicalResourceId"],
                    policy=str(declaration.get("DeletionPolicy", "Delete")),
                    properties=declaration.get("Properties", {}),
                )
            )
    return found


def _left(
    settings: Settings,
    target: Target,
    phases: Sequence[Phase],
    stacks: Sequence[tuple[str, Stack]],
    resources: Sequence[Resource],
) -> Iterator[Resource]:
    """What deletions that are over, or have begun, have kept; without what a stack has now (an import)."""
    phase_of = {stack_name(settings, phase.name): phase.name for phase in phases}
    deleted = [(phase, stack.id) for phase, stack in stacks if stack.status.startswith("DELETE_")]
    pages = target.client("cloudformation").get_paginator("list_stacks")
    for page in pages.paginate(StackStatusFilter=["DELETE_COMPLETE"]):
        for summary in page["StackSummaries"]:
            if summary["StackName"] in phase_of:
                deleted.append((phase_of[summary["StackName"]], summary["StackId"]))
    deleted.sort(key=lambda each: list(phase_of.values()).index(each[0]))
    known = {(each.type, each.physical_id, each.kept == "snapshot") for each in resources}
    for phase, stack_id in deleted:
        for resource in _kept_by(target, phase, stack_id):
            name = (resource.type, resource.physical_id, resource.kept == "snapshot")
            if name not in known and _is_there(target, resource):
                known.add(name)
                yield resource


def _kept_by(target: Target, phase: str, stack_id: str) -> Iterator[Resource]:
    """What a stack's events say was left out of its deletion; and its clusters: a snapshot may be left."""
    pages = target.client("cloudformation").get_paginator("describe_stack_events")
    for page in pages.paginate(StackName=stack_id):
        for event in page["StackEvents"]:
            status, kind = event.get("ResourceStatus"), event.get("ResourceType", "")
            physical_id = event.get("PhysicalResourceId", "")
            retained = status == "DELETE_SKIPPED"
            if physical_id and (retained or (status == "DELETE_COMPLETE" and kind == _CLUSTER)):
                policy = "Retain" if retained else "Snapshot"
                yield Resource(phase, event.get("LogicalResourceId", ""), kind, physical_id, policy, {})


def _is_there(target: Target, resource: Resource) -> bool:
    """Whether nobody has deleted by hand what was kept. What cannot be asked about counts as there."""
    from botocore.exceptions import ClientError

    name = resource.physical_id
    try:
        if resource.kept == "snapshot":
            snapshots = target.client("rds").describe_db_cluster_snapshots(DBClusterIdentifier=name)
            return bool(snapshots["DBClusterSnapshots"])
        if resource.type == _CLUSTER:
            target.client("rds").describe_db_clusters(DBClusterIdentifier=name)
        elif resource.type == _BUCKET:
            target.client("s3").head_bucket(Bucket=name)
        elif resource.type == _USER_POOL:
            target.client("cognito-idp").describe_user_pool(UserPoolId=name)
        elif resource.type == _SECRET:
            # Until the day for which it is scheduled it can be restored, and its name is taken.
            target.client("secretsmanager").describe_secret(SecretId=name)
    except ClientError as error:
        code = error.response["Error"].get("Code", "")
        if code in _NOT_THERE:
            return False
        if code not in NOT_ALLOWED | {"403"}:
            raise
    return True


def _refuse_protected(
    settings: Settings,
    target: Target,
    stacks: Sequence[tuple[str, Stack]],
    resources: Sequence[Resource],
) -> None:
    for phase, stack in stacks:
        if stack.protected:
            raise DeployError(
                phase,
                f"{stack.name} has termination protection",
                "If it shall go: aws cloudformation update-termination-protection"
                f" --no-enable-termination-protection --stack-name {stack.name} --region {target.region}",
            )
    for resource in resources:
        if resource.kept != "retained" and _protected(target, resource):
            raise DeployError(
                f"{resource.phase}/{resource.logical_id} ({resource.type})",
                f"{resource.physical_id} is protected against deletion; nothing was deleted",
                "If it shall go: set database.deletion_protection = false in the settings,"
                f" then: zedi deploy {settings.name} --only {resource.phase}\n"
                "  Then run the same command again.",
            )


def _protected(target: Target, resource: Resource) -> bool:
    """Whether AWS itself would refuse to delete it, asked of the resource: the template may say otherwise."""
    if resource.type == _CLUSTER:
        rds = target.client("rds")
        try:
            clusters = rds.describe_db_clusters(DBClusterIdentifier=resource.physical_id)["DBClusters"]
        except rds.exceptions.DBClusterNotFoundFault:
            return False
        return any(cluster.get("DeletionProtection", False) for cluster in clusters)
    if resource.type == _USER_POOL:
        cognito = target.client("cognito-idp")
        try:
            pool = cognito.describe_user_pool(UserPoolId=resource.physical_id)["UserPool"]
        except cognito.exceptions.ResourceNotFoundException:
            return False
        return pool.get("DeletionProtection") == "ACTIVE"
    return False


def _empty_bucket(target: Target, phase: str, bucket: str, stop: threading.Event) -> int:
    """Deletes every version and delete marker; returns how many. A bucket that is gone is empty."""
    s3 = target.client("s3")
    count = 0
    try:
        while True:
            # From the start each time: the page after one whose last entry is gone cannot be asked for.
            page = s3.list_object_versions(Bucket=bucket, MaxKeys=_OBJECTS_AT_ONCE)
            listed: list[Any] = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            if not listed:
                return count
            if stop.is_set():
                raise execute.Stopped
            answer = s3.delete_objects(
                Bucket=bucket,
                Delete={
                    "Objects": [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in listed],
                    "Quiet": True,
                },
            )
            for failed in answer.get("Errors", ()):
                raise DeployError(
                    phase,
                    f"cannot delete {failed.get('Key')} in {bucket}: {failed.get('Message')}",
                    execute.advice(str(failed.get("Message"))),
                )
            count += len(listed)
    except s3.exceptions.NoSuchBucket:
        return count
    return count


def _empty_repository(target: Target, repository: str) -> int:
    """Deletes every image; returns how many. A repository that is gone is empty."""
    ecr = target.client("ecr")
    count = 0
    try:
        # An image that a list of images names goes only after that list, so there may be several rounds.
        while images := ecr.list_images(repositoryName=repository, maxResults=_IMAGES_AT_ONCE)["imageIds"]:
            answer = ecr.batch_delete_image(repositoryName=repository, imageIds=images)
            if not answer.get("imageIds"):
                break  # CloudFormation says why
            count += len(answer["imageIds"])
    except ecr.exceptions.RepositoryNotFoundException:
        return count
    return count


def _schedule(settings: Settings, target: Target) -> Iterator[tuple[str, int]]:
    """Schedules the secrets that this environment has left behind, by their tags."""
    wanted = labels(settings)
    chosen = settings.database.secret_recovery_days
    days = chosen if chosen in RECOVERY_DAYS else RECOVERY_DAYS[-1]
    secrets = target.client("secretsmanager")
    pages = secrets.get_paginator("list_secrets").paginate(
        Filters=[{"Key": "name", "Values": [f"{settings.prefix}-"]}]
    )
    # Listed to the end first: what is scheduled leaves the list.
    for secret in [secret for page in pages for secret in page["SecretList"]]:
        has = {tag.get("Key"): tag.get("Value") for tag in secret.get("Tags", ())}
        if "DeletedDate" not in secret and all(has.get(key) == value for key, value in wanted.items()):
            secrets.delete_secret(SecretId=secret["ARN"], RecoveryWindowInDays=days)
            yield secret["Name"], days
