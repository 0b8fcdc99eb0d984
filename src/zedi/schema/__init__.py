"""The tables of both services, as numbered SQL files, applied once and in order.

`migrate` runs at the start of every service process. It holds an advisory lock, so of many processes that
start together one migrates and the rest wait; a file is applied in one transaction with the line that
records it. A file is never changed once it has been released: the next one corrects it. Changes are made
so that the tasks of the release before can go on working.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

import asyncpg

_LOCK: Final = 0x7A656469  # "zedi": any number will do, as long as all agree
_LOCK_SECONDS: Final = 5.0
"""How long a file waits for a table: all who come after it wait with it, and they are at work."""
_GONE_SECONDS: Final = 1.0
"""How often the server looks whether those are still there who wait for their turn."""
# While it waits, whoever is gone leaves the queue, and one of the few connections. Before 15 not every system
# that PostgreSQL runs on can tell.
_QUEUE: Final = """
SELECT set_config('client_connection_check_interval', '{seconds:g}s', true)
WHERE current_setting('server_version_num')::int >= 150000;
SELECT pg_advisory_lock({lock})
"""


async def migrate(options: Mapping[str, Any]) -> list[str]:
    """Brings the database up to date; returns the names of the files that were applied.

    It connects with these options of asyncpg, but without `command_timeout`: a file takes as long as it
    takes, and so does whoever is at it already. Who cancels it does not wait for the server either: that
    finishes the file by itself, whole or not at all.

    Raises what asyncpg raises: OSError and the like when the database is away, asyncpg.PostgresError when it
    refuses a file or does not get a table for it in time; nothing of that file is kept.
    """
    applied: list[str] = []
    connection = await asyncpg.connect(**{**options, "command_timeout": None})
    try:
        await connection.execute(_QUEUE.format(seconds=_GONE_SECONDS, lock=_LOCK))
        await connection.execute(f"SET lock_timeout = '{_LOCK_SECONDS:g}s'")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations ("
            " name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {row["name"] for row in await connection.fetch("SELECT name FROM migrations")}
        for name, sql in _files():
            if name in done:
                continue
            # One message, so one transaction, which needs nobody here to end it.
            await connection.execute(f"{sql}\n;INSERT INTO migrations (name) VALUES ('{name}')")
            applied.append(name)
    finally:
        # The lock ends with the connection. To close it in order would wait for what was cancelled.
        connection.terminate()
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
