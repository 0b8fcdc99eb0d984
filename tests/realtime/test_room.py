"""A room: what each reader is sent and when, with a journal and a fan-out that only remember."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pycrdt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zedi.realtime import room, wire
from zedi.realtime.history import RUN_BYTES, History, joined
from zedi.realtime.room import REMOTE_SECONDS, Link, Room

Done = Callable[[int, list[bytes]], None]


class Journal:
    """Remembers appends; a test commits them when it likes."""

    def __init__(self) -> None:
        self.appends: list[tuple[list[bytes], Done]] = []
        self.number = 1

    def append(self, document: str, updates: list[bytes], done: Done, *, soon: bool) -> None:
        self.appends.append((updates, done))

    def commit(self) -> None:
        updates, done = self.appends.pop(0)
        first, self.number = self.number, self.number + len(updates)
        done(first, updates)


class Publisher:
    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []

    def shared(self, document: str) -> bool:
        return False

    def updates(self, document: str, first: int, updates: list[bytes]) -> None:
        self.said.append(("updates", first, updates))

    def presence(self, document: str, payload: bytes) -> None:
        self.said.append(("presence", wire.decode_awareness(payload)))

    def stateless(self, document: str, payload: str) -> None:
        self.said.append(("stateless", payload))


class Reader:
    """A link, and the messages that were written to it. `writes` counts calls."""

    def __init__(self, address: str = "doc") -> None:
        self.stream = b""
        self.writes = 0
        self.link = Link(address, self._write)

    def _write(self, packet: bytes) -> None:
        self.writes += 1
        self.stream += packet

    def take(self) -> list[wire.Message]:
        """What has come since the last time, out of its WebSocket frames."""
        messages, data = [], self.stream
        while data:
            assert data[0] == 0x82
            match data[1]:
                case 126:
                    start, length = 4, int.from_bytes(data[2:4], "big")
                case 127:
                    start, length = 10, int.from_bytes(data[2:10], "big")
                case length:
                    start = 2
            messages.append(wire.decode(data[start : start + length]))
            data = data[start + length :]
        self.stream, self.writes = b"", 0
        return messages


class Scene:
    """A room with its surroundings."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.publisher = Publisher()
        self.acknowledged: list[object] = []
        self.room = Room(
            "doc",
            self.journal,
            self.publisher,
            lambda room: None,
            lambda room: None,
            lambda room, entries: self.acknowledged.extend(entries),
        )

    def commit(self) -> None:
        """The next commit of the journal, and the flush that it asks for."""
        self.journal.commit()
        self.room.flush()

    def reader(self, address: str = "doc") -> Reader:
        reader = Reader(address)
        self.room.enter(reader.link)
        return reader


class Typist:
    """Makes updates, each one character after the last."""

    def __init__(self) -> None:
        self.doc: pycrdt.Doc[Any] = pycrdt.Doc()
        self.text = self.doc.get("text", type=pycrdt.Text)
        self._updates: list[bytes] = []
        self._kept = self.doc.observe(lambda event: self._updates.append(event.update))

    def type(self, text: str = "x") -> bytes:
        self.text.insert(len(self.text), text)
        return self._updates[-1]


def read(messages: list[wire.Message]) -> str:
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    for message in messages:
        if isinstance(message, wire.Update | wire.Step2):
            doc.apply_update(message.update)
    return str(doc.get("text", type=pycrdt.Text))


SAVED = wire.SyncStatus("doc", True)
REFUSED = wire.SyncStatus("doc", False)


def test_peers_read_at_once_and_the_author_hears_after_the_commit() -> None:
    """The relay does not wait for the journal, the acknowledgement does; the author gets no echo."""
    scene, typist = Scene(), Typist()
    author, peer = scene.reader(), scene.reader()
    update = typist.type()
    scene.room.append(author.link, update, False, 0.0)
    scene.room.flush()
    assert peer.take() == [wire.Update("doc", update)]
    assert author.take() == []
    assert scene.publisher.said == []
    scene.commit()
    assert author.take() == [SAVED]
    assert scene.publisher.said == [("updates", 1, [update])]


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=40), st.data())
def test_every_update_gets_exactly_one_status(turns: list[tuple[int, bool]], choice: st.DataObject) -> None:
    """However appends fall into turns and commits, each author hears as often as it wrote."""
    scene = Scene()
    readers = [scene.reader() for _ in range(3)]
    typists = [Typist() for _ in range(3)]
    wrote = [0, 0, 0]
    heard = [0, 0, 0]
    texts: list[list[wire.Message]] = [[], [], []]

    def listen() -> None:
        for index, reader in enumerate(readers):
            messages = reader.take()
            heard[index] += messages.count(SAVED)
            texts[index] += messages

    for who, ends_turn in turns:
        scene.room.append(readers[who].link, typists[who].type(), choice.draw(st.booleans()), 0.0)
        wrote[who] += 1
        if ends_turn:
            scene.room.flush()
        if choice.draw(st.booleans()) and scene.journal.appends:
            scene.journal.commit()
        listen()
        assert all(h <= w for h, w in zip(heard, wrote, strict=True))
    scene.room.flush()
    while scene.journal.appends:
        scene.commit()
    listen()
    assert heard == wrote
    assert len(scene.acknowledged) == sum(wrote)
    assert not scene.room.busy
    for index in range(3):
        assert len(read([*texts[index], wire.Update("doc", typists[index].doc.get_update())])) == sum(wrote)


def test_a_turn_is_one_frame_and_one_write_a_reader() -> None:
    """Ten updates of two authors in one turn reach a reader merged, in one write."""
    scene, one, two = Scene(), Typist(), Typist()
    a, b, peer = scene.reader(), scene.reader(), scene.reader()
    for _ in range(5):
        scene.room.append(a.link, one.type(), False, 0.0)
        scene.room.append(b.link, two.type(), False, 0.0)
    scene.room.flush()
    assert peer.writes == 1
    (message,) = peer.take()
    assert len(read([message])) == 10
    scene.commit()
    a.take()
    b.take()
    assert len(scene.acknowledged) == 10


def test_the_journal_gets_what_was_written_here_and_says_what_it_became() -> None:
    """Without what another task has stored. Numbers count rows, and other tasks are told of those."""
    scene, typist, other = Scene(), Typist(), Typist()
    author = scene.reader()
    for _ in range(5):
        scene.room.append(author.link, typist.type(), False, 0.0)
    scene.room.received(1, [other.type("o")])
    scene.journal.number = 2
    scene.room.append(author.link, typist.type(), False, 0.0)
    scene.room.flush()
    ((written, done),) = scene.journal.appends
    assert len(written) == 6
    stored = joined(written)
    assert len(stored) == 1 and read([wire.Update("doc", stored[0])]) == "x" * 6
    done(2, stored)
    scene.room.flush()
    assert scene.room.seen == 2 and not scene.room.gap
    assert scene.publisher.said == [("updates", 2, stored)]
    assert author.take().count(SAVED) == 6
    assert sorted(read([wire.Step2("doc", update) for update in scene.room.history.missing({})])) == [
        "o",
        *"x" * 6,
    ]


def test_updates_that_are_long_together_stay_rows_of_their_own() -> None:
    """What would take the loop's time to merge is stored and sent as it came."""
    scene, typist = Scene(), Typist()
    author, peer = scene.reader(), scene.reader()
    updates = [typist.type("x" * (RUN_BYTES // 2)) for _ in range(3)]
    for update in updates:
        scene.room.append(author.link, update, False, 0.0)
    scene.room.flush()
    assert [stored for stored, _ in scene.journal.appends] == [updates]
    assert [message for message in peer.take() if isinstance(message, wire.Update)] == [
        wire.Update("doc", update) for update in updates
    ]


def test_acknowledgements_and_what_others_wrote_are_one_write() -> None:
    """A commit writes nothing by itself; its SyncStatus goes along with the next turn's updates."""
    scene, one, two = Scene(), Typist(), Typist()
    a, b = scene.reader(), scene.reader()
    for _ in range(3):
        scene.room.append(a.link, one.type(), False, 0.0)
    scene.room.flush()
    a.take()
    scene.journal.commit()
    assert a.writes == 0 and len(scene.acknowledged) == 3
    update = two.type()
    scene.room.append(b.link, update, False, 0.0)
    scene.room.flush()
    assert a.writes == 1
    assert a.take() == [wire.Update("doc", update), SAVED, SAVED, SAVED]
    scene.room.flush()
    assert a.writes == 0


def test_a_step2_without_news_waits_for_what_came_before_it() -> None:
    """It is not stored again; it is acknowledged after the commit of what its author was told is here."""
    scene, typist = Scene(), Typist()
    author = scene.reader()
    scene.room.append(author.link, typist.type(), False, 0.0)
    scene.room.flush()
    again = scene.reader()
    scene.room.append(again.link, typist.doc.get_update(), True, 0.0)
    scene.room.append(again.link, wire.EMPTY_UPDATE, True, 0.0)
    scene.room.flush()
    assert again.take() == []
    assert len(scene.journal.appends) == 1
    scene.commit()
    assert again.take() == [SAVED, SAVED]
    scene.room.append(again.link, wire.EMPTY_UPDATE, True, 0.0)
    scene.room.flush()
    assert again.take() == [SAVED]


def test_a_joiner_gets_our_step1_and_then_all_with_step2_last() -> None:
    """Step1 comes first; Step2, which makes clients call themselves synchronised, comes last."""
    scene, typist = Scene(), Typist()
    author = scene.reader()
    for _ in range(100):
        scene.room.append(author.link, typist.type(), False, 0.0)
    scene.room.flush()
    joiner = scene.reader("doc\0session")
    scene.room.greet(joiner.link)
    scene.room.join(joiner.link, {})
    first, *middle, last = joiner.take()
    assert first == wire.Step1("doc\0session", typist.doc.get_state())
    assert isinstance(last, wire.Step2) and all(isinstance(message, wire.Update) for message in middle)
    assert read([*middle, last]) == "x" * 100
    scene.room.join(joiner.link, wire.decode_state_vector(typist.doc.get_state()))
    assert joiner.take() == [wire.Step2("doc\0session", wire.EMPTY_UPDATE)]


def test_a_reader_who_may_not_write_is_answered_by_what_is_here() -> None:
    """A Step2 that holds nothing new is said to be saved, another one refused."""
    scene, typist = Scene(), Typist()
    author, guest = scene.reader(), scene.reader()
    scene.room.append(author.link, typist.type(), False, 0.0)
    scene.room.compare(guest.link, typist.doc.get_update())
    typist.type()
    scene.room.compare(guest.link, typist.doc.get_update())
    assert guest.take() == [SAVED, REFUSED]


def test_who_comes_back_to_a_full_document_is_told_that_its_edits_are_saved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Step2 without news needs no room; one with news is refused, as any edit is."""
    scene, typist = Scene(), Typist()
    author = scene.reader()
    scene.room.append(author.link, typist.type(), False, 0.0)
    scene.room.flush()
    scene.commit()
    author.take()
    monkeypatch.setattr(room, "MAX_DOCUMENT", scene.room.history.size)
    scene.room.append(author.link, typist.doc.get_update(), True, 0.0)
    scene.room.flush()
    assert author.take() == [SAVED]
    typist.type()
    scene.room.append(author.link, typist.doc.get_update(), True, 0.0)
    scene.room.flush()
    assert author.take() == [REFUSED]


def test_a_document_with_too_many_clients_takes_no_more_edits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a full one: it stays readable, and who has nothing new is told that it is saved."""
    monkeypatch.setattr(wire, "MAX_CLIENTS", 2)
    scene, typists = Scene(), [Typist() for _ in range(3)]
    author, reader = scene.reader(), scene.reader()
    for typist in typists:
        scene.room.append(author.link, typist.type(), False, 0.0)
    scene.room.join(reader.link, {})
    assert read(reader.take()) == "xxx"
    scene.room.append(author.link, typists[0].type(), False, 0.0)
    assert author.take() == [REFUSED]
    scene.room.append(author.link, typists[1].doc.get_update(), True, 0.0)
    scene.room.flush()
    scene.commit()
    assert author.take() == [SAVED] * 4


def test_numbers_show_what_is_missing() -> None:
    """Other tasks' updates arrive in any order and more than once; each is relayed once, a gap shows."""
    scene, typist = Scene(), Typist()
    reader = scene.reader()
    updates = [typist.type() for _ in range(4)]
    it = scene.room
    it.received(2, updates[1:3])
    assert it.gap and it.seen == 0
    it.received(1, updates[:3])
    assert not it.gap and it.seen == 3
    it.received(2, updates[1:])
    it.flush()
    assert it.seen == 4
    assert read(reader.take()) == "xxxx"
    assert scene.journal.appends == []
    it.received(1, updates)
    it.flush()
    assert reader.take() == []


def test_an_own_commit_shows_what_others_have_committed_before() -> None:
    """The number of our first update says how many there are of others that we have not seen."""
    scene, typist, other = Scene(), Typist(), Typist()
    author = scene.reader()
    scene.journal.number = 3
    scene.room.append(author.link, typist.type(), False, 0.0)
    scene.room.flush()
    scene.commit()
    assert scene.room.gap and author.take() == [SAVED]
    scene.room.received(1, [other.type(), other.type()])
    scene.room.flush()
    assert scene.room.seen == 3 and not scene.room.gap
    assert read(author.take()) == "xx"


def test_the_only_author_still_gets_what_came_from_elsewhere_in_the_same_turn() -> None:
    """Leaving the author out must not keep another task's update from it."""
    scene, typist, other = Scene(), Typist(), Typist()
    author = scene.reader()
    scene.room.append(author.link, typist.type(), False, 0.0)
    scene.room.append(author.link, wire.EMPTY_UPDATE, True, 0.0)
    scene.room.received(1, [other.type("o")])
    scene.room.flush()
    assert "o" in read([*author.take(), wire.Update("doc", typist.doc.get_update())])


def test_a_history_read_anew_keeps_what_is_still_being_committed() -> None:
    """Also where as much is flushed next as it ended with, of which not all is the same."""
    scene, one, two, other = Scene(), Typist(), Typist(), Typist()
    author = scene.reader()
    scene.room.append(author.link, one.type("1"), False, 0.0)
    scene.room.flush()
    scene.room.append(author.link, two.type("2"), False, 0.0)
    foreign = other.type("o")
    scene.room.received(1, [foreign])
    scene.room.follow()
    history = History()
    history.append(foreign)
    history.state_vector()
    scene.room.rebase(history)
    scene.room.flush()
    assert sorted(read([wire.Step2("doc", update) for update in scene.room.history.missing({})])) == [*"12o"]


def here(client: int, clock: int, state: bytes = b"{}") -> wire.Presence:
    return wire.Presence(client, clock, state)


def presences(messages: list[wire.Message]) -> list[wire.Presence]:
    return [
        presence
        for message in messages
        if isinstance(message, wire.Awareness)
        for presence in wire.decode_awareness(message.payload)
    ]


def test_presence_is_echoed_and_ends_with_its_socket() -> None:
    """The author hears its own renewal, as its keep-alive; when it goes the others are told."""
    scene = Scene()
    a, b = scene.reader(), scene.reader()
    scene.room.announce(a.link, [here(1, 1)], 0.0)
    scene.room.announce(a.link, [here(1, 2)], 0.0)
    scene.room.flush()
    assert presences(a.take()) == presences(b.take()) == [here(1, 2)]
    assert scene.publisher.said == [("presence", [here(1, 2)])]
    scene.room.leave(a.link)
    scene.room.leave(a.link)
    scene.room.flush()
    assert presences(b.take()) == [here(1, 2, wire.NO_STATE)]
    assert scene.publisher.said[1:] == [("presence", [here(1, 2, wire.NO_STATE)])]


def test_only_the_owner_can_end_a_presence() -> None:
    """A client that has not heard of another for a while says that it is gone; that is not passed on."""
    scene = Scene()
    a, b = scene.reader(), scene.reader()
    scene.room.announce(a.link, [here(1, 1)], 0.0)
    scene.room.announce(b.link, [here(1, 1, wire.NO_STATE)], 0.0)
    scene.room.flush()
    assert presences(b.take()) == [here(1, 1)]
    scene.room.announce(a.link, [here(1, 2, wire.NO_STATE)], 0.0)
    scene.room.flush()
    assert presences(b.take()) == [here(1, 2, wire.NO_STATE)]


def test_who_comes_back_keeps_its_presence_when_the_old_socket_goes() -> None:
    """A presence belongs to the socket that announced it last."""
    scene = Scene()
    old, new, peer = scene.reader(), scene.reader(), scene.reader()
    scene.room.announce(old.link, [here(1, 5)], 0.0)
    scene.room.announce(new.link, [here(1, 5)], 0.0)
    scene.room.flush()
    peer.take()
    scene.room.leave(old.link)
    scene.room.flush()
    assert peer.take() == []
    scene.room.tell_presence(peer.link)
    assert presences(peer.take()) == [here(1, 5)]


def test_an_echo_does_not_take_a_presence_over() -> None:
    """Some clients say back what they were told of others: it is still gone with its own socket."""
    scene = Scene()
    taro, hanako = scene.reader(), scene.reader()
    one, two = wire.Presence(1, 1, b"{}"), wire.Presence(2, 1, b"{}")
    scene.room.announce(taro.link, [one], 0.0)
    scene.room.announce(hanako.link, [two], 0.0)
    scene.room.announce(taro.link, [two], 0.0)
    scene.room.announce(taro.link, [one, two], 0.0)
    scene.room.flush()
    taro.take()
    scene.room.leave(hanako.link)
    scene.room.flush()
    assert taro.take() == [wire.Awareness("doc", wire.encode_awareness([two._replace(state=b"null")]))]


def test_who_comes_back_with_the_same_clock_stays_when_the_old_socket_goes() -> None:
    """It is the heir of its own presence, and nobody is told that it went."""
    scene = Scene()
    old, new = scene.reader(), scene.reader()
    scene.room.announce(old.link, [wire.Presence(1, 1, b"{}")], 0.0)
    scene.room.announce(new.link, [wire.Presence(1, 1, b"{}")], 0.0)
    scene.room.flush()
    new.take()
    scene.room.leave(old.link)
    scene.room.flush()
    assert new.take() == []
    assert scene.room.local_presence() == wire.encode_awareness([wire.Presence(1, 1, b"{}")])


def test_presence_of_a_task_that_died_expires() -> None:
    """Others' presence is believed for a while after their last renewal, and never told to tasks again."""
    scene = Scene()
    reader = scene.reader()
    scene.room.announce(b"task-one", [here(1, 1)], 0.0)
    scene.room.announce(b"task-two", [here(2, 1)], 30.0)
    scene.room.flush()
    assert presences(reader.take()) == [here(1, 1), here(2, 1)]
    scene.room.expire(REMOTE_SECONDS + 1)
    scene.room.flush()
    assert presences(reader.take()) == [here(1, 1, wire.NO_STATE)]
    assert scene.publisher.said == []
    assert scene.room.local_presence() is None


def test_one_reader_cannot_fill_the_room_with_presences() -> None:
    """What one socket may announce is bounded; what is beyond is passed over."""
    scene = Scene()
    greedy, peer = scene.reader(), scene.reader()
    scene.room.announce(greedy.link, [here(client, 1) for client in range(500)], 0.0)
    scene.room.flush()
    assert len(presences(peer.take())) == 100


def test_presence_of_a_document_is_bounded_and_makes_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes, of one reader and of all, and in clients, also of other tasks; who shrinks or goes leaves
    room for another."""
    monkeypatch.setattr(room, "MAX_PRESENT_BYTES", 100)
    monkeypatch.setattr(room, "MAX_PRESENCE", 150)
    scene = Scene()
    one, two = scene.reader(), scene.reader()
    bulky, small = b'"%s"' % (b"x" * 58), b'"x"'

    def told() -> list[int]:
        scene.room.flush()
        two.take()
        scene.room.tell_presence(two.link)
        return [presence.client for presence in presences(two.take())]

    scene.room.announce(one.link, [here(1, 1, bulky), here(2, 1, bulky)], 0.0)
    assert told() == [1]
    scene.room.announce(b"elsewhere", [here(3, 1, bulky), here(4, 1, bulky)], 0.0)
    assert told() == [1, 3]
    scene.room.announce(two.link, [here(5, 1, bulky)], 0.0)
    assert told() == [1, 3]
    scene.room.announce(one.link, [here(1, 2, small)], 0.0)
    scene.room.announce(two.link, [here(5, 2, bulky)], 0.0)
    assert told() == [1, 3, 5]
    scene.room.announce(b"elsewhere", [here(3, 2, wire.NO_STATE)], 0.0)
    scene.room.announce(b"elsewhere", [here(client, 1, b"1") for client in range(6, 2000)], 0.0)
    assert len(told()) == 2 + 150 - len(small) - len(bulky)
    monkeypatch.setattr(room, "MAX_PRESENCE", 1_000_000)
    scene.room.announce(b"elsewhere", [here(client, 1, b"1") for client in range(6, 2000)], 0.0)
    assert len(told()) == wire.MAX_PRESENT


def test_an_edit_before_leaving_is_stored_and_relayed() -> None:
    """Who writes and goes at once has still written."""
    scene, typist = Scene(), Typist()
    author, peer = scene.reader(), scene.reader()
    scene.room.append(author.link, typist.type(), False, 0.0)
    scene.room.leave(author.link)
    scene.room.flush()
    assert read(peer.take()) == "x"
    scene.commit()
    assert author.take() == []
    assert scene.room.seen == 1


def test_a_reader_that_leaves_while_it_is_written_to_does_not_cost_the_others_anything() -> None:
    """A socket that is too slow is closed at a write, so it leaves in the middle of the turn."""
    scene, typist = Scene(), Typist()
    author, slow = scene.reader(), Link("doc", lambda packet: scene.room.leave(slow))
    scene.room.enter(slow)
    peer = scene.reader()
    scene.room.append(author.link, typist.type(), False, 0.0)
    scene.room.flush()
    assert read(peer.take()) == "x"
    scene.room.enter(slow)
    scene.room.broadcast(author.link, "hello")
    last = scene.reader()
    scene.room.flush()
    assert last.take() == [wire.Stateless("doc", "hello")]
    assert slow not in scene.room.links
