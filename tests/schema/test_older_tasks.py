"""A task of the oldest release goes on working beside those of the newest, on the newest tables.

What it says to the database stands here as it was released: nothing of it follows the source.
"""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

import asyncpg
import pycrdt
import pytest

from zedi.realtime.compaction import compact_document
from zedi.realtime.config import Config
from zedi.realtime.journal import Journal
from zedi.realtime.log import Log

if TYPE_CHECKING:
    from tests.servers import Database

pytestmark = pytest.mark.server

_MAKE_PAGE = "INSERT INTO pages (id, title, owner) VALUES (gen_random_uuid(), 'x', 'hanako') RETURNING id"
_MAY_OPEN = "SELECT true FROM pages WHERE id = $1"
_APPEND = """
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
_READ = "SELECT seq, data FROM updates WHERE document = $1 AND seq > $2 ORDER BY seq LIMIT $3"
_READ_UPDATES = 2000


class OldTask:
    """What the journal of the oldest release did with its connection."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def append(self, document: str, updates: list[bytes]) -> list[int]:
        """The numbers of `updates`, which are committed together."""
        backs = range(len(updates) - 1, -1, -1)
        documents = [document] * len(updates)
        rows = await self._connection.fetch(_APPEND, [document], [len(updates)], documents, backs, updates)
        (head,) = [row["seq"] for row in rows if row["name"] == document]
        return [head - back for back in backs]

    async def read(self, document: str) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        while True:
            after = found[-1][0] if found else 0
            rows = await self._connection.fetch(_READ, document, after, _READ_UPDATES)
            found += [(row["seq"], row["data"]) for row in rows]
            if len(rows) < _READ_UPDATES:
                return found


class Author:
    """One who types the same letter again and again, at the end."""

    def __init__(self, letter: str) -> None:
        self._letter = letter
        self._doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
        self._text = self._doc.get("text", type=pycrdt.Text)

    def types(self) -> bytes:
        before = self._doc.get_state()
        self._text += self._letter
        return self._doc.get_update(before)


def letters(updates: list[bytes]) -> dict[str, int]:
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    for update in updates:
        doc.apply_update(update)
    text = str(doc.get("text", type=pycrdt.Text))
    return {letter: text.count(letter) for letter in set(text)}


async def test_tasks_of_the_oldest_and_the_newest_release_share_a_document(
    database: Database, config: Config
) -> None:
    """They write at the same time, and go on when a snapshot has been made: numbers have no gaps, and both
    read all that either has written."""
    journal = Journal(database.address, Log("test", "test", io.StringIO()))
    running = asyncio.create_task(journal.run())
    connection, compacting = await database.connect(), await database.connect()
    old, numbers = OldTask(connection), list[int]()
    here, there = Author("n"), Author("o")
    try:
        page = await connection.fetchval(_MAKE_PAGE)
        assert await connection.fetchval(_MAY_OPEN, page)
        document = str(page)

        def committed(first: int, rows: list[bytes]) -> None:
            numbers.extend(range(first, first + len(rows)))

        async with asyncio.timeout(20):
            for _ in range(2):
                for _ in range(30):
                    journal.append(document, [here.types()], committed, soon=True)
                    numbers += await old.append(document, [there.types(), there.types()])
                await journal.flush()
                assert sorted(numbers) == list(range(1, len(numbers) + 1))
                answer = await compact_document(compacting, document, 1, config.keeping)
                assert answer.status == "compacted"
            journal.append(document, [here.types()], committed)
            await journal.flush()
            read = await old.read(document)
            spans = [span async for span in journal.read_from(document, 0)]
    finally:
        running.cancel()
        await asyncio.wait([running])
        await connection.close()
        await compacting.close()
    assert [number for number, _ in read] == sorted(numbers)
    assert letters([update for _, update in read]) == {"n": 61, "o": 120}
    snapshot, tail = spans
    assert snapshot.snapshot is not None and (snapshot.last, tail.last) == (len(numbers) - 1, len(numbers))
    assert letters([snapshot.snapshot.data, *tail.updates]) == {"n": 61, "o": 120}
