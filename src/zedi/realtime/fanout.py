"""Between tasks: numbered publish and subscribe over Redis, which may lose anything at any moment.

A task subscribes to the documents that it has open, one channel each, and publishes what it has committed,
with the journal's numbers; so a receiver sees a gap and reads the journal. Awareness and stateless messages
cross too. Nothing here is needed for correctness: without Redis a task works alone, and whenever the
connection comes back every open document catches up from the journal, and says how far it is, so that
others learn what was never published.

Most documents are open at one task only, and of those little is published: a document is in company while
other tasks are heard of on its channel. Whoever opens one subscribes, reads the journal and then asks who is
there; each task that has it answers with its head. So both know of the other, and what was committed
meanwhile without being published shows as a head that is ahead. A task in company tells its head every
HEAD_SECONDS as long as something changes (see hub), so one that is silent for SILENCE_SECONDS while we
publish has left. Heads are published always, and so heal what else may happen. The number of receivers that
PUBLISH answers would tell it sooner, but counts one node's only (https://valkey.io/commands/publish/).

What is said of a document while the last batch is being sent goes out together, as one PUBLISH:
``varbytes task id · (varuint kind · payload) ...``. And the next batch waits its share of a second, so a task
never sends more than COMMANDS_PER_SECOND, however many type. What waits to be published is bounded; past the
bound it is thrown away, and heads are published instead once there is room. Updates that would be too much by
themselves are a head from the beginning.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.backoff import NoBackoff
from redis.retry import Retry

from zedi.realtime import wire
from zedi.realtime.log import Log

TASK_ID_BYTES: Final = 8
WAITING_BYTES: Final = 8 * 1024 * 1024
COMMANDS_PER_SECOND: Final = 5000
"""PUBLISH commands of one task: a small node does 20 times that. When it is quiet nothing waits for it."""
BATCH_COMMANDS: Final = 500
COMMAND_BYTES: Final = 1024 * 1024
"""More than this about one document goes out in several commands."""
CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 5.0
SUBSCRIBE_SECONDS: Final = 1.0
SILENCE_SECONDS: Final = 45.0
"""Without an answer for so long, updates of a document are not published any more: three heads' time."""
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_CHANNEL: Final = b"zedi:"
_CONTROL: Final = b"zedi-task:"
"""A task's own channel, subscribed to all the time: a pub/sub connection without any cannot be read."""

AWAY: Final = (OSError, TimeoutError, exceptions.RedisError)


class Updates(NamedTuple):
    """Committed updates, numbered from `first` on."""

    first: int
    updates: list[bytes]


class Head(NamedTuple):
    """Everything up to this number is committed."""

    number: int


class Presences(NamedTuple):
    present: list[wire.Presence]


class Stateless(NamedTuple):
    payload: str


class PresenceQuery(NamedTuple):
    """Who is present at your side?"""


class AccessChanged(NamedTuple):
    """Who may open the document is to be asked again."""


Message = Updates | Head | Presences | Stateless | PresenceQuery | AccessChanged

_UPDATES: Final = 1
_HEAD: Final = 2
_PRESENCES: Final = 3
_STATELESS: Final = 4
_QUERY: Final = 5
_ACCESS: Final = 6


def decode(data: bytes) -> tuple[bytes, list[Message]]:
    """Task id and messages. Raises wire.WireError: the channel may carry what another release wrote."""
    reader = wire.Reader(data)
    task = reader.varbytes("task")
    messages: list[Message] = []
    while reader.left:
        messages.append(_message(reader))
    return task, messages


def _message(reader: wire.Reader) -> Message:
    match reader.varuint("kind"):
        case 1:
            first = reader.varuint("first")
            count = reader.varuint("count")
            return Updates(first, [reader.varbytes("update") for _ in range(count)])
        case 2:
            return Head(reader.varuint("number"))
        case 3:
            return Presences(wire.decode_awareness(reader.varbytes("awareness")))
        case 4:
            return Stateless(reader.varstring("payload"))
        case 5:
            return PresenceQuery()
        case 6:
            return AccessChanged()
        case kind:
            raise wire.WireError("kind", f"{kind} is not known")


class Receiver(Protocol):
    """What comes of the fan-out. Implemented by the hub; nothing here waits."""

    def received(self, document: str, task: bytes, message: Message) -> None: ...
    def reconnected(self) -> None:
        """Anything may have been missed, and anything may have been left unsaid."""

    def joined(self, document: str) -> None:
        """Another task has `document` open; until now nothing but heads was published."""


class Fanout:
    """Publishes and receives for one task. `task` is its id, TASK_ID_BYTES long."""

    def __init__(self, url: str, task: bytes, log: Log) -> None:
        self._url = url
        self._task = wire.varbytes(task)
        self._id = task
        self._log = log
        self._documents: dict[str, asyncio.Event] = {}
        """What is subscribed to, or will be; the event says that it is."""
        self._changes: asyncio.Queue[tuple[bool, str]] = asyncio.Queue()
        self._company: dict[str, float | None] = {}
        """Documents that another task has open, with the time of the first update that was published since it
        was last heard of, if any."""
        self._outgoing: dict[bytes, list[bytes]] = {}
        """By channel, in the order in which they are to be sent."""
        self._waiting = 0
        self._lost = False
        self._wake = asyncio.Event()
        self._sent = asyncio.Event()
        self._sent.set()
        self.commands = 0
        """Sent to Redis since the start."""
        self.received = 0
        """Messages that came from other tasks since the start."""
        self.problem: str | None = "not connected yet"

    # -- publishing ---------------------------------------------------------------------------------------

    def shared(self, document: str) -> bool:
        """Whether another task has the document open, as far as is known."""
        return document in self._company

    def updates(self, document: str, first: int, updates: list[bytes]) -> None:
        """Publishes what was committed, where another task has the document open."""
        if not self._in_company(document):
            return
        body = wire.varuint(first) + wire.varuint(len(updates)) + b"".join(map(wire.varbytes, updates))
        if len(body) < WAITING_BYTES:
            self._publish(document, _UPDATES, body)
        else:  # its readers fetch it from the journal; everything else that waits is spared
            self.head(document, first + len(updates) - 1)

    def head(self, document: str, number: int) -> None:
        self._publish(document, _HEAD, wire.varuint(number))

    def presence(self, document: str, payload: bytes) -> None:
        if document in self._company:
            self._publish(document, _PRESENCES, wire.varbytes(payload))

    def stateless(self, document: str, payload: str) -> None:
        self._publish(document, _STATELESS, wire.varstring(payload))

    def query_presence(self, document: str) -> None:
        self._publish(document, _QUERY, b"")

    def _in_company(self, document: str) -> bool:
        """Whether updates need publishing; to be called when there are some."""
        if document not in self._company:
            return False
        now = time.monotonic()
        since = self._company[document]
        if since is None:
            self._company[document] = now
        elif now - since > SILENCE_SECONDS:
            del self._company[document]
            return False
        return True

    def _publish(self, document: str, kind: int, body: bytes) -> None:
        if self.problem is not None:
            self._lost = True  # made good by heads and catching up, once the connection is back
            return
        message = wire.varuint(kind) + body
        self._waiting += len(message)
        if self._waiting > WAITING_BYTES:
            self._outgoing.clear()
            self._waiting = 0
            self._lost = True
            self._wake.set()
            return
        self._outgoing.setdefault(_channel(document), []).append(message)
        self._sent.clear()
        self._wake.set()

    # -- subscribing --------------------------------------------------------------------------------------

    async def subscribe(self, document: str) -> None:
        """Begins to receive what is published about `document`. Waits until Redis has said so, where it is
        there, for a second at most: what is missed meanwhile shows as a gap."""
        ready = self._documents[document] = asyncio.Event()
        if self.problem is None:
            self._changes.put_nowait((True, document))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SUBSCRIBE_SECONDS):
                    await ready.wait()

    def unsubscribe(self, document: str) -> None:
        self._company.pop(document, None)
        if self._documents.pop(document, None) is not None and self.problem is None:
            self._changes.put_nowait((False, document))

    # -- the connection -----------------------------------------------------------------------------------

    async def run(self, receiver: Receiver) -> None:
        """Keeps the connection, until it is cancelled. Whatever fails, Redis only carries: it is connected
        to anew, and the task goes on alone in between."""
        pause = _FIRST_PAUSE
        told = False
        while True:
            redis = client(self._url)
            ready: float | None = None
            try:
                async with contextlib.aclosing(redis.pubsub()) as pubsub:
                    await self._subscribe_all(pubsub, receiver)
                    ready = time.monotonic()
                    self.problem = None
                    self._log.event("redis_ready")
                    told = False
                    receiver.reconnected()
                    await self._serve(redis, pubsub, receiver)
            except AWAY as error:
                self.problem = f"{type(error).__name__}: {error}".rstrip(": ")
                if not told:
                    self._log.event("redis_away", level="warning", reason=self.problem)
                    told = True
            except Exception as error:  # a defect, redis-py's or the receiver's
                self.problem = repr(error)
                self._log.event("redis_failed", level="error", reason=self.problem)
            finally:
                self.problem = self.problem or "not connected"
                self._company.clear()  # everybody is asked anew
                self._outgoing.clear()
                self._waiting = 0
                self._sent.set()
                while not self._changes.empty():
                    self._changes.get_nowait()
                with contextlib.suppress(Exception):  # it is given up in any case
                    await redis.aclose()
            # A connection that fails as soon as it is there is no better than none.
            if ready is not None and time.monotonic() - ready > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def flush(self) -> None:
        """Waits until what was published so far has been sent, or the connection is gone."""
        await self._sent.wait()

    async def _subscribe_all(self, pubsub: PubSub, receiver: Receiver) -> None:
        """Subscribes to everything that is open, and waits until all of it is confirmed."""
        asked = set(self._documents)
        await pubsub.subscribe(_CONTROL + self._id.hex().encode(), *map(_channel, asked))
        left = len(asked) + 1
        async with asyncio.timeout(ANSWER_SECONDS):
            while left:
                left -= await self._receive(pubsub, receiver) == "subscribe"
        for document in asked ^ set(self._documents):
            self._changes.put_nowait((document in self._documents, document))

    async def _serve(self, redis: Redis, pubsub: PubSub, receiver: Receiver) -> None:
        """Reads, publishes and changes subscriptions until one of them fails."""
        tasks = [
            asyncio.create_task(self._read(pubsub, receiver), name="redis reader"),
            asyncio.create_task(self._send(redis, receiver), name="redis publisher"),
            asyncio.create_task(self._change(pubsub), name="redis subscriptions"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def _read(self, pubsub: PubSub, receiver: Receiver) -> None:
        asked = False
        while True:
            if await self._receive(pubsub, receiver) is not None:
                asked = False
            elif asked:
                raise TimeoutError("no answer")
            else:
                # redis-py sends such a question as well, but never notices that the answer is missing.
                asked = True
                await pubsub.ping()

    async def _receive(self, pubsub: PubSub, receiver: Receiver) -> str | None:
        """Takes one message; its type, or None where none came in time."""
        message = await pubsub.get_message(timeout=ANSWER_SECONDS)
        if message is None:
            return None
        kind: str = message["type"]
        if kind == "message":
            self._deliver(_document(message["channel"]), message["data"], receiver)
        elif (
            kind == "subscribe" and (ready := self._documents.get(_document(message["channel"]))) is not None
        ):
            ready.set()
        return kind

    def _deliver(self, document: str, data: bytes, receiver: Receiver) -> None:
        try:
            task, messages = decode(data)
        except wire.WireError as error:
            self._log.event("redis_message", level="warning", document=document, reason=str(error))
            return
        if task == self._id:
            return
        self.received += len(messages)
        # A process that only says who may open what has nothing open.
        if document in self._documents and not all(isinstance(each, AccessChanged) for each in messages):
            met = document not in self._company
            self._company[document] = None
            if met:
                receiver.joined(document)
        for message in messages:
            try:
                receiver.received(document, task, message)
            except Exception as error:  # of one document; a new connection would cost all of them a catch-up
                self._log.event("receive failed", level="error", document=document, reason=repr(error))

    async def _send(self, redis: Redis, receiver: Receiver) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outgoing:
                # What comes meanwhile goes into a new entry of its channel.
                batch = [
                    (channel, self._outgoing.pop(channel))
                    for channel in list(itertools.islice(self._outgoing, BATCH_COMMANDS))
                ]
                commands, began = 0, time.monotonic()
                async with redis.pipeline(transaction=False) as pipeline:
                    for channel, messages in batch:
                        for packet in _packets(messages):
                            pipeline.publish(channel, self._task + packet)
                            commands += 1
                    await pipeline.execute()
                self.commands += commands
                # An overflow meanwhile has counted it off already.
                self._waiting = max(0, self._waiting - sum(len(m) for _, messages in batch for m in messages))
                # What the answer took is part of the share.
                await asyncio.sleep(began + commands / COMMANDS_PER_SECOND - time.monotonic())
            self._sent.set()
            if self._lost:
                self._lost = False
                receiver.reconnected()

    async def _change(self, pubsub: PubSub) -> None:
        while True:
            wanted, document = await self._changes.get()
            self.commands += 1
            if wanted:
                await pubsub.subscribe(_channel(document))
            else:
                await pubsub.unsubscribe(_channel(document))


def client(url: str) -> Redis:
    """A client that gives up in time and never tries again by itself: that is done where it is known what was
    missed."""
    return Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        socket_keepalive=True,
        health_check_interval=10,
        max_connections=4,
        retry=Retry(NoBackoff(), 0),
    )


async def announce_access(redis: Redis, task: bytes, document: str) -> None:
    """Tells every task that has `document` open that who may open it has changed. Raises one of AWAY.

    For a process that has no Fanout of its own.
    """
    await redis.publish(_channel(document), wire.varbytes(task) + wire.varuint(_ACCESS))


def _packets(messages: list[bytes]) -> Iterator[bytes]:
    """The messages, in order, joined into pieces of about COMMAND_BYTES at most."""
    packet: list[bytes] = []
    size = 0
    for message in messages:
        if packet and size + len(message) > COMMAND_BYTES:
            yield b"".join(packet)
            packet, size = [], 0
        packet.append(message)
        size += len(message)
    if packet:
        yield b"".join(packet)


def _channel(document: str) -> bytes:
    return _CHANNEL + document.encode("utf-8")


def _document(channel: bytes) -> str:
    return channel.removeprefix(_CHANNEL).decode()
