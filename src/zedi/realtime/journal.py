"""The journal: every accepted update, in PostgreSQL; the only truth there is.

Group commit: appends wait in one queue, and one writer takes all that waits (up to a bound) into one
statement, one round trip, one commit. A lone edit finds the writer rested and is committed at once; after a
commit the writer rests for PAUSE_SECONDS, which readers do not notice (they have it already) and authors
neither (they see "saved" a few hundredths of a second later). What another task waits for is not kept back.

What came of one document for one commit is stored as one row, where it can be merged: what is counted and
numbered here are rows. So a page that many write on grows by 33 rows a second at most, is compacted less
often, and opens from fewer rows.

Numbers: a document's head row counts its updates. The statement that appends raises the count under that
row's lock, and rows are locked in the order of their names, so numbers have no gaps, and batches of several
tasks cannot deadlock. Whoever has seen number n may rely on everything below n being committed.

One document must not hold up the others: where somebody holds a head row for longer than such a commit takes,
that document's appends are set aside, in their order, until the row is free.

Reading: a document begins with its newest snapshot, if it has one (see compaction), and goes on with the
updates above that. Those below it are deleted some time later, so whoever goes on from a number far back may
find the next ones gone, and gets the snapshot in their place.

When the database is away the writer tries again, waiting longer each time, and what waits is bounded: past
the bound `full` says so, and the shell closes sockets instead of accepting more: clients keep their edits. A
connection lost in the middle of a commit leaves open whether it happened; the batch is then appended again.
That is harmless: Yjs updates are idempotent, so a second row with the same bytes changes nothing; the first
rows' numbers show as a gap to every task (ours too), which reads them from here.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import asyncpg

from zedi.realtime.config import COMMAND_SECONDS, CONNECT_SECONDS, DatabaseAddress
from zedi.realtime.history import Snapshot, joined
from zedi.realtime.log import Log
from zedi.schema import migrate

BATCH_UPDATES: Final = 2000
BATCH_BYTES: Final = 4 * 1024 * 1024
WAITING_BYTES: Final = 64 * 1024 * 1024
"""What may wait while the database is away. Each update counts for its bytes and _OVERHEAD."""
_OVERHEAD: Final = 200
PAUSE_SECONDS: Final = 0.030
"""From the beginning of one commit to the next: each costs a fifth of a millisecond of processor time, and
as much at the database, however little is in it."""
READ_UPDATES: Final = 2000
"""Rows of one read."""
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_READERS: Final = 3
_LOCK_SECONDS: Final = 1.0
"""How long a batch waits for a document's row. Another task's commit holds it for milliseconds."""
_ASIDE_SECONDS: Final = 0.25
_IDLE_SECONDS: Final = 60.0
"""Idle connections are given up: an open one keeps a database that could sleep awake."""

AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server ended the connection just before the next statement
)
"""What asyncpg raises when the database is away, restarting, failing over or out of something."""

_APPEND: Final = """
WITH head AS (
    INSERT INTO documents (name, seq)
    SELECT name, count FROM unnest($1::text[], $2::bigint[]) AS batch (name, count)
    ORDER BY name COLLATE "C"
    ON CONFLICT (name) DO UPDATE SET seq = documents.seq + excluded.seq, updated_at = now()
    RETURNING name, seq
), appended AS (
    INSERT INTO updates (document, seq, data)
    SELECT batch.document, head.seq - batch.back, batch.data
    FROM unnest($3::text[], $4::bigint[], $5::bytea[]) AS batch (document, back, data)
    JOIN head ON head.name = batch.document
)
SELECT name, seq FROM head
"""
# One statement, so that the updates and the number of the newest are of one moment.
READ: Final = """
SELECT documents.seq AS head, page.seq, page.data
FROM documents LEFT JOIN LATERAL (
    SELECT seq, data FROM updates WHERE document = $1 AND seq > $2 ORDER BY seq LIMIT $3
) AS page ON true
WHERE name = $1 ORDER BY page.seq
"""
_UNLOCKED: Final = (
    'SELECT name FROM documents WHERE name = ANY($1) ORDER BY name COLLATE "C" FOR UPDATE SKIP LOCKED'
)
SNAPSHOT: Final = """
SELECT seq, data, pending, vector, deletions FROM snapshots WHERE document = $1 AND seq > $2
ORDER BY seq DESC LIMIT 1
"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Span:
    """What a document's updates from number `first` to number `last` say.

    `updates` are these very updates; or, beside a snapshot (`first` is 1 then), those that it does not hold
    because they wait for a predecessor.
    """

    first: int
    last: int
    updates: list[bytes]
    snapshot: Snapshot | None = None


Done = Callable[[int, list[bytes]], None]
"""Is told, after the commit of an append, the rows that it became and the number of the first. Where several
appends of a document became one row, the first of them is told of it and the others of none."""


@dataclass(slots=True)
class _Append:
    document: str
    updates: list[bytes]
    done: Done
    cost: int


@dataclass(slots=True)
class _Document:
    """What is to be committed of one document."""

    appends: list[_Append]
    rows: list[bytes]
    merged: bool = False


class Journal:
    """Appends to and reads from PostgreSQL. It starts whether the database is there or not.

    The writer has a connection of its own, so that readers cannot keep it waiting.
    """

    def __init__(self, address: DatabaseAddress, log: Log) -> None:
        self._address = address
        self._log = log
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._queue: dict[str, deque[_Append]] = {}
        """What waits of each document, in order; whose turn is next comes first."""
        self._aside: dict[str, list[_Append]] = {}
        """Appends of documents whose row somebody else holds, in order."""
        self._aside_until = 0.0
        self._waiting = 0
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._rested_at = 0.0
        """When the next commit may begin, if nobody is in a hurry."""
        self._empty = asyncio.Event()
        self._empty.set()
        self._ready = asyncio.Event()
        self.commits = 0
        """Since the start."""
        self.problem: str | None = "not connected yet"
        """Why nothing can be committed at the moment; None when all is well."""

    @property
    def opened(self) -> bool:
        """The database has answered once, and its tables are up to date."""
        return self._ready.is_set()

    @property
    def awake(self) -> bool:
        """Whether something was committed within the last minute or so."""
        return self._connection is not None

    @property
    def full(self) -> bool:
        return self._waiting >= WAITING_BYTES

    @property
    def waiting(self) -> int:
        """Bytes that are not committed yet."""
        return self._waiting

    def append(self, document: str, updates: list[bytes], done: Done, *, soon: bool = False) -> None:
        """Queues `updates`, in order; `done` is called after their commit, with what they were stored as.

        Appends of one document are committed in the order they came; `soon` asks for not keeping them back.
        It never fails: ask `full` before an update is accepted at all.
        """
        cost = sum(map(len, updates)) + _OVERHEAD * len(updates)
        self._queue.setdefault(document, deque()).append(_Append(document, updates, done, cost))
        self._waiting += cost
        self._empty.clear()
        self._wake.set()
        if soon or self._waiting > BATCH_BYTES:
            self._hurry.set()

    async def read_from(self, document: str, after: int) -> AsyncIterator[Span]:
        """What `document` says above number `after`, in order. A snapshot among it comes from number 1 on.

        Raises one of AWAY when the database does not answer in time.
        """
        whole, asked = after == 0, -1
        ahead: asyncio.Task[Any] | None = None
        try:
            while True:
                if whole:
                    whole, asked = False, after
                    for row in await self.fetch(SNAPSHOT, document, after):
                        after = row["seq"]
                        snapshot = Snapshot(row["data"], row["vector"], row["deletions"])
                        yield Span(1, after, row["pending"], snapshot)
                rows = await (ahead or self.fetch(READ, document, after, READ_UPDATES))
                ahead = None
                head = rows[0]["head"] if rows else 0
                rows = [row for row in rows if row["seq"] is not None]
                if (rows[0]["seq"] if rows else head) > after + (1 if rows else 0):
                    if asked != after:
                        whole = True  # they were deleted: a newer snapshot says what they said
                        continue
                    # Only a hand in the tables can bring this about. What is left is given all the same.
                    self._log.event("journal_gap", level="error", document=document, after=after, head=head)
                more = len(rows) == READ_UPDATES
                if more:
                    # The database reads while the caller works on what is here.
                    ahead = asyncio.create_task(self.fetch(READ, document, rows[-1]["seq"], READ_UPDATES))
                if rows:
                    yield Span(rows[0]["seq"], rows[-1]["seq"], [row["data"] for row in rows])
                    after = rows[-1]["seq"]
                if not more:
                    return
        finally:
            if ahead is not None:
                # Whoever asked does not want the rest.
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)

    async def fetch(self, query: str, *args: object) -> Any:
        """Rows. Raises one of AWAY when the database does not answer in time."""
        pool = await self._connected()
        async with asyncio.timeout(COMMAND_SECONDS):
            connection = await pool.acquire()
            try:
                return await connection.fetch(query, *args)
            except BaseException:
                # Else the pool waits until the server has confirmed that it cancels: for good, where nothing
                # comes from there any more.
                connection.terminate()
                raise
            finally:
                await pool.release(connection)

    async def flush(self) -> None:
        """Waits until everything that was appended is committed; the caller sets the bound."""
        self._hurry.set()
        await self._empty.wait()

    async def run(self) -> None:
        """The writer: migrates the tables, then commits what is appended, until it is cancelled.

        What is not committed by then was not acknowledged either.
        """
        try:
            await self._persist(self._open, bounded=False)
            while True:
                await self._next()
                if self._aside:
                    await self._persist(self._try_aside)
                while self._queue:
                    await self._rest()
                    batch = self._take()
                    before = await self._persist(functools.partial(self._commit, batch)) if batch else {}
                    for name, document in batch.items():
                        if name in before:
                            self._committed(document, before[name] + 1)
                        else:
                            self._set_aside(name, document)
                    if self._aside:
                        await self._persist(self._try_aside)
                if not self._aside:
                    self._empty.set()
        finally:
            self._drop()
            if self._pool is not None:
                self._pool.terminate()

    async def _next(self) -> None:
        """Waits for an append. A connection that has nothing to do for a while is given up."""
        try:
            seconds = _ASIDE_SECONDS if self._aside else _IDLE_SECONDS if self._connection else None
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            if self._aside:
                return
            self._drop()
            await self._wake.wait()
        self._wake.clear()

    async def _rest(self) -> None:
        """Lets PAUSE_SECONDS pass since the last commit began, unless somebody is in a hurry."""
        rest = self._rested_at - time.monotonic()
        if rest > 0 and not self._hurry.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._hurry.wait()
        self._hurry.clear()
        self._rested_at = time.monotonic() + PAUSE_SECONDS

    def _committed(self, document: _Document, first: int) -> None:
        for append in document.appends:
            self._waiting -= append.cost
            rows = append.updates
            if document.merged:
                rows, document.rows = document.rows, []
            append.done(first, rows)
            first += len(rows)

    def _set_aside(self, name: str, document: _Document) -> None:
        if name not in self._aside:
            self._aside[name] = []
            self._aside_until = time.monotonic() + _ASIDE_SECONDS
            self._log.event("document_locked", level="warning", document=name)
        self._aside[name] += document.appends

    async def _try_aside(self) -> None:
        """Puts what was set aside first in the queue again, once its document's row is not held any more."""
        if time.monotonic() < self._aside_until:
            return
        self._aside_until = time.monotonic() + _ASIDE_SECONDS
        connection = await self._writer()
        there = await connection.fetch("SELECT name FROM documents WHERE name = ANY($1)", list(self._aside))
        held = {row["name"] for row in there} - await self._unlocked(connection, self._aside)
        for document in [document for document in self._aside if document not in held]:
            waiting = deque(self._aside.pop(document))
            waiting.extend(self._queue.pop(document, ()))
            self._queue = {document: waiting, **self._queue}

    async def _unlocked(
        self, connection: asyncpg.Connection[asyncpg.Record], documents: Iterable[str]
    ) -> set[str]:
        rows = await connection.fetch(_UNLOCKED, list(documents))
        return {row["name"] for row in rows}

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _connected(self) -> asyncpg.Pool[asyncpg.Record]:
        async with asyncio.timeout(CONNECT_SECONDS):
            await self._ready.wait()
        assert self._pool is not None
        return self._pool

    def _take(self) -> dict[str, _Document]:
        """What is committed next, by document. They take turns: a flood into one holds up no other."""
        batch: dict[str, _Document] = {}
        count = size = 0
        while self._queue and count < BATCH_UPDATES and size < BATCH_BYTES:
            name = next(iter(self._queue))
            waiting = self._queue.pop(name)
            if name in self._aside:
                self._aside[name] += waiting
                continue
            append = waiting.popleft()
            if waiting:
                self._queue[name] = waiting
            count += len(append.updates)
            size += append.cost
            document = batch.setdefault(name, _Document([], []))
            document.appends.append(append)
            document.rows += append.updates
        for document in batch.values():
            rows = joined(document.rows)
            document.merged = len(rows) < len(document.rows)
            document.rows = rows
        return batch

    async def _commit(self, batch: dict[str, _Document]) -> dict[str, int]:
        """Commits a batch; for each document the number before its first row. Those whose row somebody else
        holds are left out, that nobody else has to wait for them."""
        documents: list[str] = []
        backs: list[int] = []
        rows: list[bytes] = []
        for name, document in batch.items():
            documents += [name] * len(document.rows)
            backs += range(len(document.rows) - 1, -1, -1)
            rows += document.rows
        counts = [len(document.rows) for document in batch.values()]
        connection = await self._writer()
        try:
            heads = await connection.fetch(_APPEND, list(batch), counts, documents, backs, rows)
        except asyncpg.LockNotAvailableError:
            unlocked = await self._unlocked(connection, batch)
            rest = {name: document for name, document in batch.items() if name in unlocked}
            return await self._commit(rest) if rest else {}
        self.commits += 1
        return {head["name"]: head["seq"] - len(batch[head["name"]].rows) for head in heads}

    async def _persist(self, work: Callable[[], Awaitable[T]], *, bounded: bool = True) -> T:
        """Does `work` until it succeeds, waiting longer each time."""
        pause = _FIRST_PAUSE
        told = False
        while True:
            try:
                async with asyncio.timeout(CONNECT_SECONDS + COMMAND_SECONDS if bounded else None):
                    result = await work()
            except AWAY as error:
                # Whatever state the connection is in, nobody has to find out.
                self._drop()
                self.problem = f"{type(error).__name__}: {error}".rstrip(": ")
                if not told:
                    self._log.event(
                        "database_away", level="error", reason=self.problem, waiting=self._waiting
                    )
                    told = True
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                if self.problem is not None:
                    self._log.event("database_ready")
                self.problem = None
                return result

    async def _open(self) -> None:
        for name in await migrate(self._address.options()):
            self._log.event("migrated", file=name)
        self._pool = await asyncpg.create_pool(
            min_size=0,
            max_size=_READERS,
            max_inactive_connection_lifetime=_IDLE_SECONDS,
            **self._address.options(),
        )
        self._ready.set()

    async def _writer(self) -> asyncpg.Connection[asyncpg.Record]:
        if self._connection is None:
            self._connection = await asyncpg.connect(**self._address.options())
            await self._connection.execute(f"SET lock_timeout = '{_LOCK_SECONDS:g}s'")
        return self._connection
