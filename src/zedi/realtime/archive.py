"""Versions of pages in S3: one object each, put once and never changed.

An object is what its snapshot was: the update, then those that wait for a predecessor, each with its length
before it. S3 compares a checksum when it takes one, and so do we when we read it.

Where S3 is comes from the environment, as botocore reads it: in a task the role's credentials, on a laptop
AWS_ENDPOINT_URL as well. botocore is imported, and a client made, when the first object is wanted.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

from zedi.realtime import wire

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

READ_SECONDS: Final = 10.0
"""How long somebody waits for a version."""
_CONNECT_SECONDS: Final = 3
_SILENT_SECONDS: Final = 10
_ATTEMPTS: Final = 2
_READERS: Final = 4
_MISSING: Final = frozenset({"NoSuchKey", "NoSuchBucket"})


class ArchiveError(Exception):
    """S3 is away, refuses, or gave something else than was put there; says which."""


@dataclass(frozen=True)
class Place:
    """Where an object is."""

    bucket: str
    key: str


def place_of(bucket: str, document: str, seq: int) -> Place:
    """Always the same for a version: who puts it there once more puts the same there."""
    return Place(bucket, f"versions/{quote(document, safe='')}/{seq}")


class Archive:
    """S3 in one region. To be closed."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._making = threading.Lock()
        self._client: S3Client | None = None
        # Our own: the loop's threads look up names as well, and S3 may keep these waiting.
        self._threads = ThreadPoolExecutor(_READERS, "archive")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def put(self, place: Place, updates: list[bytes]) -> None:
        """Blocks. Raises ArchiveError; the object may be there all the same."""
        from botocore.exceptions import BotoCoreError, ClientError

        body = b"".join([part for update in updates for part in (wire.varuint(len(update)), update)])
        try:
            self._s3().put_object(
                Bucket=place.bucket, Key=place.key, Body=body, ContentType="application/octet-stream"
            )
        except (BotoCoreError, ClientError) as error:
            raise ArchiveError(f"{type(error).__name__}: {error}") from error

    def get(self, place: Place) -> list[bytes] | None:
        """What was put there; None when there is nothing. Blocks. Raises ArchiveError."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            with self._s3().get_object(Bucket=place.bucket, Key=place.key)["Body"] as stream:
                body = stream.read()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _MISSING:
                return None
            raise ArchiveError(f"{type(error).__name__}: {error}") from error
        except BotoCoreError as error:
            raise ArchiveError(f"{type(error).__name__}: {error}") from error
        reader = wire.Reader(body)
        updates: list[bytes] = []
        try:
            while not reader.at_end:
                updates.append(reader.varbytes("version"))
        except wire.WireError as error:
            raise ArchiveError(f"{place.key} in {place.bucket} is damaged: {error}") from error
        if not updates:
            raise ArchiveError(f"{place.key} in {place.bucket} is empty")
        return updates

    async def read(self, place: Place) -> list[bytes] | None:
        """`get` in a thread, for READ_SECONDS at most."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._threads, self.get, place)
        except TimeoutError as error:
            raise ArchiveError(f"no answer within {READ_SECONDS:g} s") from error

    def _s3(self) -> S3Client:
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
        from botocore.session import get_session

        with self._making:
            if self._client is None:
                config = Config(
                    connect_timeout=_CONNECT_SECONDS,
                    read_timeout=_SILENT_SECONDS,
                    retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                    max_pool_connections=_READERS,
                    user_agent_extra="zedi",
                )
                try:
                    client = get_session().create_client("s3", region_name=self._region, config=config)
                except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
                    raise ArchiveError(f"{type(error).__name__}: {error}") from error
                self._client = cast("S3Client", client)
            return self._client
