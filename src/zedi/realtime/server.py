"""Sockets, health, metrics, signals, drain: the shell around session, room, hub, journal and fan-out.

picows reads the WebSockets (and answers the plain GETs of /health and /metrics on the same port); what else
there is to a WebSocket is done here: fragments, pings, closes, the bound on what a slow reader may keep us
storing.

Both protocols come in at `/realtime`. y-websocket appends its room, the page's id, to the address that it is
given, and its token as a query parameter: `/realtime/<room>?token=...`; whoever reaches the port without
CloudFront may leave `/realtime` out. No line of the log ever has a query, and so no token.

Close codes beside those of `session`: 1001 a peer that went silent, 1003 text, 1002 a broken frame, 1009 too
big, 1012 this task is going, 1013 try again later (the document cannot be loaded, the journal is full, the
reader is too slow, or too many send too much). A client comes back after any of them and synchronises.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import aiofastnet
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)

from zedi import contract
from zedi.realtime import fanout, frames, session, wire
from zedi.realtime.access import Mode, PageAccess, TokenError, TokenVerifier, User, page_id
from zedi.realtime.compactor import Compactor
from zedi.realtime.config import Config, ServiceError
from zedi.realtime.fanout import Fanout
from zedi.realtime.hub import LOAD_SECONDS, Hub, LoadError
from zedi.realtime.journal import AWAY, Journal
from zedi.realtime.log import Level, Log
from zedi.realtime.metrics import CONTENT_TYPE, Metrics, Sample, exposition
from zedi.realtime.parser import LARGE, Parser
from zedi.realtime.room import Entry, Link, Room
from zedi.realtime.session import Session
from zedi.realtime.strangers import TRY_AGAIN_LATER, Deaf, Stranger, Strangers
from zedi.realtime.unfinished import Unfinished

MAX_MESSAGE: Final = 16 * 1024 * 1024
"""Bytes of one WebSocket message."""
MAX_FRAGMENTS: Final = 16 * 1024
"""Fragments of one message, empty ones as well: each is work, however few bytes it has."""
MAX_SOCKETS: Final = 5000
MAX_BACKLOG: Final = 8 * 1024 * 1024
"""Bytes that a reader may leave unread, beyond what its joining has sent it, before one more is written."""
CAUGHT_UP: Final = 1024 * 1024
"""Bytes unread of a reader that may be sent another document."""
_ANY: Final = sys.maxsize
_WAITING_CLIENTS: Final = 4096
"""Clients of a state vector that is kept until then; a longer one is answered with all there is."""
STALLED_TICKS: Final = 30
"""Seconds after which a reader is too slow of whose backlog nothing has gone, however short that is."""
NUDGE_TICKS: Final = 20
"""Seconds after which a client is told something, whatever else it hears: it leaves after 30 of silence."""
CLOSE_SECONDS: Final = 3.0
"""How long a peer may take to answer a close, or to read what stands before it."""
HANDSHAKE_SECONDS: Final = 10.0
FIRST_SHARE: Final = 0.2
"""Share of the drain that is given to the journal before the first socket is closed."""
DRAIN_SHARE: Final = 0.5
"""Share of the drain during which sockets are closed one after the other; the rest is for the journal."""
DRAIN_INTERVAL: Final = 0.02
"""Seconds between two closings, where the drain is long enough for it."""
REASSESS_SECONDS: Final = 60.0
"""After this long without news of access, everybody's is asked for again."""
_REASSESS_BATCH: Final = 1000
_REASSESS_PAUSE: Final = 2.0
_ASKING: Final = 3
"""So many ask at a time what they may open, as many as the journal has connections for; while the database is
away only these try it again and again, however many wait."""
_ASK_PAUSE: Final = 0.5
_BACKLOG: Final = 4096
"""Connections that the kernel accepts for us while we are busy (at most net.core.somaxconn). When a task ends
all that it had come at once, and whoever finds no room is silently kept waiting for a second and more."""
_FORWARDED: Final = "x-forwarded-for"
"""What came through the load balancer has this header. Metrics are for who reaches the task itself."""

SERVICE_RESTART: Final = 1012
_BINARY: Final = WSMsgType.BINARY
_NO_CODE: Final = 1005
"""What the log calls an empty close frame."""


class Connection(WSListener):
    """One WebSocket: carries out what its Session says.

    `room` and `token` are what its address names, or empty. Every line of the log about it has its `trace`.
    """

    def __init__(self, service: Service, room: str, token: str) -> None:
        self._service = service
        self._session = Session(time.time(), room, token)
        self._trace = os.urandom(8).hex()
        self._rooms: dict[str, tuple[Room, Link]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._fragments: bytearray | None = None
        """What has come of a message in several frames; None: the next frame begins one."""
        self._fragments_count = 0
        self._large = 0
        """Bytes of the large frame that is coming in."""
        self._allowance = 0
        """Bytes that were unread when it had been sent a document, until it has caught up."""
        self._joins: dict[Link, tuple[Room, dict[int, int]]] = {}
        """Who waits for that, with the newest state vector."""
        self._stranger: Stranger | None = None
        """Until the first good token."""
        self._closing = False
        self._cut: asyncio.TimerHandle | None = None
        """When whoever does not answer a close is cut off."""
        self._code: int | None = None
        self._reason: str | None = None
        self._opened_at = time.monotonic()
        self._heard_at = self._opened_at
        self._pinged_at = self._opened_at
        self._ticks = 0
        self._behind = False
        """More than CAUGHT_UP is unread, so that every write is looked at."""
        self._backlog = 0
        """Bytes that were unread at the last tick."""
        self._stalled = 0
        """Ticks since that has become less."""

    # -- what picows calls --------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        parser = Parser.of(transport)
        self._parser: Parser | None = parser
        """Until the end."""
        self._stream = parser.stream
        self._send = parser.stream.write
        parser.attach(self)
        self._stream.set_write_buffer_limits(CAUGHT_UP, CAUGHT_UP)
        self._stranger = self._service.strangers.admit(self._stream, self._refuse)
        self._service.entered(self)
        self._event("connected")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._heard_at = time.monotonic()
        kind = frame.msg_type
        if kind == _BINARY and frame.fin and self._fragments is None and not frame.rsv1:
            self._receive(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CLOSE:
            self._closed_by_client(frame)
        elif kind == WSMsgType.PING:
            # Not by picows, which looks at no backlog: who pings and does not read would fill our memory.
            self.write(frames.pong(frame.get_payload_as_bytes()))
        elif kind == WSMsgType.PONG:
            pass
        else:
            self._fragment(frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._closing = True
        self._stranger = None
        if self._cut is not None:
            self._cut.cancel()
        if self._parser is not None:
            self._parser.detach()
            self._parser = None
        self._service.unfinished.hold(self, 0)
        for task in self._tasks:
            task.cancel()
        for address in list(self._rooms):
            self._leave(address)
        self._service.left(self)
        user = self._session.user
        self._event(
            "disconnected",
            user=user.sub if user else None,
            code=self._code,
            reason=self._reason,
            duration=round(time.monotonic() - self._opened_at, 3),
        )

    def _closed_by_client(self, frame: WSFrame) -> None:
        """Answers a close with its own code, where that may be on the wire (RFC 6455, section 7.4)."""
        said = int.from_bytes(frame.get_payload_as_bytes()[:2], "big") if frame.payload_size else _NO_CODE
        if not self._closing:
            # What else is no code, picows has refused already.
            never = said < 1000 or said == 1006 or said > 4999
            self.close(1000 if said == _NO_CODE else 1002 if never else said, "by the client")
            self._code = said
        self._stream.close()

    def _fragment(self, frame: WSFrame) -> None:
        """A message in several frames, which some browsers make of a long one (RFC 6455, section 5.4)."""
        if frame.payload_size > LARGE:
            self._large_ended()
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            return self._refuse(1002, "no extension was agreed on")
        if frame.msg_type == WSMsgType.TEXT:
            return self._refuse(1003, "binary messages only")
        if (frame.msg_type == WSMsgType.CONTINUATION) != (self._fragments is not None):
            return self._refuse(1002, "a fragment that continues nothing")
        if self._fragments is None:
            self._fragments, self._fragments_count = bytearray(), 0
        self._fragments_count += 1
        if len(self._fragments) + frame.payload_size > MAX_MESSAGE or self._fragments_count > MAX_FRAGMENTS:
            return self._refuse(session.TOO_BIG, "message too big")
        self._fragments += frame.get_payload_as_memoryview()
        if not frame.fin:
            return self._hold()
        message, self._fragments = bytes(self._fragments), None
        self._hold()
        self._receive(message)

    # -- what its parser tells ----------------------------------------------------------------------------

    def on_large_frame(self, length: int) -> None:
        if length > MAX_MESSAGE:
            self.on_broken_frame(session.TOO_BIG, "message too big")
        else:
            self._large = length
            self._hold()
            asyncio.get_running_loop().call_soon(self._go_on)

    def on_broken_frame(self, code: int, reason: str) -> None:
        # What came before it is handed on only after this, and counts.
        asyncio.get_running_loop().call_soon(self._end_reading, code, reason)

    def on_defect(self, error: BaseException) -> None:
        self._event("reading failed", level="error", reason=repr(error))
        self.on_broken_frame(1011, "internal error")

    def cut_off(self, code: int, reason: str) -> None:
        self._refuse(code, reason)
        self._stream.abort()

    def _end_reading(self, code: int, reason: str) -> None:
        self._refuse(code, reason)
        if not self._stream.is_closing() and not isinstance(self._stream.get_protocol(), Deaf):
            Deaf(self._stream)

    def _hold(self) -> None:
        """Tells what is kept for it of a message that is not whole; a stranger's is counted elsewhere."""
        if self._stranger is None:
            self._service.unfinished.hold(self, self._large + len(self._fragments or b""))

    def _large_ended(self) -> None:
        self._large = 0
        self._hold()
        asyncio.get_running_loop().call_soon(self._give_back)

    def _go_on(self) -> None:
        if self._parser is not None:
            self._parser.go_on()

    def _give_back(self) -> None:
        if self._parser is not None:
            self._parser.give_back()

    # -- writing ------------------------------------------------------------------------------------------

    def write(self, packet: bytes) -> None:
        """Writes whole frames, or parts of one that follow each other. Never fails.

        Each call is a system call: the transport sends at once what the socket takes (aiofastnet 1.2). Rooms,
        which write most, call the transport's own `write` for who has caught up (`_links_write`).
        """
        if self._closing:
            return
        backlog = self._stream.get_write_buffer_size()
        if backlog > MAX_BACKLOG and backlog > MAX_BACKLOG + self._allowance:
            self._too_slow(backlog)
        else:
            self._stream.write(packet)

    def _too_slow(self, backlog: int) -> None:
        self._event("slow_reader", level="warning", backlog=backlog)
        self._service.metrics.errors += 1
        self.close(TRY_AGAIN_LATER, "too slow")

    def pause_writing(self) -> None:
        """More than CAUGHT_UP is unread. Called in the middle of writing."""
        self._behind = True
        self._links_write(self.write)

    def resume_writing(self) -> None:
        """It has caught up. Called in the middle of writing."""
        self._behind = False
        self._links_write(self._send)
        self._allowance = 0
        asyncio.get_running_loop().call_soon(self._join_waiting)

    def _links_write(self, write: Callable[[bytes], None]) -> None:
        for _, link in self._rooms.values():
            link.write = write

    def _join(self, room: Room, link: Link, vector: dict[int, int]) -> None:
        """Sends a document to one that has caught up, however long it is."""
        self._allowance = _ANY
        room.join(link, vector)
        backlog = self._stream.get_write_buffer_size()
        self._allowance = backlog if backlog > CAUGHT_UP else 0

    def _join_waiting(self) -> None:
        while self._joins and self._stream.get_write_buffer_size() <= CAUGHT_UP:
            link = next(iter(self._joins))
            room, vector = self._joins.pop(link)
            self._join(room, link, vector)

    def close(self, code: int, reason: str) -> None:
        """Starts the closing handshake; whoever does not answer in time is cut off."""
        if self._closing:
            return
        self._closing = True
        self._code, self._reason = code, reason
        self._stream.write(frames.close(code, reason))
        for address in list(self._rooms):
            self._leave(address)
        self._cut = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._stream.abort)

    # -- time ---------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """About once a second; `now` is monotonic."""
        if self._closing:
            return
        interval = self._service.config.ping_interval
        if now - self._heard_at > 2 * interval + CLOSE_SECONDS:
            self.close(1001, "silent for too long")
            return
        if now - self._pinged_at >= interval:
            self._pinged_at = now
            self.write(frames.PING)
        backlog = self._stream.get_write_buffer_size()
        self._stalled = self._stalled + 1 if backlog and backlog >= self._backlog else 0
        self._backlog = backlog
        if self._stalled >= STALLED_TICKS:
            self._too_slow(backlog)
            return
        self._give_back()  # what a burst of small frames has made of it
        self._do(self._session.tick(time.time()))
        self._ticks += 1
        if self._ticks % NUDGE_TICKS == 0:
            self._do(self._session.nudge())

    def readers(self) -> list[tuple[str, str, User]]:
        """Address, document and user of every document that is live here."""
        return [] if self._closing else self._session.readers()

    def reassessed(self, address: str, document: str, user: User, mode: Mode | None) -> None:
        """How `user` may have the document from now on; None: not any more."""
        effects = self._session.reassessed(address, user, mode, time.time())
        if effects:
            self._event("access_changed", user=user.sub, document=document, mode=mode or "none")
            self._do(effects)

    def _event(self, event: str, level: Level = "info", **fields: Any) -> None:
        self._service.log.event(event, level=level, trace=self._trace, **fields)

    # -- effects ------------------------------------------------------------------------------------------

    def _receive(self, message: bytes) -> None:
        if len(message) > LARGE:
            self._large_ended()
        if not self._closing:
            self._service.metrics.messages += 1
            self._do(self._session.receive(message, time.time()))

    def _do(self, effects: list[session.Effect]) -> None:
        for effect in effects:
            if self._closing:
                return
            if type(effect) is session.Append:  # most are, and `match` looks at it more closely
                if self._service.journal.full:
                    self._service.metrics.errors += 1
                    self.close(TRY_AGAIN_LATER, "the database is away")
                    return
                room, link = self._rooms[effect.address]
                room.append(link, effect.update, effect.answer, self._heard_at)
                continue
            match effect:
                case session.Announce(address, present):
                    room, link = self._rooms[address]
                    room.announce(link, present, time.monotonic())
                case session.Send(address, body):
                    self.write(
                        frames.binary(wire.varstring(address), body) if address else frames.binary(body)
                    )
                case session.Greet(address):
                    room, link = self._rooms[address]
                    room.greet(link)
                case session.Join(address, vector):
                    room, link = self._rooms[address]
                    if self._joins or self._stream.get_write_buffer_size() > CAUGHT_UP:
                        self._joins[link] = room, vector if len(vector) <= _WAITING_CLIENTS else {}
                    else:
                        self._join(room, link, vector)
                case session.Compare(address, update):
                    room, link = self._rooms[address]
                    room.compare(link, update)
                case session.TellPresence(address):
                    room, link = self._rooms[address]
                    room.tell_presence(link)
                case session.Broadcast(address, payload):
                    room, link = self._rooms[address]
                    room.broadcast(link, payload)
                case session.Authenticate():
                    self._start(self._authenticate(effect))
                case session.Leave(address):
                    self._leave(address)
                case session.Close(code, reason):
                    self._refuse(code, reason)

    def _refuse(self, code: int, reason: str) -> None:
        if not self._closing:
            self._service.metrics.errors += 1
            self._event("refused", level="warning", code=code, reason=reason)
            self.close(code, reason)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._event("authentication failed", level="error", reason=repr(error))
            self.close(1011, "internal error")

    def _leave(self, address: str) -> None:
        opened = self._rooms.pop(address, None)
        if opened is not None:
            room, link = opened
            self._joins.pop(link, None)
            room.leave(link)
            link.write = _discard  # a room may be in the middle of writing to all
            self._service.hub.release(room)

    async def _authenticate(self, wish: session.Authenticate) -> None:
        address, document, token, attempt = wish
        service = self._service
        began = time.monotonic()
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                user = await service.tokens.authenticate(token)
                changes = service.access_changes
                mode = await self._mode(address, document, user.sub)
                if mode is None:
                    raise TokenError("no such page")
                if address not in self._rooms:
                    room = await service.hub.open(document)
                    if self._closing or not self._session.wants(address, attempt) or address in self._rooms:
                        service.hub.release(room)
                    else:
                        link = Link(address, self.write if self._behind else self._send)
                        self._rooms[address] = (room, link)
                        room.enter(link)
        except TokenError as error:
            service.metrics.errors += 1
            self._event("denied", level="warning", document=document, reason=error.reason)
            self._do(self._session.denied(address, attempt, error.reason, time.time()))
        except (LoadError, *AWAY) as error:
            service.metrics.errors += 1
            reason = str(error) or type(error).__name__
            self._event("not_loaded", level="error", document=document, reason=reason)
            self.close(TRY_AGAIN_LATER, "the document cannot be loaded")
        else:
            self._event(
                "authenticated",
                protocol=self._session.protocol,
                user=user.sub,
                document=document,
                mode=mode,
                duration=round(time.monotonic() - began, 4),
            )
            if self._stranger is not None:
                self._stranger.leave()
                self._stranger = None
                self._hold()
            self._do(self._session.authenticated(address, attempt, user, mode, time.time()))
            if service.access_changes != changes:
                service.access_changed(document)  # it may have been this one, after we had asked

    async def _mode(self, address: str, document: str, sub: str) -> Mode | None:
        """How a user whose token was good may open the document; None: not at all.

        Who has it open and only brings a new token keeps it as it is while the database is away, and is asked
        about once it answers. All others wait for that: the caller sets the bound.
        """
        service = self._service
        if self._session.mode(address, sub) is not None:
            try:
                (mode,) = await service.access.modes([(sub, document)])
                return mode
            except AWAY:
                mode = self._session.mode(address, sub)
                if mode is not None:
                    service.access_changed(document)
                    return mode
        return await service.mode(sub, document)


class Service:
    """One task: listens, and holds what all sockets share. Raises ServiceError when it cannot listen."""

    def __init__(self, config: Config) -> None:
        self.config = config
        task = os.urandom(fanout.TASK_ID_BYTES)
        self.log = Log(task.hex(), config.environment)
        self.tokens = TokenVerifier(config)
        self.journal = Journal(config.database, self.log)
        self.access = PageAccess(self.journal)
        self.fanout = Fanout(config.redis_url, task, self.log)
        self.strangers = Strangers()
        self.unfinished = Unfinished()
        self.access_changes = 0
        """How often it was heard that access to something has changed."""
        self._asking = asyncio.Semaphore(_ASKING)
        self._reassess: set[str | None] = set()
        self._reassess_wake = asyncio.Event()
        self.compactor = Compactor(self.log, lambda document, seq: self.hub.compacted(document, seq))
        self.hub = Hub(
            self.journal,
            self.fanout,
            self.log,
            self._acknowledged,
            self.access_changed,
            self.compactor.ask,
        )
        self.metrics = Metrics()
        self._lag = 0.0
        """Seconds by which the event loop was late the last time."""
        self._connections: dict[Connection, None] = {}
        self._draining = False
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT, and then drains. Returns within `drain_seconds` of the signal."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        server = await self._listen()
        tasks = [
            asyncio.create_task(self.journal.run(), name="journal"),
            asyncio.create_task(self.fanout.run(self.hub), name="fan-out"),
            asyncio.create_task(self.hub.run(), name="hub"),
            asyncio.create_task(self.compactor.run(), name="compactor"),
            asyncio.create_task(self._tick(), name="tick"),
            asyncio.create_task(self._report(), name="metrics"),
            asyncio.create_task(self._reassess_access(), name="access"),
        ]
        stopped = asyncio.create_task(self._stop.wait(), name="stop")
        done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        failure = next((task for task in done if task is not stopped), None)
        if failure is not None:
            # None of them ends by itself: a defect. What is committed is safe; start anew.
            self.log.event(f"{failure.get_name()} failed", level="error", reason=repr(failure.exception()))
        await self._drain(server)
        for task in (stopped, *tasks):
            task.cancel()
        await asyncio.gather(stopped, *tasks, return_exceptions=True)
        await self.hub.close()
        self.log.event("stopped", waiting=self.journal.waiting)
        if failure is not None and (error := failure.exception()) is not None:
            raise error

    def health(self) -> tuple[bool, dict[str, object]]:
        """Whether traffic is welcome, and how things are.

        A database that goes away later costs no readiness: people go on writing here and see "saving",
        while a task that was replaced for it would find the same database, and nobody's socket.
        """
        ready = self.journal.opened and not self._draining
        return ready, {
            "live": True,
            "ready": ready,
            "draining": self._draining,
            "database": self.journal.problem or "ok",
            # A task without Redis works alone; it is told and does not cost readiness.
            "redis": self.fanout.problem or "ok",
        }

    def entered(self, connection: Connection) -> None:
        self._connections[connection] = None

    def left(self, connection: Connection) -> None:
        self._connections.pop(connection, None)

    # -- access -------------------------------------------------------------------------------------------

    async def mode(self, sub: str, document: str) -> Mode | None:
        """How a user may open a document; None: not at all. Waits for as long as the database is away.

        A database that was paused takes longer to wake than an attempt to connect may take.
        """
        told = False
        async with self._asking:
            while True:
                try:
                    (mode,) = await self.access.modes([(sub, document)])
                    return mode
                except AWAY as error:
                    if not told:
                        reason = str(error) or type(error).__name__
                        self.log.event("access", level="warning", document=document, reason=reason)
                        told = True
                await asyncio.sleep(_ASK_PAUSE)

    def access_changed(self, document: str | None) -> None:
        """Who may open `document` (None: any of them) is asked again for all who have it open."""
        self.access_changes += 1
        self._reassess.add(document)
        self._reassess_wake.set()

    async def _reassess_access(self) -> None:
        """Asks again when something has changed; and from time to time, because Redis may lose what says so,
        but only while the database is awake anyway: nobody writes while it sleeps."""
        while True:
            try:
                async with asyncio.timeout(REASSESS_SECONDS):
                    await self._reassess_wake.wait()
            except TimeoutError:
                if not self.journal.awake:
                    continue
                self._reassess.add(None)
            self._reassess_wake.clear()
            changed, self._reassess = self._reassess, set()
            readers = [
                (connection, *reader)
                for connection in list(self._connections)
                for reader in connection.readers()
                if None in changed or reader[1] in changed
            ]
            try:
                for start in range(0, len(readers), _REASSESS_BATCH):
                    batch = readers[start : start + _REASSESS_BATCH]
                    modes = await self.access.modes([(user.sub, document) for _, _, document, user in batch])
                    for (connection, address, document, user), mode in zip(batch, modes, strict=True):
                        connection.reassessed(address, document, user, mode)
            except AWAY as error:
                self.log.event("access", level="warning", reason=str(error) or type(error).__name__)
                self._reassess |= changed
                await asyncio.sleep(_REASSESS_PAUSE)
                self._reassess_wake.set()

    # -- listening ----------------------------------------------------------------------------------------

    async def _listen(self) -> asyncio.Server:
        config = self.config
        try:
            server = await aiofastnet.create_server(
                asyncio.get_running_loop(),
                lambda: Parser(self._answer, HANDSHAKE_SECONDS),
                config.bind_address,
                config.port,
                backlog=_BACKLOG,
            )
        except OSError as error:
            raise ServiceError(
                f"{config.bind_address}:{config.port}",
                f"cannot listen there: {error.strerror or error}",
                f"Free the port, or set {contract.BIND_ADDRESS} and {contract.PORT}.",
            ) from error
        port = server.sockets[0].getsockname()[1]
        self.log.event("listening", address=config.bind_address, port=port, environment=config.environment)
        return server

    def _answer(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener | None:
        path, _, query = request.path.decode("latin-1").partition("?")
        if path == contract.HEALTH_PATH:
            ready, body = self.health()
            return _response(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, body)
        if path == contract.METRICS_PATH and _FORWARDED not in request.headers:
            return _text(exposition(self._samples(), self.metrics.latency))
        room = _room(path)
        if room is None:
            return None
        if self._draining or len(self._connections) >= MAX_SOCKETS:
            return _response(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "try again later"})
        # Firefox sends "keep-alive, Upgrade", which is right (RFC 6455, section 4.2.1); picows 2.3 wants
        # the one word.
        if "upgrade" in (token.strip().lower() for token in request.headers.get("connection", "").split(",")):
            request.headers["connection"] = "upgrade"
        token = parse_qs(query, keep_blank_values=True).get("token", [""])[0]
        return Connection(self, room, token)

    # -- time ---------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            due = time.monotonic() + 1.0
            await asyncio.sleep(1.0)
            now = time.monotonic()
            self._lag = max(0.0, now - due)
            for connection in list(self._connections):
                try:
                    connection.tick(now)
                except Exception as error:  # a defect, which must not end the others' time
                    self.log.event("tick failed", level="error", reason=repr(error))

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(contract.METRIC_PERIOD)
            self._write_metrics()

    def _write_metrics(self) -> None:
        metrics = self.metrics
        self.log.metrics(
            {
                contract.METRIC_CONNECTIONS: len(self._connections),
                contract.METRIC_DOCUMENTS: self.hub.documents,
            },
            metrics.fresh(
                {
                    contract.METRIC_EDITS: metrics.edits,
                    contract.METRIC_MESSAGES: metrics.messages,
                    contract.METRIC_ERRORS: metrics.errors,
                }
            ),
            metrics.latency.fresh(),
        )

    def _samples(self) -> list[Sample]:
        metrics, journal, between = self.metrics, self.journal, self.fanout
        return [
            Sample("connections", "Open WebSockets", len(self._connections)),
            Sample("documents", "Open documents", self.hub.documents),
            Sample("messages", "Messages received from clients", metrics.messages, counter=True),
            Sample("edits", "Updates stored", metrics.edits, counter=True),
            Sample("errors", "Messages, tokens and sockets refused or failed", metrics.errors, counter=True),
            Sample("journal_waiting_bytes", "Bytes that are not committed yet", journal.waiting),
            Sample("journal_commits", "Transactions that appended updates", journal.commits, counter=True),
            Sample("database_up", "1: the last statement succeeded", float(journal.problem is None)),
            Sample("redis_up", "1: other tasks can be reached", float(between.problem is None)),
            Sample("redis_commands", "Commands sent to Redis", between.commands, counter=True),
            Sample("redis_messages", "Messages that came from other tasks", between.received, counter=True),
            Sample("event_loop_lag_seconds", "How late the event loop was the last time", self._lag),
        ]

    def _acknowledged(self, entries: list[Entry]) -> None:
        now = time.monotonic()
        for entry in entries:
            if entry.update is not None:
                self.metrics.edits += 1
                self.metrics.latency.add(now - entry.arrived)

    # -- the end ------------------------------------------------------------------------------------------

    async def _drain(self, server: asyncio.Server) -> None:
        """Fails health, takes no more sockets, waits for the journal so that authors hear "saved", closes the
        sockets one after the other, and waits for what came in meanwhile: at most `drain_seconds` in all.

        The port stays open, so that the load balancer hears "503" and not a refused connection.
        """
        self._draining = True
        connections = list(self._connections)
        self.log.event("draining", connections=len(connections), waiting=self.journal.waiting)
        seconds = self.config.drain_seconds
        try:
            async with asyncio.timeout(seconds):
                with contextlib.suppress(TimeoutError):
                    # A database that is away must not keep anybody here: clients have their edits.
                    async with asyncio.timeout(seconds * FIRST_SHARE):
                        await self._flush()
                interval = min(DRAIN_INTERVAL, seconds * DRAIN_SHARE / max(1, len(connections)))
                for connection in connections:
                    connection.close(SERVICE_RESTART, "this task is going; come back")
                    await asyncio.sleep(interval)
                await self._flush()
        except TimeoutError:
            self.log.event("drain_timeout", level="error", waiting=self.journal.waiting)
        server.close()
        self._write_metrics()

    async def _flush(self) -> None:
        """Waits until what has come in is stored, acknowledged and on its way to the other tasks."""
        self.hub.flush()
        await self.journal.flush()
        self.hub.flush()  # the acknowledgements
        await self.fanout.flush()


def _discard(packet: bytes) -> None:
    """For whoever is not there any more."""


def _text(body: bytes) -> WSUpgradeResponseWithListener:
    headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
    return WSUpgradeResponseWithListener(WSUpgradeResponse.create_ok_response(body, headers), None)


def _room(path: str) -> str | None:
    """The room that a path names, empty where it names none; None where there is no WebSocket.

    /realtime/<room>, and /<room> where that may be a page, in either case with any slashes around.
    """
    head, _, rest = path.strip("/").partition("/")
    if f"/{head}" == contract.REALTIME_PATH:
        room = unquote(rest.strip("/"))
        return room if len(room) <= wire.MAX_ADDRESS else None
    room = unquote(head)
    return room if not room or (not rest and page_id(room)) else None


def _response(status: HTTPStatus, body: dict[str, object]) -> WSUpgradeResponseWithListener:
    text = json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    if status is HTTPStatus.OK:
        response = WSUpgradeResponse.create_ok_response(text, headers)
    else:
        response = WSUpgradeResponse.create_error_response(status, text, headers)
    return WSUpgradeResponseWithListener(response, None)
