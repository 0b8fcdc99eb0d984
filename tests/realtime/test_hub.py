"""The hub: one load for all who ask, no empty document after a failure, no closing of what came back."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pycrdt
import pytest

from zedi.realtime import fanout, hub
from zedi.realtime.compaction import compact
from zedi.realtime.fanout import Fanout
from zedi.realtime.history import Snapshot
from zedi.realtime.hub import Hub, LoadError
from zedi.realtime.journal import Journal, Span
from zedi.realtime.log import Log
from zedi.realtime.room import Entry, Link


class Stored:
    """A journal whose reads wait for a gate, and fail on demand; commits happen when told."""

    def __init__(self, updates: list[bytes]) -> None:
        self.updates = updates
        self.snapshot: tuple[int, Snapshot, list[bytes]] | None = None
        self.reads = 0
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.commits: list[Callable[[], None]] = []

    async def read_from(self, document: str, after: int) -> AsyncIterator[Span]:
        self.reads += 1
        await self.gate.wait()
        if self.failure:
            raise self.failure
        if self.snapshot and after == 0:
            after, snapshot, pending = self.snapshot
            yield Span(1, after, pending, snapshot)
        if updates := self.updates[after:]:
            yield Span(after + 1, len(self.updates), updates)

    def compact(self, count: int) -> None:
        compacted = compact(self.updates[:count])
        self.snapshot = (count, compacted.snapshot, compacted.pending)

    def append(
        self, document: str, updates: list[bytes], done: Callable[[int, list[bytes]], None], *, soon: bool
    ) -> None:
        def commit() -> None:
            self.updates += updates
            done(len(self.updates) - len(updates) + 1, updates)

        self.commits.append(commit)


class Scene:
    def __init__(self, updates: list[bytes]) -> None:
        self.journal = Stored(updates)
        self.logged = io.StringIO()
        log = Log("test", "test", self.logged)
        # Never started: every call goes nowhere, as without Redis.
        between = Fanout("redis://127.0.0.1:1", b"12345678", log)
        self.acknowledged: list[Entry] = []
        self.access_changed: list[str | None] = []
        self.hub = Hub(
            cast(Journal, self.journal),
            between,
            log,
            self.acknowledged.extend,
            self.access_changed.append,
        )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rooms close at once, gaps are read at once."""
    monkeypatch.setattr(hub, "LINGER_SECONDS", 0.0)
    monkeypatch.setattr(hub, "GAP_SECONDS", 0.0)


def typed(count: int, text: str = "x") -> list[bytes]:
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    updates: list[bytes] = []
    kept = doc.observe(lambda event: updates.append(event.update))
    for number in range(count):
        doc.get("text", type=pycrdt.Text).insert(number * len(text), text)
    del kept
    return updates


def a_link() -> Link:
    return Link("doc", lambda packet: None)


async def test_many_who_ask_wait_for_one_load() -> None:
    """Ten ask while the load runs: one read, one room, complete for each of them."""
    scene = Scene(typed(5))
    scene.journal.gate.clear()
    asking = [asyncio.create_task(scene.hub.open("doc")) for _ in range(10)]
    await asyncio.sleep(0)
    scene.journal.gate.set()
    rooms = await asyncio.gather(*asking)
    assert scene.journal.reads == 1 and len(set(rooms)) == 1
    assert rooms[0].seen == 5 and len(rooms[0].history.missing({})) == 1
    await scene.hub.close()


async def test_a_failed_load_is_an_error_to_all_and_tried_anew() -> None:
    """Nobody gets an empty document; who asks again afterwards gets the whole."""
    scene = Scene(typed(5))
    scene.journal.failure = OSError("the database is away")
    results = await asyncio.gather(*(scene.hub.open("doc") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, LoadError) for result in results)
    assert scene.hub.documents == 0
    scene.journal.failure = None
    assert (await scene.hub.open("doc")).seen == 5
    await scene.hub.close()


async def test_one_who_gives_up_does_not_spoil_the_load_for_the_others() -> None:
    """A socket that goes while it waits is not counted; the load goes on."""
    scene = Scene(typed(2))
    scene.journal.gate.clear()
    impatient = asyncio.create_task(scene.hub.open("doc"))
    patient = asyncio.create_task(scene.hub.open("doc"))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    scene.journal.gate.set()
    assert (await patient).seen == 2
    await scene.hub.close()


async def test_who_comes_back_finds_the_room_that_it_left() -> None:
    """A room lingers, so that a client whose network broke costs no load."""
    scene = Scene(typed(1))
    room = await scene.hub.open("doc")
    scene.hub.release(room)
    assert await scene.hub.open("doc") is room
    assert scene.journal.reads == 1
    await scene.hub.close()


async def test_a_room_closes_only_when_all_of_it_is_committed(quick: None) -> None:
    """What is under way keeps a room open; closed and opened again, it has what was committed."""
    scene = Scene([])
    room = await scene.hub.open("doc")
    link = a_link()
    room.enter(link)
    room.append(link, typed(1)[0], False, 0.0)
    scene.hub.flush()
    room.leave(link)
    scene.hub.release(room)
    for _ in range(20):
        await asyncio.sleep(0)
    assert scene.hub.documents == 1
    scene.journal.commits.pop()()
    async with asyncio.timeout(10):
        while scene.hub.documents > 0:  # noqa: ASYNC110 (nobody announces it)
            await asyncio.sleep(0)
    again = await scene.hub.open("doc")
    assert again is not room and again.seen == 1
    scene.hub.release(room)  # of the older generation: means nothing to the new one
    assert scene.hub.documents == 1
    await scene.hub.close()


async def test_a_gap_and_a_head_are_read_from_the_journal(quick: None) -> None:
    """A message that got lost shows by the next one, or by another task's head."""
    updates = typed(6)
    scene = Scene(updates[:2])
    room = await scene.hub.open("doc")
    scene.journal.updates = updates[:4]
    scene.hub.received("doc", b"other", fanout.Updates(4, [updates[3]]))
    assert room.gap

    async def reaches(number: int) -> None:
        async with asyncio.timeout(10):
            while room.seen != number:  # noqa: ASYNC110 (nobody announces it)
                await asyncio.sleep(0)

    await reaches(4)
    scene.journal.updates = updates
    scene.hub.received("doc", b"other", fanout.Head(6))
    await reaches(6)
    assert not room.gap
    await scene.hub.close()


async def test_messages_during_the_load_are_not_lost(quick: None) -> None:
    """What another task publishes while the journal is being read is there in the end."""
    updates = typed(3)
    scene = Scene(updates[:2])
    scene.journal.gate.clear()
    opening = asyncio.create_task(scene.hub.open("doc"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    scene.hub.received("doc", b"other", fanout.Updates(3, [updates[2]]))
    scene.journal.gate.set()
    room = await opening
    scene.journal.updates = updates
    async with asyncio.timeout(10):
        while room.seen != 3:  # noqa: ASYNC110 (nobody announces it)
            await asyncio.sleep(0)
    await scene.hub.close()


async def test_a_flood_is_merged_and_a_lone_edit_is_not_kept_waiting() -> None:
    """The first edit goes at once; those right after it go together, when the room has rested."""
    scene = Scene([])
    room = await scene.hub.open("doc")
    link, writes = a_link(), list[bytes]()
    room.enter(link)
    room.enter(Link("doc", writes.append))
    updates = typed(50)
    room.append(link, updates[0], False, 0.0)
    assert len(writes) == 1
    for update in updates[1:]:
        room.append(link, update, False, 0.0)
    async with asyncio.timeout(10):
        while len(writes) < 2:  # noqa: ASYNC110 (nobody announces it)
            await asyncio.sleep(0)
    assert len(writes) == 2 and len(scene.journal.commits) == 2
    await scene.hub.close()


class Clocks:
    """The time, and the processor time that has been used."""

    def __init__(self) -> None:
        self.now = self.used = 1000.0

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return self.used


async def test_a_busy_task_lets_its_rooms_rest_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The more of the processor it uses the longer they rest, within bounds; with time to spare, hardly."""
    clocks = Clocks()
    monkeypatch.setattr(hub, "time", clocks)
    scene = Scene([])
    room = await scene.hub.open("doc")
    room.enter(a_link())
    updates = iter(typed(500))

    def rest(use: float) -> float:
        """Of a room, in seconds, after five seconds of that use."""
        for _ in range(100):
            clocks.now += 0.05
            clocks.used += 0.05 * use
            room.append(a_link(), next(updates), False, 0.0)
            scene.hub.flush()
        return room.rests_until - clocks.now

    assert rest(0.1) == pytest.approx(0.001)
    assert rest(0.4) == pytest.approx(0.009)
    assert rest(1.0) == pytest.approx(0.030)
    assert rest(0.4) == pytest.approx(0.009)
    clocks.now += 60  # nobody writes; who comes first after that need not wait
    assert rest(0.0) == pytest.approx(0.001)
    await scene.hub.close()


async def test_a_beat_that_comes_late_makes_rooms_rest_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else has the processor: a task that gets little of it uses little, and merges more all the
    same."""
    clocks = Clocks()
    monkeypatch.setattr(hub, "time", clocks)
    scene = Scene([])
    room = await scene.hub.open("doc")
    room.enter(a_link())
    updates = iter(typed(100))
    for _ in range(20):
        room.append(a_link(), next(updates), False, 0.0)
        room.append(a_link(), next(updates), False, 0.0)  # waits until the room has rested
        clocks.now += 0.05
        await soon(lambda: room.rests_until > clocks.now)  # it was flushed, and rests again
    assert room.rests_until - clocks.now == pytest.approx(0.030)
    await scene.hub.close()


async def test_a_room_that_cannot_be_flushed_costs_the_others_nothing() -> None:
    """It is named in the log, and whoever waits for the same beat is written to."""
    scene, updates = Scene([]), typed(1)
    broken, sound = await scene.hub.open("broken"), await scene.hub.open("sound")

    def fail(packet: bytes) -> None:
        raise ZeroDivisionError("a defect")

    writes = list[bytes]()
    broken.enter(Link("broken", fail))
    sound.enter(Link("sound", writes.append))
    for room in (broken, sound):
        room.rests_until = time.monotonic() + 0.01
        room.append(a_link(), updates[0], False, 0.0)
    await soon(lambda: bool(writes))
    (line,) = map(json.loads, scene.logged.getvalue().splitlines()[2:])
    assert (line["event"], line["level"], line["document"]) == ("flush failed", "error", "broken")
    broken.append(a_link(), updates[0], False, 0.0)
    scene.hub.flush()  # and a single one raises nothing into whoever asked for it
    assert len(scene.journal.commits) == 3
    await scene.hub.close()


async def test_a_document_that_is_flooded_makes_no_other_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it rests after its last flush, and has a thousand edits for the next one, what is typed into
    another document is sent and on its way to the journal by the end of its turn."""
    monkeypatch.setattr(hub, "_SHORTEST_REST", 3600.0)
    monkeypatch.setattr(hub, "_LONGEST_REST", 3600.0)
    scene = Scene([])
    flooded, quiet = await scene.hub.open("flooded"), await scene.hub.open("quiet")
    author, writes, flood = a_link(), list[bytes](), list[bytes]()
    flooded.enter(Link("doc", flood.append))
    quiet.enter(Link("doc", writes.append))

    async def a_turn() -> None:
        await asyncio.sleep(0)  # it takes what has come in
        await asyncio.sleep(0)  # and at the end of that, what that asked for

    first, *updates = typed(1000)
    flooded.append(author, first, False, 0.0)
    await a_turn()
    for update in updates:
        flooded.append(author, update, False, 0.0)
    await a_turn()
    assert len(flood) == 1  # it rests
    quiet.append(author, first, False, 0.0)
    await a_turn()
    assert len(writes) == 1 and len(scene.journal.commits) == 2
    assert len(flood) == 1
    await scene.hub.close()


async def test_an_acknowledgement_goes_out_though_nothing_else_happens() -> None:
    """A commit asks for a flush by itself, so a lone author hears "saved"."""
    scene = Scene([])
    room = await scene.hub.open("doc")
    writes = list[bytes]()
    link = Link("doc", writes.append)
    room.enter(link)
    room.append(link, typed(1)[0], False, 0.0)
    scene.hub.flush()
    scene.journal.commits.pop()()
    assert writes == []
    async with asyncio.timeout(10):
        while not writes:  # noqa: ASYNC110 (nobody announces it)
            await asyncio.sleep(0)
    assert writes == [link.saved]
    assert not room.busy
    await scene.hub.close()


def rewritten(count: int) -> list[bytes]:
    """Somebody writes a long word and deletes it again, over and over; the last one stays."""
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    updates: list[bytes] = []
    kept = doc.observe(lambda event: updates.append(event.update))
    text = doc.get("text", type=pycrdt.Text)
    for number in range(count):
        if number % 2:
            del text[0 : len(text)]
        else:
            text.insert(0, f"{number:0100}")
    text.insert(0, "end")
    del kept
    return updates


def read(updates: list[bytes]) -> str:
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    doc.apply_update(pycrdt.merge_updates(*updates))
    return str(doc.get("text", type=pycrdt.Text))


async def soon(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 (nobody announces it)
            await asyncio.sleep(0)


@pytest.mark.parametrize("missing", [0, 3], ids=["whole", "with a gap"])
async def test_a_page_that_stays_open_holds_what_a_snapshot_holds(
    monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    """What was deleted is let go. Edits that come before, during and after the reading are all there, also
    those that another task committed, that wait for their commit, and that wait for a predecessor."""
    monkeypatch.setattr(hub, "REBASE_BYTES", 1000)
    everything = rewritten(200)
    updates, late = everything[:90] + everything[90 + missing :], everything[90 : 90 + missing]
    scene = Scene([])
    room = await scene.hub.open("doc")
    link = a_link()
    room.enter(link)

    def typing(count: int, *, commits: bool) -> None:
        for update in updates[:count]:
            room.append(link, update, False, 0.0)
            scene.hub.flush()  # a number of its own for each
        del updates[:count]
        while commits and scene.journal.commits:
            scene.journal.commits.pop(0)()

    typing(150, commits=True)
    before = room.history
    scene.journal.compact(150)
    typing(5, commits=True)
    typing(5, commits=False)
    scene.journal.gate.clear()
    scene.hub.compacted("doc", 150)
    await asyncio.sleep(0)
    typing(5, commits=False)
    scene.hub.received("doc", b"other", fanout.Updates(166, updates[:3]))
    del updates[:3]
    scene.journal.gate.set()
    await soon(lambda: room.history is not before)
    assert room.history.size < before.size / 2
    typing(len(updates), commits=False)
    for update in late:
        room.append(link, update, False, 0.0)
    assert read(room.history.missing({})) == read(everything) == "end"
    assert room.history.state_vector() == pycrdt.get_state(pycrdt.merge_updates(*everything))
    await scene.hub.close()


async def test_a_page_keeps_what_it_has_where_the_journal_says_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is let go when the database is away or lacks something; the next compaction asks again."""
    monkeypatch.setattr(hub, "REBASE_BYTES", 1000)
    updates = rewritten(100)
    scene = Scene(list(updates))
    room = await scene.hub.open("doc")
    before = room.history
    scene.journal.compact(50)

    async def asked_again() -> None:
        reads = scene.journal.reads
        scene.hub.compacted("doc", 50)
        await soon(lambda: scene.journal.reads > reads)
        for _ in range(20):  # turns in which it would be replaced
            await asyncio.sleep(0)

    scene.journal.failure = OSError("the database is away")
    await asked_again()
    scene.journal.failure = None
    del scene.journal.updates[-1]
    await asked_again()
    assert room.history is before and room.history.size == sum(map(len, updates))
    scene.journal.updates.append(updates[-1])
    await asked_again()
    assert room.history is not before
    assert read(room.history.missing({})) == "end"
    await scene.hub.close()


async def test_who_reads_a_page_is_shown_what_was_first_heard_of_when_it_was_read_anew(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What other tasks have committed and we have missed; the catch-up after it would find nothing new."""
    monkeypatch.setattr(hub, "REBASE_BYTES", 0)
    scene = Scene([])
    room = await scene.hub.open("doc")
    writes = list[bytes]()
    room.enter(Link("doc", writes.append))
    room.append(a_link(), typed(1)[0], False, 0.0)
    before = room.history
    scene.journal.updates = rewritten(2)
    scene.journal.compact(3)
    scene.hub.compacted("doc", 3)
    await soon(lambda: room.history is not before)
    scene.hub.received("doc", b"other", fanout.Head(3))
    await soon(lambda: room.seen == 3)
    scene.hub.flush()
    assert any(b"end" in packet for packet in writes)
    await scene.hub.close()


async def test_a_page_of_long_updates_leaves_the_others_their_turns(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is loaded, caught up with and read anew: four updates of 64 KB at once."""
    monkeypatch.setattr(hub, "REBASE_BYTES", 0)
    updates = typed(120, "x" * 64 * 1024)
    scene = Scene(updates[:60])

    async def turns(done: Callable[[], bool]) -> int:
        count = 0
        while not done():
            await asyncio.sleep(0)
            count += 1
        return count

    async with asyncio.timeout(60):
        opening = asyncio.create_task(scene.hub.open("doc"))
        assert await turns(opening.done) >= 15
        room = await opening
        scene.journal.updates = list(updates)
        scene.hub.received("doc", b"other", fanout.Head(120))
        assert await turns(lambda: room.seen == 120) >= 15
        before = room.history
        scene.hub.compacted("doc", 0)
        assert await turns(lambda: room.history is not before) >= 60
    assert read(room.history.missing({})) == "x" * 64 * 1024 * 120
    await scene.hub.close()
