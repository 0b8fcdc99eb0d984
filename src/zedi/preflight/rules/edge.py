"""CloudFront, its certificates, and the bucket behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from zedi.preflight.rule import ERROR, WARNING, Problem, offline
from zedi.preflight.subject import Resource, Subject, flag

_CERTIFICATES: Final = (
    "https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cnames-and-https-requirements.html"
)
_ORIGINS: Final = "https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/using-https-cloudfront-to-custom-origin.html"
_ARN: Final = re.compile(r"arn:aws[a-z-]*:(acm|iam):([a-z0-9-]*):\d{12}:(server-)?certificate/.+")
_CONFIG: Final = "DistributionConfig"


def _distributions(subject: Subject) -> Iterator[Resource]:
    return subject.of_type("AWS::CloudFront::Distribution")


def _origins(distribution: Resource) -> Iterator[tuple[str, str]]:
    """The protocol towards each origin that is no bucket, with its path."""
    for index, _ in enumerate(distribution.get(f"{_CONFIG}.Origins") or ()):
        at = f"{_CONFIG}.Origins.{index}.CustomOriginConfig.OriginProtocolPolicy"
        for protocol in distribution.literals(at):
            yield at, str(protocol)


@offline(
    "Z601",
    "CloudFront certificate of another region",
    ERROR,
    why="CloudFront takes certificates of us-east-1 only, whatever region the rest is in.",
    fix="Request the certificate in us-east-1, and name that one.",
    source=_CERTIFICATES,
    says=(r"must be in the us-east-1", r"InvalidViewerCertificate"),
)
def certificate_region(subject: Subject) -> Iterator[Problem]:
    for distribution in _distributions(subject):
        at = f"{_CONFIG}.ViewerCertificate.AcmCertificateArn"
        for arn in map(str, distribution.literals(at)):
            found = _ARN.fullmatch(arn)
            if found and found[2] != "us-east-1":
                yield Problem(f"it is of {found[2] or 'no region'}", distribution, at)
            elif not found:
                yield Problem(f"{arn!r} is no certificate's ARN", distribution, at)
    cdn = subject.settings.cdn if subject.settings else None
    if cdn and cdn.certificate_arn and not cdn.domain_name:
        found = _ARN.fullmatch(cdn.certificate_arn)
        if not found or found[2] != "us-east-1":
            yield Problem("it is not of us-east-1", phase="cdn", key="cdn.certificate_arn")


@offline(
    "Z516",
    "load balancer certificate of another region",
    ERROR,
    why="A load balancer takes certificates of its own region.",
    fix="Request the certificate in the region of the load balancer, and name that one.",
    source="https://docs.aws.amazon.com/elasticloadbalancing/latest/application/https-listener-certificates.html",
    says=(r"CertificateNotFound", r"Certificate ARN .* is not valid"),
)
def listener_certificate(subject: Subject) -> Iterator[Problem]:
    for listener in subject.of_type("AWS::ElasticLoadBalancingV2::Listener"):
        for index, _ in enumerate(listener.get("Certificates") or ()):
            at = f"Certificates.{index}.CertificateArn"
            for arn in map(str, listener.literals(at)):
                found = _ARN.fullmatch(arn)
                if not found:
                    yield Problem(f"{arn!r} is no certificate's ARN", listener, at)
                elif found[1] == "acm" and found[2] != subject.region:
                    yield Problem(f"it is of {found[2]}, the load balancer of {subject.region}", listener, at)


@offline(
    "Z602",
    "own domain without certificate, or the reverse",
    ERROR,
    why="CloudFront takes a domain only with a certificate that proves it, and without a domain the"
    " certificate is not used: the front end would be announced under a name that does not lead to"
    " it.",
    fix="Set cdn.domain_name and cdn.certificate_arn, both or neither.",
    source=_CERTIFICATES,
    says=(r"To add an alternate domain name \(CNAME\)",),
)
def domain_and_certificate(subject: Subject) -> Iterator[Problem]:
    if subject.settings is not None:
        cdn = subject.settings.cdn
        if cdn.domain_name and not cdn.certificate_arn:
            yield Problem(f"{cdn.domain_name} has no certificate", phase="cdn", key="cdn.domain_name")
        elif cdn.certificate_arn and not cdn.domain_name:
            yield Problem("the certificate has no domain", phase="cdn", key="cdn.certificate_arn")
        return
    for distribution in _distributions(subject):
        aliases = distribution.literals(f"{_CONFIG}.Aliases")
        if aliases and not distribution.get(f"{_CONFIG}.ViewerCertificate.AcmCertificateArn"):
            yield Problem(f"{aliases[0]} has no certificate", distribution, f"{_CONFIG}.Aliases")


@offline(
    "Z603",
    "HTTPS to a load balancer that cannot prove its name",
    ERROR,
    why="CloudFront passes the browser's host name on, and compares the load balancer's certificate"
    " with that and with the origin's name. Under CloudFront's own name no certificate of ours can"
    " cover it: every request of the API and the WebSocket ends with 502.",
    fix="Set cdn.domain_name (with cdn.certificate_arn) to a name that realtime.certificate_arn covers.",
    source=_ORIGINS,
)
def origin_certificate(subject: Subject) -> Iterator[Problem]:
    for distribution in _distributions(subject):
        if subject.on_aws and not distribution.literals(f"{_CONFIG}.Aliases"):
            for at, protocol in _origins(distribution):
                if protocol == "https-only":
                    yield Problem(
                        "HTTPS to the load balancer, and no domain of our own", distribution, at,
                        key="realtime.certificate_arn" if subject.settings else None,
                    )  # fmt: skip


@offline(
    "Z606",
    "plain HTTP between CloudFront and the load balancer",
    WARNING,
    why="Tokens and what people type cross the internet between the two in the clear. It works, and"
    " without a domain there is no other way; for real users there should be one.",
    fix="Set realtime.certificate_arn, and cdn.domain_name with cdn.certificate_arn.",
    source=_ORIGINS,
)
def plain_origin(subject: Subject) -> Iterator[Problem]:
    if not subject.on_aws:
        return
    for distribution in _distributions(subject):
        for at, protocol in _origins(distribution):
            if protocol != "https-only":
                key = "realtime.certificate_arn" if subject.settings else None
                yield Problem(f"{protocol} to the load balancer", distribution, at, key=key)


@offline(
    "Z604",
    "error page for the whole distribution",
    ERROR,
    why="Such a rule also answers for the API: a 403 or 404 of it becomes the front end's page with"
    " status 200.",
    fix="Leave CustomErrorResponses out; the viewer-request function serves the app's paths.",
    source="https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/GeneratingCustomErrorResponses.html",
)
def error_pages(subject: Subject) -> Iterator[Problem]:
    for distribution in _distributions(subject):
        at = f"{_CONFIG}.CustomErrorResponses"
        for rule in distribution.get(at) or ():
            if isinstance(rule, dict) and rule.get("ResponsePagePath"):
                yield Problem(f"{rule.get('ErrorCode')} becomes {rule['ResponsePagePath']}", distribution, at)


_BLOCKS: Final = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")


@offline(
    "Z605",
    "bucket that can be made public",
    ERROR,
    why="The front end's bucket is CloudFront's alone, that of old versions the service's. With a block"
    " missing, one wrong policy or ACL opens it to everybody.",
    fix="Set all four of PublicAccessBlockConfiguration.",
    source="https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html",
    covers=("W9001",),
)
def public_bucket(subject: Subject) -> Iterator[Problem]:
    for bucket in subject.of_type("AWS::S3::Bucket"):
        at = "PublicAccessBlockConfiguration"
        missing = [block for block in _BLOCKS if not flag(bucket.get(f"{at}.{block}"))]
        if missing:
            yield Problem(f"{', '.join(missing)} not set", bucket, at)


@offline(
    "Z607",
    "viewers on plain HTTP",
    ERROR,
    why="Sign-in and the WebSocket need HTTPS; a behaviour that takes plain HTTP sends tokens in the clear.",
    fix="Set ViewerProtocolPolicy to redirect-to-https or https-only.",
    source="https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/using-https-viewers-to-cloudfront.html",
)
def plain_viewers(subject: Subject) -> Iterator[Problem]:
    for distribution in _distributions(subject):
        behaviours = [f"{_CONFIG}.DefaultCacheBehavior"] + [
            f"{_CONFIG}.CacheBehaviors.{index}"
            for index, _ in enumerate(distribution.get(f"{_CONFIG}.CacheBehaviors") or ())
        ]
        for at in behaviours:
            if distribution.get(f"{at}.ViewerProtocolPolicy") == "allow-all":
                yield Problem("plain HTTP is taken", distribution, f"{at}.ViewerProtocolPolicy")
