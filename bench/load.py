"""The load generator: Hocuspocus's protocol in raw frames. `python -m bench.load`, a job in, a result out.

A process of its own for each job, so that nothing of one measurement is left for the next and its processor
time is known. The job comes as JSON on standard input, the result goes as JSON to standard output.

Clients shake hands as a provider of version 4 does (token, Step1 and awareness in one go; Step2 for the
server's Step1) and then type one character at a time. It is an open loop: when each edit is to be sent is
laid down before the first one is (a client's edits at equal intervals with jitter, phases at random), and
latency counts from that moment, so a server or a generator that stalls shows in it. There is no Y.Doc: an
arriving frame is taken apart into (author, clocks) once for all its readers, and each reader counts for each
author how far it is, so an edit that is lost, repeated, merged or late is seen for what it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import dataclasses
import gc
import json
import os
import random
import signal
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import picows
import pycrdt
import uvloop
from picows import WSListener, WSMsgType

from bench import edits, processes
from bench.figures import Histogram, quantile
from zedi.realtime import wire

READY_SECONDS: Final = 60.0
"""How long all clients together may take to be synchronised."""
JOIN_SECONDS: Final = 240.0
"""The same, where that is what is measured."""
_CONNECTING: Final = 40
"""Clients that shake hands at the same time, where joining is not what is measured."""
_MAX_FRAME: Final = 64 * 1024 * 1024
_POLL: Final = 0.005
_FRAMES: Final = 256
"""Frames of a document whose edits are remembered until its last reader has got them."""
_JITTER: Final = 0.4
"""Of the interval between two edits of a client: this much of it, at random, is added."""
_STATE: Final = b'{"user":{"name":"Hanako","color":"#2a6"}}'

clock = time.perf_counter


class LoadError(Exception):
    """The job could not be done: a server that refuses, cuts a socket, or does not answer in time."""


@dataclass(frozen=True)
class Group:
    """Clients of every document that behave alike."""

    url: str
    clients: int
    rate: float
    """Edits a second of each client; 0 for readers."""
    timed: bool = True
    """Whether the latency to these readers counts."""


@dataclass(frozen=True)
class Job:
    """What to do.

    typing  open all documents, type for `warm` and then for `seconds`, wait until all has arrived
    kill    the same, but SIGKILL `victim` after `seconds`, and tell what was acknowledged
    idle    open all documents and be quiet for `seconds`
    join    open all clients at once, and time each until its document is complete
    state   tell what the server has of each document
    """

    kind: Literal["typing", "kill", "idle", "join", "state"]
    documents: list[str]
    groups: list[Group]
    tokens: list[str]
    """Dealt to the clients in turn."""
    servers: list[int]
    """Processes whose processor time and memory are measured."""
    databases: dict[str, int] = field(default_factory=dict)
    """Others, by name, whose processor time is measured."""
    seconds: float = 0.0
    warm: float = 0.0
    warm_rate: float = 0.0
    drain: float = 20.0
    """How long the last edits may take to arrive everywhere."""
    victim: int = 0
    seed: int = 1


@dataclass
class Result:
    """What was measured. Seconds, bytes, numbers of edits; what a kind of job does not measure is 0."""

    edits: int = 0
    """Sent in the measured time."""
    window: float = 0.0
    """From the first of them to the last one's arrival everywhere."""
    missing: int = 0
    """Edits that a replica did not get: 0 when all is well."""
    unacknowledged: int = 0
    p50: float = 0.0
    p99: float = 0.0
    longest: float = 0.0
    acknowledged_p50: float = 0.0
    acknowledged_p99: float = 0.0
    lag_p99: float = 0.0
    """How late the generator itself sent; part of every latency."""
    server_cpu: float = 0.0
    database_cpu: dict[str, float] = field(default_factory=dict)
    generator_cpu: float = 0.0
    rss: int = 0
    """Of the servers, at the end."""
    pss: int = 0
    peak: int = 0
    acknowledged: dict[str, dict[str, int]] = field(default_factory=dict)
    """kill: by document and author, edits acknowledged."""
    state: dict[str, dict[str, int]] = field(default_factory=dict)
    """state: by document and author, edits that are there without a gap."""
    received: int = 0
    """join: bytes that each client got (the least)."""


class Document:
    """One document: its frames' fixed parts, and who has typed what when."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.head = wire.varstring(name)
        self.saved = self.head + wire.SAVED
        self.clients: list[Client] = []
        self.places: dict[int, int] = {}
        """Author's client id -> place in `clients`."""
        self.due: list[list[float]] = []
        """Of each author, when each of its edits was to be sent."""
        self.known: dict[bytes, list[tuple[int, int, int]]] = {}

    def spans(self, update: bytes) -> list[tuple[int, int, int]]:
        return [(self.places[client], first, end) for client, first, end in edits.spans(update)]


class Client(WSListener):
    """One socket with one document."""

    def __init__(self, run: Run, document: Document, group: Group, token: str, author: int) -> None:
        self._run = run
        self._document = document
        self._token = token
        self.group = group
        self.author = author
        self.place = len(document.clients)
        document.clients.append(self)
        document.places[author] = self.place
        document.due.append([])
        self._due = document.due[self.place]
        self._prepared: list[bytes] = []
        self.sent = 0
        self.acknowledged = -1  # the first SyncStatus is for the Step2 of the handshake
        self.seen: list[int] = []
        """Of each author, how many edits are here without a gap."""
        self._early: dict[int, list[tuple[int, int]]] = {}
        self.live = False
        self.synced = asyncio.get_running_loop().create_future()
        self.closed = asyncio.get_running_loop().create_future()
        self.updates: list[bytes] = []
        self.received = 0
        self.keeps = False
        """Whether the updates of the handshake are kept, and not only counted."""
        self._complete = False
        self._counts = run.latency.counts if group.timed else None

    # -- what picows calls --------------------------------------------------------------------------------

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self.transport = transport
        self._run.opened.append(transport)
        head = self._document.head
        presence = wire.Presence(self.author, 1, _STATE)
        for body in (
            wire.token(self._token, "4.7.0"),
            wire.step1(wire.EMPTY_STATE_VECTOR),
            wire.awareness(wire.encode_awareness([presence])),
        ):
            transport.send(WSMsgType.BINARY, head + body)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type != WSMsgType.BINARY:
            if frame.msg_type == WSMsgType.CLOSE:
                self._end(f"closed with {frame.get_close_code()} {frame.get_close_reason()}")
                transport.disconnect()
            return
        self.take(frame.get_payload_as_bytes(), clock())

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self._end("cut off")

    def _end(self, why: str) -> None:
        for future in (self.closed, self.synced):
            if not future.done():
                future.set_result(why)

    # -- reading ------------------------------------------------------------------------------------------

    def take(self, payload: bytes, now: float) -> None:
        """A message has come, at `now` of `clock`."""
        document = self._document
        if payload == document.saved:
            done = self.acknowledged
            self.acknowledged = done + 1
            if done >= self.sent:
                self._end("an edit was acknowledged that was never sent")
            elif done >= 0:
                self._run.acknowledgement.add(now - self._due[done])
            else:
                self._progress()
            return
        known = document.known.get(payload)
        if known is None:
            known = self._take_apart(payload)
        for place, first, end in known:
            if place != self.place:
                self._saw(place, first, end, now)

    def _take_apart(self, payload: bytes) -> list[tuple[int, int, int]]:
        message = wire.decode(payload)
        match message:
            case wire.Update(_, update) if self.live:
                document = self._document
                if len(document.known) >= _FRAMES:
                    del document.known[next(iter(document.known))]
                known = document.known[payload] = document.spans(update)
                return known
            case wire.Update(_, update):
                self._hold(update)
            case wire.Step2(_, update):
                self._complete = True
                self._hold(update)
                self._progress()
            case wire.Step1():
                # Nothing to give: this replica was empty.
                self._say(wire.step2(wire.EMPTY_UPDATE))
            case wire.SyncStatus() | wire.Denied() | wire.Close():
                self._end(repr(message))
            case _:
                pass
        return []

    def _hold(self, update: bytes) -> None:
        self.received += len(update)
        if self.keeps:
            self.updates.append(update)

    def _progress(self) -> None:
        if self._complete and not self.synced.done() and (self._run.joining or self.acknowledged >= 0):
            self.synced.set_result(clock())

    def _say(self, body: bytes) -> None:
        self.transport.send(WSMsgType.BINARY, self._document.head + body)

    def _saw(self, place: int, first: int, end: int, now: float) -> None:
        have = self.seen[place]
        if first > have:
            # Not part of the text before its predecessors are here.
            self._early.setdefault(place, []).append((first, end))
            return
        if end <= have:
            return
        self.seen[place] = end
        counts = self._counts
        if counts is not None:
            scale, last = self._run.latency.scale, len(counts) - 1
            due = self._document.due[place]
            for number in range(have, end):
                bucket = int((now - due[number]) * scale)
                counts[bucket if bucket < last else last] += 1
        if self._early:
            for span in sorted(self._early.pop(place, [])):
                self._saw(place, *span, now)

    # -- typing -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """From now on edits are counted: everybody is here."""
        self.seen = [0] * len(self._document.clients)
        self.live = True

    def prepare(self, count: int) -> None:
        """Makes the frames of the next `count` edits."""
        head = self._document.head
        first = self.sent
        self._prepared = [
            head + wire.update(edits.typed(self.author, first + number)) for number in range(count)
        ]
        self._prepared.reverse()

    def type(self, due: float) -> None:
        self._due.append(due)
        self.sent += 1
        self.transport.send(WSMsgType.BINARY, self._prepared.pop())

    @property
    def lacking(self) -> int:
        """Edits of the others that are not here."""
        return sum(
            other.sent - seen
            for place, (other, seen) in enumerate(zip(self._document.clients, self.seen, strict=True))
            if place != self.place
        )

    @property
    def unacknowledged(self) -> int:
        return self.sent - self.acknowledged


class Run:
    """One job being done."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._chance = random.Random(job.seed)
        self.latency = Histogram()
        self.acknowledgement = Histogram()
        self._lag = Histogram()
        self.joining = job.kind == "join"
        self.documents = [Document(name) for name in job.documents]
        self.clients: list[Client] = []
        self.opened: list[picows.WSTransport] = []

    async def do(self) -> Result:
        try:
            match self._job.kind:
                case "typing":
                    return await self._typing()
                case "kill":
                    return await self._kill()
                case "idle":
                    return await self._idle()
                case "join":
                    return await self._join()
                case "state":
                    return await self._state()
        finally:
            for transport in self.opened:
                transport.disconnect(graceful=False)

    # -- kinds of jobs ------------------------------------------------------------------------------------

    async def _typing(self) -> Result:
        job = self._job
        await self._open()
        if job.warm:
            await self._type(job.warm, job.warm_rate)
            await self._drained()
        self.latency.clear()
        self.acknowledgement.clear()
        self._lag.clear()
        # A collection in the middle would be taken for the server's latency.
        gc.collect()
        gc.freeze()
        gc.disable()
        before = sum(client.sent for client in self.clients)
        for server in job.servers:
            processes.forget_peak(server)
        meter = _Meter(job)
        began = clock()
        await self._type(job.seconds, None)
        missing, unacknowledged = await self._drained()
        result = meter.read()
        result.window = clock() - began
        result.edits = sum(client.sent for client in self.clients) - before
        result.missing, result.unacknowledged = missing, unacknowledged
        result.p50 = self.latency.quantile(0.5)
        result.p99 = self.latency.quantile(0.99)
        result.longest = self.latency.quantile(1.0)
        result.acknowledged_p50 = self.acknowledgement.quantile(0.5)
        result.acknowledged_p99 = self.acknowledgement.quantile(0.99)
        result.lag_p99 = self._lag.quantile(0.99)
        return result

    async def _kill(self) -> Result:
        await self._open()
        typing = asyncio.create_task(self._type(self._job.seconds * 2, None))
        await asyncio.sleep(self._job.seconds)
        os.kill(self._job.victim, signal.SIGKILL)
        typing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await typing
        # What the server had sent before it died still arrives, and only then the end.
        async with asyncio.timeout(READY_SECONDS):
            await asyncio.gather(*(client.closed for client in self.clients))
        result = Result(edits=sum(client.sent for client in self.clients))
        for document in self.documents:
            result.acknowledged[document.name] = {
                str(client.author): client.acknowledged for client in document.clients
            }
        return result

    async def _idle(self) -> Result:
        await self._open()
        meter = _Meter(self._job)
        await asyncio.sleep(self._job.seconds)
        self._check_open()
        return meter.read()

    async def _join(self) -> Result:
        for server in self._job.servers:
            processes.forget_peak(server)
        meter = _Meter(self._job)
        times = await self._open(limit=sys.maxsize)
        result = meter.read()
        result.p50, result.p99, result.longest = quantile(times, 0.5), quantile(times, 0.99), max(times)
        result.received = min(client.received for client in self.clients)
        result.state = self._states()
        return result

    async def _state(self) -> Result:
        await self._open()
        return Result(state=self._states())

    def _states(self) -> dict[str, dict[str, int]]:
        """What the first client of each document has been given."""
        states: dict[str, dict[str, int]] = {}
        for document in self.documents:
            doc: pycrdt.Doc[Any] = pycrdt.Doc()
            for update in document.clients[0].updates:
                doc.apply_update(update)
            vector = wire.decode_state_vector(doc.get_state())
            states[document.name] = {str(author): count for author, count in vector.items()}
        return states

    # -- their parts --------------------------------------------------------------------------------------

    async def _open(self, limit: int = _CONNECTING) -> list[float]:
        """Opens all clients, and waits until all are synchronised: seconds that each took."""
        numbers = iter(self._chance.sample(range(1 << 31, 1 << 32), len(self.documents) * self._size))
        turn = asyncio.Semaphore(min(limit, len(self.documents) * self._size))

        async def enter(client: Client) -> float:
            async with turn:
                began = clock()
                await picows.ws_connect(
                    lambda: client,
                    client.group.url,
                    max_frame_size=_MAX_FRAME,
                    websocket_handshake_timeout=JOIN_SECONDS,
                )
                at: float | str = await client.synced
                if isinstance(at, str):
                    raise LoadError(f"{client.group.url}: {at}")
                return at - began

        for document in self.documents:
            for group in self._job.groups:
                for _ in range(group.clients):
                    token = self._job.tokens[len(self.clients) % len(self._job.tokens)]
                    client = Client(self, document, group, token, next(numbers))
                    client.keeps = not document.clients[1:] and self._job.kind in ("join", "state")
                    self.clients.append(client)
        seconds = JOIN_SECONDS if self.joining else READY_SECONDS
        try:
            async with asyncio.timeout(seconds):
                times = await asyncio.gather(*(enter(client) for client in self.clients))
        except TimeoutError:
            waiting = sum(not client.synced.done() for client in self.clients)
            raise LoadError(f"{waiting} of {len(self.clients)} clients not ready in {seconds:g} s") from None
        for client in self.clients:
            client.begin()
        return times

    @property
    def _size(self) -> int:
        return sum(group.clients for group in self._job.groups)

    async def _type(self, seconds: float, rate: float | None) -> None:
        """Types for `seconds`, at `rate` or, where there is none, at that of each client's group."""
        schedule: list[tuple[float, Client]] = []
        for client in self.clients:
            each = client.group.rate and (rate or client.group.rate)
            count = round(seconds * each)
            phase = self._chance.random()
            schedule += [
                ((number + phase * (1 - _JITTER) + self._chance.random() * _JITTER) / each, client)
                for number in range(count)
            ]
            client.prepare(count)
        schedule.sort(key=lambda entry: entry[0])
        timer = _Timer()
        try:
            began = clock() + 0.01
            place, end = 0, len(schedule)
            lag = self._lag
            while place < end:
                await timer.until(began + schedule[place][0])
                while place < end:
                    offset, client = schedule[place]
                    due = began + offset
                    late = clock() - due
                    if late < 0:
                        break
                    client.type(due)
                    lag.add(late)
                    place += 1
                self._check_open()
        finally:
            timer.close()

    def _check_open(self) -> None:
        # Looked at a few at a time would do; asking all would be the generator's main work.
        client = self._chance.choice(self.clients)
        if client.closed.done() and self._job.kind != "kill":
            raise LoadError(f"{client.group.url}: {client.closed.result()}")

    async def _drained(self) -> tuple[int, int]:
        """Waits until every edit is everywhere and acknowledged, or too long: how many are not."""
        end = clock() + self._job.drain
        behind = list(self.clients)
        while True:
            behind = [client for client in behind if client.unacknowledged or client.lacking]
            if not behind or clock() > end:
                missing = sum(client.lacking for client in behind)
                return missing, sum(client.unacknowledged for client in behind)
            await asyncio.sleep(_POLL)


class _Timer:
    """Wakes at a moment of `clock`, to a few microseconds: the event loop's own timers know milliseconds.

    Linux's timerfd_create(2), on the clock that perf_counter reads.
    """

    _libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self) -> None:
        self._file = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop = asyncio.get_running_loop()
        self._fired = asyncio.Event()
        self._loop.add_reader(self._file, self._fire)

    def _fire(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._file, 8)
        self._fired.set()

    async def until(self, moment: float) -> None:
        wait = moment - clock()
        if wait <= 0:
            # Late already; the sockets get their turn all the same.
            await asyncio.sleep(0)
            return
        self._fired.clear()
        setting = struct.pack("qqqq", 0, 0, int(wait), max(1, int(wait % 1 * 1e9)))
        self._libc.timerfd_settime(self._file, 0, setting, None)
        await self._fired.wait()

    def close(self) -> None:
        self._loop.remove_reader(self._file)
        os.close(self._file)


class _Meter:
    """Processor time from its making to `read`."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._began = self._now()

    def _now(self) -> list[float]:
        job = self._job
        each = [processes.cpu([process]) for process in job.databases.values()]
        return [processes.cpu(job.servers), time.process_time(), *each]

    def read(self) -> Result:
        server, generator, *each = (now - began for now, began in zip(self._now(), self._began, strict=True))
        memory = [processes.memory(process) for process in self._job.servers]
        return Result(
            server_cpu=server,
            generator_cpu=generator,
            database_cpu=dict(zip(self._job.databases, each, strict=True)),
            rss=sum(each.rss for each in memory),
            pss=sum(each.pss for each in memory),
            peak=sum(each.peak for each in memory),
        )


def job_of(text: str) -> Job:
    """A job from its JSON."""
    data = json.loads(text)
    return Job(**{**data, "groups": [Group(**group) for group in data["groups"]]})


def main() -> int:
    job = job_of(sys.stdin.read())
    try:
        result = uvloop.run(Run(job).do())
    except (LoadError, OSError, picows.WSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    json.dump(dataclasses.asdict(result), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
