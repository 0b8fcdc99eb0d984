"""Pages in PostgreSQL: that they exist, what they are called, whose they are.

A page's text is the document whose name is the page's id, which the realtime service keeps. Deleting a
page hides it; nothing that somebody wrote is destroyed by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

import asyncpg

MAX_TITLE: Final = 200
"""Characters of a title."""
MAX_LISTED: Final = 200
"""Pages in one answer of `list_pages`."""

_COLUMNS: Final = """
    p.id, p.title, p.owner, p.created_at, greatest(p.updated_at, d.updated_at) AS updated_at
    FROM pages p LEFT JOIN documents d ON d.name = p.id::text
    WHERE p.deleted_at IS NULL
"""

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy


@dataclass(frozen=True)
class Page:
    id: UUID
    title: str
    owner: str
    """The `sub` of who made it."""
    created_at: datetime
    updated_at: datetime
    """When its title or its text last changed."""


@dataclass(frozen=True)
class Cursor:
    """The last page of one answer; the next one begins after it."""

    updated_at: datetime
    id: UUID


async def list_pages(connection: Connection, after: Cursor | None = None) -> list[Page]:
    """The pages after `after`, the newest change first, MAX_LISTED at most."""
    rows = await connection.fetch(
        f"""
        SELECT * FROM (SELECT {_COLUMNS}) page
        WHERE $1::timestamptz IS NULL OR (updated_at, id) < ($1, $2)
        ORDER BY updated_at DESC, id DESC LIMIT {MAX_LISTED}
        """,
        after.updated_at if after else None,
        after.id if after else None,
    )
    return [Page(**row) for row in rows]


async def get_page(connection: Connection, page: UUID) -> Page | None:
    row = await connection.fetchrow(f"SELECT {_COLUMNS} AND p.id = $1", page)
    return Page(**row) if row else None


async def create_page(connection: Connection, title: str, owner: str) -> Page:
    row = await connection.fetchrow(
        "INSERT INTO pages (id, title, owner) VALUES ($1, $2, $3)"
        " RETURNING id, title, owner, created_at, updated_at",
        uuid4(),
        title,
        owner,
    )
    assert row is not None  # an INSERT that returns nothing would have raised
    return Page(**row)


async def rename_page(connection: Connection, page: UUID, title: str) -> Page | None:
    await connection.execute(
        "UPDATE pages SET title = $2, updated_at = now() WHERE id = $1 AND deleted_at IS NULL", page, title
    )
    return await get_page(connection, page)


async def delete_page(connection: Connection, page: UUID) -> bool:
    """Hides `page`; False when there was none."""
    done = await connection.fetchval(
        "UPDATE pages SET deleted_at = now() WHERE id = $1 AND deleted_at IS NULL RETURNING true", page
    )
    return bool(done)
