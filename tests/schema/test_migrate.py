"""Migrations, on a real PostgreSQL: once, in order, and whole or not at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from zedi import schema

if TYPE_CHECKING:
    from tests.servers import Database

pytestmark = pytest.mark.server


async def test_each_file_is_applied_once(empty_database: Database) -> None:
    """The first run applies all files, the next one none."""
    applied = await schema.migrate(empty_database.address.options())
    assert applied == sorted(applied) and "0001_pages_and_journal.sql" in applied
    assert await schema.migrate(empty_database.address.options()) == []


async def test_of_many_that_start_together_one_migrates(empty_database: Database) -> None:
    """Tasks that start at the same time wait for each other; every file is applied exactly once."""
    async with asyncio.timeout(20):
        results = await asyncio.gather(*[schema.migrate(empty_database.address.options()) for _ in range(5)])
    assert sorted(map(bool, results)) == [False, False, False, False, True]


async def test_a_file_that_fails_leaves_nothing(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went before stays, the failing file is undone, and the lock is given back."""
    good, bad = (
        ("0001.sql", "CREATE TABLE a (x int)"),
        ("0002.sql", "CREATE TABLE b (x int); SELECT nonsense"),
    )
    options = empty_database.address.options()
    monkeypatch.setattr(schema, "_files", lambda: [good, bad])
    with pytest.raises(asyncpg.PostgresError):
        await schema.migrate(options)
    connection = await empty_database.connect()
    try:
        assert await connection.fetchval("SELECT to_regclass('a') IS NOT NULL AND to_regclass('b') IS NULL")
    finally:
        await connection.close()
    monkeypatch.setattr(schema, "_files", lambda: [good])
    async with asyncio.timeout(20):
        assert await schema.migrate(options) == []


async def test_a_file_takes_as_long_as_it_takes(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than a statement of the service may, and longer than a table is waited for."""
    monkeypatch.setattr(schema, "_LOCK_SECONDS", 0.1)
    monkeypatch.setattr(schema, "_files", lambda: [("0001.sql", "SELECT pg_sleep(0.4)")])
    assert await schema.migrate({**empty_database.address.options(), "command_timeout": 0.1}) == ["0001.sql"]


async def test_a_file_does_not_queue_for_a_table_for_long(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody reads a table for a long time: whoever wants to change it gives up, so that others who read it
    do not wait behind that, and does it once the table is free."""
    create, change = ("0001.sql", "CREATE TABLE a (x int)"), ("0002.sql", "ALTER TABLE a ADD y int")
    options = empty_database.address.options()
    monkeypatch.setattr(schema, "_LOCK_SECONDS", 0.1)
    monkeypatch.setattr(schema, "_files", lambda: [create])
    await schema.migrate(options)
    monkeypatch.setattr(schema, "_files", lambda: [create, change])
    reader = await empty_database.connect()
    try:
        async with reader.transaction():
            await reader.execute("SELECT x FROM a")
            async with asyncio.timeout(20):
                with pytest.raises(asyncpg.LockNotAvailableError):
                    await schema.migrate(options)
        assert await schema.migrate(options) == ["0002.sql"]
    finally:
        await reader.close()


async def test_who_is_gone_does_not_stay_in_the_queue(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is told to go while another one migrates leaves no connection behind."""
    monkeypatch.setattr(schema, "_GONE_SECONDS", 0.1)
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
    )
    connection = await empty_database.connect()
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", schema._LOCK)
        migrating = asyncio.create_task(schema.migrate(empty_database.address.options()))
        async with asyncio.timeout(20):
            while await connection.fetchval(waiting) == 0:
                pass
            migrating.cancel()
            await asyncio.wait([migrating])
            while await connection.fetchval(waiting) == 1:
                pass
    finally:
        await connection.close()


async def test_what_nobody_waits_for_any_more_is_finished_whole(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is told to go in the middle of a file goes at once; the file is applied, and recorded."""
    lock = 77
    file = ("0001.sql", f"CREATE TABLE a (x int); SELECT pg_advisory_lock({lock}); INSERT INTO a VALUES (1)")
    monkeypatch.setattr(schema, "_files", lambda: [file])
    monkeypatch.setattr(schema, "_LOCK_SECONDS", 20.0)
    options = empty_database.address.options()
    connection = await empty_database.connect()
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", lock)
        migrating = asyncio.create_task(schema.migrate(options))
        async with asyncio.timeout(20):
            while not await connection.fetchval(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND objid = $1", lock
            ):
                pass
        migrating.cancel()
        await asyncio.wait([migrating])
        assert migrating.cancelled()
        assert await connection.fetchval("SELECT to_regclass('a')") is None
        await connection.execute("SELECT pg_advisory_unlock($1)", lock)
        async with asyncio.timeout(20):
            assert await schema.migrate(options) == []
        assert await connection.fetchval("SELECT x FROM a") == 1
    finally:
        await connection.close()


async def test_what_is_outstanding_is_named(empty_database: Database) -> None:
    """All files before the first run, none after it."""
    connection = await empty_database.connect()
    try:
        files = await schema.outstanding(connection)
        assert files == await schema.migrate(empty_database.address.options())
        assert await schema.outstanding(connection) == []
    finally:
        await connection.close()
