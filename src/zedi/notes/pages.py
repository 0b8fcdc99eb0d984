"""Pages in PostgreSQL: that they exist, what they are called, who may do what with them.

A page's text is the document whose name is the page's id, which the realtime service keeps. Deleting a
page hides it; nothing that somebody wrote is destroyed by it.

Everything here is asked for somebody, by their `sub` in the user pool, and a page that they may not see is
not there for them. What each role may do:

    view    read it
    edit    write it and name it
    owner   share it and delete it
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID, uuid4

import asyncpg

from zedi.realtime.archive import Place
from zedi.realtime.history import merge

MAX_TITLE: Final = 200
"""Characters of a title."""
MAX_LISTED: Final = 200
"""Pages in one answer of `list_pages`."""

MAX_MEMBERS: Final = 200
"""Members of one page."""

_COLUMNS: Final = """
    p.id, p.title, p.owner, page_role(p, $1) AS role, p.created_at,
    greatest(p.updated_at, d.updated_at) AS updated_at
    FROM pages p LEFT JOIN documents d ON d.name = p.id::text
    WHERE page_role(p, $1) IS NOT NULL
"""

_NOT_EXPIRED: Final = "($2::int = 0 OR moved_at >= now() - $2 * interval '1 day')"

Role = Literal["owner", "edit", "view"]
MemberRole = Literal["edit", "view"]
Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy


class ForbiddenError(Exception):
    """They may see the page, and not do this with it. `needs` is the role that may."""

    def __init__(self, needs: Role) -> None:
        super().__init__(needs)
        self.needs = needs


@dataclass(frozen=True)
class Page:
    id: UUID
    title: str
    owner: str
    """The `sub` of who made it."""
    role: Role
    """Of who asked."""
    created_at: datetime
    updated_at: datetime
    """When its title or its text last changed."""


@dataclass(frozen=True)
class Version:
    """A page's text at a moment: a snapshot that the realtime service has kept, in the database or in S3."""

    number: int
    """Of the last update that it holds."""
    made_at: datetime
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Cursor:
    """The last page of one answer; the next one begins after it."""

    updated_at: datetime
    id: UUID


@dataclass(frozen=True)
class Person:
    """Somebody who has signed in; `email` and `name` are empty where that was not seen yet."""

    id: str
    email: str
    name: str


@dataclass(frozen=True)
class Sharing:
    owner: Person
    everybody: MemberRole | None
    """What everybody else who is signed in may do. None: nothing."""
    members: tuple[tuple[Person, MemberRole], ...]
    """In the order in which they were added."""


async def list_pages(connection: Connection, sub: str, after: Cursor | None = None) -> list[Page]:
    """The pages after `after`, the newest change first, MAX_LISTED at most."""
    rows = await connection.fetch(
        f"""
        SELECT * FROM (SELECT {_COLUMNS}) page
        WHERE $2::timestamptz IS NULL OR (updated_at, id) < ($2, $3)
        ORDER BY updated_at DESC, id DESC LIMIT {MAX_LISTED}
        """,
        sub,
        after.updated_at if after else None,
        after.id if after else None,
    )
    return [Page(**row) for row in rows]


async def get_page(connection: Connection, sub: str, page: UUID) -> Page | None:
    row = await connection.fetchrow(f"SELECT {_COLUMNS} AND p.id = $2", sub, page)
    return Page(**row) if row else None


async def create_page(connection: Connection, sub: str, title: str) -> Page:
    row = await connection.fetchrow(
        "INSERT INTO pages (id, title, owner) VALUES ($1, $2, $3)"
        " RETURNING id, title, owner, 'owner' AS role, created_at, updated_at",
        uuid4(),
        title,
        sub,
    )
    assert row is not None  # an INSERT that returns nothing would have raised
    return Page(**row)


async def rename_page(connection: Connection, sub: str, page: UUID, title: str) -> Page | None:
    """The page with its new title; None when there is none. Raises ForbiddenError."""
    if not await _may(connection, sub, page, "edit"):
        return None
    await connection.execute("UPDATE pages SET title = $2, updated_at = now() WHERE id = $1", page, title)
    return await get_page(connection, sub, page)


async def delete_page(connection: Connection, sub: str, page: UUID) -> bool:
    """Hides `page`; False when there was none. Raises ForbiddenError."""
    if not await _may(connection, sub, page, "owner"):
        return False
    await connection.execute("UPDATE pages SET deleted_at = now() WHERE id = $1", page)
    return True


async def sharing(connection: Connection, sub: str, page: UUID) -> Sharing | None:
    """Who may do what with `page`; None when there is none."""
    if await get_page(connection, sub, page) is None:
        return None
    rows = await connection.fetch(
        """
        SELECT who.id, coalesce(people.email, '') AS email, coalesce(people.name, '') AS name, who.role,
               who.everybody
        FROM (
            SELECT owner AS id, 'owner' AS role, everybody, NULL AS added_at FROM pages WHERE id = $1
            UNION ALL
            SELECT person, role, NULL, added_at FROM page_members WHERE page = $1
        ) who LEFT JOIN people USING (id)
        ORDER BY who.added_at NULLS FIRST, who.id
        """,
        page,
    )
    owner, *members = [(Person(row["id"], row["email"], row["name"]), row["role"]) for row in rows]
    return Sharing(owner[0], rows[0]["everybody"], tuple(members))


async def share_with_everybody(
    connection: Connection, sub: str, page: UUID, role: MemberRole | None
) -> Sharing | None:
    """What everybody who is signed in may do, from now on; None when there is no such page. Raises
    ForbiddenError."""
    if not await _may(connection, sub, page, "owner"):
        return None
    await connection.execute("UPDATE pages SET everybody = $2 WHERE id = $1", page, role)
    return await sharing(connection, sub, page)


async def share_with(
    connection: Connection, sub: str, page: UUID, person: str, role: MemberRole | None
) -> Sharing | None:
    """What `person` may do, from now on; a role of None makes them one of everybody again. None when there
    is no such page.

    Raises ForbiddenError; LookupError when nobody of that id has signed in yet, or it is the owner;
    OverflowError beyond MAX_MEMBERS.
    """
    if not await _may(connection, sub, page, "owner"):
        return None
    if role is None:
        await connection.execute("DELETE FROM page_members WHERE page = $1 AND person = $2", page, person)
        return await sharing(connection, sub, page)
    known = await connection.fetchval(
        "SELECT true FROM people, pages WHERE people.id = $2 AND pages.id = $1 AND pages.owner <> $2",
        page,
        person,
    )
    if not known:
        raise LookupError(person)
    done = await connection.execute(
        """
        INSERT INTO page_members (page, person, role)
        SELECT $1, $2, $3
        WHERE (SELECT count(*) FROM page_members WHERE page = $1 AND person <> $2) < $4
        ON CONFLICT (page, person) DO UPDATE SET role = excluded.role
        """,
        page,
        person,
        role,
        MAX_MEMBERS,
    )
    if done == "INSERT 0 0":
        raise OverflowError(MAX_MEMBERS)
    return await sharing(connection, sub, page)


async def find_person(connection: Connection, email: str) -> Person | None:
    """Who has signed in with exactly this address. There is no list of them all: it is nobody's business."""
    row = await connection.fetchrow(
        "SELECT id, email, name FROM people WHERE lower(email) = lower($1) ORDER BY seen_at DESC LIMIT 1",
        email,
    )
    return Person(**row) if row else None


async def remember(connection: Connection, person: Person) -> None:
    """Notes that somebody signed in, under the name and address that they have now."""
    await connection.execute(
        """
        INSERT INTO people (id, email, name) VALUES ($1, $2, $3)
        ON CONFLICT (id) DO UPDATE SET email = excluded.email, name = excluded.name, seen_at = now()
        """,
        person.id,
        person.email,
        person.name,
    )


async def list_versions(connection: Connection, page: UUID, archive_days: int) -> list[Version]:
    """The versions of `page` that there are, the newest first; as few as the service keeps.

    Those in S3 are there for `archive_days` (0: for ever); S3 deletes them some time later.
    """
    rows = await connection.fetch(
        f"""
        SELECT seq AS number, made_at, size FROM snapshots WHERE document = $1
        UNION ALL SELECT seq, made_at, size FROM archived_versions WHERE document = $1 AND {_NOT_EXPIRED}
        ORDER BY number DESC
        """,
        str(page),
        archive_days,
    )
    return [Version(**row) for row in rows]


async def get_version(
    connection: Connection, page: UUID, number: int, archive_days: int
) -> list[bytes] | Place | None:
    """What `page` says in version `number`, as Yjs updates, or where in S3 they are; None when there is no
    such version."""
    # One statement: it may be moving at this moment.
    row = await connection.fetchrow(
        f"""
        SELECT data, pending, NULL AS bucket, NULL AS key FROM snapshots WHERE document = $1 AND seq = $3
        UNION ALL
        SELECT NULL, NULL, bucket, key FROM archived_versions
        WHERE document = $1 AND seq = $3 AND {_NOT_EXPIRED}
        """,
        str(page),
        archive_days,
        number,
    )
    if row is None:
        return None
    return Place(row["bucket"], row["key"]) if row["data"] is None else [row["data"], *row["pending"]]


def version_update(updates: list[bytes]) -> bytes:
    """A version as one Yjs update."""
    # What waited for a predecessor then could not be seen then; without it the version is still whole.
    return merge(updates) or updates[0]


async def _may(connection: Connection, sub: str, page: UUID, needs: Role) -> bool:
    """Whether the page is there for `sub`. Raises ForbiddenError when it is, and this is not for them."""
    found = await get_page(connection, sub, page)
    if found is None:
        return False
    if found.role not in ("owner", needs):
        raise ForbiddenError(needs)
    return True
