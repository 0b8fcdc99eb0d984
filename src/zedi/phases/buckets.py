"""Buckets that nobody outside can see into."""

from __future__ import annotations

from troposphere import Sub
from troposphere.s3 import (
    Bucket,
    BucketEncryption,
    OwnershipControls,
    OwnershipControlsRule,
    PublicAccessBlockConfiguration,
    ServerSideEncryptionByDefault,
    ServerSideEncryptionRule,
)

from zedi.phases.tags import tags
from zedi.settings import Settings


def private_bucket(settings: Settings, title: str, purpose: str, *, kept: bool) -> Bucket:
    """The encrypted bucket `zedi-{env}-{purpose}-{account}`; `kept`: it outlives its stack."""
    policy = "Retain" if kept else "Delete"
    return Bucket(
        title,
        DeletionPolicy=policy,
        UpdateReplacePolicy=policy,
        BucketName=Sub(f"{settings.prefix}-{purpose}-${{AWS::AccountId}}"),
        PublicAccessBlockConfiguration=PublicAccessBlockConfiguration(
            BlockPublicAcls=True,
            BlockPublicPolicy=True,
            IgnorePublicAcls=True,
            RestrictPublicBuckets=True,
        ),
        OwnershipControls=OwnershipControls(
            Rules=[OwnershipControlsRule(ObjectOwnership="BucketOwnerEnforced")]
        ),
        BucketEncryption=BucketEncryption(
            ServerSideEncryptionConfiguration=[
                ServerSideEncryptionRule(
                    ServerSideEncryptionByDefault=ServerSideEncryptionByDefault(SSEAlgorithm="AES256")
                )
            ]
        ),
        Tags=tags(settings, f"{settings.prefix}-{purpose}"),
    )
