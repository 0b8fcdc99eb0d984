"""Versions that leave the database: the embedded AWS's S3, a real PostgreSQL, the process that moves them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import pytest

from zedi.deploy.target import Target
from zedi.embedded.task import role
from zedi.realtime import archive as archives
from zedi.realtime import compaction, compactor
from zedi.realtime.archive import Archive, ArchiveError, Place, place_of
from zedi.realtime.compaction import Moved, compact_document, move
from zedi.realtime.compactor import Compactor
from zedi.realtime.config import Config, Keeping
from zedi.realtime.log import Log
from zedi.settings import Settings

if TYPE_CHECKING:
    from tests.realtime.conftest import Until
    from tests.servers import Database

REGION = "ap-northeast-1"
pytestmark = pytest.mark.server


@pytest.fixture
def archive() -> Iterator[Archive]:
    archive = Archive(REGION)
    yield archive
    archive.close()


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await database.connect()
    yield connection
    await connection.close()


@pytest.fixture
def keeping(history_bucket: str) -> Keeping:
    """One version stays in the database."""
    return Keeping(versions=1, days=90, minutes=10, bucket=history_bucket, bucket_days=365, region=REGION)


async def versions(connection: asyncpg.Connection, *numbers: int, document: str = "doc") -> None:
    """Snapshots half an hour apart, the last of which is not compacted yet."""
    for number in numbers:
        await connection.execute("UPDATE snapshots SET made_at = made_at - interval '30 minutes'")
        await connection.execute(
            "INSERT INTO snapshots (document, seq, data, pending, vector, deletions, size)"
            " VALUES ($1, $2, $3, $4, $5, $5, 9)",
            *(document, number, b"state %d" % number, [b"", b"waits"], b"\0"),
        )
    await connection.execute("INSERT INTO documents (name, seq) VALUES ($1, $2)", document, numbers[-1] + 1)
    await connection.execute(
        "INSERT INTO updates (document, seq, data) VALUES ($1, $2, $3)", document, numbers[-1] + 1, b"\0\0"
    )


async def numbers(connection: asyncpg.Connection, table: str) -> list[int]:
    return [row["seq"] for row in await connection.fetch(f"SELECT seq FROM {table} ORDER BY seq")]


async def mark(connection: asyncpg.Connection, *numbers: int) -> None:
    await connection.execute("UPDATE snapshots SET outgoing = true WHERE seq = ANY($1)", list(numbers))


def said(number: int) -> list[bytes]:
    return [b"state %d" % number, b"", b"waits"]


@contextlib.asynccontextmanager
async def running(environ: dict[str, str]) -> AsyncIterator[tuple[Compactor, io.StringIO]]:
    stream = io.StringIO()
    process = Compactor(Log("test", "test", stream), lambda document, seq: None, environ)
    task = asyncio.create_task(process.run())
    try:
        yield process, stream
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def events(stream: io.StringIO) -> list[str]:
    return [json.loads(line)["event"] for line in stream.getvalue().splitlines()]


@pytest.fixture
def environ(
    config: Config,
    database: Database,
    settings: Settings,
    keeping: Keeping,
    task_environment: Callable[[Database], dict[str, str]],
) -> dict[str, str]:
    return {
        **task_environment(database),
        **role(settings),
        "HISTORY_BUCKET": keeping.bucket,
        "HISTORY_VERSIONS": str(keeping.versions),
        "PATH": os.environ["PATH"],
        "PYTHONWARNINGS": "error",
    }


def test_what_was_put_is_there(archive: Archive, history_bucket: str) -> None:
    """Every update comes back as it was, an empty one too; what was never put is not there."""
    place = place_of(history_bucket, "a/b ü", 7)
    archive.put(place, [b"one", b"", b"x" * 300_000])
    assert archive.get(place) == [b"one", b"", b"x" * 300_000]
    assert archive.get(place_of(history_bucket, "a/b ü", 8)) is None
    assert archive.get(Place("zedi-no-such-bucket", place.key)) is None


@pytest.mark.parametrize("body", [b"", b"\x05abc", b"\xff" * 12])
def test_an_object_that_is_damaged_is_an_error(
    archive: Archive, history_bucket: str, target: Target, body: bytes
) -> None:
    """A hand that wrote over it does not pass for a version."""
    target.client("s3").put_object(Bucket=history_bucket, Key="k", Body=body)
    with pytest.raises(ArchiveError, match="k in zedi-"):
        archive.get(Place(history_bucket, "k"))


async def test_nobody_waits_for_ever(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, history_bucket: str
) -> None:
    """One error, whether nobody is there or somebody says nothing."""
    place = place_of(history_bucket, "doc", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(archives, "READ_SECONDS", 0.2)
        monkeypatch.setattr(archives, "_SILENT_SECONDS", 0.3)
        monkeypatch.setattr(archives, "_ATTEMPTS", 1)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ArchiveError, match="no answer within"):
            await archive.read(place)
    nobody = Archive(REGION)
    with pytest.raises(ArchiveError, match="Could not connect"):
        await asyncio.to_thread(nobody.put, place, [b"x"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    with pytest.raises(ArchiveError):
        Archive(REGION).get(place)


async def test_versions_move_when_a_page_is_compacted(
    connection: asyncpg.Connection,
    environ: dict[str, str],
    archive: Archive,
    keeping: Keeping,
    until: Until,
) -> None:
    """The process does it, documents that nobody compacts included; each is then in one place, unchanged."""
    await versions(connection, 1, 2, 3)
    await versions(connection, 4, 5, document="other")
    await mark(connection, 4)
    # Only the newest is read by the compaction, and it must be one.
    await connection.execute("UPDATE snapshots SET data = $1, pending = '{}' WHERE seq = 3", b"\0\0")
    made = {
        row["seq"]: row["made_at"] for row in await connection.fetch("SELECT seq, made_at FROM snapshots")
    }
    async with running(environ) as (process, stream):
        process.ask("doc", 1)
        await until(lambda: "versions_moved" in stream.getvalue())
        assert events(stream) == ["compacted", "versions_moved"]
    assert await numbers(connection, "snapshots") == [3, 4, 5]
    rows = await connection.fetch("SELECT * FROM archived_versions ORDER BY seq")
    assert [(row["seq"], row["made_at"], row["size"]) for row in rows] == [
        (number, made[number], 9) for number in (1, 2, 4)
    ]
    assert [archive.get(Place(row["bucket"], row["key"])) for row in rows] == [said(n) for n in (1, 2, 4)]


async def test_what_follows_a_moved_version_too_soon_gives_way(
    connection: asyncpg.Connection, keeping: Keeping
) -> None:
    """The one before it counts, wherever it is."""
    await versions(connection, 1, 2)
    await connection.execute("UPDATE snapshots SET data = $1, pending = '{}' WHERE seq = 2", b"\0\0")
    await connection.execute(
        "INSERT INTO archived_versions SELECT document, seq, 'b', 'k', 9, now() - interval '5 minutes', now()"
        " FROM snapshots WHERE seq = 1"
    )
    await connection.execute("DELETE FROM snapshots WHERE seq = 1")
    answer = await compact_document(connection, "doc", 1, keeping)
    assert (answer.status, answer.versions) == ("compacted", 1)
    assert await numbers(connection, "snapshots") == [3]


async def test_versions_stay_while_the_bucket_is_away(
    connection: asyncpg.Connection,
    environ: dict[str, str],
    target: Target,
    keeping: Keeping,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Said once; nothing is lost, pages are compacted all the same, and it goes on once it is there."""
    monkeypatch.setattr(compactor, "MOVE_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(compactor, "LEAST_SECONDS", 0.0)
    target.client("s3").delete_bucket(Bucket=keeping.bucket)
    for document, first in (("one", 1), ("two", 11), ("three", 21)):
        await versions(connection, *range(first, first + 3), document=document)
    await connection.execute("UPDATE snapshots SET data = $1, pending = '{}' WHERE seq % 10 = 3", b"\0\0")

    def tried(count: int) -> bool:
        return events(stream).count("compacted") == count and not process._outgoing

    async def all_moved() -> bool:
        return await numbers(connection, "archived_versions") == [1, 2, 11, 12, 21, 22]

    async with running(environ) as (process, stream):
        for count, document in enumerate(("one", "two"), 1):
            process.ask(document, 1)
            await until(partial(tried, count))
        assert sorted(events(stream)) == ["archive_away", "compacted", "compacted"]
        assert "NoSuchBucket" in stream.getvalue()
        assert await numbers(connection, "archived_versions") == []
        assert {1, 2, 11, 12, 21, 22} <= set(await numbers(connection, "snapshots"))
        target.client("s3").create_bucket(
            Bucket=keeping.bucket, CreateBucketConfiguration={"LocationConstraint": "ap-northeast-1"}
        )
        process.ask("three", 1)
        await until(all_moved)
        await until(lambda: "archive_ready" in events(stream))


async def test_a_pause_follows_a_failure(
    connection: asyncpg.Connection, environ: dict[str, str], target: Target, keeping: Keeping, until: Until
) -> None:
    """A bucket that is away is not asked again by the very next compaction."""
    target.client("s3").delete_bucket(Bucket=keeping.bucket)
    for document, first in (("one", 1), ("two", 11)):
        await versions(connection, *range(first, first + 3), document=document)
    await connection.execute("UPDATE snapshots SET data = $1, pending = '{}' WHERE seq % 10 = 3", b"\0\0")
    async with running(environ) as (process, stream):
        process.ask("one", 1)
        await until(lambda: "archive_away" in events(stream))
        process.ask("two", 1)
        await until(lambda: events(stream).count("compacted") == 2)
        assert not process._outgoing


async def test_a_process_killed_between_object_and_row_loses_nothing(
    database: Database,
    connection: asyncpg.Connection,
    environ: dict[str, str],
    archive: Archive,
    target: Target,
    keeping: Keeping,
    until: Until,
) -> None:
    """SIGKILL when the object is there and no row says so: the version is where it was, and moves later."""
    await versions(connection, 1, 2, 3)
    await connection.execute("UPDATE snapshots SET data = $1, pending = '{}' WHERE seq = 3", b"\0\0")
    blocker = await database.connect()
    try:
        async with blocker.transaction():
            # It may be read, as a compaction does, and not be written.
            await blocker.execute("LOCK TABLE archived_versions IN EXCLUSIVE MODE")
            environ["HISTORY_BUCKET_DAYS"] = "0"
            async with running(environ) as (process, stream):
                process.ask("doc", 1)
                waiting = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"
                await until(lambda: connection.fetchval(waiting))
                place = place_of(keeping.bucket, "doc", 1)
                assert archive.get(place) == said(1)
                assert process._process is not None
                process._process.kill()
                await until(lambda: "archive_away" in events(stream))
                assert "left_uncompacted" not in events(stream)
    finally:
        await blocker.close()
    assert await numbers(connection, "snapshots") == [1, 2, 3, 4]
    assert await numbers(connection, "archived_versions") == []

    async def moved() -> bool:
        # The database takes a moment to notice that the process is gone; until then it holds the lock.
        return (await move(connection, archive, keeping)).versions == 2

    await until(moved)
    assert await numbers(connection, "snapshots") == [3, 4]
    assert archive.get(place) == said(1)
    listed = target.client("s3").list_objects_v2(Bucket=keeping.bucket)["Contents"]
    assert [each["Key"] for each in listed] == ["versions/doc/1", "versions/doc/2"]


async def test_one_at_a_time_and_a_few_at_once(
    database: Database,
    connection: asyncpg.Connection,
    archive: Archive,
    keeping: Keeping,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second one leaves it to the first; a job is bounded, and says that there is more."""
    await versions(connection, 1, 2, 3, 4)
    await mark(connection, 1, 2, 3)
    monkeypatch.setattr(compaction, "_MOVED_VERSIONS", 2)
    other = await database.connect()
    try:
        await other.execute("SELECT pg_advisory_lock($1)", compaction._MOVING)
        assert await move(connection, archive, keeping) == Moved()
    finally:
        await other.close()
    assert await move(connection, archive, keeping) == Moved(2, 18, True)
    assert await move(connection, archive, keeping) == Moved(1, 9, False)
    assert await numbers(connection, "snapshots") == [4]


async def test_rows_of_expired_objects_go(
    connection: asyncpg.Connection, archive: Archive, keeping: Keeping
) -> None:
    """What S3 deletes by now is no version any more; where nothing expires all of them stay."""
    await connection.execute(
        "INSERT INTO archived_versions"
        " SELECT 'doc', days, 'b', 'k', 9, now(), now() - days * interval '1 day'"
        " FROM unnest(ARRAY[364, 366]) AS days"
    )
    await move(connection, archive, dataclasses.replace(keeping, bucket_days=0))
    assert await numbers(connection, "archived_versions") == [364, 366]
    await move(connection, archive, keeping)
    assert await numbers(connection, "archived_versions") == [364]


async def test_without_a_bucket_they_are_deleted(connection: asyncpg.Connection, keeping: Keeping) -> None:
    """Also those that were to go to one."""
    await versions(connection, 1, 2, 3)
    await mark(connection, 1)
    await connection.execute("UPDATE snapshots SET data = $1, pending = '{}' WHERE seq = 3", b"\0\0")
    answer = await compact_document(connection, "doc", 1, dataclasses.replace(keeping, bucket=""))
    assert answer.versions == 2
    assert await numbers(connection, "snapshots") == [3, 4]
