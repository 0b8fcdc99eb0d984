"""Compaction changes nothing: whatever was written, in whatever order it came, at whatever moment."""

from __future__ import annotations

import random
from typing import Any

import pycrdt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zedi.realtime import wire
from zedi.realtime.compaction import Compacted, compact
from zedi.realtime.history import History, deletions_of
from zedi.realtime.room import Room

Doc = pycrdt.Doc[Any]


class Author:
    """One replica; `news` are the updates of its own edits."""

    def __init__(self, client: int = 9) -> None:
        self.doc: Doc = pycrdt.Doc(client_id=client)
        self.text = self.doc.get("text", type=pycrdt.Text)
        self.map = self.doc.get("map", type=pycrdt.Map)
        self.list = self.doc.get("list", type=pycrdt.Array)
        self.page = self.doc.get("page", type=pycrdt.XmlFragment)
        self.undo = pycrdt.UndoManager(scopes=[self.text, self.map], capture_timeout_millis=0)
        self.news: list[bytes] = []
        self._kept = self.doc.observe(lambda event: self.news.append(event.update))

    def edit(self, choose: random.Random) -> None:
        text, letters = self.text, str(self.text)
        # Positions are bytes of UTF-8, between whole characters.
        start, end = (
            len(letters[:at].encode()) for at in sorted(choose.choices(range(len(letters) + 1), k=2))
        )
        match choose.randrange(10):
            case 0 | 1 | 2:
                text.insert(start, choose.choice(["a", "bc", "日本語", "🍣x"]))
            case 3 if start < end:
                del text[start:end]
            case 4 if start < end:
                text.format(start, end, {"bold": choose.choice([True, None])})
            case 5:
                key = choose.choice("xyz")
                self.map[key] = choose.choice([1, "two", {"three": [3]}, pycrdt.Map({"k": pycrdt.Text("v")})])
            case 6 if "x" in self.map:
                del self.map["x"]
            case 7:
                if len(self.list) > 2 and choose.random() < 0.5:
                    del self.list[choose.randrange(len(self.list))]
                elif choose.random() < 0.3:
                    self.list.append(pycrdt.Doc({"inner": pycrdt.Text("sub")}))
                else:
                    self.list.insert(choose.randrange(len(self.list) + 1), pycrdt.Array([1, "x"]))
            case 8:
                children = self.page.children
                if len(children) > 1 and choose.random() < 0.4:
                    del children[choose.randrange(len(children))]
                else:
                    paragraph = pycrdt.XmlElement("p", {"level": "1"}, [pycrdt.XmlText("words")])
                    children.insert(choose.randrange(len(children) + 1), paragraph)
            case 9:
                if self.undo.can_undo():
                    self.undo.undo()
                elif self.undo.can_redo():
                    self.undo.redo()


def written(seed: int, count: int) -> list[bytes]:
    """Updates of four who write at the same time and meet now and then, in the order they were made."""
    choose = random.Random(seed)
    authors = [Author(client) for client in (1, 2, 300, 2**40)]
    log: list[bytes] = []
    for _ in range(count):
        author = choose.choice(authors)
        before = len(author.news)
        author.edit(choose)
        log += author.news[before:]
        if choose.random() < 0.3:
            other = choose.choice(authors)
            if other is not author:
                author.doc.apply_update(other.doc.get_update(author.doc.get_state()))
    return log


def what_it_says(updates: list[bytes]) -> tuple[Any, ...]:
    """All that can be seen of a document, and what it would tell its peers."""
    doc: Doc = pycrdt.Doc()
    # In one piece: applied one by one and out of order, some would go on waiting for no reason.
    doc.apply_update(pycrdt.merge_updates(*updates, wire.EMPTY_UPDATE))
    array = doc.get("list", type=pycrdt.Array)
    return (
        doc.get("text", type=pycrdt.Text).diff(),
        doc.get("map", type=pycrdt.Map).to_py(),
        [type(item).__name__ if isinstance(item, pycrdt.Doc) else str(item) for item in array],
        str(doc.get("page", type=pycrdt.XmlFragment)),
        wire.decode_state_vector(doc.get_state()),
        sorted(deletions_of(pycrdt.get_update(doc.get_update(), doc.get_state())) or ()),
    )


def parts(made: Compacted) -> list[bytes]:
    return [made.snapshot.data, *made.pending]


@settings(max_examples=40)
@given(st.integers(0, 100_000), st.integers(1, 50), st.data())
def test_compaction_at_any_moment_changes_nothing(seed: int, count: int, choice: st.DataObject) -> None:
    """Some updates come late, in any order or never; however often the beginning is compacted in between,
    what is there in the end says the same, with and without what was missing."""
    updates = written(seed, count)
    late = choice.draw(st.sets(st.integers(0, max(0, len(updates) - 1)), max_size=5))
    log = [update for number, update in enumerate(updates) if number not in late]
    if choice.draw(st.booleans()):
        random.Random(seed).shuffle(log)
    moments = sorted(choice.draw(st.sets(st.integers(0, len(log)), max_size=4)))
    held: list[bytes] = []
    taken = 0
    for moment in moments:
        held = parts(compact([*held, *log[taken:moment]]))
        taken = moment
    held += log[taken:]
    assert what_it_says(held) == what_it_says(log)
    missing = [updates[number] for number in sorted(late) if number < len(updates)]
    assert what_it_says([*held, *missing]) == what_it_says([*log, *missing])
    assert what_it_says(parts(compact([*held, *missing]))) == what_it_says(updates)


@settings(max_examples=20)
@given(st.integers(0, 100_000), st.integers(1, 50), st.data())
def test_a_history_that_begins_with_a_snapshot_answers_alike(
    seed: int, count: int, choice: st.DataObject
) -> None:
    """State vector, what a reader lacks and what is new are those of the history that never was compacted."""
    updates = written(seed, count)
    at = choice.draw(st.integers(0, len(updates)))
    made = compact(updates[:at])
    whole, begun = History(), History()
    begun.begin(made.snapshot)
    for update in updates:
        whole.append(update)
    for update in [*made.pending, *updates[at:]]:
        begun.append(update)
    assert wire.decode_state_vector(begun.state_vector()) == wire.decode_state_vector(whole.state_vector())
    has = updates[: choice.draw(st.integers(0, len(updates)))]
    reader: Doc = pycrdt.Doc()
    for update in has:
        reader.apply_update(update)
    answer = begun.missing(wire.decode_state_vector(reader.get_state()))
    assert what_it_says([*has, *answer]) == what_it_says(updates)
    assert all(begun.contains(update) for update in updates)
    stranger = Author()
    stranger.text.insert(0, "new")
    assert not begun.contains(stranger.news[-1])


@settings(max_examples=20)
@given(st.integers(0, 100_000), st.integers(2, 40), st.data())
def test_a_room_that_fell_behind_is_mended_by_a_snapshot(
    seed: int, count: int, choice: st.DataObject
) -> None:
    """What it lacks is taken from the snapshot, its numbers go on from there, and its readers are told."""

    class Nowhere:
        def append(self, document: str, updates: list[bytes], done: object, *, soon: bool) -> None: ...
        def shared(self, document: str) -> bool:
            return False

        def updates(self, document: str, first: int, updates: list[bytes]) -> None: ...
        def presence(self, document: str, payload: bytes) -> None: ...
        def stateless(self, document: str, payload: str) -> None: ...

    updates = written(seed, count)
    if len(updates) < 2:
        return
    through = choice.draw(st.integers(1, len(updates)))
    seen = choice.draw(st.integers(0, through))
    ahead = (
        choice.draw(st.sets(st.integers(seen + 1, len(updates)), max_size=3))
        if seen < len(updates)
        else set()
    )
    room = Room("doc", Nowhere(), Nowhere(), lambda room: None, lambda room: None, lambda room, entries: None)
    room.restore(1, updates[:seen])
    for number in sorted(ahead):
        room.received(number, [updates[number - 1]])
    made = compact(updates[:through])
    room.received_snapshot(through, made.snapshot, made.pending)
    assert room.seen >= through
    for number in range(through + 1, len(updates) + 1):
        room.received(number, [updates[number - 1]])
    assert room.seen == len(updates) and not room.gap
    assert what_it_says(room.history.missing({})) == what_it_says(updates)
    room.received_snapshot(through, made.snapshot, made.pending)
    assert room.seen == len(updates)


def test_many_small_updates_become_small() -> None:
    """What was typed letter by letter takes a fraction of the bytes."""
    author = Author()
    for number in range(2000):
        author.text.insert(number, "x")
    made = compact(author.news)
    assert made.pending == []
    assert made.size * 10 < sum(map(len, author.news))


def test_what_cannot_be_applied_is_an_error() -> None:
    """Bytes that are no update end in one kind of error, which says what is wrong."""
    author = Author()
    author.text.insert(0, "x")
    with pytest.raises(wire.WireError, match="cannot be applied"):
        compact([author.news[0], b"\x01\xff\xff\xff"])


def test_nothing_is_compacted_to_nothing() -> None:
    """An empty document has an empty snapshot, with which a history can begin."""
    made = compact([])
    assert made.snapshot.data == wire.EMPTY_UPDATE
    history = History()
    history.begin(made.snapshot)
    assert history.missing({}) == [wire.EMPTY_UPDATE]


def test_an_update_of_too_many_deletions_stays_beside_the_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much to be looked at is kept as it came, and the rest is compacted all the same."""
    monkeypatch.setattr("zedi.realtime.history.MAX_DELETIONS", 50)
    updates = written(1, 40)
    ranges = b"".join(wire.varuint(2 * clock) + b"\x01" for clock in range(60))
    flood = b"\x00\x01\x07" + wire.varuint(60) + ranges
    made = compact([*updates, flood])
    assert made.pending == [flood]
    assert what_it_says([made.snapshot.data]) == what_it_says(updates)
