"""Edits by formula, and finding them again in what a server has merged."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pycrdt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import edits
from zedi.realtime import wire
from zedi.realtime.structure import check_update

CLIENT = st.integers(1, 2**32 - 1)


def text_of(updates: list[bytes]) -> str:
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    doc[edits.TEXT] = text = pycrdt.Text()
    for update in updates:
        doc.apply_update(update)
    return str(text)


def test_what_is_typed_is_what_yjs_reads() -> None:
    """An author's edits, applied by Yjs, are the letters in the order they were typed."""
    assert (
        text_of([edits.typed(4_000_000_000, clock) for clock in range(28)]) == "abcdefghijklmnopqrstuvwxyzab"
    )


@given(CLIENT, st.integers(0, 300))
def test_an_edit_is_found_in_its_own_update(client: int, clock: int) -> None:
    """An update that nobody has merged holds the one edit that it was made for."""
    update = edits.typed(client, clock)
    check_update(update)
    assert edits.spans(update) == [(client, clock, clock + 1)]


@given(st.dictionaries(CLIENT, st.sets(st.integers(0, 30), min_size=1), min_size=1, max_size=5), st.randoms())
def test_merged_edits_are_counted_each_once(chosen: dict[int, set[int]], chance: Any) -> None:
    """However edits are merged, with gaps between them and in any order, each is found exactly once."""
    updates = [edits.typed(client, clock) for client, clocks in chosen.items() for clock in clocks]
    chance.shuffle(updates)
    merged = updates[0] if len(updates) == 1 else pycrdt.merge_updates(*updates)
    found = Counter(
        (client, clock) for client, first, end in edits.spans(merged) for clock in range(first, end)
    )
    assert found == Counter((client, clock) for client, clocks in chosen.items() for clock in clocks)


@given(st.integers(1, 20), st.integers(2, 8))
def test_edits_are_found_in_what_a_document_encodes(count: int, authors: int) -> None:
    """Found too where a Doc has joined an author's neighbouring letters into one item."""
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    for author in range(1, authors + 1):
        for clock in range(count):
            doc.apply_update(edits.typed(author, clock))
    spans = edits.spans(doc.get_update())
    assert sorted(spans) == [(author, 0, count) for author in range(1, authors + 1)]


def test_a_grown_document_is_one_that_yjs_can_read() -> None:
    """Every word of a grown document is in its text, and nothing waits for a predecessor."""
    updates = list(edits.grown(500, 7, seed=3))
    assert len(text_of(updates)) == 500 * len("word000 ")
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    for update in updates:
        doc.apply_update(update)
    assert sum(wire.decode_state_vector(doc.get_state()).values()) == 500 * len("word000 ")
    found = sum(end - first for _, first, end in edits.spans(doc.get_update()))
    assert found == 500 * len("word000 ")


def test_content_that_is_not_the_benchs_is_an_error() -> None:
    """An update with anything but text is refused, rather than counted wrong."""
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    doc["map"] = pycrdt.Map({"a": 1})
    with pytest.raises(ValueError, match="kind 8"):
        edits.spans(doc.get_update())


@given(st.integers(0, 40))
def test_an_update_that_is_cut_off_is_an_error(length: int) -> None:
    """No part of an update passes for a whole one where edits are missing from it."""
    whole = pycrdt.merge_updates(edits.typed(2**31, 0), edits.typed(2**31 + 1, 0))
    part = whole[: min(length, len(whole) - 2)]
    with pytest.raises(wire.WireError):
        edits.spans(part)
