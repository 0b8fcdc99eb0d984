"""The tables of both services, as numbered SQL files, applied once and in order.

`migrate` runs at the start of every service process. It holds an advisory lock, so of many processes that
start together one migrates and the rest wait; a file is applied in one transaction with the line that
records it. A file is never changed once it has been released: the next one corrects it. Changes are made
so that the tasks of the release before can go on working.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

import asyncpg

_LOCK: Final = 0x7A656469  # "zedi": any number will do, as long as all agree


async def migrate(connection: asyncpg.Connection) -> list[str]:
    """Brings the database up to date; returns the names of the files that were applied.

    Raises asyncpg.PostgresError when the database refuses one; nothing of that file is kept.
    """
    applied: list[str] = []
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations ("
            " name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {row["name"] for row in await connection.fetch("SELECT name FROM migrations")}
        for name, sql in _files():
            if name in done:
                continue
            async with connection.transaction():
                await connection.execute(sql)
                await connection.execute("INSERT INTO migrations (name) VALUES ($1)", name)
            applied.append(name)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)
    return applied


async def outstanding(connection: asyncpg.Connection | asyncpg.pool.PoolConnectionProxy) -> list[str]:
    """The files that are not applied yet, in order. Whoever migrates may be at it now."""
    try:
        done = {row["name"] for row in await connection.fetch("SELECT name FROM migrations")}
    except asyncpg.UndefinedTableError:
        done = set()
    return [name for name, _ in _files() if name not in done]


def _files() -> list[tuple[str, str]]:
    """Name and text of every migration, in order."""
    files = [file for file in resources.files(__name__).iterdir() if file.name.endswith(".sql")]
    return [(file.name, file.read_text("utf-8")) for file in sorted(files, key=lambda file: file.name)]
