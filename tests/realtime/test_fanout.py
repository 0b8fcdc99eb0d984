"""The fan-out, on a real Valkey: what is published arrives, and a broken connection is told."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, cast

import pycrdt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zedi.realtime import fanout, wire
from zedi.realtime.fanout import Fanout
from zedi.realtime.hub import Hub
from zedi.realtime.journal import Journal, Span
from zedi.realtime.log import Log
from zedi.realtime.room import Link

if TYPE_CHECKING:
    from tests.realtime.conftest import Connect, StartService, Until
    from tests.servers import Database, Issuer, Server

SECONDS = 20.0


class Receiver:
    """Remembers what came. As long as there are `failures` the next one is raised instead."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.log = io.StringIO()
        self.messages: asyncio.Queue[tuple[str, bytes, fanout.Message]] = asyncio.Queue()
        self.reconnections = asyncio.Semaphore(0)
        self.joins: asyncio.Queue[str] = asyncio.Queue()

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop()

    def errors(self) -> list[tuple[str, str | None]]:
        """What was logged at this level: event and document."""
        lines = map(json.loads, self.log.getvalue().splitlines())
        return [(line["event"], line.get("document")) for line in lines if line["level"] == "error"]

    def received(self, document: str, task: bytes, message: fanout.Message) -> None:
        self._fail()
        self.messages.put_nowait((document, task, message))

    def reconnected(self) -> None:
        self._fail()
        self.reconnections.release()

    def joined(self, document: str) -> None:
        self.joins.put_nowait(document)

    async def company(self) -> str:
        async with asyncio.timeout(SECONDS):
            return await self.joins.get()

    async def next(self) -> tuple[str, bytes, fanout.Message]:
        async with asyncio.timeout(SECONDS):
            return await self.messages.get()

    async def connected(self) -> None:
        async with asyncio.timeout(SECONDS):
            await self.reconnections.acquire()


@contextlib.asynccontextmanager
async def a_task(port: int, name: bytes) -> AsyncIterator[tuple[Fanout, Receiver]]:
    receiver = Receiver()
    between = Fanout(f"redis://127.0.0.1:{port}", name, Log("test", "test", receiver.log))
    running = asyncio.create_task(between.run(receiver))
    try:
        yield between, receiver
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@contextlib.asynccontextmanager
async def two_tasks(port: int) -> AsyncIterator[tuple[Fanout, Receiver, Fanout, Receiver]]:
    """Both are connected."""
    async with a_task(port, b"task-one") as (one, at_one), a_task(port, b"task-two") as (two, at_two):
        await at_one.connected()
        await at_two.connected()
        yield one, at_one, two, at_two


class SharedJournal:
    """A journal of one document that commits at once; `after_read` is called when it was next read."""

    def __init__(self) -> None:
        self.updates: list[bytes] = []
        self.reads = 0
        self.after_read: Callable[[], None] | None = None

    async def read_from(self, document: str, after: int) -> AsyncIterator[Span]:
        self.reads += 1
        if updates := self.updates[after:]:
            yield Span(after + 1, len(self.updates), updates)
        if call := self.after_read:
            self.after_read = None
            call()

    def append(
        self, document: str, updates: list[bytes], done: Callable[[int, list[bytes]], None], *, soon: bool
    ) -> None:
        self.updates += updates
        done(len(self.updates) - len(updates) + 1, updates)


@contextlib.asynccontextmanager
async def a_hub(port: int, name: bytes, journal: SharedJournal) -> AsyncIterator[tuple[Hub, Fanout]]:
    log = Log("test", "test", io.StringIO())
    between = Fanout(f"redis://127.0.0.1:{port}", name, log)
    hub = Hub(cast(Journal, journal), between, log, lambda entries: None, lambda document: None)
    running = asyncio.create_task(between.run(hub))
    try:
        async with asyncio.timeout(SECONDS):
            while between.problem is not None:  # noqa: ASYNC110 (nobody announces it)
                await asyncio.sleep(0.005)
        yield hub, between
    finally:
        await hub.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.server
async def test_every_kind_of_message_crosses(valkey_server: Server) -> None:
    """What one task publishes the other one receives, in order; neither hears itself."""
    async with two_tasks(valkey_server.port) as (one, at_one, two, at_two):
        await one.subscribe("doc")
        await two.subscribe("doc")
        two.query_presence("doc")
        assert await at_one.company() == "doc"
        assert await at_one.next() == ("doc", b"task-two", fanout.PresenceQuery())
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
        assert at_one.joins.empty() and at_two.joins.qsize() == 1


@pytest.mark.server
async def test_of_a_document_without_company_only_heads_are_published(
    valkey_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Updates go out from when another task is heard of until it has been silent for a while; any sign of it
    begins anew, but news about access is none."""
    async with (
        a_task(valkey_server.port, b"task-one") as (one, at_one),
        a_task(valkey_server.port, b"task-two") as (two, at_two),
        contextlib.aclosing(fanout.client(f"redis://127.0.0.1:{valkey_server.port}")) as api,
    ):
        await at_one.connected()
        await at_two.connected()
        await one.subscribe("doc")
        await two.subscribe("doc")

        async def crosses(number: int) -> bool:
            """Whether an update does; the head behind it always does."""
            one.updates("doc", number, [b"x"])
            one.presence("doc", wire.encode_awareness(()))
            one.head("doc", number)
            came = [(await at_two.next())[2]]
            while came[-1] != fanout.Head(number):
                came.append((await at_two.next())[2])
            assert len(came) in (1, 3)
            return len(came) == 3

        await fanout.announce_access(api, b"the-api!", "doc")
        assert isinstance((await at_one.next())[2], fanout.AccessChanged)
        assert isinstance((await at_two.next())[2], fanout.AccessChanged)
        assert at_one.joins.empty()
        before = one.commands
        one.updates("doc", 1, [b"x"])
        await one.flush()
        assert one.commands == before
        assert not await crosses(1)
        two.query_presence("doc")
        await at_one.company()
        assert await crosses(2) and await crosses(3)
        monkeypatch.setattr(fanout, "SILENCE_SECONDS", 0.0)
        assert not await crosses(4) and not await crosses(5)
        two.head("doc", 5)
        await at_one.company()
        assert await crosses(6)  # silence begins with the first that is not answered


@pytest.mark.server
async def test_what_was_committed_while_another_task_opened_the_document_reaches_it(
    valkey_server: Server, until: Until
) -> None:
    """It had read the journal already, and nobody knew of it yet: the head that answers its query heals it,
    and what follows is published."""
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    written: list[bytes] = []
    kept = doc.observe(lambda event: written.append(event.update))
    for text in ("first", "between", "after"):
        doc.get("text", type=pycrdt.Text).insert(0, text)
    del kept
    journal = SharedJournal()
    async with (
        a_hub(valkey_server.port, b"task-one", journal) as (one, _),
        a_hub(valkey_server.port, b"task-two", journal) as (two, at_two),
    ):
        ours, link = await one.open("doc"), Link("doc", lambda packet: None)

        def say(update: bytes) -> None:
            ours.append(link, update, False, 0.0)
            one.flush()

        say(written[0])
        journal.after_read = lambda: say(written[1])
        theirs = await two.open("doc")
        assert (ours.seen, theirs.seen) == (2, 1) and at_two.received == 0
        await until(lambda: theirs.seen == 2)
        reads = journal.reads
        say(written[2])
        await until(lambda: theirs.seen == 3)
        assert journal.reads == reads
        # And the other way: it knows of us without our having said more.
        theirs.append(Link("doc", lambda packet: None), wire.EMPTY_UPDATE, False, 0.0)
        two.flush()
        await until(lambda: ours.seen == 4)


@pytest.mark.server
async def test_only_open_documents_are_received(valkey_server: Server) -> None:
    """A document that is not subscribed to, or no longer, does not arrive."""
    async with two_tasks(valkey_server.port) as (one, _at_one, two, at_two):
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
    async with two_tasks(valkey_server.port) as (one, at_one, two, at_two):
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
async def test_a_message_that_cannot_be_taken_in_ends_nothing(valkey_server: Server) -> None:
    """It is logged with its document; the connection stays, and the next message arrives."""
    async with two_tasks(valkey_server.port) as (one, _at_one, two, at_two):
        await two.subscribe("doc")
        at_two.failures = [wire.WireError("history", "a defect")]
        one.head("doc", 1)
        one.head("doc", 2)
        assert (await at_two.next())[2] == fanout.Head(2)
        assert at_two.errors() == [("receive failed", "doc")]
        assert at_two.reconnections.locked()


@pytest.mark.server
async def test_any_failure_of_the_connection_is_told_and_healed(valkey_server: Server) -> None:
    """What nobody thought of is an error in the log and a new connection, not the end of the service."""
    async with a_task(valkey_server.port, b"task-one") as (one, at_one):
        at_one.failures = [ZeroDivisionError("a defect"), ZeroDivisionError("a defect")]
        await at_one.connected()
        assert at_one.errors() == [("redis_failed", None)] * 2
        assert one.problem is None


@pytest.mark.server
async def test_a_backlog_that_grows_too_big_is_thrown_away_and_told(
    valkey_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits to be published is bounded; that something was dropped is told, so that heads follow."""
    monkeypatch.setattr(fanout, "WAITING_BYTES", 1000)
    async with a_task(valkey_server.port, b"task-one") as (one, at_one):
        await at_one.connected()
        for number in range(100):
            one.stateless("doc", f"{number} " + "x" * 100)
        one.head("doc", 1)
        await at_one.connected()


@pytest.mark.server
async def test_what_is_too_big_to_publish_is_told_at_once(
    valkey_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of updates the head crosses instead, and nothing else suffers; anything else counts as lost. Neither
    waits for somebody to publish something."""
    monkeypatch.setattr(fanout, "WAITING_BYTES", 1000)
    async with two_tasks(valkey_server.port) as (one, at_one, two, at_two):
        await one.subscribe("doc")
        await two.subscribe("doc")
        two.query_presence("doc")
        await at_one.company()
        one.updates("doc", 4, [b"x" * 600])
        one.updates("doc", 5, [b"x" * 600, b"x" * 600])
        assert [(await at_two.next())[2] for _ in range(2)] == [
            fanout.Updates(4, [b"x" * 600]),
            fanout.Head(6),
        ]
        await one.flush()
        assert at_one.reconnections.locked()
        one.stateless("doc", "x" * 1200)
        await at_one.connected()


@pytest.mark.server
async def test_commands_are_bounded_and_nothing_is_lost(
    valkey_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood about a few documents becomes few commands, each within its size, and all of it arrives in
    order."""
    monkeypatch.setattr(fanout, "COMMAND_BYTES", 2000)
    async with two_tasks(valkey_server.port) as (one, at_one, two, at_two):
        documents = ["a", "b"]
        for document in documents:
            await one.subscribe(document)
            await two.subscribe(document)
            two.query_presence(document)
            await at_one.company()
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
async def test_a_task_sends_no_more_commands_than_it_may(
    database: Database,
    start_service: StartService,
    connect: Connect,
    issuer: Issuer,
    valkey_server: Server,
) -> None:
    """For a second and more one client talks in forty documents as fast as it is listened to: by the task's
    own figures and by Redis's it sends 200 commands a second, as it may, and what it says is all there."""
    url, rate = f"redis://127.0.0.1:{valkey_server.port}", 200
    change = f"from zedi.realtime import fanout; fanout.COMMANDS_PER_SECOND = {rate}"
    service, token = await start_service(database, url, change=change), issuer.token()
    pages = [await database.page() for _ in range(40)]
    client = await connect(service)
    for page in pages:
        client.say(wire.Token(page, token, "4.8.0"))
    for _ in pages:
        await client.until(wire.Authenticated)
    said, heard = 0, 0
    async with fanout.client(url) as redis, contextlib.aclosing(redis.pubsub()) as ear:

        async def published() -> int:
            return int((await redis.info("commandstats"))["cmdstat_publish"]["calls"])

        async def hear() -> None:
            nonlocal heard
            async for message in ear.listen():
                if message["type"] == "message":
                    heard += sum(
                        isinstance(each, fanout.Stateless) for each in fanout.decode(message["data"])[1]
                    )

        await ear.subscribe(*(f"zedi:{page}" for page in pages))
        hearing = asyncio.create_task(hear())
        client.say(wire.Ping())
        await client.until(wire.Pong)
        began, publishes = time.monotonic(), await published()
        before = service.metrics()["zedi_redis_commands_total"]
        async with asyncio.timeout(SECONDS):
            while time.monotonic() < began + 1.2:
                for page in pages:
                    client.say(wire.Stateless(page, "x"))
                said += len(pages)
                client.say(wire.Ping())
                await client.until(wire.Pong)
            commands = service.metrics()["zedi_redis_commands_total"] - before
            seconds = time.monotonic() - began
            publishes = await published() - publishes
            while heard < said:  # noqa: ASYNC110 (nobody announces it)
                await asyncio.sleep(0.005)
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
    # A batch is sent before its share of the second, and counted when it is answered.
    assert rate * seconds / 2 < commands <= rate * seconds + len(pages)
    assert commands <= publishes <= commands + 2 * len(pages)


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


@pytest.mark.server
async def test_a_quiet_connection_is_asked_and_kept(
    valkey_server: Server, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When nothing comes Redis is asked whether it is there; as long as it answers nothing else happens."""
    monkeypatch.setattr(fanout, "ANSWER_SECONDS", 0.3)
    async with (
        a_task(valkey_server.port, b"task-one") as (one, at_one),
        fanout.client(f"redis://127.0.0.1:{valkey_server.port}") as redis,
    ):
        await at_one.connected()

        async def asked() -> int:
            stats = await redis.info("commandstats")
            return int(stats.get("cmdstat_ping", {"calls": 0})["calls"])

        before = await asked()

        async def asked_again() -> bool:
            return await asked() >= before + 3

        await until(asked_again)
        assert one.problem is None and at_one.reconnections.locked()


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
