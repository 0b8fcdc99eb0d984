"""The journal, on a real PostgreSQL: numbers without gaps, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pycrdt
import pytest

from zedi import schema
from zedi.realtime import config
from zedi.realtime import journal as journal_module
from zedi.realtime.config import DatabaseAddress
from zedi.realtime.journal import BATCH_UPDATES, Journal
from zedi.realtime.log import Log

if TYPE_CHECKING:
    from tests.realtime.conftest import Until
    from tests.servers import Database, Server

pytestmark = pytest.mark.server
SECONDS = 20.0


@contextlib.asynccontextmanager
async def running(address: DatabaseAddress) -> AsyncIterator[Journal]:
    journal = Journal(address, Log("test", "test", io.StringIO()))
    writer = asyncio.create_task(journal.run())
    try:
        yield journal
    finally:
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)


async def append(journal: Journal, document: str, updates: list[bytes]) -> int:
    """Appends and waits for the commit; the number of the first."""
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    journal.append(document, updates, lambda first, rows: done.set_result(first))
    async with asyncio.timeout(SECONDS):
        return await done


async def read(journal: Journal, document: str, after: int = 0) -> list[tuple[int, bytes]]:
    async with asyncio.timeout(SECONDS):
        return [
            row
            async for span in journal.read_from(document, after)
            for row in enumerate(span.updates, span.first)
        ]


async def test_what_is_appended_is_read_in_order(database: Database) -> None:
    """Each document counts its own updates from 1; reading goes on after any number."""
    async with running(database.address) as journal:
        assert await append(journal, "one", [b"a", b"b"]) == 1
        assert await append(journal, "two", [b"x"]) == 1
        assert await append(journal, "one", [b"c"]) == 3
        assert await read(journal, "one") == [(1, b"a"), (2, b"b"), (3, b"c")]
        assert await read(journal, "one", 2) == [(3, b"c")]
        assert await read(journal, "two") == [(1, b"x")]
        assert await read(journal, "three") == []


async def test_a_flood_is_committed_in_order_and_in_batches(database: Database) -> None:
    """More than a batch of appends: numbers are consecutive, callbacks come in order, nothing waits after."""
    async with running(database.address) as journal:
        numbers: dict[str, list[int]] = {"one": [], "two": []}
        for index in range(BATCH_UPDATES + 500):
            document = ("one", "two")[index % 2]

            def told(first: int, rows: list[bytes], numbers: list[int] = numbers[document]) -> None:
                numbers.append(first)

            journal.append(document, [str(index).encode()], told)
        async with asyncio.timeout(SECONDS):
            await journal.flush()
        assert journal.waiting == 0
        for start, document in enumerate(numbers):
            count = len(numbers[document])
            assert numbers[document] == list(range(1, count + 1))
            expected = [(n + 1, str(2 * n + start).encode()) for n in range(count)]
            assert await read(journal, document) == expected


async def test_what_comes_of_a_document_for_one_commit_is_one_row(database: Database) -> None:
    """The first append is told of the row, the others of none; what cannot be merged stays as it is."""
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    updates: list[bytes] = []
    kept = doc.observe(lambda event: updates.append(event.update))
    for letter in "abcd":
        doc.get("text", type=pycrdt.Text).insert(0, letter)
    del kept
    async with running(database.address) as journal:
        assert await append(journal, "doc", updates[:1]) == 1
        told: list[tuple[int, list[bytes]]] = []
        for update in updates[1:]:
            journal.append("doc", [update], lambda *what: told.append(what))
        for word in (b"neither", b"nor"):
            journal.append("other", [word], lambda *what: told.append(what))
        await journal.flush()
        row = pycrdt.merge_updates(*updates[1:])
        assert told == [(2, [row]), (3, []), (3, []), (1, [b"neither"]), (2, [b"nor"])]
        assert await read(journal, "doc") == [(1, updates[0]), (2, row)]
        assert await read(journal, "other") == [(1, b"neither"), (2, b"nor")]
        assert journal.waiting == 0


async def test_a_lone_append_is_not_kept_waiting_and_a_flood_is(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a commit the writer rests, so that more goes into the next; but not when somebody says "soon",
    nor when everything is to be written."""
    monkeypatch.setattr(journal_module, "PAUSE_SECONDS", 2 * SECONDS)
    async with running(database.address) as journal:
        assert await append(journal, "doc", [b"alone"]) == 1
        told: list[int] = []
        journal.append("doc", [b"kept"], lambda first, rows: told.append(first))
        journal.append("other", [b"back"], lambda first, rows: told.append(first))
        await asyncio.sleep(0)
        assert journal.commits == 1
        soon = asyncio.Event()
        journal.append("shared", [b"x"], lambda first, rows: soon.set(), soon=True)
        async with asyncio.timeout(SECONDS):
            await soon.wait()
        assert told == [2, 1] and journal.commits == 2
        journal.append("doc", [b"last"], lambda first, rows: told.append(first))
        async with asyncio.timeout(SECONDS):
            await journal.flush()
        assert told == [2, 1, 3]


async def test_a_flood_into_one_document_holds_up_no_other(database: Database) -> None:
    """Documents take turns: one edit behind ten batches of another page is in the first commit."""
    async with running(database.address) as journal:
        assert await append(journal, "quiet", [b"open"]) == 1
        commits: dict[str, list[int]] = {"flooded": [], "quiet": []}
        for number in range(10 * BATCH_UPDATES // 100):
            updates = [b"%d %d" % (number, each) for each in range(100)]
            journal.append("flooded", updates, lambda *_: commits["flooded"].append(journal.commits))
        journal.append("quiet", [b"x"], lambda *_: commits["quiet"].append(journal.commits))
        async with asyncio.timeout(SECONDS):
            await journal.flush()
        assert commits["quiet"] == [2] and max(commits["flooded"]) >= 11
        assert commits["flooded"] == sorted(commits["flooded"])
        assert [number for number, _ in await read(journal, "flooded")] == list(
            range(1, 10 * BATCH_UPDATES + 1)
        )


async def test_tasks_that_write_the_same_documents_share_the_numbers(database: Database) -> None:
    """Two writers, many documents in opposite orders: no deadlock, no gap, no number twice."""
    async with running(database.address) as one, running(database.address) as two:
        documents = [f"doc {number}" for number in range(8)]
        for _ in range(30):
            for journal, order in ((one, documents), (two, documents[::-1])):
                for document in order:
                    journal.append(document, [b"x"], lambda first, rows: None)
            await asyncio.sleep(0)
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(one.flush(), two.flush())
        for document in documents:
            assert [number for number, _ in await read(one, document)] == list(range(1, 61))
        assert one.problem is None and two.problem is None


async def test_a_reader_never_skips_what_commits_late(database: Database) -> None:
    """Whoever goes on reading after the highest number it saw sees every update, while two tasks write."""
    async with running(database.address) as one, running(database.address) as two:
        seen: list[int] = []
        done = asyncio.Event()

        async def follow() -> None:
            while True:
                last = done.is_set()
                seen.extend(number for number, _ in await read(one, "doc", seen[-1] if seen else 0))
                if last:
                    return

        follower = asyncio.create_task(follow())
        for _ in range(50):
            await asyncio.gather(append(one, "doc", [b"1"]), append(two, "doc", [b"2"]))
        done.set()
        async with asyncio.timeout(SECONDS):
            await follower
        assert seen == list(range(1, 101))


async def test_appends_outlive_a_restart_of_the_server(
    database: Database, postgres_server: Server, until: Until
) -> None:
    """What is appended while PostgreSQL is down is committed when it is back, in order, and problem says why
    it waits."""
    async with running(database.address) as journal:
        assert await append(journal, "doc", [b"before"]) == 1
        postgres_server.stop(signal.SIGQUIT)
        try:
            numbers: list[int] = []
            journal.append("doc", [b"during"], lambda first, rows: numbers.append(first))
            journal.append("doc", [b"also"], lambda first, rows: numbers.append(first))
            await until(lambda: journal.problem is not None)
            assert journal.waiting > 0 and numbers == []
        finally:
            postgres_server.start()
        assert await append(journal, "doc", [b"after"]) == 4
        assert [data for _, data in await read(journal, "doc")] == [b"before", b"during", b"also", b"after"]
        assert journal.problem is None


async def test_a_connection_cut_during_commits_loses_nothing(database: Database) -> None:
    """Connections are ended again and again while updates are written: each is there, in the order it was
    acknowledged; a repeated one does no harm, and numbers have no gaps."""
    async with running(database.address) as journal:
        await append(journal, "doc", [b"0"])
        cutter = await database.connect()
        try:
            acknowledged: dict[bytes, int] = {}
            for index in range(1, 40):
                update = str(index).encode()
                appending = asyncio.create_task(append(journal, "doc", [update]))
                if index % 5 == 0:
                    await cutter.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                acknowledged[update] = await appending
        finally:
            await cutter.close()
        rows = dict(await read(journal, "doc"))
        assert sorted(rows) == list(range(1, len(rows) + 1))
        assert all(rows[number] == update for update, number in acknowledged.items())


async def test_a_lock_on_one_document_holds_the_commit_back(database: Database, until: Until) -> None:
    """The head row's lock orders the writers: nothing is committed, or acknowledged, around it; other
    documents are written all the same."""
    async with running(database.address) as journal:
        await append(journal, "doc", [b"first"])
        locker = await database.connect()
        try:
            async with locker.transaction():
                await locker.execute("SELECT 1 FROM documents WHERE name = 'doc' FOR UPDATE")
                waiting = asyncio.create_task(append(journal, "doc", [b"second"]))
                await until(lambda: locker.fetchval("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"))
                later = [asyncio.create_task(append(journal, "doc", [str(n).encode()])) for n in range(3)]
                assert await append(journal, "other", [b"not held up"]) == 1
                assert await append(journal, "other", [b"nor this"]) == 2
                assert not waiting.done() and journal.waiting > 0 and journal.problem is None
            assert await waiting == 2
            async with asyncio.timeout(SECONDS):
                assert await asyncio.gather(*later) == [3, 4, 5]
                await journal.flush()
            assert journal.waiting == 0
        finally:
            await locker.close()


async def test_a_database_that_cannot_be_written_loses_nothing(database: Database, until: Until) -> None:
    """Read-only after a failover: what was accepted waits, and is written in order when it can be."""
    async with running(database.address) as journal:
        await append(journal, "doc", [b"before"])
        operator = await database.connect()
        name = database.address.name
        cut = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        try:
            await operator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            await operator.execute(cut)
            waiting = [asyncio.create_task(append(journal, "doc", [str(n).encode()])) for n in range(5)]
            await until(lambda: "ReadOnly" in (journal.problem or ""))
            assert not any(task.done() for task in waiting) and journal.waiting > 0
            assert await read(journal, "doc") == [(1, b"before")]
            await operator.execute("SET default_transaction_read_only = off")
            await operator.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            async with asyncio.timeout(SECONDS):
                assert await asyncio.gather(*waiting) == [2, 3, 4, 5, 6]
        finally:
            await operator.close()
        assert journal.problem is None and journal.waiting == 0


async def test_a_database_that_stands_still_is_waited_for(
    database: Database, postgres_server: Server, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    """A server that answers nothing, as one that is waking: each wait is bounded, and tried again."""
    monkeypatch.setattr(journal_module, "CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(journal_module, "COMMAND_SECONDS", 0.3)
    async with running(database.address) as journal:
        await append(journal, "doc", [b"before"])
        operator = await database.connect()
        try:
            backends = await operator.fetch(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        finally:
            await operator.close()
        assert postgres_server.pid is not None
        still = [postgres_server.pid, *(row["pid"] for row in backends)]
        for pid in still:
            os.kill(pid, signal.SIGSTOP)
        try:
            waiting = asyncio.create_task(append(journal, "doc", [b"during"]))
            await until(lambda: "Timeout" in (journal.problem or ""))
            assert not waiting.done() and journal.waiting > 0
        finally:
            for pid in still:
                os.kill(pid, signal.SIGCONT)
        await waiting
        rows = [data for _, data in await read(journal, "doc")]
        # It may have been written before its answer got lost; then it stands there twice.
        assert rows[0] == b"before" and set(rows[1:]) == {b"during"}
        assert journal.problem is None


async def test_a_journal_with_nothing_to_do_holds_no_connection(
    database: Database, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    """A while after the last edit and the last reading nobody is connected: the database can pause."""
    monkeypatch.setattr(journal_module, "_IDLE_SECONDS", 0.2)
    async with running(database.address) as journal:
        await append(journal, "doc", [b"1"])
        await read(journal, "doc")
        observer = await database.connect()
        count = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

        async def nobody() -> bool:
            return bool(await observer.fetchval(count) == 0)

        try:
            assert await observer.fetchval(count) > 0
            await until(nobody)
            assert await append(journal, "doc", [b"2"]) == 2
        finally:
            await observer.close()


async def test_it_starts_before_the_database_and_makes_the_tables(empty_database: Database) -> None:
    """An empty database is migrated by the first task that comes, or by one of several at once."""
    async with running(empty_database.address) as one, running(empty_database.address) as two:
        first, second = await asyncio.gather(append(one, "doc", [b"1"]), append(two, "doc", [b"2"]))
        assert sorted((first, second)) == [1, 2]


async def test_it_waits_for_whoever_makes_the_tables(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    """Another task is at it for longer than any statement may take: this one is ready when that one is."""
    for module in (config, journal_module):
        monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)
        monkeypatch.setattr(module, "COMMAND_SECONDS", 0.2)
    other = await empty_database.connect()
    try:
        await other.execute("SELECT pg_advisory_lock($1)", schema._LOCK)
        async with running(empty_database.address) as journal:
            await until(
                lambda: other.fetchval(
                    "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()"
                    " AND wait_event = 'advisory' AND clock_timestamp() - query_start > '0.5 s'"
                )
            )
            assert not journal.opened and journal.problem == "not connected yet"
            await other.execute("SELECT pg_advisory_unlock($1)", schema._LOCK)
            monkeypatch.undo()
            assert await append(journal, "doc", [b"1"]) == 1
    finally:
        await other.close()


def test_what_waits_is_bounded() -> None:
    """Past the bound the journal says that it is full; nobody is connected here at all."""

    async def fill() -> None:
        journal = Journal(
            DatabaseAddress("127.0.0.1", 1, "x", "x", "x", "disable"), Log("t", "t", io.StringIO())
        )
        while not journal.full:
            journal.append("doc", [b"x" * 1024 * 1024], lambda first, rows: None)
        assert 60 < journal.waiting / 1024 / 1024 < 70

    asyncio.run(fill())
