"""The generator's bookkeeping: what each replica has, what is acknowledged, and when."""

from __future__ import annotations

import pycrdt
import pytest

from bench import edits
from bench.load import Client, Group, Job, Run
from zedi.realtime import wire

NAME = "4b7b1a6e-0b0c-4b0e-9d0a-000000000000"


class Typists:
    """Three clients of one document; the edits of each were to be sent at 0 s, 1 s, 2 s ..."""

    def __init__(self, edits_each: int) -> None:
        group = Group("ws://nowhere", 3, 1.0)
        self.run = Run(Job("typing", [NAME], [group], ["token"], []))
        [self.document] = self.run.documents
        self.clients = [Client(self.run, self.document, group, "token", 2**31 + n) for n in range(3)]
        for client in self.clients:
            client.begin()
            client.acknowledged = 0  # the handshake's
            client.sent = edits_each
            self.document.due[client.place].extend(float(second) for second in range(edits_each))

    def update(self, author: int, *clocks: int) -> bytes:
        """A frame with these edits of an author."""
        each = [edits.typed(self.clients[author].author, clock) for clock in clocks]
        merged = each[0] if len(each) == 1 else pycrdt.merge_updates(*each)
        return self.document.head + wire.update(merged)


@pytest.fixture
async def typists() -> Typists:
    return Typists(edits_each=3)


async def test_a_merged_frame_counts_for_all_its_edits(typists: Typists) -> None:
    """One frame with three edits leaves nothing lacking of that author, and is three latencies."""
    reader = typists.clients[1]
    assert reader.lacking == 6
    reader.take(typists.update(0, 0, 1, 2), 2.5)
    assert reader.lacking == 3
    assert typists.run.latency.total == 3
    assert typists.run.latency.quantile(1.0) == pytest.approx(2.5, abs=1e-3)
    assert typists.run.latency.quantile(0.01) == pytest.approx(0.5, abs=1e-3)


async def test_what_comes_twice_is_counted_once(typists: Typists) -> None:
    """Repeated and overlapping frames add only what is new in them; an author's own echo adds nothing."""
    reader = typists.clients[1]
    for frame in (typists.update(0, 0, 1), typists.update(0, 0, 1), typists.update(0, 1, 2)):
        reader.take(frame, 3.0)
    typists.clients[0].take(typists.update(0, 0, 1, 2), 3.0)
    assert reader.lacking == 3
    assert typists.clients[0].lacking == 6
    assert typists.run.latency.total == 3


async def test_an_edit_counts_once_its_predecessors_are_here(typists: Typists) -> None:
    """An edit that overtook another is not there before that one, and then has been late."""
    reader = typists.clients[1]
    reader.take(typists.update(0, 2), 2.1)
    assert (reader.lacking, typists.run.latency.total) == (6, 0)
    reader.take(typists.update(0, 0), 4.0)
    assert (reader.lacking, typists.run.latency.total) == (5, 1)
    reader.take(typists.update(0, 1), 9.0)
    assert (reader.lacking, typists.run.latency.total) == (3, 3)
    assert typists.run.latency.quantile(0.5) == pytest.approx(7.0, abs=1e-3)


async def test_every_edit_is_acknowledged_by_itself(typists: Typists) -> None:
    """Each SyncStatus acknowledges the oldest edit that is not; an edit without one shows."""
    author = typists.clients[0]
    author.take(typists.document.saved, 0.2)
    author.take(typists.document.saved, 1.4)
    assert author.unacknowledged == 1
    assert typists.run.acknowledgement.total == 2
    assert typists.run.acknowledgement.quantile(1.0) == pytest.approx(0.4, abs=1e-3)


async def test_a_refusal_is_not_an_acknowledgement(typists: Typists) -> None:
    """A server that refuses an edit ends the measurement, and the edit stays unacknowledged."""
    author = typists.clients[0]
    author.take(typists.document.head + wire.REFUSED, 0.5)
    assert author.unacknowledged == 3
    assert "saved=False" in author.closed.result()


async def test_an_acknowledgement_too_many_is_noticed(typists: Typists) -> None:
    """A server that acknowledges what was never sent ends the measurement."""
    author = typists.clients[0]
    for _ in range(4):
        author.take(typists.document.saved, 3.0)
    assert "never sent" in author.closed.result()
