"""Phase 6: CloudFront, which serves the front end from its bucket and sends the rest to the load balancer."""

from __future__ import annotations

from typing import Any, Final

from troposphere import GetAtt, Join, Output, Parameter, Ref, Sub, Template
from troposphere.cloudfront import (
    CacheBehavior,
    ContentSecurityPolicy,
    ContentTypeOptions,
    CustomOriginConfig,
    DefaultCacheBehavior,
    Distribution,
    DistributionConfig,
    FrameOptions,
    Function,
    FunctionAssociation,
    FunctionConfig,
    Origin,
    OriginAccessControl,
    OriginAccessControlConfig,
    ReferrerPolicy,
    ResponseHeadersPolicy,
    ResponseHeadersPolicyConfig,
    S3OriginConfig,
    SecurityHeadersConfig,
    StrictTransportSecurity,
    ViewerCertificate,
)
from troposphere.s3 import (
    Bucket,
    BucketPolicy,
    LifecycleConfiguration,
    LifecycleRule,
    NoncurrentVersionExpiration,
    VersioningConfiguration,
)

from zedi import contract
from zedi.phases.buckets import private_bucket
from zedi.phases.tags import tags
from zedi.settings import Settings

# Policies that AWS manages; their IDs are the same in every account.
_CACHING_OPTIMIZED: Final = "658327ea-f89d-4fab-a63d-7e88639e58f6"
_CACHING_DISABLED: Final = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
_ALL_VIEWER: Final = "216adef6-5c7f-47e4-b989-5492eafa07d3"

_BUCKET_ORIGIN: Final = "frontend"
_SERVICE_ORIGIN: Final = "service"
_KEPT_VERSIONS_DAYS: Final = 30
_HSTS_SECONDS: Final = 365 * 24 * 3600

_SINGLE_PAGE: Final = """\
function handler(event) {
  var request = event.request;
  var last = request.uri.substring(request.uri.lastIndexOf('/') + 1);
  if (last.indexOf('.') === -1) request.uri = '/index.html';
  return request;
}
"""
"""A path whose last part has no extension is a page of the app, not a file. This stands on the default
behaviour only: an error page for the whole distribution would turn the API's errors into pages."""


def build(settings: Settings) -> Template:
    template = Template(Description=f"{settings.prefix}: front end and CDN")
    template.add_parameter(Parameter("AlbDnsName", Type="String"))
    template.add_parameter(Parameter("CognitoHostedUiUrl", Type="String"))

    bucket = _bucket(template, settings)
    distribution = _distribution(template, settings, bucket)
    _let_in(template, bucket, distribution)

    domain = GetAtt(distribution, "DomainName")
    url = settings.cdn.public_url
    if url:
        frontend: Any = url
        websocket: Any = _websocket(url)
    else:
        frontend = Join("", ["https://", domain])
        websocket = Join("", ["wss://", domain, contract.REALTIME_PATH])
    for name, value, description in (
        ("CloudfrontDistributionId", Ref(distribution), "The distribution"),
        ("CloudfrontDomainName", domain, "Its own name"),
        ("FrontendUrl", frontend, "Where browsers find the product"),
        ("WebsocketUrl", websocket, "Where its front end opens the WebSocket"),
        ("FrontendBucket", Ref(bucket), "The bucket that the front end is published to"),
    ):
        template.add_output(Output(name, Value=value, Description=description))
    return template


def _websocket(url: str) -> str:
    """http://host to ws://host/realtime, https to wss."""
    return f"ws{url.removeprefix('http')}{contract.REALTIME_PATH}"


def _bucket(template: Template, settings: Settings) -> Bucket:
    bucket = private_bucket(settings, "FrontendBucket", "frontend", kept=settings.cdn.versioned)
    if settings.cdn.versioned:
        bucket.VersioningConfiguration = VersioningConfiguration(Status="Enabled")
        bucket.LifecycleConfiguration = LifecycleConfiguration(
            Rules=[
                LifecycleRule(
                    Id="expire-old-versions",
                    Status="Enabled",
                    NoncurrentVersionExpiration=NoncurrentVersionExpiration(
                        NoncurrentDays=_KEPT_VERSIONS_DAYS
                    ),
                )
            ]
        )
    return template.add_resource(bucket)


def _let_in(template: Template, bucket: Bucket, distribution: Distribution) -> None:
    """This distribution may read the bucket's objects, and nobody else may."""
    template.add_resource(
        BucketPolicy(
            "FrontendBucketPolicy",
            Bucket=Ref(bucket),
            PolicyDocument={
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "CloudFrontReads",
                        "Effect": "Allow",
                        "Principal": {"Service": "cloudfront.amazonaws.com"},
                        "Action": "s3:GetObject",
                        "Resource": Sub(f"${{{bucket.title}.Arn}}/*"),
                        "Condition": {
                            "StringEquals": {
                                "AWS:SourceArn": Sub(
                                    "arn:aws:cloudfront::${AWS::AccountId}:distribution/"
                                    f"${{{distribution.title}}}"
                                )
                            }
                        },
                    }
                ],
            },
        )
    )


def _distribution(template: Template, settings: Settings, bucket: Bucket) -> Distribution:
    prefix, cdn = settings.prefix, settings.cdn
    access = template.add_resource(
        OriginAccessControl(
            "OriginAccess",
            OriginAccessControlConfig=OriginAccessControlConfig(
                Name=f"{prefix}-frontend",
                OriginAccessControlOriginType="s3",
                SigningBehavior="always",
                SigningProtocol="sigv4",
            ),
        )
    )
    single_page = template.add_resource(
        Function(
            "SinglePage",
            Name=f"{prefix}-single-page",
            AutoPublish=True,
            FunctionCode=_SINGLE_PAGE,
            FunctionConfig=FunctionConfig(
                Comment="Pages of the app are its index.html", Runtime="cloudfront-js-2.0"
            ),
            Tags=tags(settings, f"{prefix}-single-page"),
        )
    )
    headers = _headers(template, settings)
    config = DistributionConfig(
        Comment=f"{prefix}: front end, API and WebSocket",
        Enabled=True,
        HttpVersion="http2and3",
        IPV6Enabled=True,
        PriceClass=cdn.price_class,
        DefaultRootObject="index.html",
        Origins=[
            Origin(
                Id=_BUCKET_ORIGIN,
                DomainName=GetAtt(bucket, "RegionalDomainName"),
                OriginAccessControlId=Ref(access),
                S3OriginConfig=S3OriginConfig(OriginAccessIdentity=""),
            ),
            Origin(
                Id=_SERVICE_ORIGIN,
                DomainName=Ref("AlbDnsName"),
                CustomOriginConfig=CustomOriginConfig(
                    OriginProtocolPolicy="https-only" if settings.realtime.certificate_arn else "http-only",
                    OriginSSLProtocols=["TLSv1.2"],
                    OriginReadTimeout=60,
                ),
            ),
        ],
        DefaultCacheBehavior=DefaultCacheBehavior(
            TargetOriginId=_BUCKET_ORIGIN,
            ViewerProtocolPolicy="redirect-to-https",
            AllowedMethods=["GET", "HEAD"],
            Compress=True,
            CachePolicyId=_CACHING_OPTIMIZED,
            ResponseHeadersPolicyId=Ref(headers),
            FunctionAssociations=[
                FunctionAssociation(
                    EventType="viewer-request", FunctionARN=GetAtt(single_page, "FunctionARN")
                )
            ],
        ),
        CacheBehaviors=[
            CacheBehavior(
                PathPattern=pattern,
                TargetOriginId=_SERVICE_ORIGIN,
                ViewerProtocolPolicy="https-only",
                AllowedMethods=["GET", "HEAD", "OPTIONS", "PUT", "POST", "PATCH", "DELETE"],
                Compress=True,
                CachePolicyId=_CACHING_DISABLED,
                OriginRequestPolicyId=_ALL_VIEWER,
                ResponseHeadersPolicyId=Ref(headers),
            )
            for pattern in (f"{contract.API_PATH}/*", f"{contract.REALTIME_PATH}*")
        ],
    )
    if cdn.domain_name and cdn.certificate_arn:
        config.Aliases = [cdn.domain_name]
        config.ViewerCertificate = ViewerCertificate(
            AcmCertificateArn=cdn.certificate_arn,
            MinimumProtocolVersion="TLSv1.2_2021",
            SslSupportMethod="sni-only",
        )
    else:
        config.ViewerCertificate = ViewerCertificate(CloudFrontDefaultCertificate=True)
    return template.add_resource(
        Distribution("Distribution", DistributionConfig=config, Tags=tags(settings, f"{prefix}-cdn"))
    )


def _headers(template: Template, settings: Settings) -> ResponseHeadersPolicy:
    return template.add_resource(
        ResponseHeadersPolicy(
            "SecurityHeaders",
            ResponseHeadersPolicyConfig=ResponseHeadersPolicyConfig(
                Name=f"{settings.prefix}-security-headers",
                Comment="What browsers may do with the front end",
                SecurityHeadersConfig=SecurityHeadersConfig(
                    ContentSecurityPolicy=ContentSecurityPolicy(
                        ContentSecurityPolicy=_content_security_policy(settings), Override=True
                    ),
                    ContentTypeOptions=ContentTypeOptions(Override=True),
                    FrameOptions=FrameOptions(FrameOption="DENY", Override=True),
                    ReferrerPolicy=ReferrerPolicy(
                        ReferrerPolicy="strict-origin-when-cross-origin", Override=True
                    ),
                    StrictTransportSecurity=StrictTransportSecurity(
                        AccessControlMaxAgeSec=_HSTS_SECONDS, IncludeSubdomains=True, Override=True
                    ),
                ),
            ),
        )
    )


def _content_security_policy(settings: Settings) -> Join:
    """What pages may load and call.

    'self' includes wss: of the same host (CSP Level 3); browsers that do not know that are served where
    our own name is known. CloudFront's name cannot be written here: it comes after this policy.
    """
    url = settings.cdn.public_url
    calls: list[Any] = ["'self'", Ref("CognitoHostedUiUrl")]
    if url:
        calls.append(_websocket(url).removesuffix(contract.REALTIME_PATH))
    return Join(
        "; ",
        [
            "default-src 'self'",
            "script-src 'self'",
            # The editor places carets and menus with inline styles.
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob: https:",
            "font-src 'self' data:",
            Join(" ", ["connect-src", *calls]),
            "worker-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ],
    )
