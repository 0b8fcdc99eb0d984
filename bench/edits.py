"""Edits as bytes: Yjs updates (V1) made by formula, and which edits an update that arrives holds.

An edit is one inserted string. Its identity is its author's client id and its clock, so it can be found again
in whatever a server has merged it into. Format: Yjs 13 (src/structs/Item.js, src/utils/updates.js).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final, NamedTuple

from zedi.realtime.wire import Reader, varuint

TEXT: Final = "text"
"""Name of the document's one text."""
_PARENT: Final = b"\x01" + varuint(len(TEXT)) + TEXT.encode()
_STRING, _ORIGIN, _RIGHT_ORIGIN, _KEYED = 0x04, 0x80, 0x40, 0x20
_GARBAGE, _DELETED, _SKIP = 0, 1, 10


class Span(NamedTuple):
    """The edits of one author with clocks from `first` up to, not including, `end`."""

    client: int
    first: int
    end: int


def typed(client: int, clock: int) -> bytes:
    """The update of an author who types its `clock`-th character right after the one before."""
    author = varuint(client)
    before = varuint(clock - 1) if clock else b""
    place = bytes((_STRING | _ORIGIN,)) + author + before if clock else bytes((_STRING,)) + _PARENT
    letter = bytes((97 + clock % 26,))
    return b"\x01\x01" + author + varuint(clock) + place + b"\x01" + letter + b"\x00"


def spans(update: bytes) -> list[Span]:
    """The edits in `update`, which may be merged from many, by author and without gaps.

    Raises:
        WireError: it is cut off.
        ValueError: it holds content that is none of the bench's: another document's, or a defect.
    """
    reader = Reader(update)
    found: list[Span] = []
    for _ in range(reader.varuint("clients")):
        structs = reader.varuint("structs")
        client = reader.varuint("client")
        clock = first = reader.varuint("clock")
        for _ in range(structs):
            info = reader.byte("struct")
            length = _length(reader, info)
            if info == _SKIP:
                if clock > first:
                    found.append(Span(client, first, clock))
                first = clock + length
            clock += length
        if clock > first:
            found.append(Span(client, first, clock))
    return found


def _length(reader: Reader, info: int) -> int:
    """Reads one struct and returns how many clocks it takes."""
    kind = info & 0x1F
    if kind in (_GARBAGE, _SKIP):
        return reader.varuint("length")
    for flag in (_ORIGIN, _RIGHT_ORIGIN):
        if info & flag:
            reader.varuint("client")
            reader.varuint("clock")
    if not info & (_ORIGIN | _RIGHT_ORIGIN):
        if reader.varuint("parent") == 1:
            reader.varbytes("parent's name")
        else:
            reader.varuint("client")
            reader.varuint("clock")
        if info & _KEYED:
            reader.varbytes("key")
    if kind == _DELETED:
        return reader.varuint("length")
    if kind == _STRING:
        return len(reader.varbytes("text"))  # ASCII: a byte, a UTF-16 unit, a clock
    raise ValueError(f"content of kind {kind} in an update of the bench")


def grown(count: int, authors: int, seed: int) -> Iterator[bytes]:
    """The updates of a document that grew by `count` words at random places, one author after another.

    Each word is put between two that are neighbours at that moment, as its author saw them, so nothing of it
    can be merged into longer items: about 26 bytes an edit, encoded whole.
    """
    chance = random.Random(seed)
    words = [f"word{number:03} ".encode() for number in range(1000)]
    size = len(words[0])
    ids = [chance.getrandbits(31) | 1 << 31 for _ in range(authors)]
    clocks = [0] * authors
    where: list[tuple[bytes, int]] = []
    """Of each word its author (encoded) and first clock."""
    after: list[int] = []
    """Of each word the one that follows it, or -1."""
    for number in range(count):
        author = chance.randrange(authors)
        client, clock = varuint(ids[author]), clocks[author]
        clocks[author] += size
        if number == 0:
            place = bytes((_STRING,)) + _PARENT
            after.append(-1)
        else:
            left = chance.randrange(number)
            right = after[left]
            left_client, left_clock = where[left]
            place = left_client + varuint(left_clock + size - 1)
            if right >= 0:
                right_client, right_clock = where[right]
                place = (
                    bytes((_STRING | _ORIGIN | _RIGHT_ORIGIN,)) + place + right_client + varuint(right_clock)
                )
            else:
                place = bytes((_STRING | _ORIGIN,)) + place
            after.append(right)
            after[left] = number
        where.append((client, clock))
        word = words[chance.randrange(1000)]
        yield b"\x01\x01" + client + varuint(clock) + place + varuint(size) + word + b"\x00"
