"""Names that are somebody else's already: in this account, or in the whole world."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from zedi.phases import stack_name
from zedi.preflight.live import Account
from zedi.preflight.live.stacks import owned
from zedi.preflight.rule import ERROR, Problem, live
from zedi.preflight.subject import Resource, Subject

Look = Callable[[Account, str], str | None]
"""The physical ID of what has that name in the account, or None."""


def _first(answer: list[Any], key: str) -> str | None:
    return str(answer[0][key]) if answer else None


def _role(account: Account, name: str) -> str | None:
    iam = account.client("iam")
    try:
        return str(iam.get_role(RoleName=name)["Role"]["RoleName"])
    except iam.exceptions.NoSuchEntityException:
        return None


def _cluster(account: Account, name: str) -> str | None:
    rds = account.client("rds")
    try:
        return _first(rds.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"], "DBClusterIdentifier")
    except rds.exceptions.DBClusterNotFoundFault:
        return None


def _replication_group(account: Account, name: str) -> str | None:
    cache = account.client("elasticache")
    try:
        answer = cache.describe_replication_groups(ReplicationGroupId=name)
    except cache.exceptions.ReplicationGroupNotFoundFault:
        return None
    return _first(answer["ReplicationGroups"], "ReplicationGroupId")


def _balancer(account: Account, name: str) -> str | None:
    balancing = account.client("elbv2")
    try:
        return _first(balancing.describe_load_balancers(Names=[name])["LoadBalancers"], "LoadBalancerArn")
    except balancing.exceptions.LoadBalancerNotFoundException:
        return None


def _repository(account: Account, name: str) -> str | None:
    ecr = account.client("ecr")
    try:
        return _first(ecr.describe_repositories(repositoryNames=[name])["repositories"], "repositoryName")
    except ecr.exceptions.RepositoryNotFoundException:
        return None


def _log_group(account: Account, name: str) -> str | None:
    groups = account.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    return _first([group for group in groups if group["logGroupName"] == name], "logGroupName")


def _secret(account: Account, name: str) -> str | None:
    secrets = account.client("secretsmanager")
    try:
        found = secrets.describe_secret(SecretId=name)
    except secrets.exceptions.ResourceNotFoundException:
        return None
    # One that waits for its deletion is another rule's matter.
    return None if "DeletedDate" in found else str(found["ARN"])


_LOOK: Final[dict[str, tuple[str, Look]]] = {
    "AWS::IAM::Role": ("RoleName", _role),
    "AWS::RDS::DBCluster": ("DBClusterIdentifier", _cluster),
    "AWS::ElastiCache::ReplicationGroup": ("ReplicationGroupId", _replication_group),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": ("Name", _balancer),
    "AWS::ECR::Repository": ("RepositoryName", _repository),
    "AWS::SecretsManager::Secret": ("Name", _secret),
    "AWS::Logs::LogGroup": ("LogGroupName", _log_group),
}


def _stack(subject: Subject, resource: Resource) -> str:
    assert subject.settings is not None
    return stack_name(subject.settings, resource.phase)


@live(
    "Z055",
    "name that is taken in this account",
    ERROR,
    why="Something of that name is there and is not this stack's: made by hand, by another tool, or"
    " kept when a stack was deleted. CloudFormation refuses to create it.",
    fix="Delete or rename what is there, take it over (import), or give the environment another `name`.",
    source="https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/troubleshooting.html",
    says=(r"already exists(?! in stack)", r"AlreadyExists", r"EntityAlreadyExists"),
)
def names(subject: Subject, account: Account) -> Iterator[Problem]:
    if subject.settings is None:
        return
    mine: dict[str, set[str]] = {}
    for type_, (path, look) in _LOOK.items():
        for resource in subject.of_type(type_):
            name = resource.name(path)
            found = look(account, name) if name else None
            if found is None:
                continue
            stack = _stack(subject, resource)
            if stack not in mine:
                mine[stack] = owned(account, stack)
            if found not in mine[stack]:
                yield Problem(f"{name} is there already, and not {stack}'s", resource, path)


@live(
    "Z250",
    "sign-in domain that is taken",
    ERROR,
    why="A domain prefix belongs to one user pool of one account in a whole region.",
    fix="Give the environment another `name`, or delete the domain of the pool that has it.",
    source="https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-assign-domain-prefix.html",
    says=(r"Domain already associated with another user pool", r"Domain already exists"),
)
def sign_in_domain(subject: Subject, account: Account) -> Iterator[Problem]:
    for domain in subject.of_type("AWS::Cognito::UserPoolDomain"):
        name = _here(domain, "Domain", account)
        if name is None or subject.settings is None:
            continue
        found = account.client("cognito-idp").describe_user_pool_domain(Domain=name)["DomainDescription"]
        pool = found.get("UserPoolId")
        if pool and pool not in owned(account, _stack(subject, domain)):
            elsewhere = found.get("AWSAccountId", account.account) != account.account
            whose = "another account" if elsewhere else f"the user pool {pool}"
            yield Problem(f"{name} belongs to {whose}", domain, "Domain")


@live(
    "Z650",
    "bucket name that is taken",
    ERROR,
    why="A bucket's name belongs to one account in the whole world, and an existing bucket of this"
    " account is not taken over.",
    fix="Give the environment another `name`, or empty and delete the bucket that has it.",
    source="https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html",
    says=(r"BucketAlreadyExists", r"BucketAlreadyOwnedByYou", r"requested bucket name is not available"),
)
def bucket(subject: Subject, account: Account) -> Iterator[Problem]:
    from botocore.exceptions import ClientError

    for resource in subject.of_type("AWS::S3::Bucket"):
        name = _here(resource, "BucketName", account)
        if name is None or subject.settings is None:
            continue
        whose = "this account, outside of this stack"
        try:
            account.client("s3").head_bucket(Bucket=name)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status == 404:
                continue
            if status not in (301, 400, 403):
                raise
            # Not ours to look into: S3 tells strangers no more than that.
            whose = "somebody else"
        if name not in owned(account, _stack(subject, resource)):
            yield Problem(f"{name} belongs to {whose}", resource, "BucketName")


def _here(resource: Resource, path: str, account: Account) -> str | None:
    """The name at `path` in this account."""
    value = resource.get(path)
    if isinstance(value, dict) and isinstance(value.get("Fn::Sub"), str):
        name: str = value["Fn::Sub"].replace("${AWS::AccountId}", account.account)
        name = name.replace("${AWS::Region}", account.region)
        return name if "${" not in name else None
    return resource.name(path)
