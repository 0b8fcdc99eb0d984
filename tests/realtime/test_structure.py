"""Updates that would harm the process are refused; whatever Yjs makes is not."""

from __future__ import annotations

import random
from typing import Any

import pycrdt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zedi.realtime import structure, wire

# One struct of client 7 at clock 0: content "any", parent the root "t", one value follows.
ANY = b"\x01\x01\x07\x00" + b"\x08\x01\x01t\x01"


def everything(seed: int) -> list[bytes]:
    """Updates with every kind of content that clients make: text, formats, arrays, maps, XML, deletions."""
    choose = random.Random(seed)
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    log: list[bytes] = []
    kept = doc.observe(lambda event: log.append(event.update))
    text = doc.get("text", type=pycrdt.Text)
    array = doc.get("array", type=pycrdt.Array)
    mapping = doc.get("map", type=pycrdt.Map)
    xml = doc.get("xml", type=pycrdt.XmlFragment)
    for _ in range(20):
        values = [None, True, choose.randrange(10**12), -0.5, "日本語", b"\x75\x76", {"a": [1, {"b": []}]}]
        array.append(choose.choice(values))
        mapping[str(choose.randrange(5))] = choose.choice(values)
        mapping["nested"] = pycrdt.Map({"deep": pycrdt.Array(values[:3])})
        text.insert(0, "uvuv 日本語v日", {"bold": True} if choose.random() < 0.5 else None)
        text.insert_embed(0, {"image": "x"})
        xml.children.append(pycrdt.XmlElement("p", {"class": "x"}, [pycrdt.XmlText("text")]))
        if len(text) > 8:
            del text[2:5]
        if len(array) > 4:
            del array[0]
    del kept
    return [*log, doc.get_update(), pycrdt.merge_updates(*log), pycrdt.merge_updates(log[0], *log[5:])]


@given(st.integers(0, 1000))
def test_what_yjs_makes_is_accepted(seed: int) -> None:
    """The walk, which most updates are spared, passes every kind of content."""
    for update in everything(seed):
        structure.walk(update)
        structure.check_update(update)


@pytest.mark.parametrize("depth", [structure.MAX_NESTING, 20_000, 100_000])
@pytest.mark.parametrize("level", [b"\x75\x01", b"\x76\x01\x00", b"\x75\x02\x7e"])
def test_nesting_that_would_end_the_process_is_refused(level: bytes, depth: int) -> None:
    """Arrays and maps in each other, tens of thousands deep: pycrdt would overflow its stack."""
    update = ANY + level * depth + b"\x7e" + b"\x00"
    if depth <= structure.MAX_NESTING:
        structure.check_update(update)
        structure.walk(update)
    else:
        with pytest.raises(wire.WireError):
            structure.check_update(update)


@pytest.mark.parametrize(
    "update",
    [
        wire.varuint(2**27),
        wire.varuint(2**27) + b"\x00" * 20,
        ANY + b"\x76" + wire.varuint(2**26),
        ANY + (b"\x76" + wire.varuint(2**20) + b"\x01k") * 50,
    ],
    ids=["clients", "clients and some bytes", "a map", "maps in maps"],
)
def test_room_is_not_made_for_what_is_only_announced(update: bytes) -> None:
    """Ten bytes that announce a hundred million entries are refused before pycrdt sees them."""
    with pytest.raises(wire.WireError):
        structure.check_update(update)


def test_clients_of_an_update_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs many times what it takes in the update."""
    many = [b"\x01" + wire.varuint(2**32 - client) + b"\x00\x00\x01" for client in range(201)]
    monkeypatch.setattr(wire, "MAX_CLIENTS", 200)
    structure.check_update(wire.varuint(200) + b"".join(many[:200]) + b"\x00")
    with pytest.raises(wire.WireError, match="201, at most 200"):
        structure.check_update(wire.varuint(201) + b"".join(many) + b"\x00")


@given(st.binary(max_size=200))
def test_no_bytes_break_the_walk(data: bytes) -> None:
    """It ends with WireError or not at all, on anything, and on any content."""
    for update in (data, ANY + data):
        for read in (structure.walk, structure.check_update):
            try:
                read(update)
            except wire.WireError:
                continue
