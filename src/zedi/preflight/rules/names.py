"""Names that AWS refuses: too long, or with words that it keeps for itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from zedi.preflight.rule import ERROR, Problem, offline
from zedi.preflight.subject import Subject

_LONGEST: Final = {
    ("AWS::ElasticLoadBalancingV2::LoadBalancer", "Name"): 32,
    ("AWS::ElasticLoadBalancingV2::TargetGroup", "Name"): 32,
    ("AWS::ElastiCache::ReplicationGroup", "ReplicationGroupId"): 40,
    ("AWS::RDS::DBCluster", "DBClusterIdentifier"): 63,
    ("AWS::RDS::DBInstance", "DBInstanceIdentifier"): 63,
    ("AWS::S3::Bucket", "BucketName"): 63,
    ("AWS::Cognito::UserPoolDomain", "Domain"): 63,
    ("AWS::IAM::Role", "RoleName"): 64,
    ("AWS::CloudFront::Function", "Name"): 64,
    ("AWS::CloudFront::OriginAccessControl", "OriginAccessControlConfig.Name"): 64,
    ("AWS::CloudFront::ResponseHeadersPolicy", "ResponseHeadersPolicyConfig.Name"): 128,
    ("AWS::Cognito::UserPool", "UserPoolName"): 128,
    ("AWS::Cognito::UserPoolClient", "ClientName"): 128,
    ("AWS::EC2::SecurityGroup", "GroupName"): 255,
    ("AWS::ElastiCache::SubnetGroup", "CacheSubnetGroupName"): 255,
    ("AWS::ECS::Service", "ServiceName"): 255,
    ("AWS::ECS::Cluster", "ClusterName"): 255,
    ("AWS::ECR::Repository", "RepositoryName"): 256,
    ("AWS::SNS::Topic", "TopicName"): 256,
    ("AWS::SecretsManager::Secret", "Name"): 512,
    ("AWS::Logs::LogGroup", "LogGroupName"): 512,
}
_RESERVED: Final = ("aws", "amazon", "cognito")


@offline(
    "Z005",
    "name too long",
    ERROR,
    why="Each service has its own limit; the shortest are the load balancer's and the target group's 32"
    " characters, which a long environment name uses up.",
    fix="Give the environment a shorter `name`.",
    source="https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html",
    says=(
        r"name '.*' cannot be longer than '?\d+",
        r"failed to satisfy constraint: Member must have length less than",
    ),
)
def long_names(subject: Subject) -> Iterator[Problem]:
    for (type_, path), longest in _LONGEST.items():
        for resource in subject.of_type(type_):
            name = resource.name(path)
            if name is not None and len(name) > longest:
                yield Problem(f"{name!r} has {len(name)} characters; {longest} are taken", resource, path)


@offline(
    "Z206",
    "reserved word in the sign-in domain",
    ERROR,
    why="Cognito refuses a domain prefix with `aws`, `amazon` or `cognito` in it.",
    fix="Give the environment another `name`.",
    source="https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-assign-domain-prefix.html",
    says=(r"Domain cannot contain reserved word",),
)
def reserved_domain(subject: Subject) -> Iterator[Problem]:
    for domain in subject.of_type("AWS::Cognito::UserPoolDomain"):
        name = domain.name("Domain")
        if name is None or domain.get("CustomDomainConfig"):
            continue
        for word in _RESERVED:
            if word in name:
                yield Problem(f"{name!r} contains {word!r}", domain, "Domain")
