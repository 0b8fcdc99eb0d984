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
    connection = await empty_database.connect()
    try:
        applied = await schema.migrate(connection)
        assert applied == sorted(applied) and "0001_pages_and_journal.sql" in applied
        assert await schema.migrate(connection) == []
    finally:
        await connection.close()


async def test_of_many_that_start_together_one_migrates(empty_database: Database) -> None:
    """Tasks that start at the same time wait for each other; every file is applied exactly once."""
    connections = [await empty_database.connect() for _ in range(5)]
    try:
        async with asyncio.timeout(20):
            results = await asyncio.gather(*map(schema.migrate, connections))
    finally:
        for connection in connections:
            await connection.close()
    assert sorted(map(bool, results)) == [False, False, False, False, True]


async def test_a_file_that_fails_leaves_nothing(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went before stays, the failing file is undone, and the lock is given back."""
    good, bad = (
        ("0001.sql", "CREATE TABLE a (x int)"),
        ("0002.sql", "CREATE TABLE b (x int); SELECT nonsense"),
    )
    monkeypatch.setattr(schema, "_files", lambda: [good, bad])
    connection = await empty_database.connect()
    other = await empty_database.connect()
    try:
        with pytest.raises(asyncpg.PostgresError):
            await schema.migrate(connection)
        assert await connection.fetchval("SELECT to_regclass('a') IS NOT NULL AND to_regclass('b') IS NULL")
        monkeypatch.setattr(schema, "_files", lambda: [good])
        async with asyncio.timeout(20):
            assert await schema.migrate(other) == []
    finally:
        await connection.close()
        await other.close()


async def test_what_is_outstanding_is_named(empty_database: Database) -> None:
    """All files before the first run, none after it."""
    connection = await empty_database.connect()
    try:
        files = await schema.outstanding(connection)
        assert files == await schema.migrate(connection)
        assert await schema.outstanding(connection) == []
    finally:
        await connection.close()
