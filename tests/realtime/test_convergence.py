"""Three tasks on one journal, and a Redis that drops, repeats and reorders: in the end all are equal."""

from __future__ import annotations

import asyncio
import io
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, cast

import pycrdt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zedi.realtime import fanout, hub, wire
from zedi.realtime.compaction import compact
from zedi.realtime.fanout import Fanout
from zedi.realtime.history import joined
from zedi.realtime.hub import Hub
from zedi.realtime.journal import Journal, Span
from zedi.realtime.log import Log
from zedi.realtime.room import Link, Room

DOCUMENT: Final = "doc"
TASKS: Final = 3
Done = Callable[[int, list[bytes]], None]


class Table:
    """The journal's tables, which the tasks share."""

    def __init__(self) -> None:
        self.rows: dict[int, bytes] = {}
        self.head = 0
        self.snapshot: Span | None = None

    def append(self, updates: list[bytes]) -> int:
        """The number of the first."""
        first = self.head + 1
        for update in updates:
            self.head += 1
            self.rows[self.head] = update
        return first

    def spans(self, after: int) -> list[Span]:
        """As `Journal.read_from` gives them: at the start, and where rows are gone, the snapshot first."""
        found: list[Span] = []
        if self.snapshot and self.snapshot.last > after and (after == 0 or after + 1 not in self.rows):
            found.append(self.snapshot)
            after = self.snapshot.last
        if after < self.head:
            found.append(Span(after + 1, self.head, [self.rows[n] for n in range(after + 1, self.head + 1)]))
        return found

    def compact(self) -> None:
        spans = self.spans(0)
        snapshot = [span.snapshot.data for span in spans if span.snapshot]
        made = compact(snapshot + [update for span in spans for update in span.updates])
        self.snapshot = Span(1, self.head, made.pending, made.snapshot)

    def prune(self) -> None:
        last = self.snapshot.last if self.snapshot else 0
        self.rows = {number: update for number, update in self.rows.items() if number > last}


class Appends:
    """The journal of one task: what is appended is committed when the schedule says so."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._queue: deque[tuple[list[bytes], Done]] = deque()

    def append(self, document: str, updates: list[bytes], done: Done, *, soon: bool) -> None:
        self._queue.append((updates, done))

    def commit(self, count: int = 1, *, repeated: bool = False) -> None:
        """Commits the oldest, several of them as one row. `repeated`: the connection broke at the first
        attempt, which had succeeded."""
        taken = [self._queue.popleft() for _ in range(min(count, len(self._queue)))]
        if taken:
            rows = joined([update for updates, _ in taken for update in updates])
            if repeated:
                self._table.append(rows)
            first = self._table.append(rows)
            for _, done in taken:
                done(first, rows)
                first, rows = first + len(rows), []

    def commit_all(self) -> None:
        while self._queue:
            self.commit()

    async def read_from(self, document: str, after: int) -> AsyncIterator[Span]:
        for span in self._table.spans(after):
            yield span
            await asyncio.sleep(0)  # the others' turn, as between two reads


class Network:
    """What was published and has not arrived."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.under_way: list[tuple[Task, bytes, fanout.Message]] = []

    def publish(self, sender: bytes, message: fanout.Message) -> None:
        for task in self.tasks:
            if task.name != sender:
                self.under_way.append((task, sender, message))

    def deliver(self, place: int, *, keep: bool = False) -> None:
        task, sender, message = self.under_way[place] if keep else self.under_way.pop(place)
        if task in self.tasks:
            task.hub.received(DOCUMENT, sender, message)


class Between:
    """One task's fan-out."""

    def __init__(self, network: Network, name: bytes) -> None:
        self._network = network
        self._name = name

    async def subscribe(self, document: str) -> None: ...

    def shared(self, document: str) -> bool:
        return True

    def unsubscribe(self, document: str) -> None: ...

    def updates(self, document: str, first: int, updates: list[bytes]) -> None:
        self._network.publish(self._name, fanout.Updates(first, updates))

    def head(self, document: str, number: int) -> None:
        self._network.publish(self._name, fanout.Head(number))

    def presence(self, document: str, payload: bytes) -> None: ...

    def stateless(self, document: str, payload: str) -> None: ...

    def query_presence(self, document: str) -> None: ...


class Task:
    """A hub with the document open, an author who writes there, and a reader who only has what it is sent."""

    def __init__(self, name: bytes, table: Table, network: Network, author: int) -> None:
        self.name = name
        self.journal = Appends(table)
        self.errors = io.StringIO()
        self.hub = Hub(
            cast(Journal, self.journal),
            cast(Fanout, Between(network, name)),
            Log(name.decode(), "test", self.errors),
            lambda entries: None,
            lambda document: None,
        )
        self.author: pycrdt.Doc[Any] = pycrdt.Doc(client_id=author)
        self._text = self.author.get("text", type=pycrdt.Text)
        self._made: list[bytes] = []
        self._kept = self.author.observe(lambda event: self._made.append(event.update))
        self.sent: list[bytes] = []
        self._link = Link(DOCUMENT, lambda packet: None)
        self._reader = Link(DOCUMENT, self.sent.append)

    async def open(self) -> None:
        self.room: Room = await self.hub.open(DOCUMENT)
        self.room.enter(self._link)
        self.room.enter(self._reader)
        self.room.join(self._reader, {})

    def write(self, chance: random.Random) -> None:
        """An insertion or a deletion somewhere, by somebody who has read what is here."""
        for update in self.room.history.missing({}):
            self.author.apply_update(update)
        self._made.clear()
        place = chance.randint(0, len(self._text))
        if place < len(self._text) and chance.random() < 0.3:
            del self._text[place]
        else:
            self._text.insert(place, chance.choice("abc"))
        for update in self._made:
            self.room.append(self._link, update, False, 0.0)

    def shown(self) -> pycrdt.Doc[Any]:
        """What the reader makes of its frames."""
        updates: list[bytes] = []
        data = b"".join(self.sent)
        while data:
            start, size = 2, data[1]
            if size == 126:
                start, size = 4, int.from_bytes(data[2:4], "big")
            elif size == 127:
                start, size = 10, int.from_bytes(data[2:10], "big")
            match wire.decode(data[start : start + size]):
                case wire.Update(_, update) | wire.Step2(_, update):
                    updates.append(update)
            data = data[start + size :]
        return together(updates)


def said(doc: pycrdt.Doc[Any]) -> tuple[str, dict[int, int]]:
    return str(doc.get("text", type=pycrdt.Text)), wire.decode_state_vector(doc.get_state())


def together(updates: list[bytes]) -> pycrdt.Doc[Any]:
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    # In one piece: applied one by one and out of order, pycrdt lets some wait for no reason (Yjs does not).
    doc.apply_update(pycrdt.merge_updates(*updates, wire.EMPTY_UPDATE))
    return doc


STEPS: Final = (
    *("write", "write", "flush", "commit", "store", "store", "store"),
    *("commit again", "deliver", "deliver", "drop", "repeat", "let run"),
    *("compact", "prune", "rebase", "rebase", "kill", "reconnect"),
)


async def play(schedule: list[tuple[str, int]], seed: int) -> None:
    chance = random.Random(seed)
    table, network = Table(), Network()
    network.tasks = [Task(b"task%04d" % n, table, network, 1 + n) for n in range(TASKS)]
    ended: list[Task] = []
    await asyncio.gather(*(task.open() for task in network.tasks))
    for number, (step, place) in enumerate(schedule):
        task = network.tasks[place % TASKS]
        under_way = len(network.under_way)
        match step:
            case "write":
                task.write(chance)
            case "flush":
                task.hub.flush()
            case "commit":
                task.journal.commit(1 + place % 3)
            case "commit again":
                task.journal.commit(1 + place % 3, repeated=True)
            case "store":
                task.write(chance)
                task.hub.flush()
                task.journal.commit_all()
            case "deliver" | "repeat" if under_way:
                network.deliver(place % under_way, keep=step == "repeat")
            case "drop" if under_way:
                del network.under_way[place % under_way]
            case "let run":
                for _ in range(place % 7):
                    await asyncio.sleep(0)
            case "compact":
                table.compact()
                if place % 2:
                    table.prune()
            case "prune":
                table.prune()
            case "rebase":
                task.hub.compacted(DOCUMENT, table.snapshot.last if table.snapshot else 0)
                for _ in range(place % 7):
                    await asyncio.sleep(0)
            case "reconnect":
                task.hub.reconnected()
            case "kill":
                # What it had not committed nobody was told to be saved.
                ended.append(task)
                fresh = Task(b"fresh%03d" % number, table, network, 100 + number)
                network.tasks[place % TASKS] = fresh
                await fresh.open()
    # Nobody writes any more; and from now on some of what Redis is given arrives.
    for task in network.tasks:
        task.hub.flush()
        task.journal.commit_all()
    network.under_way.clear()
    running = [asyncio.create_task(task.hub.run()) for task in network.tasks]

    def settled() -> bool:
        return all(t.room.seen == table.head and not (t.room.gap or t.room.busy) for t in network.tasks)

    async with asyncio.timeout(20):
        while not settled():
            while network.under_way:
                place = chance.randrange(len(network.under_way))
                if chance.random() < 0.5:
                    del network.under_way[place]
                else:
                    network.deliver(place)
            await asyncio.sleep(0)
    for work in running:
        work.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    expected = said(
        together(
            [u for s in table.spans(0) for u in [*([s.snapshot.data] if s.snapshot else []), *s.updates]]
        )
    )
    for task in network.tasks:
        assert said(together(task.room.history.missing({}))) == expected
        assert said(task.shown()) == expected
    for task in (*network.tasks, *ended):
        await task.hub.close()
        assert '"level":"error"' not in task.errors.getvalue()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 1000)), min_size=10, max_size=60),
    st.integers(0, 2**32),
)
def test_any_schedule_ends_in_equal_documents(
    monkeypatch: pytest.MonkeyPatch, schedule: list[tuple[str, int]], seed: int
) -> None:
    """Whatever is lost, repeated, reordered, appended twice, killed, compacted, deleted and read anew on the
    way: once it is quiet, all tasks have seen the same number, hold what the journal holds, and showed it."""
    monkeypatch.setattr(hub, "GAP_SECONDS", 0.0)
    monkeypatch.setattr(hub, "HEAD_SECONDS", 0.0)
    monkeypatch.setattr(hub, "REBASE_BYTES", 0)
    asyncio.run(play(schedule, seed))
