"""What those can do to the service who never show a good token: little, and not for long."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, cast

import picows
import pytest
from tests.servers import SECONDS

from zedi.realtime import strangers, wire
from zedi.realtime.strangers import MAX_STRANGER, MAX_STRANGERS, Strangers

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.realtime.conftest import Connect, RawClient, Service, StartService
    from tests.servers import Database, Issuer

MIB = 1024 * 1024
UPGRADE = (
    b"GET /realtime HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Inner(asyncio.BufferedProtocol):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.kept = 0
        self.lost = False

    def get_buffer(self, sizehint: int) -> bytearray:
        return bytearray(64 * 1024)

    def buffer_updated(self, nbytes: int) -> None:
        self.kept += nbytes

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


class Stream(asyncio.Transport):
    """A socket that is fed by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()
        self.protocol: asyncio.BaseProtocol = self.inner
        self.aborted = False

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def feed(self, size: int) -> None:
        while size and not self.aborted:
            protocol = cast(asyncio.BufferedProtocol, self.protocol)
            part = min(size, len(memoryview(protocol.get_buffer(-1))))
            protocol.buffer_updated(part)
            size -= part


def admitted(everybody: Strangers) -> tuple[Stream, strangers.Stranger, list[int]]:
    stream, codes = Stream(), list[int]()
    return stream, everybody.admit(stream, lambda code, reason: codes.append(code)), codes


def test_one_is_refused_once_and_kept_no_more() -> None:
    """Beyond its bound all is thrown away, and in the end it is cut off."""
    stream, _, codes = admitted(Strangers())
    stream.feed(MAX_STRANGER)
    assert stream.inner.kept == MAX_STRANGER and codes == []
    stream.feed(16 * MIB)
    assert stream.inner.kept == MAX_STRANGER and codes == [1009] and not stream.aborted
    stream.feed(64 * MIB)
    assert stream.aborted and codes == [1009]


def test_after_a_good_token_nothing_is_counted() -> None:
    """The wrapping is gone, and so is its share of what all may send."""
    everybody = Strangers()
    for _ in range(2 * MAX_STRANGERS // MAX_STRANGER):
        stream, stranger, codes = admitted(everybody)
        stream.feed(MAX_STRANGER)
        stranger.leave()
        assert stream.protocol is stream.inner
        stream.feed(16 * MIB)
        assert codes == [] and not stream.aborted


def test_whoever_sent_most_goes_first() -> None:
    """Where many send much, newcomers who send little are let be; who is gone counts no more."""
    everybody = Strangers()
    little, _, nothing = admitted(everybody)
    little.feed(2000)
    crowd = [admitted(everybody) for _ in range(40)]
    for stream, _, _ in crowd:
        stream.feed(2 * MIB)
    cut = [stream for stream, _, codes in crowd if stream.aborted and codes == [1013]]
    assert len(cut) == len([stream for stream, _, _ in crowd if stream.aborted])
    assert sum(stream.inner.kept for stream, _, _ in crowd if not stream.aborted) + 2000 <= MAX_STRANGERS
    assert not little.aborted and nothing == []
    for stream, _, _ in crowd:
        cast(asyncio.BufferedProtocol, stream.protocol).connection_lost(None)
        assert stream.inner.lost
    again = [admitted(everybody) for _ in range(MAX_STRANGERS // (2 * MIB) - 1)]
    for stream, _, _ in again:
        stream.feed(2 * MIB)
    assert not any(stream.aborted for stream, _, _ in again)


# -- a real server ------------------------------------------------------------------------------------------


def peak(service: Service) -> int:
    """Bytes of memory that the service had at most since `from_now_on`."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def from_now_on(service: Service) -> int:
    """Forgets the highest mark and returns what is used now, in bytes."""
    Path(f"/proc/{service.process.pid}/clear_refs").write_text("5")
    return peak(service)


def frame_head(length: int, opcode: int = 0x82) -> bytes:
    """The head of a client's frame; its mask is zero, so that the payload goes as it is."""
    return bytes((opcode, 0xFF)) + length.to_bytes(8, "big") + bytes(4)


async def shove(service: Service, size: int, chunk: bytes) -> bytes:
    """Sends one frame of `size` bytes without ever reading until that is done or fails; what was answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    answer = b""
    try:
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame_head(size))
        for _ in range(size // len(chunk)):
            writer.write(chunk)
            await writer.drain()
        answer = await reader.read()
    except ConnectionError:
        with contextlib.suppress(ConnectionError):
            answer = await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return answer


@pytest.mark.server
async def test_many_who_send_much_cost_little_memory(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """Forty strangers, each with a frame of 16 MB: a fraction of that is kept, and an author goes on."""
    service, page = await start_service(database), await database.page()
    author = await connect(service)
    author.say(wire.Token(page, issuer.token(), None))
    assert await author.next() == wire.Authenticated(page, "read-write")
    before = from_now_on(service)
    chunk = bytes(64 * 1024)
    async with asyncio.timeout(3 * SECONDS):
        await asyncio.gather(*(shove(service, 16 * MIB, chunk) for _ in range(40)))
    assert peak(service) - before < 4 * MAX_STRANGERS
    author.say(wire.QueryAwareness(page))
    author.say(wire.Ping())
    assert await author.next() == wire.Pong()


@pytest.mark.server
@pytest.mark.parametrize("size", [MAX_STRANGER + 64 * 1024, 16 * MIB, 64 * MIB])
async def test_one_who_sends_too_much_hears_1009(
    database: Database, start_service: StartService, size: int
) -> None:
    """The code arrives although nothing is read before all is sent."""
    service = await start_service(database)
    async with asyncio.timeout(SECONDS):
        answer = await shove(service, size, bytes(64 * 1024))
    assert answer[0] == 0x88 and int.from_bytes(answer[2:4], "big") == 1009
    await service.logged("disconnected", code=1009)


def updates(client: RawClient, count: int, size: int, documents: int = 1) -> None:
    for number in range(count):
        client.say(wire.Update(f"page-{number % documents}", bytes(size)))


def tokens(client: RawClient, count: int, left: bool = False) -> None:
    for _ in range(count):
        client.say(wire.Token("page", "no token", None))
        if left:
            client.say(wire.Close("page", ""))


@pytest.mark.server
@pytest.mark.parametrize(
    ("offend", "reason"),
    [
        (lambda client: updates(client, 2, MIB), "bytes before"),
        (lambda client: updates(client, 1001, 2), "messages before"),
        (lambda client: updates(client, 101, 2, documents=101), "documents"),
        (lambda client: tokens(client, 20), "tokens"),
        (lambda client: tokens(client, 20, left=True), "tokens"),
    ],
    ids=["bytes", "messages", "documents", "tokens", "tokens that are left"],
)
async def test_what_a_stranger_may_do_is_bounded(
    database: Database,
    start_service: StartService,
    connect: Connect,
    offend: Callable[[RawClient], None],
    reason: str,
) -> None:
    """Each bound closes with 4401, and the log says which it was."""
    service = await start_service(database)
    client = await connect(service)
    offend(client)
    assert await client.close_code() == 4401
    assert reason in (await service.logged("refused", code=4401))["reason"]


@pytest.mark.server
async def test_one_who_never_shows_a_token_is_closed(
    database: Database, start_service: StartService, connect: Connect
) -> None:
    """4408, for one that says nothing and for one that only says other things."""
    service = await start_service(
        database,
        change="from zedi.realtime import session as s; s.Session.__init__.__defaults__ = "
        "('', '', s.Limits(held_seconds=1.0))",
    )
    silent, talker = await connect(service), await connect(service)
    updates(talker, 1, 10)
    talker.say(wire.Ping())
    assert await talker.next() == wire.Pong()
    assert await silent.close_code() == 4408
    assert await talker.close_code() == 4408


@pytest.mark.server
async def test_a_full_task_says_so(database: Database, start_service: StartService, connect: Connect) -> None:
    """More sockets than it takes: 503, until one of them is gone; health is told all the same."""
    service = await start_service(database, change="import zedi.realtime.server as s; s.MAX_SOCKETS = 2")
    first, _ = await connect(service), await connect(service)
    with pytest.raises(picows.WSHandshakeError, match="503"):
        await connect(service)
    assert service.health()[0] == 200
    first.transport.disconnect()
    await service.logged("disconnected")
    await connect(service)
