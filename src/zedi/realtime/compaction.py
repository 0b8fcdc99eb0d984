"""Compaction: what a document's updates say, as one update; the updates themselves go some time later.

`python -m zedi.realtime.compaction` is a process of its own (see compactor): every call of pycrdt holds the
interpreter, and applying a long document takes seconds. It reads jobs from standard input and answers each
on standard output, one JSON object a line: {"document", "least"} is answered with an Answer, {} (move
versions to S3) with a Moved.

A snapshot is made by applying everything to a Doc (20,000 one-character updates: 0.08 s, where merging them
takes 1.4 s) and encoding that. A Doc does not tell all that waits for a predecessor, structs and deletions
alike; updates that have any of it are kept beside the snapshot as their authors sent them. Nothing is written
before what would be read back has been held against every update that it stands for.

All of it happens in one transaction under the document's row in `compactions`. Whoever finds that taken
leaves the document to its holder, and a process that dies has changed nothing. Correctness depends on
neither: a snapshot says what the updates up to its number say, whoever made it.

Older snapshots stay as versions of the page, thinned out (`config.Keeping`). Those that are too many or too
old move to S3, by jobs of their own: the object is put first, under a name that is always the same, then one
transaction writes where it is and deletes the snapshot. A process killed at any moment leaves the version in
the database, at most with a copy of it in S3 that the next one replaces. While S3 is away they stay in the
database. Without a bucket they are deleted: an old state; nothing of the present one is only there.

The updates that a snapshot covers stay for KEPT_SECONDS: during a deploy tasks of the release before may
still run, which know nothing of snapshots and read every document from number 1 on.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import asyncpg
import pycrdt

from zedi.realtime import wire
from zedi.realtime.archive import Archive, ArchiveError, place_of
from zedi.realtime.config import Config, Keeping, parse
from zedi.realtime.history import Ranges, Snapshot, deletions_of, difference
from zedi.realtime.journal import AWAY, READ, SNAPSHOT

KEPT_SECONDS: Final = 24 * 3600.0
"""How long updates outlive the snapshot that covers them; longer than any deploy."""
_MOVED_VERSIONS: Final = 10
"""Of one job; the rest is another's."""
_MOVING: Final = 0x7A656D76
"""The advisory lock of whoever moves versions to S3, so that two tasks do not both carry the same."""
_PRUNED_DOCUMENTS: Final = 10
"""So many documents lose their old updates after each job."""
_PRUNED_UPDATES: Final = 10_000
"""Rows of one deletion."""
_READ_UPDATES: Final = 5000
REST_SECONDS: Final = 2.0
"""How long the connection is kept for another job: an idle one keeps a database awake that could sleep."""
_CLOSE_SECONDS: Final = 5.0
_STATEMENT_SECONDS: Final = 120.0

Status = Literal["compacted", "busy", "unneeded", "failed", "away"]


@dataclass(frozen=True)
class Compacted:
    """What a list of updates says."""

    snapshot: Snapshot
    pending: list[bytes]
    """Updates with something that waits for a predecessor, in order, as they came."""

    @property
    def size(self) -> int:
        return len(self.snapshot.data) + sum(map(len, self.pending))


@dataclass(frozen=True)
class Answer:
    """What became of one job."""

    document: str
    status: Status
    seq: int = 0
    """The newest snapshot's number."""
    updates: int = 0
    """How many it took in beyond the snapshot before it."""
    read: int = 0
    """Bytes that went in."""
    size: int = 0
    """Bytes of the snapshot."""
    pending: int = 0
    """Updates in it that wait for a predecessor."""
    versions: int = 0
    """Older snapshots that were deleted: too soon after the one before; without a bucket also what is too
    many or too old."""
    outgoing: bool = False
    """Whether there are versions, of any document, that are to move to S3."""
    pruned: int = 0
    """Rows of any document that were deleted, their time being over."""
    reason: str = ""


@dataclass(frozen=True)
class Moved:
    """What became of a job that moves versions to S3."""

    versions: int = 0
    size: int = 0
    """Their bytes."""
    more: bool = False
    """Whether there are others."""
    reason: str = ""
    """Why it ended before its time. They stay where they are."""


def compact(updates: list[bytes]) -> Compacted:
    """Merges `updates`, of which the first may be an older snapshot.

    Raises wire.WireError when one of them cannot be applied, or when the result does not hold all of them.
    """
    snapshot, pending = _merged(updates)
    # What a reader would make of it must be what was written.
    again: pycrdt.Doc[Any] = pycrdt.Doc()
    _apply(again, snapshot.data)
    copy = _encoded(again)
    if wire.decode_state_vector(copy.vector) != wire.decode_state_vector(snapshot.vector):
        raise wire.WireError("snapshot", "does not hold every struct")
    if not _ranges(copy).covers(deletions_of(snapshot.deletions) or ()):
        raise wire.WireError("snapshot", "does not hold every deletion")
    return Compacted(snapshot, pending)


def _merged(updates: list[bytes]) -> tuple[Snapshot, list[bytes]]:
    """What `updates` say as far as there is no gap in it, and those that say more.

    Beyond a gap a Doc may hold some of what waits and encode it, too. Then it is made anew, without the
    updates that have any of that.
    """
    applied = updates
    while True:
        snapshot, waiting = _together(applied)
        if deletions_of(snapshot.deletions) is not None:
            break
        before = len(applied)
        applied = [u for u in applied if deletions_of(difference(u, snapshot.vector)) is not None]
        if len(applied) == before:
            raise wire.WireError("snapshot", "has structs beyond its own state vector, or too many deletions")
    if len(applied) < len(updates):
        deletions = _ranges(snapshot)
        waiting = [update for update in updates if not _covers(snapshot, deletions, update)]
    return snapshot, waiting


def _together(updates: list[bytes]) -> tuple[Snapshot, list[bytes]]:
    """A Doc of `updates`, and those of them that it does not hold whole. It does not try again by itself all
    that waits, so what is not in it yet is applied until that changes nothing."""
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    waiting, before = updates, (dict[int, int](), 0)
    while True:
        for update in waiting:
            _apply(doc, update)
        snapshot = _encoded(doc)
        deletions = Ranges()
        deletions.add(deletions_of(snapshot.deletions) or ())
        waiting = [update for update in waiting if not _covers(snapshot, deletions, update)]
        now = (wire.decode_state_vector(snapshot.vector), len(waiting))
        if not waiting or now == before:
            return snapshot, waiting
        before = now


def _apply(doc: pycrdt.Doc[Any], update: bytes) -> None:
    try:
        doc.apply_update(update)
    except BaseException as error:
        raise wire.panic(error, "update", f"cannot be applied: {error}") from None


def _encoded(doc: pycrdt.Doc[Any]) -> Snapshot:
    try:
        data, vector = doc.get_update(), doc.get_state()
    except BaseException as error:
        raise wire.panic(error, "document", f"cannot be encoded: {error}") from None
    return Snapshot(data, vector, difference(data, vector))


def _ranges(snapshot: Snapshot) -> Ranges:
    found = deletions_of(snapshot.deletions)
    if found is None:
        raise wire.WireError("snapshot", "has structs beyond its own state vector, or too many deletions")
    ranges = Ranges()
    ranges.add(found)
    return ranges


def _covers(snapshot: Snapshot, deletions: Ranges, update: bytes) -> bool:
    """Whether the snapshot says all that `update` says. False when in doubt: then it is kept."""
    rest = deletions_of(difference(update, snapshot.vector))
    return rest is not None and deletions.covers(rest)


# -- in the database -----------------------------------------------------------------------------------------


async def compact_document(
    connection: asyncpg.Connection, document: str, least: int, keeping: Keeping
) -> Answer:
    """Makes a snapshot of `document` if there are `least` updates above the newest one.

    Raises wire.WireError when it cannot be made, and what asyncpg raises; nothing has changed then.
    """
    await connection.execute(
        "INSERT INTO compactions (document) VALUES ($1) ON CONFLICT DO NOTHING", document
    )
    async with connection.transaction():
        held = await connection.fetchval(
            "SELECT true FROM compactions WHERE document = $1 FOR UPDATE SKIP LOCKED", document
        )
        if not held:
            return Answer(document, "busy")
        base, updates, last = await _read(connection, document)
        count = last - base
        if count < max(1, least):
            return Answer(document, "unneeded", base)
        made = compact(updates)
        await connection.execute(
            "INSERT INTO snapshots (document, seq, data, pending, vector, deletions, size)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            document,
            last,
            made.snapshot.data,
            made.pending,
            made.snapshot.vector,
            made.snapshot.deletions,
            made.size,
        )
        dropped = await _thin(connection, document, base, last, keeping)
        # Where a deletion is planned already the rest waits for the one after it.
        await connection.execute(
            "UPDATE compactions SET prune_seq = $2, prune_at = now() + $3 * interval '1 second'"
            " WHERE document = $1 AND prune_at IS NULL",
            document,
            last,
            KEPT_SECONDS,
        )
    return Answer(
        document,
        "compacted",
        last,
        count,
        sum(map(len, updates)),
        made.size,
        pending=len(made.pending),
        versions=dropped,
    )


async def _thin(connection: asyncpg.Connection, document: str, base: int, last: int, keeping: Keeping) -> int:
    """Deletes the snapshots that are not to stay as versions, now that `last` follows `base`; how many.

    Where there is a bucket, those that are to go there are only marked.
    """
    result = await connection.execute(
        """
        DELETE FROM snapshots AS old WHERE document = $1 AND seq = $2 AND seq < $3 AND EXISTS (
            SELECT FROM (
                SELECT seq, made_at FROM snapshots WHERE document = $1
                UNION ALL SELECT seq, made_at FROM archived_versions WHERE document = $1
            ) AS before
            WHERE before.seq < $2 AND before.made_at > old.made_at - $4 * interval '1 minute'
        )
        """,
        document,
        base,
        last,
        keeping.minutes,
    )
    deleted = int(result.rpartition(" ")[2])
    mark = "UPDATE snapshots SET outgoing = true WHERE NOT outgoing"
    result = await connection.execute(
        f"""
        {mark if keeping.bucket else "DELETE FROM snapshots WHERE true"} AND document = $1 AND seq < $2 AND (
            made_at < now() - $4 * interval '1 day'
            OR seq NOT IN (SELECT seq FROM snapshots WHERE document = $1 ORDER BY seq DESC LIMIT $3)
        )
        """,
        document,
        last,
        keeping.versions + 1,
        keeping.days,
    )
    return deleted if keeping.bucket else deleted + int(result.rpartition(" ")[2])


async def _read(connection: asyncpg.Connection, document: str) -> tuple[int, list[bytes], int]:
    """The newest snapshot's number, all that the document says in order, and the number of its end."""
    row = await connection.fetchrow(SNAPSHOT, document, 0)
    base: int = row["seq"] if row else 0
    updates: list[bytes] = [row["data"], *row["pending"]] if row else []
    last = base
    while True:
        rows = await connection.fetch(READ, document, last, _READ_UPDATES)
        found = [row for row in rows if row["seq"] is not None]
        if not found:
            return base, updates, last
        if found[0]["seq"] != last + 1:
            raise wire.WireError("journal", f"update {last + 1} is missing")
        updates += [row["data"] for row in found]
        last = found[-1]["seq"]


async def prune(connection: asyncpg.Connection) -> int:
    """Deletes updates whose time is over, of a few documents; how many."""
    deleted = 0
    for _ in range(_PRUNED_DOCUMENTS):
        async with connection.transaction():
            due = await connection.fetchrow(
                "SELECT document, prune_seq FROM compactions WHERE prune_at < now()"
                " ORDER BY prune_at LIMIT 1 FOR UPDATE SKIP LOCKED"
            )
            if due is None:
                return deleted
            # Whatever else may be wrong: never without the snapshot that takes their place.
            result = await connection.execute(
                "DELETE FROM updates WHERE document = $1 AND seq <= $2 AND seq < $3 +"
                " (SELECT min(seq) FROM updates WHERE document = $1) AND EXISTS"
                " (SELECT FROM snapshots WHERE document = $1 AND seq >= $2)",
                due["document"],
                due["prune_seq"],
                _PRUNED_UPDATES,
            )
            count = int(result.rpartition(" ")[2])
            deleted += count
            if count < _PRUNED_UPDATES:
                await connection.execute(
                    "UPDATE compactions SET prune_seq = NULL, prune_at = NULL WHERE document = $1",
                    due["document"],
                )
    return deleted


async def move(connection: asyncpg.Connection, archive: Archive, keeping: Keeping) -> Moved:
    """Moves versions that are to leave the database to S3, a few. Raises what asyncpg raises."""
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _MOVING):
        return Moved()
    if keeping.bucket_days:
        # Hidden already (notes.pages); the objects are S3's to delete.
        await connection.execute(
            "DELETE FROM archived_versions WHERE moved_at < now() - $1 * interval '1 day'",
            keeping.bucket_days,
        )
    versions = size = 0
    while True:
        row = await connection.fetchrow(
            "SELECT document, seq, data, pending, size, made_at, now() AS moved_at FROM snapshots"
            " WHERE outgoing ORDER BY made_at LIMIT 1"
        )
        if row is None or versions == _MOVED_VERSIONS:
            return Moved(versions, size, row is not None)
        place = place_of(keeping.bucket, row["document"], row["seq"])
        try:
            await asyncio.to_thread(archive.put, place, [row["data"], *row["pending"]])
        except ArchiveError as error:
            return Moved(versions, size, True, str(error))
        async with connection.transaction():
            await connection.execute(
                "INSERT INTO archived_versions (document, seq, bucket, key, size, made_at, moved_at)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (document, seq) DO UPDATE"
                " SET bucket = excluded.bucket, key = excluded.key, moved_at = excluded.moved_at",
                row["document"],
                row["seq"],
                place.bucket,
                place.key,
                row["size"],
                row["made_at"],
                row["moved_at"],
            )
            await connection.execute(
                "DELETE FROM snapshots WHERE document = $1 AND seq = $2", row["document"], row["seq"]
            )
        versions += 1
        size += row["size"]


# -- the process ---------------------------------------------------------------------------------------------


class Worker:
    """Does the jobs of one process.

    Compactions that follow one another share a connection: to open one takes 30 ms of processor time here
    (SCRAM's 4,096 rounds, which asyncpg computes in Python), more than to compact a short page.
    """

    def __init__(self, config: Config, archive: Archive) -> None:
        self._config = config
        self._archive = archive
        self._connection: asyncpg.Connection | None = None

    async def run(self, jobs: asyncio.StreamReader, answer: Callable[[Answer | Moved], None]) -> None:
        """Does what `jobs` has, a line each, until it ends."""
        try:
            while True:
                try:
                    async with asyncio.timeout(REST_SECONDS if self._connection else None):
                        line = await jobs.readline()
                except TimeoutError:
                    await self._disconnect()
                    continue
                if not line:
                    return
                match json.loads(line):
                    case {"document": document, "least": least}:
                        answer(await self._compact(document, least))
                    case _:
                        answer(await self._move())
        finally:
            await self._disconnect()

    async def _compact(self, document: str, least: int) -> Answer:
        keeping = self._config.keeping
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
            made = await compact_document(self._connection, document, least, keeping)
            pruned = await prune(self._connection)
            outgoing = bool(keeping.bucket) and await self._connection.fetchval(
                "SELECT EXISTS (SELECT FROM snapshots WHERE outgoing)"
            )
            return dataclasses.replace(made, pruned=pruned, outgoing=outgoing)
        except wire.WireError as error:
            return Answer(document, "failed", reason=str(error))
        except AWAY as error:
            await self._disconnect()  # the database may be back elsewhere
            return Answer(document, "away", reason=f"{type(error).__name__}: {error}".rstrip(": "))

    async def _move(self) -> Moved:
        """With a connection that ends with the job, as the lock does that it takes."""
        try:
            connection = await self._connect()
            try:
                return await move(connection, self._archive, self._config.keeping)
            finally:
                await connection.close(timeout=_CLOSE_SECONDS)
        except AWAY as error:
            return Moved(more=True, reason=f"{type(error).__name__}: {error}".rstrip(": "))

    async def _connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            **{**self._config.database.options(), "command_timeout": _STATEMENT_SECONDS}
        )

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*AWAY):  # one that the database ended already
                await connection.close(timeout=_CLOSE_SECONDS)


async def _serve(worker: Worker) -> None:
    jobs = asyncio.StreamReader()
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(jobs), sys.stdin
    )
    try:
        await worker.run(jobs, lambda answer: print(json.dumps(dataclasses.asdict(answer)), flush=True))
    finally:
        pipe.close()


def main() -> int:
    # Ctrl-C goes to every process of a terminal; this one ends when its service does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(10)
    # Where memory runs out, this process is the one to end: the service is somebody's connection.
    if sys.platform == "linux":
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
    config = parse(os.environ)
    asyncio.run(_serve(Worker(config, Archive(config.keeping.region))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
