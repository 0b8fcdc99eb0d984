"""Bytes that no client sends, against the service as its own process: it lives, stays small, and goes on."""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pycrdt
import pytest
from tests.servers import SECONDS

from zedi.realtime import wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.realtime.conftest import Connect, Service, StartService
    from tests.servers import Database, Issuer

pytestmark = pytest.mark.server

MAX_GROWTH = 64 * 1024 * 1024
"""Bytes of memory that all of it may cost, for good."""


def upgrade(path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


def masked(payload: bytes, head: int = 0x82) -> bytes:
    """One frame as a client sends it; its mask is zero."""
    if len(payload) < 126:
        return bytes((head, 0x80 | len(payload))) + bytes(4) + payload
    return bytes((head, 0xFE)) + struct.pack(">H", len(payload)) + bytes(4) + payload


def said(page: str, token: str, plain: bool) -> list[bytes]:
    """A decent conversation of either protocol."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    doc.get("text", type=pycrdt.Text).insert(0, "x" * 50)
    here = wire.encode_awareness([wire.Presence(7, 1, b'{"name":"hanako"}')])
    bodies = [
        wire.step1(wire.EMPTY_STATE_VECTOR),
        wire.awareness(here),
        wire.update(doc.get_update()),
        wire.step2(doc.get_update()),
        wire.QUERY_AWARENESS,
    ]
    if plain:
        return bodies
    bodies = [wire.token(token, "4.8.0"), *bodies, wire.stateless("x"), wire.close()]
    return [wire.varstring(page) + body for body in bodies]


def spoilt(choose: random.Random, data: bytes) -> bytes:
    """Some bytes of it changed, removed or added; sometimes none."""
    changed = bytearray(data)
    for _ in range(choose.choice([0, 1, 1, 3])):
        at = choose.randrange(len(changed) + 1)
        match choose.randrange(4):
            case 0:
                changed[at : at + 1] = choose.randbytes(1)
            case 1:
                del changed[at : at + choose.randrange(1, 5)]
            case 2:
                changed[at:at] = choose.randbytes(choose.randrange(1, 20))
            case _:
                changed[at : at + 1] = b"\xff" * 5
    return bytes(changed)


def conversation(choose: random.Random, page: str, token: str) -> bytes:
    """Everything one socket sends."""
    plain = choose.random() < 0.4
    path = f"/realtime/{page}?token={token}" if plain else "/realtime"
    parts = [upgrade(path)]
    for message in said(page, token, plain):
        message = spoilt(choose, message)
        match choose.randrange(6):
            case 0:  # in fragments, with a ping between
                at = choose.randrange(len(message) + 1)
                parts += [masked(message[:at], 0x02), masked(b"?", 0x89), masked(message[at:], 0x80)]
            case 1:  # the frame itself is spoilt
                parts.append(spoilt(choose, masked(message)))
            case _:
                parts.append(masked(message))
    match choose.randrange(8):
        case 0:
            return choose.randbytes(choose.randrange(1, 3000))
        case 1:
            return spoilt(choose, parts[0])[: choose.randrange(1, len(parts[0]))]
        case 2:
            return parts[0] + choose.randbytes(choose.randrange(1, 3000))
        case 3:
            return parts[0] + masked(b"!", 0x89) * 500
        case _:
            return b"".join(parts)


async def pour(service: Service, data: bytes, pieces: int) -> None:
    """Sends it in so many pieces, and leaves as soon as all is sent; being cut off is as good."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        size = len(data) // pieces + 1
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await writer.drain()
            # What is answered lets the service take its turn between two pieces.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.001 if pieces > 1 else 0.05):
                    await reader.read(65536)
    except ConnectionError:
        pass
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def memory(service: Service) -> int:
    """Bytes that the service has resident."""
    pages = Path(f"/proc/{service.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_spoilt_harms_nobody_else(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer, seed: int
) -> None:
    """Three hundred sockets of noise and of spoilt messages; an author on another page notices nothing."""
    choose = random.Random(seed)
    service, token = await start_service(database), issuer.token()
    target, page = await database.page(), await database.page()
    author = await connect(service)
    author.say(wire.Token(page, token, None))
    assert await author.next() == wire.Authenticated(page, "read-write")
    before = 0
    for turn in range(15):
        crowd = [(conversation(choose, target, token), choose.choice([1, 1, 4])) for _ in range(20)]
        async with asyncio.timeout(2 * SECONDS):
            await asyncio.gather(*(pour(service, data, pieces) for data, pieces in crowd))
        author.say(wire.Update(page, wire.EMPTY_UPDATE))
        assert await author.next() == wire.SyncStatus(page, True)
        before = before or memory(service)
        assert service.process.returncode is None, f"turn {turn}"
    assert memory(service) - before < MAX_GROWTH
    assert service.health()[0] == 200
    assert [line for line in service.log if line["level"] == "error"] == []
    reader = await connect(service)
    reader.say(wire.Token(target, token, None))
    reader.say(wire.Step1(target, wire.EMPTY_STATE_VECTOR))
    assert isinstance(await reader.until(wire.Step2), wire.Step2)


@pytest.mark.parametrize(
    "dribble",
    [lambda: b"", lambda: b"GET /realtime HTTP/1.1\r\nX: ", lambda: upgrade("/realtime")[:-2]],
    ids=["nothing", "a head", "all but the end"],
)
async def test_a_handshake_that_does_not_end_is_ended(
    database: Database, start_service: StartService, dribble: Callable[[], bytes]
) -> None:
    """Two hundred sockets that never finish their request: cut off in time, and health is told meanwhile."""
    service = await start_service(
        database, change="import zedi.realtime.server as s; s.HANDSHAKE_SECONDS = 0.5"
    )
    waiting = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(200)]
    for _, writer in waiting:
        writer.write(dribble())
    assert (await asyncio.to_thread(service.health))[0] == 200
    async with asyncio.timeout(SECONDS):
        assert await asyncio.gather(*(reader.read() for reader, _ in waiting)) == [b""] * 200
    for _, writer in waiting:
        writer.close()


async def test_a_request_without_end_is_not_kept(database: Database, start_service: StartService) -> None:
    """Headers of 16 KB and no end: cut off, long before the time for handshakes is over."""
    service = await start_service(database)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(b"GET /realtime HTTP/1.1\r\n" + b"X: y\r\n" * 10_000)
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(5):
            assert await reader.read() == b""
    writer.close()
