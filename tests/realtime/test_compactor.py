"""Compaction on a real PostgreSQL and in its own process: killed, crashing, late, at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import asyncpg
import pycrdt
import pytest

from zedi.realtime import compaction, compactor, wire
from zedi.realtime.archive import Archive
from zedi.realtime.compaction import compact_document, prune
from zedi.realtime.compactor import Compactor, due
from zedi.realtime.config import Keeping, parse
from zedi.realtime.journal import Journal, Span
from zedi.realtime.log import Log

if TYPE_CHECKING:
    from tests.realtime.conftest import Connect, StartService, Until
    from tests.servers import Database, Issuer

SECONDS = 20.0
KEEPING = Keeping(versions=30, days=90, minutes=10, bucket="", bucket_days=0, region="ap-northeast-1")
server = pytest.mark.server


def typed(count: int, text: str = "x") -> list[bytes]:
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    updates: list[bytes] = []
    kept = doc.observe(lambda event: updates.append(event.update))
    for _ in range(count):
        doc.get("text", type=pycrdt.Text).insert(0, text)
    del kept
    return updates


def text_of(spans: list[Span]) -> str:
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    for span in spans:
        for update in [*([span.snapshot.data] if span.snapshot else []), *span.updates]:
            doc.apply_update(update)
    return str(doc.get("text", type=pycrdt.Text))


async def store(connection: asyncpg.Connection, document: str, updates: list[bytes]) -> None:
    """Appends as the journal would."""
    async with connection.transaction():
        last = await connection.fetchval(
            "INSERT INTO documents (name, seq) VALUES ($1, $2)"
            " ON CONFLICT (name) DO UPDATE SET seq = documents.seq + excluded.seq RETURNING seq",
            document,
            len(updates),
        )
        rows = [(document, last - len(updates) + n, update) for n, update in enumerate(updates, 1)]
        await connection.executemany("INSERT INTO updates (document, seq, data) VALUES ($1, $2, $3)", rows)


@contextlib.asynccontextmanager
async def reading(database: Database) -> AsyncIterator[Journal]:
    journal = Journal(database.address, Log("test", "test", io.StringIO()))
    writer = asyncio.create_task(journal.run())
    try:
        yield journal
    finally:
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)


async def read(journal: Journal, document: str, after: int = 0) -> list[Span]:
    async with asyncio.timeout(SECONDS):
        return [span async for span in journal.read_from(document, after)]


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await database.connect()
    yield connection
    await connection.close()


@server
async def test_a_document_is_read_as_snapshot_and_tail(
    database: Database, connection: asyncpg.Connection
) -> None:
    """After a compaction a reader gets one snapshot and what came since; a second one takes over from it."""
    updates = typed(50)
    await store(connection, "doc", updates[:30])
    answer = await compact_document(connection, "doc", 1, KEEPING)
    assert (answer.status, answer.seq, answer.updates) == ("compacted", 30, 30)
    await store(connection, "doc", updates[30:40])
    async with reading(database) as journal:
        spans = await read(journal, "doc")
        assert [(span.first, span.last) for span in spans] == [(1, 30), (31, 40)]
        assert text_of(spans) == "x" * 40
        # Who has seen some already goes on from there.
        assert [(span.first, span.last) for span in await read(journal, "doc", 35)] == [(36, 40)]
        assert (await compact_document(connection, "doc", 11, KEEPING)).status == "unneeded"
        assert (await compact_document(connection, "doc", 10, KEEPING)).seq == 40
        spans = await read(journal, "doc")
        assert [(span.first, span.last) for span in spans] == [(1, 40)]
        assert text_of(spans) == "x" * 40
    assert (await compact_document(connection, "nothing", 1, KEEPING)).status == "unneeded"


@server
async def test_what_is_deleted_is_read_from_the_snapshot(
    database: Database, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Updates stay until their time is over; then a reader that goes on from far back gets the snapshot."""
    updates = typed(40)
    await store(connection, "doc", updates[:30])
    await compact_document(connection, "doc", 1, KEEPING)
    assert await prune(connection) == 0
    assert len(await database.updates("doc")) == 30
    await connection.execute("UPDATE compactions SET prune_at = now() - interval '1 second'")
    await store(connection, "doc", updates[30:])
    monkeypatch.setattr(compaction, "_PRUNED_UPDATES", 20)
    assert await prune(connection) == 30
    assert [number for number, _ in await database.updates("doc")] == list(range(31, 41))
    async with reading(database) as journal:
        for after, expected in (
            (0, [(1, 30), (31, 40)]),
            (12, [(1, 30), (31, 40)]),
            (30, [(31, 40)]),
            (40, []),
        ):
            assert [(s.first, s.last) for s in await read(journal, "doc", after)] == expected
        await compact_document(connection, "doc", 1, KEEPING)
        await connection.execute("DELETE FROM updates")
        assert [(s.first, s.last) for s in await read(journal, "doc", 12)] == [(1, 40)]


@server
async def test_nothing_is_deleted_without_its_snapshot(
    database: Database, connection: asyncpg.Connection
) -> None:
    """A hand that empties the table of snapshots does not cost what they stood for."""
    await store(connection, "doc", typed(5))
    await compact_document(connection, "doc", 1, KEEPING)
    await connection.execute("DELETE FROM snapshots")
    await connection.execute("UPDATE compactions SET prune_at = now() - interval '1 second'")
    assert await prune(connection) == 0
    assert len(await database.updates("doc")) == 5


@server
async def test_older_snapshots_stay_as_versions(connection: asyncpg.Connection) -> None:
    """Those that follow another too soon go; without a bucket so do those beyond the number and the days; the
    newest never."""
    keeping = dataclasses.replace(KEEPING, versions=3)

    async def compacted(minutes: int) -> list[int]:
        """Somebody writes, `minutes` pass, and the page is compacted; which snapshots there are."""
        await connection.execute("UPDATE snapshots SET made_at = made_at - $1 * interval '1 minute'", minutes)
        await store(connection, "doc", typed(1))
        assert (await compact_document(connection, "doc", 1, keeping)).status == "compacted"
        return [row["seq"] for row in await connection.fetch("SELECT seq FROM snapshots ORDER BY seq")]

    assert await compacted(0) == [1]
    assert await compacted(4) == [1, 2]
    assert await compacted(4) == [1, 3]
    assert await compacted(4) == [1, 4]
    assert await compacted(4) == [1, 4, 5]
    for _ in range(6):
        await compacted(60)
    assert await compacted(60) == [9, 10, 11, 12]
    assert await compacted(200 * 24 * 60) == [13]


@server
async def test_one_at_a_time(database: Database, connection: asyncpg.Connection) -> None:
    """Who finds the document taken leaves it to its holder."""
    await store(connection, "doc", typed(5))
    await connection.execute("INSERT INTO compactions (document) VALUES ('doc')")
    other = await database.connect()
    try:
        async with other.transaction():
            await other.execute("SELECT 1 FROM compactions FOR UPDATE")
            assert (await compact_document(connection, "doc", 1, KEEPING)).status == "busy"
    finally:
        await other.close()
    assert (await compact_document(connection, "doc", 1, KEEPING)).status == "compacted"


@server
async def test_readers_and_writers_at_the_same_time_lose_nothing(
    database: Database, connection: asyncpg.Connection
) -> None:
    """While a document is written, compacted and pruned without pause, every reader sees all that was
    committed when it began."""
    updates = typed(300)
    await store(connection, "doc", updates[:1])
    stop = asyncio.Event()

    async def tidy() -> None:
        own = await database.connect()
        try:
            while not stop.is_set():
                await compact_document(own, "doc", 1, KEEPING)
                await own.execute("UPDATE compactions SET prune_at = now() - interval '1 second'")
                await prune(own)
        finally:
            await own.close()

    async with reading(database) as journal:
        tidying = asyncio.create_task(tidy())
        for end in range(1, 300, 10):
            await store(connection, "doc", updates[end : end + 10])
            for after in (0, end // 2, end):
                spans = await read(journal, "doc", after)
                assert spans[-1].last == min(end + 10, 300)
                if after == 0:
                    assert len(text_of(spans)) == min(end + 10, 300)
        stop.set()
        await tidying


def environment(variables: dict[str, str]) -> dict[str, str]:
    return {**variables, "PATH": os.environ["PATH"], "PYTHONWARNINGS": "error"}


@contextlib.asynccontextmanager
async def running(
    variables: dict[str, str], *command: str
) -> AsyncIterator[tuple[Compactor, list[tuple[str, int]], io.StringIO]]:
    done: list[tuple[str, int]] = []
    stream = io.StringIO()
    log = Log("test", "test", stream)

    def said(document: str, seq: int) -> None:
        done.append((document, seq))

    process = Compactor(log, said, variables, command) if command else Compactor(log, said, variables)
    task = asyncio.create_task(process.run())
    try:
        yield process, done, stream
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@server
async def test_a_document_that_cannot_be_compacted_is_left_alone(
    database: Database,
    connection: asyncpg.Connection,
    task_environment: Callable[[Database], dict[str, str]],
    until: Until,
) -> None:
    """Bytes that pycrdt refuses: said once, nothing changes, and the next document has its turn."""
    await store(connection, "bad", [*typed(3), b"\x01\xff\xff\xff"])
    await store(connection, "good", typed(3))
    async with running(environment(task_environment(database))) as (process, done, stream):
        process.ask("bad", 1)
        process.ask("good", 1)
        await until(lambda: done == [("good", 3)])
        process.ask("bad", 1)
    assert [(e["event"], e["document"]) for e in events(stream)] == [
        ("left_uncompacted", "bad"),
        ("compacted", "good"),
    ]
    assert await connection.fetch("SELECT document FROM snapshots WHERE document = 'bad'") == []
    assert len(await database.updates("bad")) == 4


@server
async def test_a_process_killed_in_the_middle_changes_nothing(
    database: Database,
    connection: asyncpg.Connection,
    task_environment: Callable[[Database], dict[str, str]],
    until: Until,
) -> None:
    """SIGKILL while it holds the document: no snapshot, all updates; another process makes it later."""
    await store(connection, "doc", typed(5))
    # It waits for this lock when it has everything in hand.
    blocker = await database.connect()
    waiting = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"
    try:
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE snapshots IN EXCLUSIVE MODE")
            async with running(environment(task_environment(database))) as (process, done, stream):
                process.ask("doc", 1)
                await until(lambda: connection.fetchval(waiting))
                assert process._process is not None
                process._process.kill()
                await until(lambda: "left_uncompacted" in stream.getvalue())
                assert done == []
    finally:
        await blocker.close()

    async def free() -> bool:
        answer = await compact_document(connection, "doc", 1, KEEPING)
        return answer.status == "compacted"

    assert await connection.fetchval("SELECT count(*) FROM snapshots") == 0
    await until(free)


@server
async def test_a_database_that_ends_in_the_middle_is_asked_again(
    database: Database,
    connection: asyncpg.Connection,
    task_environment: Callable[[Database], dict[str, str]],
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A connection cut while the snapshot is written: a warning, no change, and the next time it works."""
    monkeypatch.setattr(compactor, "LEAST_SECONDS", 0.0)
    await store(connection, "doc", typed(5))
    blocker = await database.connect()
    try:
        async with running(environment(task_environment(database))) as (process, done, stream):
            async with blocker.transaction():
                await blocker.execute("LOCK TABLE snapshots IN EXCLUSIVE MODE")
                process.ask("doc", 1)
                cut = "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_locks WHERE NOT granted"
                await until(lambda: connection.fetchval(cut))
                await until(lambda: '"compaction"' in stream.getvalue())
            process.ask("doc", 1)
            await until(lambda: done == [("doc", 5)])
    finally:
        await blocker.close()


@server
async def test_jobs_share_a_connection_that_does_not_stay(
    database: Database,
    connection: asyncpg.Connection,
    task_environment: Callable[[Database], dict[str, str]],
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One for jobs that follow one another; none after a rest; a new one where the database ended it."""
    made: list[asyncpg.Connection] = []
    connect = asyncpg.connect

    async def counted(**options: Any) -> asyncpg.Connection:
        made.append(await connect(**options))
        return made[-1]

    monkeypatch.setattr(asyncpg, "connect", counted)
    monkeypatch.setattr(compaction, "REST_SECONDS", 60.0)
    config = parse(task_environment(database))
    jobs, answers = asyncio.StreamReader(), list[Any]()
    worker = asyncio.create_task(
        compaction.Worker(config, Archive(config.keeping.region)).run(jobs, answers.append)
    )

    async def compacted(*documents: str) -> None:
        answers.clear()
        for document in documents:
            await store(connection, document, typed(3))
            jobs.feed_data(json.dumps({"document": document, "least": 1}).encode() + b"\n")
        await until(lambda: len(answers) == len(documents))
        assert [(answer.document, answer.status) for answer in answers] == [
            (document, "compacted") for document in documents
        ]

    async with asyncio.timeout(SECONDS):
        await compacted("one", "two")
        assert len(made) == 1
        await connection.fetchval("SELECT pg_terminate_backend($1)", made[0].get_server_pid())
        await until(made[0].is_closed)
        monkeypatch.setattr(compaction, "REST_SECONDS", 0.05)
        await compacted("three")
        assert len(made) == 2
        await until(made[1].is_closed)
        await compacted("four")
        assert len(made) == 3
        jobs.feed_eof()
        await worker
    assert all(each.is_closed() for each in made)


async def test_a_process_that_dies_or_says_nonsense_costs_one_document(until: Until) -> None:
    """A crash, an end without an answer, an answer that is none: each is said once, and the rest goes on."""
    script = (
        "import sys, json, os\n"
        "for line in sys.stdin:\n"
        "    document = json.loads(line)['document']\n"
        "    if document == 'crash': os.abort()\n"
        "    if document == 'end': sys.exit(3)\n"
        "    if document == 'nonsense': print('?', flush=True)\n"
        "    answer = dict(document=document, status='compacted', seq=1, reason='')\n"
        "    if document != 'nonsense': print(json.dumps(answer), flush=True)\n"
    )
    async with running({}, sys.executable, "-c", script) as (process, done, stream):
        for document in ("crash", "one", "end", "nonsense", "two"):
            process.ask(document, 1)
        await until(lambda: len(done) == 2)
        assert done == [("one", 1), ("two", 1)]
    left = [(e["document"], e["reason"]) for e in events(stream) if e["event"] == "left_uncompacted"]
    assert [document for document, _ in left] == ["crash", "end", "nonsense"]
    assert "-6" in left[0][1] and "status 3" in left[1][1]


async def test_an_idle_task_has_no_process(until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends a little after its last job, and the next job starts another."""
    monkeypatch.setattr(compactor, "_IDLE_SECONDS", 0.05)
    script = 'import sys\nfor line in sys.stdin: print(\'{"status": "unneeded", "seq": 7}\', flush=True)'
    async with running({}, sys.executable, "-c", script) as (process, done, _):
        process.ask("one", 1)
        await until(lambda: len(done) == 1)
        await until(lambda: process._process is None)
        process.ask("one", 1)  # too soon
        process.ask("two", 1)
        await until(lambda: done == [("one", 7), ("two", 7)])


def test_when_it_is_due() -> None:
    """Long tails are; a few letters above a long page are not, unless it is small and just closed."""
    assert not due(999, 1000, 0) and due(1000, 1000, 0)
    assert due(1, 2 * 1024 * 1024, 0)
    assert not due(2000, 20_000, 20_000_000) and due(10_000, 100_000, 20_000_000)
    assert due(1, 10, 1000, closing=True) and not due(0, 0, 1000, closing=True)
    assert not due(1, 10, 20_000_000, closing=True)


@server
async def test_a_task_compacts_what_is_closed(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """Somebody writes and leaves; a while later the page is one snapshot, and opens from it."""
    service = await start_service(database)
    page = await database.page()
    [update] = typed(1, "kept")
    client = await connect(service)
    client.say(wire.Token(page, issuer.token(), None))
    client.say(wire.Step1(page, wire.EMPTY_STATE_VECTOR))
    await client.until(wire.Step2)
    client.say(wire.Update(page, update))
    await client.until(wire.SyncStatus)
    client.transport.disconnect()
    await service.logged("compacted", document=page, seq=1)
    await service.logged("document_closed", document=page)
    again = await connect(service)
    again.say(wire.Token(page, issuer.token(), None))
    again.say(wire.Step1(page, wire.EMPTY_STATE_VECTOR))
    answer = await again.until(wire.Step2)
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    doc.apply_update(answer.update)
    assert str(doc.get("text", type=pycrdt.Text)) == "kept"
