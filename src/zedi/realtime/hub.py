"""Opens and closes rooms, and beats their time.

A document is loaded once, however many ask for it; all of them wait for that one load. A load that fails is
an error to all who waited, never an empty document, and is tried anew when somebody asks again. A room is
counted by its readers and let go a little after the last one left, when nothing of it is under way; each
opening has a generation of its own, so a late closing never meets the room that was opened after it.

The beat: what comes in after some quiet is flushed at once. After that its room rests for a while: a write
costs the same however much it carries, so what is typed meanwhile is merged. A task that has time to spare
lets its rooms rest for a millisecond, and nobody waits; one that is busier for 9 ms, which nobody sees; one
that uses more than half of a processor, or gets none when it should, for up to 30 ms (`_measure`). An
acknowledgement that has nothing else to go with waits a few times as long for something that has.
docs/decisions/0008-how-long-a-room-rests.md has what was measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Final

from zedi.realtime import fanout, structure, wire
from zedi.realtime.compactor import due
from zedi.realtime.fanout import Fanout
from zedi.realtime.history import RUN_BYTES, History
from zedi.realtime.journal import AWAY, Journal, Span
from zedi.realtime.log import Log
from zedi.realtime.room import MAX_DOCUMENT, Entry, Room

LOAD_SECONDS: Final = 45.0
"""A database that was paused takes up to 30 s and more to come back."""
LINGER_SECONDS: Final = 10.0
"""A room without readers is kept this long: they mostly come back."""
GAP_SECONDS: Final = 0.05
"""How long a missing number may be on its way before it is read from the journal."""
HEAD_SECONDS: Final = 15.0
"""A room that has changed says at this interval how far it is, in case its last message got lost. It says so
again after 1, 2 and 4 intervals and every _REMINDER ones, in case that gets lost."""
REBASE_BYTES: Final = 4 * 1024 * 1024
"""Bytes by which an open room's history must have grown before it is read anew from a snapshot."""
_REMINDER: Final = 8
_CATCH_UPS: Final = 4
_SHORTEST_REST: Final = 0.001
_USUAL_REST: Final = 0.009
_LONGEST_REST: Final = 0.030
_EASY: Final = 0.27
_BUSY: Final = 0.5
"""Shares of a processor. Who uses less than the first makes nobody wait, who uses more saves what it can save
with _USUAL_REST, and who uses more than the second what it can save with _LONGEST_REST."""
_LATE: Final = 0.005
"""Seconds after its time at which a beat says that there is no processor to be had: somebody else has it, or
the task has used up what it is given."""
_PATIENCE: Final = 8
"""Rests that an acknowledgement waits for something to go with, at least; twice as many at most."""
_EARLY: Final = 0.0005
"""Seconds by which a timer of uvloop may be early: it counts in whole milliseconds."""
_MEASURED: Final = 0.05
"""Seconds over which the use of the processor is measured."""
_STEP: Final = 1.5
"""By which the rest changes at most in so many seconds."""
_PORTION: Final = 500
"""Updates that a history takes in within 1 ms, where they are short."""


def _portions(span: Span) -> Iterator[tuple[int, list[bytes]]]:
    """The updates of `span`, each time with the number of the first, as many as the event loop can wait for:
    a few milliseconds' worth, unless one alone is longer."""
    portion: list[bytes] = []
    size = 0
    for number, update in enumerate(span.updates, span.first):
        portion.append(update)
        size += len(update)
        if len(portion) == _PORTION or size >= RUN_BYTES:
            yield number + 1 - len(portion), portion
            portion, size = [], 0
    if portion:
        yield span.first + len(span.updates) - len(portion), portion


class LoadError(Exception):
    """The document cannot be loaded at the moment. Try again later; `reason` is for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(eq=False)
class _Opening:
    """One generation of a document."""

    room: Room
    generation: int
    load: asyncio.Task[None]
    references: int = 0
    loaded: bool = False
    closing: asyncio.TimerHandle | None = None
    catching_up: bool = False
    again: bool = False
    """Something was missed while a catch-up was reading."""
    told: int = 0
    """The number that was last published as the head."""
    unchanged: int = 0
    """How many times since then the head could have been published again."""
    base: int = 0
    """The newest snapshot's number, as far as is known here; what is above it makes the next load longer."""
    base_bytes: int = 0
    """Bytes of the history when that was so."""
    stored: int = 0
    """Bytes of the history when it was last read from a snapshot; 0 when it never was."""
    rebasing: bool = False


class Hub:
    """The open documents of one task."""

    def __init__(
        self,
        journal: Journal,
        between: Fanout,
        log: Log,
        acknowledged: Callable[[list[Entry]], None],
        access_changed: Callable[[str | None], None],
        compact: Callable[[str, int], None] = lambda document, least: None,
    ) -> None:
        """`access_changed` is told of a document (None: any of them) that some may not open any more, or
        otherwise than before."""
        self._journal = journal
        self._fanout = between
        self._log = log
        self._acknowledged = acknowledged
        self._access_changed = access_changed
        self._compact = compact
        self._openings: dict[str, _Opening] = {}
        self._generations = itertools.count(1)
        self._dirty: dict[Room, None] = {}
        """Rooms that have something for their readers."""
        self._owing: dict[Room, float] = {}
        """Rooms that have acknowledgements, with when they are to go."""
        self._beat: asyncio.Handle | None = None
        self._beat_at = 0.0
        self._rest = _SHORTEST_REST
        self._late = False
        self._measured_at = time.monotonic()
        self._clock = time.thread_time()
        self._tasks: set[asyncio.Task[None]] = set()
        self._catch_ups = asyncio.Semaphore(_CATCH_UPS)

    @property
    def documents(self) -> int:
        return len(self._openings)

    async def open(self, document: str) -> Room:
        """The room of `document`, loaded; to be given back with `release`. Raises LoadError."""
        opening = self._openings.get(document)
        if opening is None:
            opening = self._begin(document)
        if opening.closing is not None:
            opening.closing.cancel()
            opening.closing = None
        opening.references += 1
        try:
            # Shielded: one of many who wait may give up, and the load goes on for the others.
            async with asyncio.timeout(LOAD_SECONDS):
                await asyncio.shield(opening.load)
        except TimeoutError:
            self._let_go(opening)
            raise LoadError(f"not loaded within {LOAD_SECONDS:g} s") from None
        except BaseException:
            self._let_go(opening)
            raise
        return opening.room

    def release(self, room: Room) -> None:
        """Gives a room back that `open` has given."""
        opening = self._openings.get(room.document)
        if opening is not None and opening.room is room:
            self._let_go(opening)

    def flush(self) -> None:
        """Sends and stores what has come in, now."""
        self._flush_all(list(self._dirty | self._owing))

    async def close(self) -> None:
        """Ends what is still loading or catching up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for opening in self._openings.values():
            if opening.closing is not None:
                opening.closing.cancel()

    async def run(self) -> None:
        """What is to be done from time to time, until it is cancelled."""
        while True:
            await asyncio.sleep(HEAD_SECONDS)
            self._announce_heads(changed_only=True)
            now = time.monotonic()
            for opening in self._openings.values():
                opening.room.expire(now)
                self._tidy(opening, closing=False)

    def compacted(self, document: str, seq: int) -> None:
        """The document's newest snapshot holds its updates up to number `seq`."""
        opening = self._openings.get(document)
        if opening is None:
            return
        size = opening.room.history.size
        if opening.base < seq:
            opening.base, opening.base_bytes = seq, size
        grown = size - opening.stored
        much = grown > opening.stored // 2 or size > MAX_DOCUMENT * 3 // 4
        if opening.loaded and not opening.rebasing and grown > REBASE_BYTES and much:
            opening.rebasing = True
            self._task(self._rebase(opening), "rebase")

    # -- opening and closing ------------------------------------------------------------------------------

    def _begin(self, document: str) -> _Opening:
        room = Room(document, self._journal, self._fanout, self._mark, self._owe, self._committed)
        # The task cannot begin before this function has ended, so it finds its opening complete.
        opening = _Opening(room, next(self._generations), self._task(self._load(document), "load"))
        self._openings[document] = opening
        return opening

    async def _load(self, document: str) -> None:
        opening = self._openings[document]
        began = time.monotonic()
        # First subscribed, then read: what is committed in between comes both ways, or shows as a gap.
        await self._fanout.subscribe(document)
        try:
            async for span in self._journal.read_from(document, 0):
                await self._restore(opening, span)
            opening.room.history.state_vector()
        except BaseException as error:
            self._remove(opening)
            if isinstance(error, AWAY):
                raise LoadError(f"{type(error).__name__}: {error}".rstrip(": ")) from error
            raise
        opening.loaded = True
        opening.told = opening.room.seen
        self._fanout.query_presence(document)
        self._log.event(
            "document_opened",
            document=document,
            generation=opening.generation,
            updates=opening.room.seen,
            bytes=opening.room.history.size,
            duration=round(time.monotonic() - began, 4),
        )

    async def _restore(self, opening: _Opening, span: Span) -> None:
        room = opening.room
        if span.snapshot is None:
            for first, updates in _portions(span):
                room.restore(first, updates)
                await asyncio.sleep(0)  # the others' turn
        elif room.history.size:  # made, and what it replaces deleted, since the load began
            room.received_snapshot(span.last, span.snapshot, span.updates)
        else:
            room.begin(span.last, span.snapshot, span.updates)
            opening.base, opening.base_bytes = span.last, room.history.size
            opening.stored = room.history.size

    async def _rebase(self, opening: _Opening) -> None:
        """Reads the history of an open room anew, as a snapshot and what came after it.

        A page that stays open would otherwise keep every edit, and all that was deleted again, until its
        bound refuses the next one.
        """
        room, before = opening.room, opening.room.history.size
        history: History | None = None
        try:
            room.follow()
            seen = room.seen
            async with self._catch_ups:
                history = await self._read_anew(opening, seen)
        except (*AWAY, wire.WireError) as error:
            # The history that has grown here is as good as before; the next compaction asks again.
            self._log.event("rebase", level="warning", document=room.document, reason=repr(error))
        finally:
            room.rebase(history)
            opening.rebasing = False
        if history is not None:
            opening.stored = history.size
            self._log.event("rebased", document=room.document, before=before, bytes=history.size)

    async def _read_anew(self, opening: _Opening, seen: int) -> History | None:
        """What the journal says; None where it says less than the first `seen` updates."""
        room, history, last = opening.room, History(), 0
        base, base_bytes = 0, 0
        async for span in self._journal.read_from(room.document, 0):
            if span.first != last + 1:
                return None
            # What is news to the room is to its readers; once it is in its history nobody could tell.
            await self._receive(room, span)
            if span.snapshot is not None:
                history.begin(span.snapshot)
                base, base_bytes = span.last, len(span.snapshot.data) + sum(map(len, span.updates))
            for _, updates in _portions(span):
                history.extend(updates)
                await asyncio.sleep(0)
            last = span.last
        if last < seen:
            return None
        history.state_vector()
        opening.base, opening.base_bytes = max(opening.base, base), base_bytes
        return history

    def _let_go(self, opening: _Opening) -> None:
        opening.references -= 1
        if opening.references == 0 and self._openings.get(opening.room.document) is opening:
            self._linger(opening)

    def _linger(self, opening: _Opening) -> None:
        loop = asyncio.get_running_loop()
        opening.closing = loop.call_later(LINGER_SECONDS, self._close, opening)

    def _close(self, opening: _Opening) -> None:
        opening.closing = None
        if opening.references or self._openings.get(opening.room.document) is not opening:
            return
        if opening.room.busy or opening.room in self._dirty or opening.catching_up:
            self._linger(opening)
            return
        if not opening.load.done():
            opening.load.cancel()
        self._tidy(opening, closing=True)
        self._remove(opening)
        self._log.event("document_closed", document=opening.room.document, generation=opening.generation)

    def _tidy(self, opening: _Opening, *, closing: bool) -> None:
        """Has the document compacted when it is time."""
        room = opening.room
        updates, size = room.seen - opening.base, room.history.size - opening.base_bytes
        if opening.loaded and due(updates, size, opening.base_bytes, closing=closing):
            # Another task that has it open asks too: who comes second finds most of it done.
            self._compact(room.document, updates // 2 + 1)

    def _remove(self, opening: _Opening) -> None:
        if self._openings.get(opening.room.document) is opening:
            del self._openings[opening.room.document]
            self._fanout.unsubscribe(opening.room.document)
        if opening.closing is not None:
            opening.closing.cancel()
            opening.closing = None

    # -- the beat -----------------------------------------------------------------------------------------

    def _mark(self, room: Room) -> None:
        if room not in self._dirty:
            if room.rests_until <= time.monotonic():
                self._flush_all([room])
            else:
                self._dirty[room] = None
                self._wake(room.rests_until)

    def _owe(self, room: Room) -> None:
        if room not in self._owing:
            # At a moment that it shares with others: mostly something to go with comes first, and a beat for
            # each would be one in vain.
            patience = self._rest * _PATIENCE
            at = self._owing[room] = (time.monotonic() // patience + 2) * patience
            self._wake(at)

    def _wake(self, at: float) -> None:
        """Has `_flush` called at `at` of the monotonic clock, or before."""
        if self._beat is not None:
            if self._beat_at <= at:
                return
            self._beat.cancel()
        loop = asyncio.get_running_loop()
        delay = at - time.monotonic()
        self._beat_at = at
        if delay > 0:
            self._beat = loop.call_later(max(delay, 2 * _EARLY), self._flush)
        else:
            self._beat = loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Flushes the rooms whose time has come."""
        self._beat = None
        now = time.monotonic()
        if now - self._beat_at > _LATE:
            self._late = True
        # Who would be next in a moment goes along: waking up costs as much as a few writes.
        soon = now + max(self._rest / 4, _EARLY)
        ready = [room for room in self._dirty if room.rests_until <= soon]
        ready += [room for room, at in self._owing.items() if at <= soon and room not in self._dirty]
        self._flush_all(ready)
        if self._dirty or self._owing:
            self._wake(min([*(room.rests_until for room in self._dirty), *self._owing.values()]))

    def _flush_all(self, rooms: list[Room]) -> None:
        now = time.monotonic()
        if now - self._measured_at >= _MEASURED:
            self._measure(now)
        for room in rooms:
            self._dirty.pop(room, None)
            self._owing.pop(room, None)
            room.rests_until = now + self._rest
            try:
                room.flush()
            except Exception as error:  # a defect, which must not cost the other rooms their turn
                self._log.event("flush failed", level="error", document=room.document, reason=repr(error))

    def _measure(self, now: float) -> None:
        """Makes the rest longer or shorter, by how much of the processor was used since the last time."""
        clock, since = time.thread_time(), now - self._measured_at
        use, rest = (clock - self._clock) / since, self._rest
        enough = _EASY if rest < _USUAL_REST or use < _EASY else _BUSY
        change = _STEP if self._late else min(_STEP, max(1 / _STEP, use / enough))
        rest *= change ** (since / _MEASURED)
        if _EASY <= use <= _BUSY and not self._late:
            rest = min(rest, _USUAL_REST) if self._rest < _USUAL_REST else max(rest, _USUAL_REST)
        self._rest = min(_LONGEST_REST, max(_SHORTEST_REST, rest))
        self._clock, self._measured_at, self._late = clock, now, False

    # -- other tasks --------------------------------------------------------------------------------------

    def received(self, document: str, task: bytes, message: fanout.Message) -> None:
        opening = self._openings.get(document)
        if opening is None:
            return
        room = opening.room
        match message:
            case fanout.Updates(first, updates):
                if opening.loaded:
                    try:
                        for update in updates:
                            structure.check_update(update)
                    except wire.WireError:
                        self._catch_up(opening)
                        return
                    room.received(first, updates)
                elif first + len(updates) > room.seen:
                    opening.again = True
            case fanout.Head(number):
                if number > room.seen:
                    opening.again = True
            case fanout.Presences(present):
                room.announce(task, present, time.monotonic())
            case fanout.Stateless(payload):
                room.broadcast(None, payload)
            case fanout.PresenceQuery():
                self._tell_presence(room)
                self._tell_head(document, opening)
            case fanout.AccessChanged():
                self._access_changed(document)
        if room.gap or opening.again:
            self._catch_up(opening)

    def reconnected(self) -> None:
        """Every open document reads what it missed, and tells how far it is and who is there."""
        for document, opening in self._openings.items():
            opening.again = True
            self._catch_up(opening)
            self._tell_presence(opening.room)
            self._fanout.query_presence(document)
        self._announce_heads(changed_only=False)
        self._access_changed(None)

    def joined(self, document: str) -> None:
        """Another task has it open, too: it is told what was not published so far."""
        opening = self._openings.get(document)
        if opening is not None:
            self._tell_presence(opening.room)
            self._tell_head(document, opening)

    def _committed(self, room: Room, entries: list[Entry]) -> None:
        self._acknowledged(entries)
        opening = self._openings.get(room.document)
        if room.gap and opening is not None and opening.room is room:
            self._catch_up(opening)

    def _tell_presence(self, room: Room) -> None:
        payload = room.local_presence()
        if payload is not None:
            self._fanout.presence(room.document, payload)

    def _tell_head(self, document: str, opening: _Opening) -> None:
        if opening.loaded:
            opening.told = opening.room.seen
            self._fanout.head(document, opening.told)

    def _announce_heads(self, *, changed_only: bool) -> None:
        for document, opening in self._openings.items():
            if not opening.loaded:
                continue
            changed = opening.room.seen != opening.told
            opening.unchanged = 0 if changed or not changed_only else opening.unchanged + 1
            if opening.unchanged in (0, 1, 2, 4) or opening.unchanged % _REMINDER == 0:
                self._tell_head(document, opening)

    def _catch_up(self, opening: _Opening) -> None:
        if not opening.catching_up:
            opening.catching_up = True
            self._task(self._read_missing(opening), "catch up")

    async def _read_missing(self, opening: _Opening) -> None:
        """Reads what is missing from the journal, until nothing is; what is on its way gets a moment."""
        room = opening.room
        pause = GAP_SECONDS
        try:
            with contextlib.suppress(LoadError):
                await asyncio.shield(opening.load)
            while self._openings.get(room.document) is opening:
                await asyncio.sleep(pause)
                if not (room.gap or opening.again):
                    return
                opening.again = False
                try:
                    async with self._catch_ups:
                        async for span in self._journal.read_from(room.document, room.seen):
                            await self._receive(room, span)
                    pause = GAP_SECONDS
                except AWAY as error:
                    opening.again = True
                    pause = min(pause * 2, 5.0)
                    self._log.event(
                        "catch_up", level="warning", document=room.document, reason=type(error).__name__
                    )
        finally:
            opening.catching_up = False

    @staticmethod
    async def _receive(room: Room, span: Span) -> None:
        if span.snapshot is None:
            for first, updates in _portions(span):
                room.received(first, updates)
                await asyncio.sleep(0)
        else:
            room.received_snapshot(span.last, span.snapshot, span.updates)

    def _task(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.event(f"{task.get_name()} failed", level="error", reason=str(error))
