"""Whether bytes are a Yjs update (V1) that may be stored and handed on. Builds no document.

pycrdt 0.14 decodes nested values by recursion, so an update of 80 KB that nests 40,000 arrays ends the
process (SIGSEGV), and it makes room for as many map entries or clients as are announced, so ten bytes can
take hundreds of megabytes. Neither is an exception that could be caught. Both need certain bytes, which are
looked for at C's speed; only an update that has them is walked through, struct by struct, with lengths held
against the bytes that are left and nesting counted.

The format is that of Yjs 13 (src/structs/, src/utils/UpdateDecoder.js; lib0/decoding.js: readAny).
"""

from __future__ import annotations

import re
from typing import Final

import pycrdt

from zedi.realtime import wire

MAX_NESTING: Final = 128
"""Levels of arrays and maps in one value. JavaScript's readers recurse as well."""
_HARMLESS: Final = 8000
"""So many containers cannot exhaust a stack, however they are nested: it takes more than 20,000 with 8 MB."""

_MAP: Final = 118
_LONG_MAP: Final = re.compile(rb"\x76[\x80-\xff]")
"""A map of 128 entries and more; or just text."""


def check_update(update: bytes) -> None:
    """Raises wire.WireError unless `update` can be decoded, by pycrdt and by clients. A small one takes
    less than 1 µs."""
    clients = update[0] if update else 0x80
    if clients >= 0x80:
        clients = wire.Reader(update).varuint("update's clients")
        if clients > wire.MAX_CLIENTS:
            raise wire.WireError("update's clients", f"{clients}, at most {wire.MAX_CLIENTS} are allowed")
    if clients * 4 > len(update):  # a client takes four bytes at least
        raise wire.WireError("update's clients", f"{clients} are announced in {len(update)} bytes")
    suspect = b"\x76" in update and _LONG_MAP.search(update) is not None
    if suspect or (len(update) > _HARMLESS and update.count(b"\x75") + update.count(b"\x76") > _HARMLESS):
        walk(update)
    try:
        pycrdt.get_state(update)
    except ValueError:
        raise wire.WireError("update", f"{len(update)} bytes that are not a Yjs update") from None
    except BaseException as error:
        raise wire.panic(error, "update", "cannot be read") from None


def walk(update: bytes) -> None:
    """Goes through all structs of `update`. Raises wire.WireError at what Yjs would not have written, at
    lengths that cannot be, and at values nested too deeply."""
    reader = wire.Reader(update)
    for _ in range(reader.varuint("clients")):
        structs = reader.varuint("structs")
        reader.varuint("client")
        reader.varuint("clock")
        for _ in range(structs):
            _struct(reader)
    # The deletions that follow hold numbers only.


def _struct(reader: wire.Reader) -> None:
    info = reader.byte("struct")
    kind = info & 0x1F
    if kind in (0, 10):  # garbage collected, skipped
        reader.varuint("length")
        return
    if info & 0x80:
        _id(reader)
    if info & 0x40:
        _id(reader)
    if not info & 0xC0:
        if reader.varuint("parent") == 1:
            reader.varbytes("parent's name")
        else:
            _id(reader)
        if info & 0x20:
            reader.varbytes("parent's key")
    match kind:
        case 1:  # deleted
            reader.varuint("length")
        case 2:  # JSON
            for _ in range(reader.varuint("length")):
                reader.varbytes("JSON")
        case 3 | 4 | 5:  # binary, string, embed
            reader.varbytes("content")
        case 6:  # format
            reader.varbytes("format's key")
            reader.varbytes("format's value")
        case 7:  # type; XmlElement and XmlHook have a name
            if reader.varuint("type") in (3, 5):
                reader.varbytes("type's name")
        case 8:  # any
            for _ in range(reader.varuint("length")):
                _any(reader)
        case 9:  # document
            reader.varbytes("document's id")
            _any(reader)
        case _:
            raise wire.WireError("struct", f"content of kind {kind} is not known")


def _id(reader: wire.Reader) -> None:
    reader.varuint("id's client")
    reader.varuint("id's clock")


def _any(reader: wire.Reader) -> None:
    """One value. `open_` holds, for each container around it, how many values it still lacks and whether
    they have keys."""
    open_: list[tuple[int, bool]] = []
    while True:
        match reader.byte("value"):
            case 127 | 126 | 121 | 120:  # undefined, null, false, true
                pass
            case 125:  # signed number
                while reader.byte("number") & 0x80:
                    pass
            case 124:
                reader.skip(4, "float32")
            case 123 | 122:
                reader.skip(8, "float64")
            case 119 | 116:  # string, bytes
                reader.varbytes("value")
            case (117 | 118) as container:
                length = reader.varuint("container")
                if length > reader.left:
                    raise wire.WireError("container", f"{length} values in {reader.left} bytes")
                open_.append((length, container == _MAP))
                if len(open_) > MAX_NESTING:
                    raise wire.WireError("container", f"nested deeper than {MAX_NESTING}")
            case tag:
                raise wire.WireError("value", f"of kind {tag} is not known")
        while open_ and open_[-1][0] == 0:
            open_.pop()
        if not open_:
            return
        lacks, keyed = open_[-1]
        open_[-1] = (lacks - 1, keyed)
        if keyed:
            reader.varbytes("key")
