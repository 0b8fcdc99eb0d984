"""The fan-out, on a real Valkey: what is published arrives, and a broken connection is told."""

from __future__ import annotations

import asyncio
import contextlib
import io
import signal
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zedi.realtime import fanout, wire
from zedi.realtime.fanout import Fanout
from zedi.realtime.log import Log

if TYPE_CHECKING:
    from tests.realtime.conftest import Until
    from tests.servers import Server

SECONDS = 20.0


class Receiver:
    """Remembers what came."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[tuple[str, bytes, fanout.Message]] = asyncio.Queue()
        self.reconnections = asyncio.Semaphore(0)

    def received(self, document: str, task: bytes, message: fanout.Message) -> None:
        self.messages.put_nowait((document, task, message))

    def reconnected(self) -> None:
        self.reconnections.release()

    async def next(self) -> tuple[str, bytes, fanout.Message]:
        async with asyncio.timeout(SECONDS):
            return await self.messages.get()

    async def connected(self) -> None:
        async with asyncio.timeout(SECONDS):
            await self.reconnections.acquire()


@contextlib.asynccontextmanager
async def a_task(port: int, name: bytes) -> AsyncIterator[tuple[Fanout, Receiver]]:
    between = Fanout(f"redis://127.0.0.1:{port}", name, Log("test", "test", io.StringIO()))
    receiver = Receiver()
    running = asyncio.create_task(between.run(receiver))
    try:
        yield between, receiver
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.server
async def test_every_kind_of_message_crosses(valkey_server: Server) -> None:
    """What one task publishes the other one receives, in order; neither hears itself."""
    async with (
        a_task(valkey_server.port, b"task-one") as (one, at_one),
        a_task(valkey_server.port, b"task-two") as (two, at_two),
    ):
        await at_one.connected()
        await at_two.connected()
        await one.subscribe("doc")
        await two.subscribe("doc")
        present = [wire.Presence(1, 2, b"{}")]
        one.updates("doc", 5, [b"a", b""])
        one.head("doc", 6)
        one.presence("doc", wire.encode_awareness(present))
        one.stateless("doc", "花子")
        one.query_presence("doc")
        assert [await at_two.next() for _ in range(5)] == [
            ("doc", b"task-one", fanout.Updates(5, [b"a", b""])),
            ("doc", b"task-one", fanout.Head(6)),
            ("doc", b"task-one", fanout.Presences(present)),
            ("doc", b"task-one", fanout.Stateless("花子")),
            ("doc", b"task-one", fanout.PresenceQuery()),
        ]
        two.head("doc", 7)
        assert await at_one.next() == ("doc", b"task-two", fanout.Head(7))
        assert at_one.messages.empty() and at_two.messages.empty()


@pytest.mark.server
async def test_only_open_documents_are_received(valkey_server: Server) -> None:
    """A document that is not subscribed to, or no longer, does not arrive."""
    async with (
        a_task(valkey_server.port, b"task-one") as (one, at_one),
        a_task(valkey_server.port, b"task-two") as (two, at_two),
    ):
        await at_one.connected()
        await at_two.connected()
        for document in ("left", "open"):
            await two.subscribe(document)
        two.unsubscribe("left")
        await two.subscribe("last")  # confirmed after the unsubscription
        for document in ("never", "left", "open"):
            one.head(document, 1)
        assert (await at_two.next())[0] == "open"
        assert at_two.messages.empty()


@pytest.mark.server
async def test_a_killed_valkey_is_told_and_healed(valkey_server: Server, until: Until) -> None:
    """When the server dies, publishing goes nowhere without failing; when it is back all is subscribed anew,
    and both sides are told that something may be missing."""
    async with (
        a_task(valkey_server.port, b"task-one") as (one, at_one),
        a_task(valkey_server.port, b"task-two") as (two, at_two),
    ):
        await at_one.connected()
        await at_two.connected()
        await two.subscribe("doc")
        valkey_server.stop(signal.SIGKILL)
        try:
            await until(lambda: None not in (one.problem, two.problem))
            one.updates("doc", 1, [b"lost"])
            await two.subscribe("new")
            two.unsubscribe("doc")
        finally:
            valkey_server.start()
        await at_one.connected()
        await at_two.connected()
        one.head("doc", 1)
        one.head("new", 2)
        assert await at_two.next() == ("new", b"task-one", fanout.Head(2))


@pytest.mark.server
async def test_a_backlog_that_grows_too_big_is_thrown_away_and_told(
    valkey_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits to be published is bounded; that something was dropped is told, so that heads follow."""
    monkeypatch.setattr(fanout, "WAITING_BYTES", 1000)
    async with a_task(valkey_server.port, b"task-one") as (one, at_one):
        await at_one.connected()
        for number in range(100):
            one.updates("doc", number, [b"x" * 100])
        one.head("doc", 1)
        await at_one.connected()


@pytest.mark.server
async def test_commands_are_bounded_and_nothing_is_lost(
    valkey_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood about a few documents becomes few commands, each within its size, and all of it arrives in
    order."""
    monkeypatch.setattr(fanout, "COMMAND_BYTES", 2000)
    async with (
        a_task(valkey_server.port, b"task-one") as (one, at_one),
        a_task(valkey_server.port, b"task-two") as (two, at_two),
    ):
        await at_one.connected()
        await at_two.connected()
        documents = ["a", "b"]
        for document in documents:
            await two.subscribe(document)
        before = one.commands
        for number in range(1, 301):
            for document in documents:
                one.updates(document, number, [b"%3d" % number + b"x" * 90])
        came = [await at_two.next() for _ in range(600)]
        for document in documents:
            firsts = [m.first for d, _, m in came if d == document and isinstance(m, fanout.Updates)]
            assert firsts == list(range(1, 301))
        assert two.received == 600
        await one.flush()
        # 30 KB a document in pieces of 2 KB.
        assert 2 * 15 <= one.commands - before <= 2 * 16


@pytest.mark.server
async def test_what_is_published_is_sent_before_flush_returns(valkey_server: Server) -> None:
    """Also what is on its way already, not only what still waits."""
    async with a_task(valkey_server.port, b"task-one") as (one, at_one):
        await at_one.connected()
        for number in range(50):
            one.head(f"doc-{number}", 1)
        async with asyncio.timeout(SECONDS):
            await one.flush()
        assert one.commands == 50


async def test_without_redis_nothing_waits() -> None:
    """Nobody listens: subscribing and publishing return at once, and the reason can be read."""
    async with a_task(1, b"task-one") as (one, _):
        async with asyncio.timeout(SECONDS):
            await one.subscribe("doc")
            one.head("doc", 1)
            await one.flush()
        assert one.problem is not None


@given(st.binary(max_size=100))
def test_any_bytes_are_a_message_or_a_wire_error(data: bytes) -> None:
    """A channel may carry anything, such as what another release wrote."""
    with contextlib.suppress(wire.WireError):
        fanout.decode(data)
