"""A page of 20 MB: it opens as the bytes that are stored, and everybody is written the same ones.

The service runs within the test's process, so that it can be seen what it makes and what it writes.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pycrdt
import pytest

from zedi.realtime import wire
from zedi.realtime.history import Snapshot
from zedi.realtime.server import Connection, Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.realtime.conftest import Connect, RawClient, Until
    from tests.servers import Database, Issuer

    from zedi.realtime.config import Config

pytestmark = pytest.mark.server

SIZE: Final = 20 * 1024 * 1024


def long_page() -> tuple[pycrdt.Doc[Any], Snapshot]:
    """A hundred thousand pieces that do not lie side by side, some of them deleted again."""
    doc: pycrdt.Doc[Any] = pycrdt.Doc(client_id=7)
    text = doc.get("text", type=pycrdt.Text)
    piece = "x" * (SIZE // 100_000)
    with doc.transaction():
        for _ in range(100_000):
            text.insert(0, piece)
        for number in range(1000):
            del text[number * 50]
    update, vector = doc.get_update(), doc.get_state()
    return doc, Snapshot(update, vector, pycrdt.get_update(update, vector))


def no_doc(*arguments: object, **options: object) -> NoReturn:
    raise AssertionError("a Doc was made")


async def test_a_long_page_is_written_as_it_is_stored(
    database: Database,
    config: Config,
    connect: Connect,
    issuer: Issuer,
    until: Until,
    free_ports: Callable[[int], list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two who ask while it is loaded and one who comes after an edit: one load, and no Doc; each is written
    the very object that came from the database, and has the whole page."""
    doc, snapshot = long_page()
    assert len(snapshot.data) > SIZE
    page = await database.page()
    connection = await database.connect()
    try:
        await connection.execute("INSERT INTO documents (name, seq) VALUES ($1, 100000)", page)
        await connection.execute(
            "INSERT INTO snapshots (document, seq, data, vector, deletions, size)"
            " VALUES ($1, 100000, $2, $3, $4, $5)",
            *(page, snapshot.data, snapshot.vector, snapshot.deletions, len(snapshot.data)),
        )
    finally:
        await connection.close()
    written: list[bytes] = []
    write = Connection.write

    def seen(self: Connection, packet: bytes) -> None:
        if len(packet) > SIZE:
            written.append(packet)
        write(self, packet)

    monkeypatch.setattr(Connection, "write", seen)
    monkeypatch.setattr(pycrdt, "Doc", no_doc)
    port = free_ports(1)[0]
    service = Service(dataclasses.replace(config, database=database.address, port=port))
    running = asyncio.create_task(service.run())

    async def arrive() -> RawClient:
        client = await connect(service.config, max_frame_size=2 * SIZE)
        client.say(wire.Token(page, issuer.token(), "4.8.0"))
        client.say(wire.Step1(page, wire.EMPTY_STATE_VECTOR))
        return client

    try:
        await until(lambda: service.journal.opened)
        first, second = await arrive(), await arrive()
        for client in (first, second):
            assert (await client.until(wire.Step2)).update == snapshot.data
        doc.get("text", type=pycrdt.Text).insert(0, "edit")
        edit = doc.get_update(snapshot.vector)
        first.say(wire.Update(page, edit))
        await first.until(wire.SyncStatus)
        third = await arrive()
        assert (await third.until(wire.Update)).update == snapshot.data
        assert (await third.until(wire.Step2)).update == edit
        assert len(written) == 3 and all(packet is written[0] for packet in written)
        assert service.journal.commits == 1
    finally:
        service._stop.set()  # as SIGTERM does
        await running
