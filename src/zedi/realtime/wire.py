"""Both protocols, bytes <-> messages: sans-I/O, bounds-checked, no sockets and no clock.

Hocuspocus. A frame is ``varstring(address) · varuint(type) · payload``, one message a frame; Ping and Pong
are one bare byte. The address is a document's name, or ``name \\0 sessionId``; a reply carries exactly the
address that the client used, because the client routes by the exact string. Integers are LEB128 (7 bits a
byte, low first), strings and byte strings are preceded by their length in bytes. Read off
@hocuspocus/provider 4.8 (src/MessageReceiver.ts, src/OutgoingMessages) and y-protocols 1.0 (sync.js,
awareness.js).

y-websocket. The same messages without an address, which is empty here, and several may stand in one frame;
of Auth there is only a denial, and under another number. Read off y-websocket 1.5, 2.1 and 3.0
(src/y-websocket.js) and y-protocols 1.0 (auth.js).

Messages are named tuples, because the hot path makes one per frame. `decode` and `decode_unaddressed` raise
WireError and nothing else, whatever bytes they are given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final, Literal, NamedTuple, Never

MAX_ADDRESS: Final = 512
"""Bytes of an address."""
MAX_VARUINT: Final = 2**53 - 1
"""What JavaScript, and so every client, can count to."""
MAX_PRESENT: Final = 1024
"""Clients that one awareness message may speak of."""
MAX_STATE: Final = 64 * 1024
"""Bytes of one client's awareness state."""
MAX_CLIENTS: Final = 200_000
"""Clients of one update, and of a document that still takes edits. A page of 20 MB that was edited for years
may have 100,000. Each takes eight bytes in an update, and over 100 once it is counted."""
MAX_VECTOR: Final = 500_000
"""Clients of a state vector that somebody sends: more than a document comes to, where the last update that
found room may bring as many again."""
MAX_TOGETHER: Final = 1000
"""Messages of one y-websocket frame; its clients send one or two."""

EMPTY_UPDATE: Final = b"\x00\x00"
"""The Yjs update that says nothing: no structs, no deletions."""
EMPTY_STATE_VECTOR: Final = b"\x00"


class WireError(Exception):
    """These bytes are not what they should be. `where` names the field, `what` says what is wrong."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what


class Type(IntEnum):
    SYNC = 0
    AWARENESS = 1
    AUTH = 2
    QUERY_AWARENESS = 3
    SYNC_REPLY = 4
    STATELESS = 5
    BROADCAST_STATELESS = 6
    CLOSE = 7
    SYNC_STATUS = 8
    PING = 9
    PONG = 10


class Step1(NamedTuple):
    """What its sender has; the answer is what it lacks."""

    address: str
    state_vector: bytes


class Step2(NamedTuple):
    """The answer to a Step1."""

    address: str
    update: bytes


class Update(NamedTuple):
    address: str
    update: bytes


class Awareness(NamedTuple):
    address: str
    payload: bytes


class Token(NamedTuple):
    """Client to server: who I am. `version` is the provider's, told since v4."""

    address: str
    token: str
    version: str | None


class TokenRequest(NamedTuple):
    """Server to client: send me your token. On the wire a Token without its payload."""

    address: str


class Denied(NamedTuple):
    address: str
    reason: str


class Authenticated(NamedTuple):
    address: str
    scope: str
    """`read-write` or `readonly`."""


class QueryAwareness(NamedTuple):
    address: str


class SyncReply(NamedTuple):
    """Between servers; of no use from a client."""

    address: str


class Stateless(NamedTuple):
    address: str
    payload: str


class BroadcastStateless(NamedTuple):
    """Between servers; forbidden from a client."""

    address: str
    payload: str


class Close(NamedTuple):
    """Ends one document, not the socket. `reason` comes from servers only."""

    address: str
    reason: str


class SyncStatus(NamedTuple):
    address: str
    saved: bool


class Ping(NamedTuple):
    pass


class Pong(NamedTuple):
    pass


Message = (
    Step1
    | Step2
    | Update
    | Awareness
    | Token
    | TokenRequest
    | Denied
    | Authenticated
    | QueryAwareness
    | SyncReply
    | Stateless
    | BroadcastStateless
    | Close
    | SyncStatus
    | Ping
    | Pong
)


class Presence(NamedTuple):
    """One client of an awareness payload. `state` is JSON as it came; `null` means: gone."""

    client: int
    clock: int
    state: bytes


NO_STATE: Final = b"null"


class Reader:
    """Reads the wire's primitives from `data`; every read is bounds-checked and raises WireError."""

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._end = len(data)
        self._at = at

    @property
    def at_end(self) -> bool:
        return self._at >= self._end

    def varuint(self, where: str) -> int:
        """A number from 0 to 2**53 - 1."""
        data, at, end = self._data, self._at, self._end
        value = shift = 0
        while True:
            if at >= end:
                raise WireError(where, f"ends in the middle of a number, at byte {at}")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 49:
                raise WireError(where, "a number of more than 8 bytes")
        if value > MAX_VARUINT:
            raise WireError(where, f"a number above {MAX_VARUINT}")
        self._at = at
        return value

    @property
    def left(self) -> int:
        """Bytes that have not been read."""
        return self._end - self._at

    def byte(self, where: str) -> int:
        if self._at >= self._end:
            raise WireError(where, f"is missing, at byte {self._at}")
        self._at += 1
        return self._data[self._at - 1]

    def skip(self, count: int, where: str) -> None:
        if count > self._end - self._at:
            raise WireError(where, f"{count} bytes are needed, {self._end - self._at} are there")
        self._at += count

    def varbytes(self, where: str) -> bytes:
        length = self.varuint(where)
        start = self._at
        if length > self._end - start:
            raise WireError(where, f"{length} bytes are announced, {self._end - start} are there")
        self._at = start + length
        return self._data[start : self._at]

    def varstring(self, where: str) -> str:
        try:
            return self.varbytes(where).decode("utf-8")
        except UnicodeDecodeError as error:
            raise WireError(where, f"is not UTF-8: {error.reason}") from None

    def finish(self, where: str) -> None:
        if self._at != self._end:
            raise WireError(where, f"{self._end - self._at} bytes too many")


def varuint(value: int) -> bytes:
    """`value` (0 to 2**53 - 1) in LEB128."""
    if value < 0x80:
        return _SMALL[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL: Final = [bytes([value]) for value in range(0x80)]


def varbytes(data: bytes) -> bytes:
    return varuint(len(data)) + data


def varstring(text: str) -> bytes:
    return varbytes(text.encode("utf-8"))


def decode(frame: bytes) -> Message:
    """The message of one frame, from either side. Raises WireError."""
    if len(frame) == 1:
        match frame[0]:
            case Type.PING:
                return Ping()
            case Type.PONG:
                return Pong()
    reader = Reader(frame)
    address = reader.varstring("address")
    if not address or address[0] == "\0":
        raise WireError("address", "names no document")
    if len(address) > MAX_ADDRESS:
        raise WireError("address", f"has {len(address)} characters, at most {MAX_ADDRESS} are allowed")
    message = _payload(reader, address)
    reader.finish("payload")
    return message


def decode_unaddressed(frame: bytes) -> list[Message]:
    """The messages of one y-websocket frame, from either side. Raises WireError.

    They are Step1, Step2, Update, Awareness, QueryAwareness and Denied, each with an empty address.
    """
    reader = Reader(frame)
    messages: list[Message] = []
    while not messages or not reader.at_end:
        if len(messages) == MAX_TOGETHER:
            raise WireError("frame", f"has more than {MAX_TOGETHER} messages")
        kind = reader.varuint("type")
        match kind:
            case Type.SYNC:
                messages.append(_sync(reader, ""))
            case Type.AWARENESS:
                messages.append(Awareness("", reader.varbytes("awareness payload")))
            case Type.AUTH:
                if step := reader.varuint("auth step"):
                    raise WireError("auth step", f"{step} is not 0")
                messages.append(Denied("", reader.varstring("reason")))
            case Type.QUERY_AWARENESS:
                messages.append(QueryAwareness(""))
            case _:
                raise WireError("type", f"{kind} is not known")
    return messages


def _sync(reader: Reader, address: str) -> Step1 | Step2 | Update:
    step = reader.varuint("sync step")
    data = reader.varbytes("sync payload")
    match step:
        case 2:
            return Update(address, data)
        case 1:
            return Step2(address, data)
        case 0:
            return Step1(address, data)
    raise WireError("sync step", f"{step} is none of 0, 1, 2")


def _payload(reader: Reader, address: str) -> Message:
    kind = reader.varuint("type")
    match kind:
        case Type.SYNC:
            return _sync(reader, address)
        case Type.AWARENESS:
            return Awareness(address, reader.varbytes("awareness payload"))
        case Type.AUTH:
            return _auth(reader, address)
        case Type.QUERY_AWARENESS:
            return QueryAwareness(address)
        case Type.SYNC_REPLY:
            reader.varuint("sync step")
            reader.varbytes("sync payload")
            return SyncReply(address)
        case Type.STATELESS:
            return Stateless(address, reader.varstring("stateless payload"))
        case Type.BROADCAST_STATELESS:
            return BroadcastStateless(address, reader.varstring("stateless payload"))
        case Type.CLOSE:
            return Close(address, "" if reader.at_end else reader.varstring("reason"))
        case Type.SYNC_STATUS:
            return SyncStatus(address, reader.varuint("status") == 1)
    raise WireError("type", f"{kind} is not known")


def _auth(reader: Reader, address: str) -> Message:
    step = reader.varuint("auth step")
    match step:
        case 0:
            if reader.at_end:
                return TokenRequest(address)
            token = reader.varstring("token")
            return Token(address, token, None if reader.at_end else reader.varstring("provider version"))
        case 1:
            return Denied(address, reader.varstring("reason"))
        case 2:
            return Authenticated(address, reader.varstring("scope"))
    raise WireError("auth step", f"{step} is none of 0, 1, 2")


def split_address(address: str) -> tuple[str, str]:
    """Document name and session id (empty when there is none) of an address."""
    name, _, session = address.partition("\0")
    return name, session


# A body is a frame without its address: encoded once, sent under the address of each reader. What y-websocket
# knows too is the same body there, and a whole frame.

PING: Final = b"\x09"
PONG: Final = b"\x0a"
SAVED: Final = b"\x08\x01"
REFUSED: Final = b"\x08\x00"
TOKEN_REQUEST: Final = b"\x02\x00"
QUERY_AWARENESS: Final = b"\x03"
_STEP: Final = {"step1": b"\x00\x00", "step2": b"\x00\x01", "update": b"\x00\x02"}
UPDATE_HEAD: Final = _STEP["update"]
"""What an Update's body begins with; its length and the update follow."""


def sync_head(step: Literal["step1", "step2", "update"], length: int) -> bytes:
    """What comes before the `length` bytes of a Sync body, so that big ones need not be copied."""
    return _STEP[step] + varuint(length)


def step1(state_vector: bytes) -> bytes:
    return sync_head("step1", len(state_vector)) + state_vector


def step2(update: bytes) -> bytes:
    return sync_head("step2", len(update)) + update


def update(data: bytes) -> bytes:
    return sync_head("update", len(data)) + data


def awareness(payload: bytes) -> bytes:
    return b"\x01" + varbytes(payload)


def token(text: str, version: str | None = None) -> bytes:
    return b"\x02\x00" + varstring(text) + (b"" if version is None else varstring(version))


def denied(reason: str) -> bytes:
    return b"\x02\x01" + varstring(reason)


def denied_unaddressed(reason: str) -> bytes:
    """A denial for y-websocket, where its number is 0."""
    return b"\x02\x00" + varstring(reason)


def authenticated(scope: str) -> bytes:
    return b"\x02\x02" + varstring(scope)


def stateless(payload: str) -> bytes:
    return b"\x05" + varstring(payload)


def broadcast_stateless(payload: str) -> bytes:
    return b"\x06" + varstring(payload)


def close(reason: str | None = None) -> bytes:
    return b"\x07" + (b"" if reason is None else varstring(reason))


def sync_status(saved: bool) -> bytes:
    return SAVED if saved else REFUSED


def encode(message: Message) -> bytes:
    """The frame of any message but SyncReply, whose payload is not kept."""
    match message:
        case Ping():
            return PING
        case Pong():
            return PONG
        case Step1():
            body = step1(message.state_vector)
        case Step2():
            body = step2(message.update)
        case Update():
            body = update(message.update)
        case Awareness():
            body = awareness(message.payload)
        case Token():
            body = token(message.token, message.version)
        case TokenRequest():
            body = TOKEN_REQUEST
        case Denied():
            body = denied(message.reason)
        case Authenticated():
            body = authenticated(message.scope)
        case QueryAwareness():
            body = QUERY_AWARENESS
        case Stateless():
            body = stateless(message.payload)
        case BroadcastStateless():
            body = broadcast_stateless(message.payload)
        case Close():
            body = close(message.reason or None)
        case SyncStatus():
            body = sync_status(message.saved)
        case SyncReply():
            raise ValueError("a SyncReply is never sent")
    return varstring(message.address) + body


def decode_awareness(payload: bytes) -> list[Presence]:
    """The clients of an awareness payload. Raises WireError, also where a state is not strict JSON.

    A peer would hand the state to JSON.parse: what is not JSON must not get that far.
    """
    reader = Reader(payload)
    count = reader.varuint("awareness count")
    if count > MAX_PRESENT:
        raise WireError("awareness count", f"{count} clients, at most {MAX_PRESENT} are allowed")
    present = []
    for _ in range(count):
        client = reader.varuint("awareness client")
        clock = reader.varuint("awareness clock")
        state = reader.varbytes("awareness state")
        if len(state) > MAX_STATE:
            raise WireError("awareness state", f"{len(state)} bytes, at most {MAX_STATE} are allowed")
        if state != NO_STATE:
            try:
                json.loads(state.decode("utf-8"), parse_constant=_no_constant)
            except (ValueError, RecursionError):
                raise WireError("awareness state", "is not JSON") from None
        present.append(Presence(client, clock, state))
    reader.finish("awareness payload")
    return present


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def encode_awareness(present: Iterable[Presence]) -> bytes:
    entries = [varuint(client) + varuint(clock) + varbytes(state) for client, clock, state in present]
    return varuint(len(entries)) + b"".join(entries)


def decode_state_vector(data: bytes, most: int = MAX_VARUINT) -> dict[int, int]:
    """Client -> number of its structs that are known. Raises WireError, also for more than `most` clients."""
    reader = Reader(data)
    count = reader.varuint("state vector")
    if count > most:
        raise WireError("state vector", f"{count} clients, at most {most} are allowed")
    vector: dict[int, int] = {}
    for _ in range(count):
        client = reader.varuint("state vector's client")
        vector[client] = reader.varuint("state vector's clock")
    reader.finish("state vector")
    return vector


def encode_state_vector(vector: Mapping[int, int]) -> bytes:
    return varuint(len(vector)) + b"".join(varuint(c) + varuint(n) for c, n in vector.items())


def panic(error: BaseException, where: str, what: str) -> WireError:
    """The WireError for a panic of pycrdt's Rust, which arrives as a BaseException of its own.

    Raises `error` itself when it is anything else, such as KeyboardInterrupt.
    """
    if isinstance(error, Exception) or type(error).__name__ == "PanicException":
        return WireError(where, what)
    raise error
