"""Where a deploy goes: AWS itself, in one region and one account, or the embedded AWS.

DeployError
└── TargetError     AWS cannot be asked: no credentials, no network, the embedded AWS is not running
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from zedi.deploy import DeployError
from zedi.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudfront import CloudFrontClient
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_rds import RDSClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sts import STSClient

EMBEDDED_ACCESS_KEY: Final = "embedded"
"""Both halves of the credentials that the embedded AWS gets. It checks none, and AWS never sees them."""

_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 30
_ATTEMPTS: Final = 6

# botocore clients may be shared between threads; making them may not.
_making = threading.Lock()


class TargetError(DeployError):
    """AWS cannot be asked."""


@dataclass(frozen=True)
class Target:
    region: str
    account: str
    """The account's twelve digits."""
    endpoint_url: str | None = None
    """The embedded AWS, or None: AWS itself."""

    @property
    def embedded(self) -> bool:
        return self.endpoint_url is not None

    @overload
    def client(self, service: Literal["cloudformation"]) -> CloudFormationClient: ...
    @overload
    def client(self, service: Literal["cloudfront"]) -> CloudFrontClient: ...
    @overload
    def client(self, service: Literal["ecr"]) -> ECRClient: ...
    @overload
    def client(self, service: Literal["ecs"]) -> ECSClient: ...
    @overload
    def client(self, service: Literal["logs"]) -> CloudWatchLogsClient: ...
    @overload
    def client(self, service: Literal["rds"]) -> RDSClient: ...
    @overload
    def client(self, service: Literal["s3"]) -> S3Client: ...
    @overload
    def client(self, service: Literal["secretsmanager"]) -> SecretsManagerClient: ...
    @overload
    def client(self, service: Literal["cognito-idp"]) -> CognitoIdentityProviderClient: ...
    @overload
    def client(self, service: Literal["sts"]) -> STSClient: ...
    @overload
    def client(self, service: str) -> Any: ...
    def client(self, service: str) -> Any:
        """The boto3 client of a service; one for all threads, with bounded waits and retries."""
        with _making:
            return _client(service, self.region, self.endpoint_url)


def target_of(settings: Settings) -> Target:
    """Asks who we are at the place that the settings name.

    Raises TargetError when there is nobody to ask, or nothing to ask with.
    """
    target = Target(settings.region, "", settings.endpoint_url)
    with asking(target, settings.name):
        account = target.client("sts").get_caller_identity()["Account"]
    return Target(settings.region, account, settings.endpoint_url)


@contextmanager
def asking(target: Target, where: str) -> Iterator[None]:
    """Turns what boto3 raises meanwhile into a DeployError; `where` says what it was about."""
    from botocore import exceptions

    try:
        yield
    except (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
        exceptions.ProfileNotFound,
        exceptions.SSOError,
        exceptions.TokenRetrievalError,
    ) as error:
        raise TargetError(
            where,
            f"there are no usable AWS credentials: {error}",
            "Sign in (`aws sso login`, or `aws configure`), or set AWS_PROFILE to a profile that can.",
        ) from error
    except (exceptions.HTTPClientError, exceptions.ConnectionError) as error:
        if target.embedded:
            raise TargetError(
                where,
                f"the embedded AWS does not answer at {target.endpoint_url}",
                "Start it and leave it running: `make up`.",
            ) from error
        raise TargetError(
            where,
            f"AWS in {target.region} does not answer: {error}",
            "Check the network and the region's name, then run the same command again.",
        ) from error
    except exceptions.ClientError as error:
        raise _refused(error, where) from error
    except exceptions.BotoCoreError as error:
        raise DeployError(where, str(error), "Run the same command again once this is corrected.") from error


_SIGN_IN_AGAIN: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
NOT_ALLOWED: Final = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"}
)
"""The codes by which AWS's services say that who is signed in may not do that."""
_SLOW_DOWN: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "SlowDown",
    }
)


def _refused(error: Any, where: str) -> DeployError:
    code = error.response.get("Error", {}).get("Code", "")
    message = error.response.get("Error", {}).get("Message", "")
    what = f"{error.operation_name}: {message or code}"
    if code in _SIGN_IN_AGAIN:
        return TargetError(
            where,
            what,
            "Sign in again (`aws sso login`, or `aws configure`), then run the same command again.",
        )
    if code in _SLOW_DOWN:
        return TargetError(
            where, what, "AWS gets too many questions. Wait a minute, then run the same command again."
        )
    if code in NOT_ALLOWED:
        return DeployError(where, what, f"Allow {error.operation_name} to whom you are signed in as.")
    return DeployError(where, what, "Run the same command again once this is corrected.")


@functools.lru_cache(maxsize=64)
def _client(service: str, region: str, endpoint_url: str | None) -> Any:
    from botocore.config import Config

    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        user_agent_extra="zedi",
    )
    if endpoint_url is None:
        return _session(embedded=False).client(service, region_name=region, config=config)
    # A proxy that the machine goes through has no business with loopback, and a bucket is a path there:
    # no name server knows its name as a host.
    config = config.merge(
        Config(proxies={}, s3={"addressing_style": "path"}, retries={"total_max_attempts": 2})
    )
    return _session(embedded=True).client(
        service, region_name=region, config=config, endpoint_url=endpoint_url
    )


@functools.lru_cache(maxsize=2)
def _session(*, embedded: bool) -> Any:
    import boto3
    import botocore.session

    if not embedded:
        return boto3.session.Session()
    # The owner's AWS configuration is neither needed nor touched: a profile that does not exist or a
    # credential process would be asked for nothing.
    nothing = (None, None, os.devnull, None)
    session = botocore.session.Session(
        {"profile": (None, None, None, None), "config_file": nothing, "credentials_file": nothing}
    )
    session.set_credentials(EMBEDDED_ACCESS_KEY, EMBEDDED_ACCESS_KEY)
    return boto3.session.Session(botocore_session=session)
