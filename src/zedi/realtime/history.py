"""All that is known of one document, as merged runs of Yjs updates; no Doc is built.

A reader that joins needs three things: a state vector (so that it sends what we lack), what it lacks itself,
and the truth about whether its own answer holds anything new. Doing that on the raw log is expensive:
`pycrdt.merge_updates` is quadratic (20,000 one-character updates: 2.8 s in one call, holding the GIL). So
updates are merged 32 at a time, such runs again 32 at a time, and so on, up to runs of 256 KB, which stay
as they are: the same 20,000 updates take 0.05 s in calls of at most 5 ms, and a reader gets them in about
36 frames instead of 20,000. Bytes are never re-encoded through a Doc, so an update whose
predecessor is missing is kept and passed on as it came.

A document that was compacted begins with a snapshot, a run of any size that brings its state vector and its
deletions along: opening 20 MB decodes nothing, and all readers who join are written the same bytes.

The state vector is kept up without ever reading the whole again: what is already counted is stood in for
by one garbage-collected struct a client (`_stand_in`), and only the new run is merged with it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import pycrdt

from zedi.realtime import wire

FAN: Final = 32
"""How many runs of one level make a run of the next."""
RUN_BYTES: Final = 256 * 1024
"""Runs are not merged beyond this: merging one takes about 3 ms, and the event loop waits for it."""
MAX_DELETIONS: Final = 500_000
"""Ranges of deletions that are looked at one by one: each takes 150 bytes and a microsecond, and may be two
bytes of an update. What is beyond is kept and passed on all the same, and `contains` is in doubt."""

_PIECE: Final = 2 * FAN
"""How many updates are merged in one call."""
_UNMERGEABLE: Final = -1
Vector = dict[int, int]


@dataclass(slots=True)
class _Run:
    level: int
    data: bytes
    after: Vector | None = None
    """The state vector once this run was counted, but only of the clients that it brought on: what else is in
    it, runs before it have as well. A reader that has all of this lacks none of the run's structs. None: some
    of them wait for a predecessor, so the run must be looked at."""
    deletions: bytes | None = None
    """The run without its structs, once somebody needed it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A document's state as one update without gaps, and what is known of it."""

    data: bytes
    vector: bytes
    """Its state vector, encoded."""
    deletions: bytes
    """`data` without its structs."""


class History:
    """The updates of one document, in the order they came. Calls are made from one thread."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._tail: list[bytes] = []
        self._tail_size = 0
        self._vector: Vector = {}
        self._encoded_vector = wire.EMPTY_STATE_VECTOR
        self._waiting: list[bytes] = []
        """Structs whose predecessors are missing; they stand in a run too."""
        self._uncounted: list[_Run] = []
        """Runs that are not in the state vector yet."""
        self._uncounted_size = 0
        self._deleted = Ranges()
        self._unread: list[bytes] = []
        """Runs whose deletions are not in `_deleted` yet."""
        self._last_answer: tuple[bytes, list[bytes]] | None = None
        self.size = 0
        """Bytes of everything that was appended."""
        self.crowded = False
        """It has more than MAX_CLIENTS, which cost far more to count than their bytes say."""

    def begin(self, snapshot: Snapshot) -> None:
        """Starts with a document's compacted state, before anything is appended."""
        if self.size:
            raise ValueError("a history begins once")
        vector = wire.decode_state_vector(snapshot.vector)
        self._runs.append(_Run(_UNMERGEABLE, snapshot.data, vector, snapshot.deletions))
        self._vector, self._encoded_vector = vector, snapshot.vector
        self.crowded = len(vector) > wire.MAX_CLIENTS
        if has_structs(snapshot.deletions):
            raise wire.WireError("snapshot's deletions", "have structs among them")
        self._learn(snapshot.deletions)
        self.size = len(snapshot.data)

    def append(self, update: bytes) -> None:
        """Adds an update that `structure.check_update` has passed."""
        self._tail.append(update)
        self._tail_size += len(update)
        self.size += len(update)
        if len(self._tail) >= FAN or self._tail_size >= RUN_BYTES:
            self._fold()

    def extend(self, updates: list[bytes]) -> None:
        """As `append` of each, in less time where they are short."""
        start = 0
        while start < len(updates):
            part = updates[start : start + FAN - len(self._tail)]
            start += len(part)
            size = sum(map(len, part))
            if self._tail_size + size >= RUN_BYTES:
                for update in part:
                    self.append(update)
                continue
            self._tail += part
            self._tail_size += size
            self.size += size
            if len(self._tail) >= FAN:
                self._fold()

    def condense(self, count: int, merged: bytes) -> None:
        """`merged` says what the last `count` updates say. It takes their place, where they were not merged
        with others by now, so that nobody has to merge them again."""
        if count <= len(self._tail):
            self._tail_size += len(merged) - sum(map(len, self._tail[-count:]))
            self._tail[-count:] = [merged]

    def state_vector(self) -> bytes:
        """What is here without gaps, encoded."""
        self._fold()
        self._count()
        return self._encoded_vector

    def missing(self, vector: Mapping[int, int]) -> list[bytes]:
        """The updates that a reader with this state vector lacks, in order; empty when it lacks nothing.

        They may repeat what it has (deletions always do), and are the very objects that are kept here
        where the reader has nothing at all.
        """
        self._fold()
        self._count()
        if not vector:
            return [run.data for run in self._runs]
        encoded = wire.encode_state_vector(vector)
        if self._last_answer is None or self._last_answer[0] != encoded:
            parts = [self._without(run, vector, encoded) for run in self._runs]
            parts = [part for part in parts if part != wire.EMPTY_UPDATE]
            # Long ones stay pieces: the event loop would wait for the merging, and nobody needs it.
            few = sum(map(len, parts)) <= RUN_BYTES
            self._last_answer = (encoded, joined(parts) if few else parts)
        return self._last_answer[1]

    def contains(self, update: bytes) -> bool:
        """Whether `update` says nothing new. False when in doubt: adding it again would do no harm."""
        if update == wire.EMPTY_UPDATE:
            return True
        self._fold()
        self._count()
        deletions = deletions_of(difference(update, self._encoded_vector))
        if deletions is None:
            return False
        for run in self._unread:
            self._learn(difference(run, self._encoded_vector))
        self._unread.clear()
        return self._deleted.covers(deletions)

    def _learn(self, deletions: bytes) -> None:
        if self._deleted.count < MAX_DELETIONS:
            self._deleted.add(deletions_of(deletions) or ())

    def lacks(self, update: bytes) -> bytes:
        """The part of `update` whose structs are not here; deletions stay in it. All of it when in doubt."""
        return difference(update, self.state_vector())

    def _fold(self) -> None:
        """Moves the tail into the runs."""
        if not self._tail:
            return
        self._last_answer = None
        tail, self._tail, self._tail_size = self._tail, [], 0
        merged = merge(tail)
        runs = [_Run(0, merged)] if merged else [_Run(_UNMERGEABLE, update) for update in tail]
        for run in runs:
            self._runs.append(run)
            self._unread.append(run.data)
            self._uncounted.append(run)
            self._uncounted_size += len(run.data)
        if self._uncounted_size > RUN_BYTES:
            self._count()
        self._climb()

    def _climb(self) -> None:
        while len(self._runs) >= FAN:
            last = self._runs[-FAN:]
            level = last[-1].level
            if level < 0 or any(run.level != level for run in last):
                return
            if sum(len(run.data) for run in last) > RUN_BYTES:
                return
            merged = merge([run.data for run in last])
            if merged is None:
                last[-1].level = _UNMERGEABLE
                return
            self._count()
            after: Vector | None = {}
            for run in last:
                after = None if after is None or run.after is None else after | run.after
            self._runs[-FAN:] = [_Run(level + 1, merged, after)]

    def _count(self) -> None:
        """Brings the state vector up to date."""
        if not self._uncounted:
            return
        runs, self._uncounted, self._uncounted_size = self._uncounted, [], 0
        counted = [_stand_in(self._vector), *self._waiting]
        probe = merge([*counted, *(run.data for run in runs)])
        if probe is None:
            # yrs cannot sort many that were sent again beside what stands in for them.
            probe = merge([*counted, *(difference(run.data, self._encoded_vector) for run in runs)])
        if probe is None:
            return  # The vector stays lower than it could be: clients send more than they must.
        try:
            encoded = pycrdt.get_state(probe)
        except BaseException as error:
            raise wire.panic(error, "history", "its state vector cannot be read") from None
        before = self._vector
        if encoded != self._encoded_vector:
            self._encoded_vector = encoded
            self._vector = wire.decode_state_vector(encoded)
            self.crowded = len(self._vector) > wire.MAX_CLIENTS
        rest = difference(probe, encoded)
        if has_structs(rest):
            self._waiting = [rest]
            return
        self._waiting = []
        # Not the whole vector: every run would keep one, and a page that many have edited has many clients.
        after = {client: clock for client, clock in self._vector.items() if before.get(client) != clock}
        for run in runs:
            run.after = after

    def _without(self, run: _Run, vector: Mapping[int, int], encoded: bytes) -> bytes:
        """What a reader with this state vector lacks of `run`."""
        if run.after is None or any(vector.get(client, 0) < clock for client, clock in run.after.items()):
            return difference(run.data, encoded)
        if run.deletions is None:
            run.deletions = difference(run.data, self._encoded_vector)
        return run.deletions


def merge(updates: list[bytes]) -> bytes | None:
    """One update that says what all of these say; None when pycrdt cannot merge them.

    Many are merged in pieces and those again, so the time grows with their number and not with its square.
    """
    try:
        while len(updates) > _PIECE:
            pieces = (updates[start : start + _PIECE] for start in range(0, len(updates), _PIECE))
            updates = [pycrdt.merge_updates(*piece) if len(piece) > 1 else piece[0] for piece in pieces]
        return pycrdt.merge_updates(*updates) if len(updates) > 1 else updates[0]
    except BaseException as error:
        wire.panic(error, "updates", "cannot be merged")
        return None


def joined(updates: list[bytes]) -> list[bytes]:
    """The same in few updates: what is made of several has RUN_BYTES at most; some cannot be merged."""
    if len(updates) < 2:
        return updates
    if sum(map(len, updates)) <= RUN_BYTES:
        merged = merge(updates)
        return updates if merged is None else [merged]
    found: list[bytes] = []
    part: list[bytes] = []
    size = 0
    for update in updates:
        if part and size + len(update) > RUN_BYTES:
            found += joined(part)
            part, size = [], 0
        part.append(update)
        size += len(update)
    return found + joined(part)


def difference(update: bytes, vector: bytes) -> bytes:
    """`update` without the structs that `vector` counts; all of it when pycrdt cannot tell."""
    try:
        return pycrdt.get_update(update, vector)
    except BaseException as error:
        wire.panic(error, "update", "cannot be compared")
        return update


def _stand_in(vector: Mapping[int, int]) -> bytes:
    """An update with one garbage-collected struct (type 0) a client, as long as what is known of it."""
    parts = [wire.varuint(len(vector))]
    # Yjs writes clients in falling order (UpdateEncoder: "we make sure to write higher ids first").
    for client in sorted(vector, reverse=True):
        parts.append(b"\x01" + wire.varuint(client) + b"\x00\x00" + wire.varuint(vector[client]))
    return b"".join(parts) + b"\x00"


Deletions = list[tuple[int, int, int]]
"""Client, first clock, end (exclusive)."""


def has_structs(update: bytes) -> bool:
    """Whether there is more in `update` than deletions."""
    return update[:1] != b"\x00"


def deletions_of(update: bytes) -> Deletions | None:
    """The deletions of an update that has no structs; None when it has some, cannot be read, or has more than
    MAX_DELETIONS."""
    reader = wire.Reader(update)
    found: Deletions = []
    try:
        if reader.varuint("structs"):
            return None
        clients = reader.varuint("deletions")
        if clients > MAX_DELETIONS:
            return None
        for _ in range(clients):
            client = reader.varuint("client")
            ranges = reader.varuint("ranges")
            if len(found) + ranges > MAX_DELETIONS:
                return None
            for _ in range(ranges):
                clock = reader.varuint("clock")
                found.append((client, clock, clock + reader.varuint("length")))
    except wire.WireError:
        return None
    return found


class Ranges:
    """Which clocks of which clients; ranges that touch are one."""

    def __init__(self) -> None:
        self._by_client: dict[int, tuple[list[int], list[int]]] = {}
        self.count = 0
        """Of all clients' ranges."""

    def add(self, deletions: Iterable[tuple[int, int, int]]) -> None:
        fresh: dict[int, list[tuple[int, int]]] = {}
        for client, start, end in deletions:
            fresh.setdefault(client, []).append((start, end))
        for client, ranges in fresh.items():
            starts, ends = self._by_client.get(client, ([], []))
            merged: list[tuple[int, int]] = []
            for start, end in sorted([*zip(starts, ends, strict=True), *ranges]):
                if merged and start <= merged[-1][1]:
                    merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
                else:
                    merged.append((start, end))
            self.count += len(merged) - len(starts)
            self._by_client[client] = ([start for start, _ in merged], [end for _, end in merged])

    def covers(self, deletions: Iterable[tuple[int, int, int]]) -> bool:
        for client, start, end in deletions:
            starts, ends = self._by_client.get(client, ([], []))
            index = bisect_right(starts, start) - 1
            if index < 0 or ends[index] < end:
                return False
        return True
