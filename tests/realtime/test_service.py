"""The service within the test's process: what it makes, what it writes, and in which order."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pycrdt
import pytest

from zedi.realtime import server, wire
from zedi.realtime.history import Snapshot
from zedi.realtime.journal import Done
from zedi.realtime.room import Link
from zedi.realtime.server import Connection, Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.realtime.conftest import Connect, RawClient, Until
    from tests.servers import Database, Issuer

    from zedi.realtime.config import Config

pytestmark = pytest.mark.server

LONG: Final = 20 * 1024 * 1024


@pytest.fixture
async def service(
    config: Config, database: Database, free_ports: Callable[[int], list[int]], until: Until
) -> AsyncIterator[Service]:
    built = Service(dataclasses.replace(config, database=database.address, port=free_ports(1)[0]))
    running = asyncio.create_task(built.run())
    await until(lambda: built.journal.opened)
    yield built
    built._stop.set()  # as SIGTERM does
    await running


@pytest.fixture
def arrive(service: Service, connect: Connect, issuer: Issuer) -> Callable[[str], Any]:
    """Connects a client that wants all of a page."""
    token = issuer.token()

    async def arrive_at(page: str) -> RawClient:
        client = await connect(service.config, max_frame_size=2 * LONG)
        client.say(wire.Token(page, token, "4.8.0"))
        client.say(wire.Step1(page, wire.EMPTY_STATE_VECTOR))
        return client

    return arrive_at


def long_page() -> tuple[pycrdt.Doc[Any], Snapshot]:
    """A hundred thousand pieces that do not lie side by side, some of them deleted again."""
    doc: pycrdt.Doc[Any] = pycrdt.Doc(client_id=7)
    text = doc.get("text", type=pycrdt.Text)
    piece = "x" * (LONG // 100_000)
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
    service: Service,
    database: Database,
    arrive: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A page of 20 MB, two who ask while it is loaded and one who comes after an edit: no Doc is made, and
    each is written the very object that came from the database."""
    doc, snapshot = long_page()
    assert len(snapshot.data) > LONG
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
    doc.get("text", type=pycrdt.Text).insert(0, "edit")
    edit = doc.get_update(snapshot.vector)
    written: list[bytes] = []

    class Watched(Link):
        """A link that tells of the long packets that it is given."""

        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            if name != "write":
                return found

            def write(packet: bytes) -> None:
                if len(packet) > LONG:
                    written.append(packet)
                found(packet)

            return write

    monkeypatch.setattr(server, "Link", Watched)
    monkeypatch.setattr(pycrdt, "Doc", no_doc)
    first, second = await arrive(page), await arrive(page)
    for client in (first, second):
        assert (await client.until(wire.Step2)).update == snapshot.data
    first.say(wire.Update(page, edit))
    await first.until(wire.SyncStatus)
    third = await arrive(page)
    assert (await third.until(wire.Update)).update == snapshot.data
    assert (await third.until(wire.Step2)).update == edit
    assert len(written) == 3 and all(packet is written[0] for packet in written)
    assert service.journal.commits == 1  # it is told: nothing of the service had failed by then


def typed(count: int) -> list[bytes]:
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    text = doc.get("text", type=pycrdt.Text)
    updates: list[bytes] = []
    kept = doc.observe(lambda event: updates.append(event.update))
    for number in range(count):
        text.insert(number, "x")
    del kept
    return updates


async def test_a_flood_into_one_document_does_not_hold_up_another(
    service: Service,
    database: Database,
    arrive: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Edits of one document wait on five sockets, five thousand on each, and behind them one of another: of
    no socket everything is read before that one, it is with its reader a few turns of the loop later,
    and goes with the next commit."""
    flooded, quiet = await database.page(), await database.page()
    crowd = [await arrive(flooded) for _ in range(5)]
    author, peer = await arrive(quiet), await arrive(quiet)
    for client in (*crowd, author, peer):
        await client.until(wire.Step2)
    floods = [[wire.encode(wire.Update(flooded, update)) for update in typed(5000)] for _ in crowd]
    (edit,) = typed(1)
    taken = Counter[Connection]()
    before: list[tuple[int, int]] = []
    committed_with: list[int] = []
    turns = 0
    receive, append = Connection._receive, service.journal.append

    def turn() -> None:
        nonlocal turns
        turns += 1
        if peer.frames.empty():
            asyncio.get_running_loop().call_soon(turn)

    def received(self: Connection, message: bytes) -> None:
        if edit in message:
            before.append((turns, max(taken.values())))
        taken[self] += 1
        receive(self, message)

    def appended(document: str, updates: list[bytes], done: Done, *, soon: bool) -> None:
        def committed(first: int, rows: list[bytes]) -> None:
            if document == quiet:
                committed_with.append(service.journal.commits)
            done(first, rows)

        append(document, updates, committed, soon=soon)

    monkeypatch.setattr(Connection, "_receive", received)
    monkeypatch.setattr(service.journal, "append", appended)
    for client, flood in zip(crowd, floods, strict=True):
        for frame in flood:
            client.send(frame)
    author.say(wire.Update(quiet, edit))
    assert not taken  # the loop did not have its turn yet
    turn()
    assert await peer.until(wire.Update) == wire.Update(quiet, edit)
    ((read_in, share),) = before
    assert read_in <= 2 and share < 4000
    assert turns - read_in <= 3
    assert await author.until(wire.SyncStatus) == wire.SyncStatus(quiet, True)
    # The first may have been under way.
    assert committed_with[0] <= 2
