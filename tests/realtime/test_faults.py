"""The service broken on purpose, under load, with a real PostgreSQL and a real Valkey.

After each fault the same is asked: is every edit that its author was told "saved" about in the database, as a
service that was never there before reads it; are all replicas equal; has the memory come back; does the log
hold no error but those that the fault explains.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import os
import re
import resource
import signal
import time
import urllib.request
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import picows
import pycrdt
import pytest
from tests.servers import SECONDS, Server

from zedi.realtime import fanout, wire
from zedi.realtime.server import MAX_BACKLOG

if TYPE_CHECKING:
    from tests.realtime.conftest import Connect, RawClient, Service, StartService, Until
    from tests.servers import Database, Issuer

pytestmark = pytest.mark.server

MEMORY: Final = 32 * 1024 * 1024
"""Bytes that a service may hold more after a fault, and when everybody has left, than when nobody had come
yet: what lies scattered in pages that are used otherwise is not given back."""
_WATCHED: Final = (
    "import ctypes, signal; from zedi.realtime import hub; hub.LINGER_SECONDS = 0.2;"
    "signal.signal(signal.SIGHUP, lambda *_: ctypes.CDLL(None).malloc_trim(0))"
)
"""A change for a service that closes its documents soon after they were left and, when it is asked to, gives
the system the memory back that it does not use. The allocator keeps tens of MB of it."""
_PAUSE: Final = 0.03
"""Seconds between two edits of a writer."""
_BACK: Final = 0.05
"""Seconds after which a client that was closed comes back, unless a test says otherwise."""


class _Socket(picows.WSListener):
    """One connection of a writer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._code = 1006
        self.live = False
        """The server knows what the replica holds, so edits are sent as they are made."""
        self.synced = False
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def say(self, message: wire.Message) -> None:
        self.transport.send(picows.WSMsgType.BINARY, wire.encode(message))

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self.transport = transport
        self._writer.connected(self)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.BINARY:
            self._writer.take(self, wire.decode(frame.get_payload_as_bytes()))
        elif frame.msg_type == picows.WSMsgType.CLOSE:
            self._code = int(frame.get_close_code())  # type: ignore[call-overload]
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self._writer.lost()
        if not self.ended.cancelled():
            self.ended.set_result(self._code)


class Writer:
    """Somebody with a replica, who writes with and without a connection, and comes back like a provider does:
    Step1 and Step2 both ways. Knows what was acknowledged."""

    def __init__(self, port: int, page: str, token: str, author: int) -> None:
        self.page = page
        self.author = author
        self.doc: pycrdt.Doc[Any] = pycrdt.Doc(client_id=author)
        self._text = self.doc.get("text", type=pycrdt.Text)
        self._port = port
        self._token = token
        self._updates: list[bytes] = []
        self._kept = self.doc.observe(lambda event: self._updates.append(event.update))
        self._socket: _Socket | None = None
        self._waiting: deque[tuple[int, float]] = deque()
        """Of what was sent and not acknowledged: the clock after it, and when it was sent."""
        self.clock = 0
        """Characters typed."""
        self.acknowledged = 0
        """Of these, so many are said to be saved."""
        self.back = _BACK
        """Seconds after which it comes back when it was closed."""
        self.waits: list[float] = []
        """Seconds from each sending to its acknowledgement."""
        self.codes: list[int] = []
        """How its connections ended."""
        self.joined = 0
        self.surprises: list[wire.Message] = []
        self.typing: asyncio.Task[None] | None = None
        self.staying = asyncio.create_task(self._stay())

    def text(self) -> str:
        return str(self._text)

    def vector(self) -> dict[int, int]:
        return wire.decode_state_vector(self.doc.get_state())

    @property
    def synced(self) -> bool:
        return self._socket is not None and self._socket.synced

    @property
    def settled(self) -> bool:
        """All that it wrote is acknowledged, and it had all there was when it came."""
        return self.synced and not self._waiting and self.acknowledged == self.clock

    def edit(self) -> None:
        self._updates.clear()
        if self.clock % 10 == 9 and len(self._text) > 5:
            del self._text[2]
        self._text.insert(0, chr(97 + self.author % 26))
        self.clock += 1
        if self._socket is not None and self._socket.live:
            for update in self._updates:
                self._say_update(self._socket, wire.Update(self.page, update))

    def begin(self, pause: float = _PAUSE) -> None:
        """Writes from now on, until `end`."""

        async def type_on() -> None:
            while True:
                self.edit()
                await asyncio.sleep(pause)

        self.typing = asyncio.create_task(type_on())

    async def end(self) -> None:
        if self.typing is not None:
            self.typing.cancel()
            await asyncio.gather(self.typing, return_exceptions=True)
            self.typing = None

    async def leave(self) -> None:
        await self.end()
        self.staying.cancel()
        await asyncio.gather(self.staying, return_exceptions=True)
        if self._socket is not None:
            self._socket.transport.disconnect(graceful=False)

    async def _stay(self) -> None:
        while True:
            with contextlib.suppress(OSError, picows.WSError, TimeoutError):
                _, socket = await picows.ws_connect(
                    lambda: _Socket(self),
                    f"ws://127.0.0.1:{self._port}/realtime",
                    websocket_handshake_timeout=SECONDS,
                )
                assert isinstance(socket, _Socket)
                self.codes.append(await socket.ended)
            await asyncio.sleep(self.back)

    # -- what its socket calls ----------------------------------------------------------------------------

    def connected(self, socket: _Socket) -> None:
        self._socket = socket
        self._waiting.clear()
        self.joined += 1
        socket.say(wire.Token(self.page, self._token, "4.8.0"))
        socket.say(wire.Step1(self.page, self.doc.get_state()))

    def take(self, socket: _Socket, message: wire.Message) -> None:
        match message:
            case wire.Update(_, update):
                self.doc.apply_update(update)
            case wire.Step2(_, update):
                self.doc.apply_update(update)
                socket.synced = True
            case wire.Step1(_, vector):
                socket.live = True
                self._say_update(socket, wire.Step2(self.page, self.doc.get_update(vector)))
            case wire.SyncStatus(_, True) if self._waiting:
                clock, sent = self._waiting.popleft()
                self.waits.append(time.monotonic() - sent)
                self.acknowledged = max(self.acknowledged, clock)
            case wire.Authenticated() | wire.Awareness():
                pass
            case _:
                self.surprises.append(message)

    def lost(self) -> None:
        self._socket = None

    def _say_update(self, socket: _Socket, message: wire.Message) -> None:
        self._waiting.append((self.clock, time.monotonic()))
        socket.say(message)


@dataclass
class Scene:
    """Writers on pages, and what is asked after every fault."""

    database: Database
    start_service: StartService
    token: str
    until: Until
    writers: list[Writer] = field(default_factory=list)
    services: list[tuple[Service, int]] = field(default_factory=list)
    """With what each held at its start, in bytes."""

    async def start(
        self,
        database: Database,
        redis_url: str = "redis://127.0.0.1:1",
        change: str = "pass",
        **variables: str,
    ) -> Service:
        """A service of which `recovered` asks."""
        service = await self.start_service(database, redis_url, change=f"{_WATCHED}; {change}", **variables)
        self.services.append((service, memory(service)))
        return service

    async def write(self, service: Service, page: str, count: int, pause: float = _PAUSE) -> list[Writer]:
        """Lets `count` people write on, and waits until all of them are heard."""
        fresh = self.join(service, page, count)
        for writer in fresh:
            writer.begin(pause)
        await self.goes_on(fresh)
        return fresh

    def join(self, service: Service, page: str, count: int = 1) -> list[Writer]:
        first = len(self.writers)
        fresh = [Writer(service.port, page, self.token, 1000 + n) for n in range(first, first + count)]
        self.writers += fresh
        return fresh

    async def goes_on(self, writers: Iterable[Writer], more: int = 10) -> None:
        """Waits until each has so many more edits acknowledged."""
        goals = [(writer, writer.acknowledged + more) for writer in writers]
        await self.until(lambda: all(writer.acknowledged >= goal for writer, goal in goals))

    async def all_kept(self, service: Service, acknowledged: dict[int, int]) -> dict[str, str]:
        """What was acknowledged is what `service` tells somebody who has nothing: the pages' texts."""
        texts: dict[str, str] = {}
        for page in sorted({writer.page for writer in self.writers}):
            reader = Writer(service.port, page, self.token, 1)
            await self.until(lambda reader=reader: reader.synced)  # type: ignore[misc]
            await reader.leave()
            vector, texts[page] = reader.vector(), reader.text()
            for writer in self.writers:
                if writer.page == page:
                    assert vector.get(writer.author, 0) >= acknowledged[writer.author]
        return texts

    def acknowledged(self) -> dict[int, int]:
        return {writer.author: writer.acknowledged for writer in self.writers}

    async def all_equal(self) -> None:
        """Nobody writes any more: everything becomes acknowledged, and equal, here and in the database."""
        for writer in self.writers:
            await writer.end()
        await self.until(lambda: all(writer.settled for writer in self.writers))
        for page in sorted({writer.page for writer in self.writers}):
            here = [writer for writer in self.writers if writer.page == page]

            def equal(here: list[Writer] = here) -> bool:
                vector = here[0].vector()
                return all(w.vector() == vector for w in here) and len({w.text() for w in here}) == 1

            await self.until(equal)
        texts = await self.all_kept(await self.start_service(self.database), self.acknowledged())
        assert all(writer.text() == texts[writer.page] for writer in self.writers)
        assert all(writer.surprises == [] for writer in self.writers)

    async def recovered(self, *explained: str) -> None:
        """What is asked after every fault: nobody writes any more, and all have everything. Then they leave,
        and of all of it nothing is left at any service: no document, nothing that waits to be stored, no
        memory; no error in the log but about these events; and it goes when it is told to."""
        await self.all_equal()
        await asyncio.gather(*(writer.leave() for writer in self.writers))
        for service, before in self.services:
            if service.process.returncode is None:
                await self.until(functools.partial(idle, service))
                service.process.send_signal(signal.SIGHUP)
                await self.until(functools.partial(within, service, before + MEMORY))
                assert await service.stop() == 0
            assert unexplained(service, *explained) == []


@pytest.fixture
async def scene(
    database: Database, start_service: StartService, issuer: Issuer, until: Until
) -> AsyncIterator[Scene]:
    built = Scene(database, start_service, issuer.token(), until)
    yield built
    await asyncio.gather(*(writer.leave() for writer in built.writers))


def memory(service: Service) -> int:
    """Bytes of a service that are resident."""
    pages = Path(f"/proc/{service.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def within(service: Service, bound: int) -> bool:
    return memory(service) < bound


async def idle(service: Service) -> bool:
    """Nobody is there, no document is open, nothing waits to be stored."""
    # In a thread: a service whose log nobody reads stops at some point.
    figures = await asyncio.to_thread(service.metrics)
    names = "zedi_connections", "zedi_documents", "zedi_journal_waiting_bytes"
    return all(figures[name] == 0 for name in names)


def unexplained(service: Service, *explained: str) -> list[dict[str, Any]]:
    """Error lines of the log that are about none of these events."""
    return [line for line in service.log if line.get("level") == "error" and line["event"] not in explained]


def metric(service: Service, name: str) -> float:
    """What /metrics says about it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/metrics", timeout=SECONDS) as answer:
        found = re.search(rf"^zedi_{name} (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])


class Proxy:
    """A port before a server's, and a network in between that can fail.

    A wire that stalls takes all and forwards nothing, as when a node or a route is gone: nobody is told.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._wires: dict[asyncio.StreamWriter, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stalled = False
        self.refusing = False
        self.delay = 0.0
        """Seconds that each piece takes."""

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def stall(self) -> None:
        """Nothing gets through any more, on any wire."""
        self._stalled = True
        for flowing in self._wires.values():
            flowing.clear()

    def heal(self, *, revive: bool) -> None:
        """New wires work again. So do the old ones, if they are revived: what they took arrives now."""
        self._stalled = self.refusing = False
        if revive:
            for flowing in self._wires.values():
                flowing.set()

    def cut(self) -> None:
        """Resets every wire."""
        for writer in self._wires:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends = [writer]
        flowing = self._wires[writer] = asyncio.Event()
        if not self._stalled:
            flowing.set()
        try:
            if not self.refusing:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
                ends.append(far_writer)
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(flowing, reader, far_writer))
                    both.create_task(self._pump(flowing, far_reader, writer))
        except* OSError:
            pass  # that is what it is for
        finally:
            del self._wires[writer]
            for end in ends:
                end.transport.abort()
                with contextlib.suppress(OSError):
                    await end.wait_closed()
            self._tasks.discard(task)

    async def _pump(
        self, flowing: asyncio.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            if self.delay:
                await asyncio.sleep(self.delay)
            await flowing.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError("the other end is closed")


@pytest.fixture
async def before(valkey_server: Server, postgres_server: Server) -> AsyncIterator[tuple[Proxy, Proxy]]:
    """Networks before PostgreSQL and before Valkey."""
    proxies = Proxy(postgres_server.port), Proxy(valkey_server.port)
    for proxy in proxies:
        await proxy.listen()
    yield proxies
    for proxy in proxies:
        await proxy.close()


def through(database: Database, proxy: Proxy) -> Database:
    """The same database, at the other end of a network."""
    return type(database)(dataclasses.replace(database.address, port=proxy.port))


def redis(server: Server | Proxy) -> str:
    return f"redis://127.0.0.1:{server.port}"


SOON = (
    "from zedi.realtime import config, fanout; config.COMMAND_SECONDS = config.CONNECT_SECONDS = 0.5;"
    "fanout.ANSWER_SECONDS = fanout.CONNECT_SECONDS = 0.5"
)
"""For a service that is to give up waiting within the time of a test."""


# -- processes that are killed -------------------------------------------------------------------------------


async def test_a_killed_task_loses_nothing_and_the_other_goes_on(scene: Scene, valkey_server: Server) -> None:
    """SIGKILL under load: all that was acknowledged is there before any author is back, the other task's
    authors notice nothing, and those who were cut off come back with the rest."""
    url = redis(valkey_server)
    killed = await scene.start(scene.database, url)
    other = await scene.start(scene.database, url)
    pages = [await scene.database.page() for _ in range(2)]
    cut_off = [writer for page in pages for writer in await scene.write(killed, page, 3)]
    going_on = [writer for page in pages for writer in await scene.write(other, page, 2)]
    await killed.stop(signal.SIGKILL)
    acknowledged = scene.acknowledged()
    await scene.goes_on(going_on)
    await scene.all_kept(await scene.start_service(scene.database), acknowledged)
    await scene.start(scene.database, url, PORT=str(killed.port))
    await scene.goes_on(cut_off)
    assert all(writer.codes == [] for writer in going_on)
    await scene.recovered()


async def test_edits_go_on_while_the_database_is_dead(scene: Scene, postgres_server: Server) -> None:
    """SIGKILL of PostgreSQL under load: nobody is disconnected, edits are seen by the others and not
    acknowledged; all of them are, once it is back."""
    service = await scene.start(scene.database)
    page = await scene.database.page()
    writers = await scene.write(service, page, 4)
    try:
        kill_postgres(postgres_server)
        await service.logged("database_away")
        acknowledged = scene.acknowledged()
        seen = writers[0].vector()[writers[1].author]
        await scene.until(lambda: writers[0].vector()[writers[1].author] >= seen + 20)
        assert scene.acknowledged() == acknowledged
    finally:
        postgres_server.start()
    await scene.goes_on(writers, 40)
    assert all(writer.codes == [] for writer in writers)
    await scene.recovered("database_away")


async def test_what_the_journal_cannot_hold_stays_with_its_author(
    scene: Scene, postgres_server: Server
) -> None:
    """The database stays away until no more may wait for it: whoever writes on is closed with 1013 and keeps
    it, who is silent is left in peace; all come back with all of it when the database does."""
    bound = 20_000
    small = (
        f"from zedi.realtime import journal; journal.WAITING_BYTES = {bound}; journal._LONGEST_PAUSE = 0.2"
    )
    service = await scene.start(scene.database, change=small)
    page = await scene.database.page()
    (reader,) = scene.join(service, page)
    await scene.until(lambda: reader.settled)
    writers = await scene.write(service, page, 4)
    try:
        kill_postgres(postgres_server)
        await service.logged("database_away")
        await scene.until(lambda: all(writer.codes for writer in writers))
        acknowledged, typed = scene.acknowledged(), [writer.clock for writer in writers]
        await scene.until(lambda: all(w.clock > t + 10 for w, t in zip(writers, typed, strict=True)))
        assert scene.acknowledged() == acknowledged
        waiting = metric(service, "journal_waiting_bytes")
        assert bound <= waiting < bound + 10_000
    finally:
        postgres_server.start()
    await scene.goes_on(writers, 40)
    # Whoever is back before all that waited is stored may be closed again.
    assert all(set(writer.codes) == {1013} for writer in writers) and reader.codes == []
    await scene.recovered("database_away")


_CUT_OFF = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
)
_TAKES_NOTHING = {
    # What PostgreSQL says when the volume is full.
    "full": (
        """
        CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON updates EXECUTE FUNCTION full_disk()
        """,
        "DROP TRIGGER full_disk ON updates",
        "DiskFullError",
    ),
    # What the writer of yesterday says after a failover, to those whose address still leads to it.
    "a reader now": (
        "ALTER DATABASE {name} SET default_transaction_read_only = on",
        "SET default_transaction_read_only = off; ALTER DATABASE {name} RESET default_transaction_read_only",
        "ReadOnlySQLTransactionError",
    ),
}


@pytest.mark.parametrize("fault", _TAKES_NOTHING)
async def test_edits_go_on_while_the_database_takes_nothing(scene: Scene, fault: str) -> None:
    """It answers, and refuses every edit: nobody is disconnected, edits are seen by the others and not
    acknowledged, which the log says once and /health always; all of them are stored once it takes them."""
    begin, end, reason = _TAKES_NOTHING[fault]
    service = await scene.start(scene.database)
    page = await scene.database.page()
    writers = await scene.write(service, page, 4)
    connection = await scene.database.connect()
    try:
        await connection.execute(begin.format(name=scene.database.address.name))
        await connection.fetch(_CUT_OFF, scene.database.address.name)
        await service.logged("database_away")
        acknowledged = scene.acknowledged()
        seen = writers[0].vector()[writers[1].author]
        await scene.until(lambda: writers[0].vector()[writers[1].author] >= seen + 100)
        assert scene.acknowledged() == acknowledged
        assert [line["event"] for line in service.log].count("database_away") == 1
        status, health = service.health()
        assert status == 200 and health["database"].startswith(reason)
        await connection.execute(end.format(name=scene.database.address.name))
    finally:
        await connection.close()
    await scene.goes_on(writers, 110)
    assert all(writer.codes == [] for writer in writers)
    await scene.recovered("database_away")


def kill_postgres(server: Server) -> None:
    """SIGKILL to all of its processes at once, as when its machine is gone."""
    assert server.pid is not None
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    data = Path(server.command[server.command.index("-D") + 1])
    server.stop(signal.SIGKILL)
    for child in map(int, children):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    end = time.monotonic() + SECONDS
    # Not Path.exists: it raises what the kernel says of a process that ends just now (ESRCH).
    while any(os.path.exists(f"/proc/{child}/stat") for child in children):
        assert time.monotonic() < end
        os.sched_yield()
    # It says "ready" still, and would be believed.
    (data / "postmaster.pid").unlink()


async def test_tasks_without_redis_find_together_again(scene: Scene, valkey_server: Server) -> None:
    """SIGKILL of Valkey under load, then a new one; then its subscribers cut off, and all its keys deleted:
    each task works alone meanwhile, and both have everything in the end."""
    url = redis(valkey_server)
    services = [await scene.start(scene.database, url) for _ in range(2)]
    page = await scene.database.page()
    writers = [writer for service in services for writer in await scene.write(service, page, 3)]
    valkey_server.stop(signal.SIGKILL)
    try:
        for service in services:
            await service.logged("redis_away")
        await scene.goes_on(writers)
    finally:
        valkey_server.start()
    here, there = writers[0], writers[-1]
    await scene.until(lambda: here.vector()[there.author] >= there.acknowledged)
    for command in ("CLIENT KILL TYPE pubsub", "FLUSHALL", "CLIENT KILL TYPE pubsub"):
        await tell_valkey(valkey_server, command)
        await scene.goes_on(writers)
    assert all(writer.codes == [] for writer in writers)
    await scene.recovered()


async def tell_valkey(server: Server, command: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(command.encode() + b"\r\n")
    async with asyncio.timeout(SECONDS):
        assert (await reader.readline())[:1] in (b"+", b":")
    writer.close()
    await writer.wait_closed()


async def test_idle_sockets_let_the_database_pause(scene: Scene, valkey_server: Server) -> None:
    """A while after the last edit no task is connected to PostgreSQL, with all sockets open; whoever then
    writes on has it stored."""
    soon = "from zedi.realtime import journal; journal._IDLE_SECONDS = 0.2"
    services = [
        await scene.start_service(scene.database, redis(valkey_server), change=soon) for _ in range(2)
    ]
    page = await scene.database.page()
    writers = [writer for service in services for writer in await scene.write(service, page, 2)]
    readers = [reader for service in services for reader in scene.join(service, page)]
    await scene.until(lambda: all(reader.settled for reader in readers))
    observer = await scene.database.connect()

    async def connected() -> int:
        count: int = await observer.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return count

    async def nobody() -> bool:
        return await connected() == 0

    try:
        assert await connected() >= len(services)
        for writer in writers:
            await writer.end()
        await scene.until(nobody)
        assert [metric(service, "connections") for service in services] == [3, 3]
        writers[0].edit()
        await scene.until(lambda: writers[0].settled)
        await scene.until(nobody)
    finally:
        await observer.close()
    await scene.all_equal()
    assert all(writer.codes == [] for writer in scene.writers)
    assert all(unexplained(service) == [] for service in services)


# -- messages and networks that are lost ---------------------------------------------------------------------


async def test_what_redis_loses_silently_arrives_in_the_end(scene: Scene, valkey_server: Server) -> None:
    """A task of readers gets nothing from the other for a while, and nobody knows; nothing is written any
    more when it hears again. It has everything after a head that is said again."""
    deaf = (
        "import signal; from zedi.realtime import fanout, hub; hub.HEAD_SECONDS = 0.02;"
        "hear = fanout.Fanout._deliver; ignore = lambda *message: None;"
        "turn = lambda number, frame: setattr(fanout.Fanout, '_deliver', {10: ignore, 12: hear}[number]);"
        "signal.signal(signal.SIGUSR1, turn); signal.signal(signal.SIGUSR2, turn)"
    )
    url = redis(valkey_server)
    far = await scene.start(scene.database, url, change=deaf)
    near = await scene.start(scene.database, url, change=deaf)
    page = await scene.database.page()
    (reader,) = scene.join(far, page)
    writers = await scene.write(near, page, 2)
    await scene.until(lambda: reader.vector().keys() == {writer.author for writer in writers})
    far.process.send_signal(signal.SIGUSR1)
    await scene.goes_on(writers, 20)
    connection = fanout.client(url)
    async with connection, contextlib.aclosing(connection.pubsub()) as ear, asyncio.timeout(SECONDS):
        await ear.subscribe(f"zedi:{page}")
        for writer in writers:
            await writer.end()
        await scene.until(lambda: all(writer.settled for writer in writers))
        head = fanout.Head((await scene.database.updates(page))[-1][0])
        async for message in ear.listen():
            if message["type"] == "message" and head in fanout.decode(message["data"])[1]:
                break
    assert reader.vector() != writers[0].vector()
    far.process.send_signal(signal.SIGUSR2)
    await scene.recovered()


@pytest.mark.parametrize("revive", [True, False], ids=["back", "gone"])
async def test_a_task_that_is_cut_off_from_redis_comes_back(
    scene: Scene, valkey_server: Server, before: tuple[Proxy, Proxy], revive: bool
) -> None:
    """A task of readers, which has nothing to say, stops hearing and nobody tells it; the connection comes
    back to life, or is gone for good."""
    _, network = before
    quiet = f"{SOON}; from zedi.realtime import hub; hub.HEAD_SECONDS = 3600.0"
    far = await scene.start(scene.database, redis(network), change=quiet)
    near = await scene.start(scene.database, redis(valkey_server))
    page = await scene.database.page()
    writers = await scene.write(near, page, 2)
    (reader,) = scene.join(far, page)
    await scene.until(lambda: reader.synced)
    await scene.goes_on(writers)  # what was said at the opening is through
    network.stall()
    await scene.goes_on(writers)
    network.heal(revive=revive)
    await scene.goes_on(writers)
    assert reader.codes == []
    await scene.recovered()


@pytest.mark.parametrize("revive", [True, False], ids=["back", "gone"])
async def test_a_task_that_is_cut_off_from_the_database_comes_back(
    scene: Scene, valkey_server: Server, before: tuple[Proxy, Proxy], revive: bool
) -> None:
    """Nothing of one task gets to PostgreSQL or back, and nobody tells it: the other goes on, its own writers
    too but unacknowledged; whoever wants another document there is told to try again, and gets in later."""
    network, _ = before
    at_once = f"{SOON}; from zedi.realtime import hub; hub.LOAD_SECONDS = 1.0"
    far = await scene.start(through(scene.database, network), redis(valkey_server), change=at_once)
    near = await scene.start(scene.database, redis(valkey_server))
    page, unopened = [await scene.database.page() for _ in range(2)]
    cut_off, going_on = await scene.write(far, page, 2), await scene.write(near, page, 2)
    network.stall()
    # Answers that were on their way may still have come.
    await far.logged("database_away")
    acknowledged = [writer.acknowledged for writer in cut_off]
    late = scene.join(far, unopened, 5)
    await scene.goes_on(going_on)
    await scene.until(lambda: all(1013 in writer.codes for writer in late))
    seen = cut_off[0].vector()[cut_off[1].author]
    await scene.until(lambda: cut_off[0].vector()[cut_off[1].author] >= seen + 10)
    assert [writer.acknowledged for writer in cut_off] == acknowledged
    network.heal(revive=revive)
    await scene.goes_on(cut_off)
    await scene.until(lambda: all(writer.synced for writer in late))
    assert all(writer.codes == [] for writer in (*cut_off, *going_on))
    assert unexplained(near) == []
    await scene.recovered("database_away", "not_loaded")


async def test_who_comes_while_the_database_wakes_is_let_in(
    scene: Scene, before: tuple[Proxy, Proxy]
) -> None:
    """A paused database takes connections and answers none of them, for longer than an attempt to connect may
    take: more people than there are connections wait on the sockets they came with, and are in when it is
    awake."""
    network, _ = before
    service = await scene.start(through(scene.database, network), change=SOON)
    pages = [await scene.database.page() for _ in range(2)]
    network.stall()
    waiting = [writer for page in pages for writer in scene.join(service, page, 4)]
    await service.logged("access")  # an attempt has failed
    for writer in waiting:
        writer.edit()
    network.heal(revive=False)
    await scene.until(lambda: all(writer.settled for writer in waiting))
    assert all(writer.joined == 1 and writer.codes == [] for writer in waiting)
    await scene.recovered()


async def test_connections_that_are_reset_lose_nothing(scene: Scene, before: tuple[Proxy, Proxy]) -> None:
    """All connections to PostgreSQL and Redis are reset under load, repeatedly, and refused for a while."""
    database_network, redis_network = before
    service = await scene.start(through(scene.database, database_network), redis(redis_network))
    page = await scene.database.page()
    writers = await scene.write(service, page, 4)
    for network in (*before, *before):
        network.cut()
        await scene.goes_on(writers, 5)
    for network in before:
        network.refusing = True
        network.cut()
    await service.logged("database_away")
    await service.logged("redis_away")
    for network in before:
        network.heal(revive=False)
    await scene.goes_on(writers)
    assert all(writer.codes == [] for writer in writers)
    await scene.recovered("database_away")


async def test_a_slow_database_delays_the_acknowledgement_and_nothing_else(
    scene: Scene, before: tuple[Proxy, Proxy]
) -> None:
    """Each commit takes a fifth of a second: no acknowledgement comes sooner, the others read at once, and
    what waits goes down again when it is fast."""
    network, _ = before
    service = await scene.start(through(scene.database, network))
    page = await scene.database.page()
    writers = await scene.write(service, page, 4)
    network.delay = 0.1
    await scene.goes_on(writers)
    for writer in writers:
        writer.waits.clear()
    await scene.until(lambda: all(len(writer.waits) > 20 for writer in writers))
    # Those that were sent before they were cleared have waited as well.
    assert all(min(writer.waits) >= 0.2 for writer in writers)
    behind = max(writer.clock - writer.acknowledged for writer in writers)
    assert all(reader.vector()[w.author] > w.acknowledged for reader in writers for w in writers), behind
    network.delay = 0.0
    await scene.goes_on(writers, behind)
    for writer in writers:
        writer.waits.clear()
    await scene.goes_on(writers)
    assert all(min(writer.waits) < 0.1 for writer in writers)
    assert all(writer.codes == [] for writer in writers)
    await scene.recovered()


# -- clients that misbehave, and many of them ----------------------------------------------------------------


async def read_nothing(connect: Connect, scene: Scene, service: Service, page: str) -> RawClient:
    """A client that is synchronised and from now on leaves its socket unread."""
    client = await connect(service)
    client.say(wire.Token(page, scene.token, "4.8.0"))
    client.say(wire.Step1(page, wire.EMPTY_STATE_VECTOR))
    await client.until(wire.Step2)
    client.transport.underlying_transport.pause_reading()
    return client


def long_update(size: int) -> bytes:
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    doc.get("long", type=pycrdt.Text).insert(0, "x" * size)
    return doc.get_update()


async def test_slow_readers_are_closed_and_disturb_nobody(scene: Scene, connect: Connect) -> None:
    """Two of five readers do not read, and come before the others in the room: they are closed with 1013, the
    others get everything, those on another page too, and the memory comes back."""
    service = await scene.start(scene.database)
    page, elsewhere = [await scene.database.page() for _ in range(2)]
    sleepers = [await read_nothing(connect, scene, service, page) for _ in range(2)]
    writers = [*await scene.write(service, page, 3), *await scene.write(service, elsewhere, 2)]
    pusher = await connect(service)
    pusher.say(wire.Token(page, scene.token, "4.8.0"))
    for _ in range(2 * MAX_BACKLOG // 1024**2):
        pusher.say(wire.Update(page, long_update(1024**2)))
        await pusher.until(wire.SyncStatus)
    for _ in sleepers:
        await service.logged("slow_reader")
    for sleeper in sleepers:
        sleeper.transport.underlying_transport.resume_reading()
    assert [await sleeper.close_code() for sleeper in sleepers] == [1013, 1013]
    pusher.transport.disconnect()
    await scene.goes_on(writers)
    assert all(writer.codes == [] for writer in writers)
    await scene.recovered()


async def test_a_reader_that_only_asks_cannot_make_memory_grow(scene: Scene, connect: Connect) -> None:
    """Step1 again and again, each time from another state, and not a byte read: one answer waits for it, and
    after a while it is closed with 1013."""
    service = await scene.start(
        scene.database, change="from zedi.realtime import server as s; s.STALLED_TICKS = 3"
    )
    page = await scene.database.page()
    writers = await scene.write(service, page, 2)
    pusher = await connect(service)
    pusher.say(wire.Token(page, scene.token, "4.8.0"))
    for _ in range(4):
        pusher.say(wire.Update(page, long_update(1024**2)))
        await pusher.until(wire.SyncStatus)
    greedy = await read_nothing(connect, scene, service, page)
    before = memory(service)
    for number in range(1, 60):
        greedy.say(wire.Step1(page, wire.encode_state_vector({number: 1})))
    assert (await service.logged("slow_reader"))["backlog"] < 6 * 1024**2
    assert memory(service) < before + 3 * 4 * 1024**2  # what is answered is made, and then kept for the next
    await service.logged("disconnected", code=1013)
    pusher.transport.disconnect()
    await scene.goes_on(writers)
    await scene.recovered()


@pytest.fixture
def many_files() -> Iterator[None]:
    """A thousand sockets need more descriptors than a login shell may open; services inherit the limit."""
    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4096:
        enough = hard == resource.RLIM_INFINITY or hard >= 4096
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard if enough else 4096))
        except ValueError:
            pytest.skip(f"no more than {hard} files may be opened here, and only root can change that")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_thousand_come_back_at_once(scene: Scene, many_files: None, database: Database) -> None:
    """SIGKILL of a task where 1,000 clients have 50 documents open, while they write: what was acknowledged
    is there before anybody is back; all come at once to the next one, are in at their first attempt, and have
    what everybody wrote, acknowledged or not, and what was written meanwhile."""
    first = await scene.start(database)
    pages = [await database.page() for _ in range(50)]
    everybody = [writer for page in pages for writer in scene.join(first, page, 20)]
    for writer in everybody:
        writer.back = 1.0
        writer.edit()
    await scene.until(lambda: all(writer.settled for writer in everybody))
    for writer in everybody[::2]:
        writer.edit()
    await first.stop(signal.SIGKILL)
    await scene.until(lambda: all(writer.codes for writer in everybody))
    acknowledged = scene.acknowledged()
    assert any(acknowledged[writer.author] < writer.clock for writer in everybody)
    for writer in everybody[1::2]:
        writer.edit()
    await scene.all_kept(await scene.start_service(database), acknowledged)
    await scene.start(database, PORT=str(first.port))
    await scene.until(lambda: all(writer.settled for writer in everybody))
    assert all(writer.joined == 2 and writer.codes == [1006] for writer in everybody)
    await scene.recovered()
    assert all(len(writer.text()) == 40 for writer in everybody)


# -- the end -------------------------------------------------------------------------------------------------


async def test_a_task_that_is_told_to_go_loses_nothing(scene: Scene) -> None:
    """SIGTERM under load: 1012 for everybody, status 0 in time; what was acknowledged is there before anybody
    is back, and the rest comes with its author."""
    service = await scene.start(scene.database, DRAIN_SECONDS="3")
    pages = [await scene.database.page() for _ in range(2)]
    writers = [writer for page in pages for writer in await scene.write(service, page, 4)]
    began = time.monotonic()
    assert await service.stop() == 0
    assert time.monotonic() - began < 3 + 1
    await scene.until(lambda: all(writer.codes for writer in writers))
    assert [writer.codes for writer in writers] == [[1012]] * len(writers)
    acknowledged = scene.acknowledged()
    await scene.all_kept(await scene.start_service(scene.database), acknowledged)
    await scene.start(scene.database, PORT=str(service.port))
    await scene.goes_on(writers)
    await scene.recovered()
