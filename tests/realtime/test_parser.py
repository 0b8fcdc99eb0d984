"""picows as a parser: what this service takes for granted about it, and what is made of that."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pycrdt
import pytest
from tests.servers import SECONDS

from zedi.realtime import wire
from zedi.realtime.parser import LARGE
from zedi.realtime.server import MAX_MESSAGE
from zedi.realtime.unfinished import MAX_UNFINISHED, Unfinished

if TYPE_CHECKING:
    from tests.realtime.conftest import Connect, RawClient, Service, StartService, Until
    from tests.servers import Database, Issuer

MIB = 1024 * 1024
UPGRADE = (
    b"GET /realtime HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Author:
    """One with a large message that is not whole."""

    def __init__(self) -> None:
        self.codes: list[int] = []

    def cut_off(self, code: int, reason: str) -> None:
        self.codes.append(code)


def test_whoever_has_most_goes_first() -> None:
    """What is held is what was said last; beyond the bound the largest is cut off, and counts no more."""
    everybody = Unfinished()
    little, much, more = Author(), Author(), Author()
    everybody.hold(little, 1000)
    everybody.hold(much, MAX_UNFINISHED // 2)
    everybody.hold(more, MAX_UNFINISHED // 4)
    everybody.hold(more, MAX_UNFINISHED // 2 - 1000)
    assert little.codes == much.codes == more.codes == []
    everybody.hold(little, 1001)
    assert (little.codes, much.codes, more.codes) == ([], [1013], [])
    everybody.hold(more, 0)
    everybody.hold(much, MAX_UNFINISHED - 1001)
    assert (little.codes, much.codes, more.codes) == ([], [1013], [])


# -- a real server ------------------------------------------------------------------------------------------


def an_update(size: int) -> bytes:
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    doc.get("text", type=pycrdt.Text).insert(0, "x" * size)
    return doc.get_update()


def masked(payload: bytes, head: int = 0x82, announced: int | None = None) -> bytes:
    """A client's frame, or its beginning where more is announced; its mask is zero."""
    length = len(payload) if announced is None else announced
    if length < 126:
        return bytes((head, 0x80 | length)) + bytes(4) + payload
    if length < 0x10000:
        return bytes((head, 0xFE)) + length.to_bytes(2, "big") + bytes(4) + payload
    return bytes((head, 0xFF)) + length.to_bytes(8, "big") + bytes(4) + payload


def pour(client: RawClient, data: bytes) -> None:
    """Sends bytes as they are."""
    client.transport.underlying_transport.write(data)


async def attach(client: RawClient, page: str, token: str) -> None:
    client.say(wire.Token(page, token, None))
    assert await client.until(wire.Authenticated) == wire.Authenticated(page, "read-write")


def memory(service: Service, kind: str) -> int:
    """Bytes that the service has resident (VmRSS), or had at most (VmHWM)."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.split(f"{kind}:")[1].split()[0]) * 1024


@pytest.mark.server
async def test_frames_of_every_size_arrive_in_order(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """Small and large ones in one go, cut wherever: each is acknowledged, and none waits for the next."""
    service, page = await start_service(database), await database.page()
    author, peer = await connect(service), await connect(service)
    await attach(author, page, issuer.token())
    await attach(peer, page, issuer.token())
    sizes = [10, LARGE - 100, LARGE, LARGE + 1, 2 * LARGE, 5, 3 * MIB, 1, 70_000, 70_000, 70_000, LARGE + 9]
    updates = [an_update(size) for size in sizes]
    data = b"".join(masked(wire.encode(wire.Update(page, update))) for update in updates)
    for start, end in itertools.pairwise([0, 1, 70_000, 200_010, 2 * MIB, len(data)]):
        pour(author, data[start:end])
        await asyncio.sleep(0)
    for _ in updates:
        assert await author.until(wire.SyncStatus) == wire.SyncStatus(page, True)
    last = masked(wire.encode(wire.Update(page, an_update(LARGE))))
    for _ in range(3):  # head and end in one read, and nothing that follows
        pour(author, last)
        assert await author.until(wire.SyncStatus) == wire.SyncStatus(page, True)
    long = wire.encode(wire.Update(page, an_update(MIB)))
    pour(author, masked(long[:100], 0x02) + masked(long[100:], 0x80))
    assert await author.until(wire.SyncStatus) == wire.SyncStatus(page, True)
    assert await database.text(page) == "x" * (sum(sizes) + LARGE + MIB)


async def shoved(service: Service, before: bytes, size: int) -> bytes:
    """Sends one frame of `size` bytes and reads only then, to the end of a close frame."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        writer.write(UPGRADE + before)
        await reader.readuntil(b"\r\n\r\n")
        if before:
            await reader.readexactly(2)  # it is known
        writer.write(masked(b"", announced=size))
        chunk = bytes(64 * 1024)
        for _ in range(size // len(chunk)):
            writer.write(chunk)
            await writer.drain()
        return await reader.readuntil(b"message too big")
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.server
@pytest.mark.parametrize("size", [MAX_MESSAGE + 64 * 1024, 17 * MIB, 40 * MIB, 64 * MIB])
async def test_a_frame_that_is_too_long_is_told_so(
    database: Database, start_service: StartService, issuer: Issuer, size: int
) -> None:
    """1009 arrives although all was sent before anything was read; the log has it, and none of it is kept."""
    service, page = await start_service(database), await database.page()
    before = memory(service, "VmRSS")
    token = masked(wire.encode(wire.Token(page, issuer.token(), None)))
    async with asyncio.timeout(SECONDS):
        answer = await shoved(service, token, size)
    assert answer.endswith(b"\x88\x11\x03\xf1message too big")
    await service.logged("refused", level="warning", code=1009)
    await service.logged("disconnected", code=1009, user="user-1")
    assert memory(service, "VmHWM") - before < 16 * MIB


@pytest.mark.server
async def test_what_came_before_a_frame_that_is_too_long_counts(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer, until: Until
) -> None:
    """An edit in the same read as the head of the offence is stored."""
    service, page = await start_service(database), await database.page()
    client = await connect(service)
    await attach(client, page, issuer.token())
    update = an_update(3)
    pour(client, masked(wire.encode(wire.Update(page, update))) + masked(b"", announced=MAX_MESSAGE + 1))
    assert await client.close_code() == 1009

    async def stored() -> bool:
        return [data for _, data in await database.updates(page)] == [update]

    await until(stored)


@pytest.mark.server
@pytest.mark.parametrize(
    "bytes_",
    [b"\x82\x01x", masked(b"", 0x83), masked(b"", 0x09), masked(b"x", 0x88), masked(b"\x03\xed", 0x88)],
    ids=["no mask", "opcode 3", "half a ping", "half a close code", "code 1005"],
)
async def test_what_is_no_frame_is_a_warning(
    database: Database, start_service: StartService, connect: Connect, bytes_: bytes
) -> None:
    """1002, in the log as what a client does wrong, and never as an error of ours."""
    service = await start_service(database)
    client = await connect(service)
    pour(client, bytes_)
    assert await client.close_code() == 1002
    await service.logged("refused", level="warning", code=1002)
    await service.logged("disconnected", code=1002)
    assert [line for line in service.log if line["level"] == "error"] == []


@pytest.mark.server
async def test_a_defect_ends_the_socket_and_is_told(
    database: Database, start_service: StartService, connect: Connect
) -> None:
    """1011 where reading raises what it must not; the others go on."""
    service = await start_service(
        database, change="from zedi.realtime.session import Session; Session.receive = None"
    )
    client, other = await connect(service), await connect(service)
    client.say(wire.Ping())
    assert await client.close_code() == 1011
    line = await service.logged("reading failed", level="error")
    assert "TypeError" in line["reason"]
    other.transport.send_ping()
    async with asyncio.timeout(SECONDS):
        await other.pongs.get()


@pytest.mark.server
async def test_a_large_message_leaves_no_large_buffer(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer, until: Until
) -> None:
    """Ten sockets with 12 MB each: once these are read, their memory is there for others."""
    service = await start_service(database, change="import zedi.realtime.room as r; r.MAX_DOCUMENT = 1000")
    page, token = await database.page(), issuer.token()
    clients = [await connect(service) for _ in range(10)]
    for client in clients:
        await attach(client, page, token)
    before = memory(service, "VmRSS")
    update = an_update(12 * MIB)
    for client in clients:
        client.say(wire.Update(page, update))
        assert await client.until(wire.SyncStatus) == wire.SyncStatus(page, False)
    await until(lambda: memory(service, "VmRSS") - before < 48 * MIB)
    for client in clients:
        client.say(wire.Ping())
        assert await client.next() == wire.Pong()


@pytest.mark.server
@pytest.mark.parametrize("fragments", [False, True])
async def test_many_large_messages_that_do_not_end_cost_little_memory(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer, fragments: bool
) -> None:
    """Twenty sockets with 15 MB of a message each: whoever is too much is cut off, and small edits go on."""
    service = await start_service(database)
    page, token = await database.page(), issuer.token()
    author = await connect(service)
    await attach(author, page, token)
    crowd = [await connect(service) for _ in range(20)]
    for client in crowd:
        await attach(client, page, token)
    before = memory(service, "VmRSS")
    part = bytes(MIB)
    for number in range(15):
        for client in crowd:
            if fragments:
                pour(client, masked(part, 0x00 if number else 0x02))
            else:
                pour(client, part if number else masked(part, announced=MAX_MESSAGE))
        author.say(wire.Update(page, wire.EMPTY_UPDATE))
        assert await author.until(wire.SyncStatus) == wire.SyncStatus(page, True)
    await service.logged("disconnected", code=1013)
    gone = [line for line in service.log if line.get("event") == "disconnected"]
    assert {line["code"] for line in gone} == {1013}
    if not fragments:
        assert len(gone) >= 20 - MAX_UNFINISHED // MAX_MESSAGE
    assert memory(service, "VmHWM") - before < 2 * MAX_UNFINISHED
    assert not author.closed.done()
