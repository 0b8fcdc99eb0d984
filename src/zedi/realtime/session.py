"""The state of one socket, sans I/O: no sockets, no clock, no asyncio.

A Session is told what happened (a frame came, a token was judged, time passed) and answers with effects for
its shell to carry out, in order. One socket carries many documents, each under its own address; until an
address is authenticated its frames are held, and what may be held is bounded in bytes, messages, documents
and time, because anybody can send them.

The first frame says which protocol the socket speaks: one that begins with 0 has no address, so it is
y-websocket's. That has one document, the room that the socket's path names, with the token of its query, and
its address is empty in here. There is no second token: it ends with the first one.

What the protocols leave open is decided here:

- A frame that cannot be read, a malformed update and a message that only servers may send close the socket
  with 4205 (reset): the client comes back and synchronises from the start.
- What a stranger may not do (hold too much, fail too often) closes with 4401, being late with 4408.
- A denied address keeps what was held: a client that only sends a new token must find its Step1 answered. One
  that sends its Step1 again is answered once.
- A token that expires closes the socket, not the document: providers of v3 and v4 attach a document again
  only when its socket comes back. They are asked for a new token before that. The code is 4408, because v2,
  which does not know the question, never comes back after 4401, and brings a new token after any other.
- A y-websocket client that is denied is told why, and closed with 4401 a little later: it comes back 0.1 s
  after the end of any socket that had been opened, whatever the code.
- A reader that writes is answered SyncStatus 0; y-websocket has no word for that, so its update is dropped.
- Who is told nothing for a while gives its socket up; `nudge` has something that may be said at any time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Final, NamedTuple

from zedi.realtime import structure, wire
from zedi.realtime.access import Mode, User

RESET: Final = 4205
UNAUTHORIZED: Final = 4401
TIMEOUT: Final = 4408
TOO_BIG: Final = 1009


@dataclass(frozen=True)
class Limits:
    """Bounds of one socket. Bytes, seconds, numbers of things."""

    documents: int = 100
    held_bytes: int = 2 * 1024 * 1024
    held_messages: int = 1000
    held_seconds: float = 60.0
    """Longer than a database that sleeps takes to wake."""
    failures: int = 20
    """Tokens since the last good one that came to nothing before the socket is closed."""
    denied_seconds: float = 3.0
    """How long a denied y-websocket client is kept from coming back."""
    token_characters: int = 16 * 1024
    """A longer one is refused like any that cannot be read; those of user pools have a tenth of that."""
    stateless_bytes: int = 64 * 1024
    refresh_seconds: float = 120.0
    """How long before its end a new token is asked for; again at every quarter of it."""


class Send(NamedTuple):
    """Send this body under this address; the empty address is the socket itself."""

    address: str
    body: bytes


class Authenticate(NamedTuple):
    """Judge this token and, where it is good, open the document; then tell with the same attempt."""

    address: str
    document: str
    token: str
    attempt: int


class Greet(NamedTuple):
    """Send our Step1."""

    address: str


class Join(NamedTuple):
    """Send what a reader with this state vector lacks."""

    address: str
    state_vector: dict[int, int]


class Append(NamedTuple):
    """Store this update, tell the others, and report to its author when it is stored."""

    address: str
    update: bytes
    answer: bool
    """It is a Step2, which may well hold nothing new."""


class Compare(NamedTuple):
    """A reader's Step2: answer whether the document holds all of it already."""

    address: str
    update: bytes


class Announce(NamedTuple):
    """These clients are here, or gone."""

    address: str
    present: list[wire.Presence]


class TellPresence(NamedTuple):
    """Send the current awareness, if there is any."""

    address: str


class Broadcast(NamedTuple):
    """Pass a stateless message on to the document's other clients."""

    address: str
    payload: str


class Leave(NamedTuple):
    """The document is closed for this address."""

    address: str


class Close(NamedTuple):
    """Close the socket; no effect follows."""

    code: int
    reason: str


Effect = (
    Send
    | Authenticate
    | Greet
    | Join
    | Append
    | Compare
    | Announce
    | TellPresence
    | Broadcast
    | Leave
    | Close
)


class Protocol(StrEnum):
    HOCUSPOCUS = "hocuspocus"
    Y_WEBSOCKET = "y-websocket"


class _Phase(Enum):
    HELD = auto()
    """No good token yet."""
    LIVE = auto()
    DENIED = auto()
    """For good, as in y-websocket."""


@dataclass(slots=True)
class _Document:
    address: str
    since: float
    """When the wait for a token began."""
    phase: _Phase = _Phase.HELD
    attempt: int = 0
    checking: bool = False
    """Whether the verdict on `attempt` is waited for."""
    newest: str | None = None
    """The last token that came while one was checked on the live document. It is judged next."""
    held: list[tuple[wire.Message, int]] = field(default_factory=list)
    """With the sizes of their frames in bytes."""
    user: User | None = None
    read_only: bool = False
    ask_at: float = 0.0
    """When to ask for a new token."""
    update_head: bytes = field(init=False)
    """What its Update frames begin with, up to the update's length."""

    def __post_init__(self) -> None:
        self.update_head = wire.varstring(self.address) + wire.UPDATE_HEAD


class Session:
    """One socket. `now` is the time in seconds since the epoch, which tokens are measured by.

    `room` is the document that the socket's path names (y-websocket), empty where it names none; `token` is
    that of its query.
    """

    def __init__(self, now: float, room: str = "", token: str = "", limits: Limits = Limits()) -> None:
        self._room = room
        self._token = token
        self._limits = limits
        self.protocol: Protocol | None = None
        """None before the first frame."""
        self._documents: dict[str, _Document] = {}
        self._typed: _Document | None = None
        """Where the last Update of a Hocuspocus client went, while it is live."""
        self._held_bytes = 0
        self._held_messages = 0
        self._failures = 0
        """Tokens since the last good one that were refused, overtaken, or left with their document."""
        self._attempts = 0
        self._idle_since = now
        """Since when no document is live."""
        self._closed = False

    @property
    def user(self) -> User | None:
        """Somebody who was authenticated here, for the log."""
        return next((each.user for each in self._documents.values() if each.user), None)

    def receive(self, frame: bytes, now: float) -> list[Effect]:
        """What to do about a binary frame."""
        typed = self._typed
        if typed is not None and frame.startswith(typed.update_head):
            # What most frames are, taken apart without a Reader: a third of the time of `decode`.
            start = len(typed.update_head) + 1
            if (size := len(frame) - start) >= 0 and frame[start - 1] == size < 0x80:
                try:
                    return self._update(typed, frame[start:], answer=False)
                except wire.WireError as error:
                    return self._close(RESET, str(error))
        if self._closed:
            return []
        if self.protocol is not Protocol.HOCUSPOCUS:
            if self.protocol is Protocol.Y_WEBSOCKET:
                return self._unaddressed(frame, now)
            if self._room and frame[:1] == b"\0":
                self.protocol = Protocol.Y_WEBSOCKET
                wish = self._authenticate(wire.Token("", self._token, None), now)
                return wish + self._unaddressed(frame, now)
            self.protocol = Protocol.HOCUSPOCUS
        try:
            message = wire.decode(frame)
            match message:
                case wire.Update(address, update):
                    document = self._documents.get(address)
                    if document is not None and document.phase is _Phase.LIVE:
                        self._typed = document
                        return self._update(document, update, answer=False)
                    return self._hold(message, len(frame), now)
                case wire.Ping():
                    return [Send("", wire.PONG)]
                case wire.Pong():
                    return []
                case wire.Token():
                    return self._authenticate(message, now)
                case wire.Close(address):
                    return self._leave(address, now)
            document = self._documents.get(message.address)
            if document is not None and document.phase is _Phase.LIVE:
                return self._handle(document, message)
            return self._hold(message, len(frame), now)
        except wire.WireError as error:
            return self._close(RESET, str(error))

    def _unaddressed(self, frame: bytes, now: float) -> list[Effect]:
        """A frame of y-websocket."""
        document = self._documents[""]
        if document.phase is _Phase.DENIED:
            return []
        effects: list[Effect] = []
        try:
            size = len(frame)
            for message in wire.decode_unaddressed(frame):
                if document.phase is _Phase.LIVE:
                    effects += self._handle(document, message)
                else:
                    effects += self._hold(message, size, now)
                    size = 0
                if self._closed:
                    break
        except wire.WireError as error:
            effects += self._close(RESET, str(error))
        return effects

    def wants(self, address: str, attempt: int) -> bool:
        """Whether the verdict on this attempt is still waited for."""
        return self._judged(address, attempt) is not None

    def _judged(self, address: str, attempt: int) -> _Document | None:
        document = self._documents.get(address)
        return (
            document if document is not None and document.checking and document.attempt == attempt else None
        )

    def authenticated(self, address: str, attempt: int, user: User, mode: Mode, now: float) -> list[Effect]:
        """The token was good and the document is open."""
        document = self._judged(address, attempt)
        if document is None:
            return []
        document.checking = False
        self._failures = 0
        document.user = user
        document.read_only = mode == "readonly"
        # A token that is short-lived to begin with is not asked for again at once.
        lead = min(self._limits.refresh_seconds, max(0.0, user.expires_at - now) / 2)
        document.ask_at = user.expires_at - lead
        effects: list[Effect] = [
            Send(address, wire.authenticated(mode))
            if self.protocol is Protocol.HOCUSPOCUS
            else Greet(address)  # there the server does not wait for a Step1
        ]
        if document.phase is _Phase.LIVE:
            return effects + self._check_newest(document)
        document.phase = _Phase.LIVE
        effects.append(TellPresence(address))
        held, document.held = document.held, []
        self._release(held)
        try:
            for message, _ in held:
                effects += self._handle(document, message)
                if self._closed:
                    return effects
        except wire.WireError as error:
            return effects + self._close(RESET, str(error))
        return effects + self._check_newest(document)

    def denied(self, address: str, attempt: int, reason: str, now: float) -> list[Effect]:
        """The token was not good, or not for this document. The client may send another one."""
        document = self._judged(address, attempt)
        if document is None:
            return []
        document.checking = False
        newer = self._check_newest(document)
        effects = newer or self._shut(document, reason, now)
        return effects if self.protocol is Protocol.Y_WEBSOCKET else effects + self._failed()

    def readers(self) -> list[tuple[str, str, User]]:
        """Address, document and user of every live document, for asking again whether they may."""
        return [
            (address, self._name(address), document.user)
            for address, document in self._documents.items()
            if document.phase is _Phase.LIVE and document.user is not None
        ]

    def mode(self, address: str, sub: str) -> Mode | None:
        """How this user has the address open; None: they do not."""
        document = self._documents.get(address)
        if document is None or document.phase is not _Phase.LIVE:
            return None
        if document.user is None or document.user.sub != sub:
            return None
        return "readonly" if document.read_only else "read-write"

    def reassessed(self, address: str, user: User, mode: Mode | None, now: float) -> list[Effect]:
        """How the user whom `readers` gave may have the document from now on; None: not any more."""
        document = self._documents.get(address)
        if document is None or document.phase is not _Phase.LIVE or document.user is not user:
            return []
        if mode is None:
            return self._shut(document, "no such page", now)
        if document.read_only == (mode == "readonly"):
            return []
        document.read_only = mode == "readonly"
        return [Send(address, wire.authenticated(mode))] if self.protocol is Protocol.HOCUSPOCUS else []

    def tick(self, now: float) -> list[Effect]:
        """What the passing of time asks for; to be called about once a second."""
        if self._closed:
            return []
        effects: list[Effect] = []
        late = now - self._limits.held_seconds
        live = False
        for document in self._documents.values():
            if document.phase is _Phase.DENIED and now >= document.since + self._limits.denied_seconds:
                return self._close(UNAUTHORIZED, "the token was refused")
            if document.phase is not _Phase.LIVE:
                if document.held and document.since < late:
                    return self._close(TIMEOUT, "no good token came in time")
                continue
            live = True
            if document.user and now >= document.user.expires_at:
                if self.protocol is Protocol.HOCUSPOCUS:
                    return self._close(TIMEOUT, "no new token came in time")
                return self._close(UNAUTHORIZED, "the token has expired")
            if now >= document.ask_at and self.protocol is Protocol.HOCUSPOCUS:
                document.ask_at = now + self._limits.refresh_seconds / 4
                effects.append(Send(document.address, wire.TOKEN_REQUEST))
        if not live and self._idle_since < late:
            return self._close(TIMEOUT, "no document was opened in time")
        return effects

    def nudge(self) -> list[Effect]:
        """Says nothing to a client that has heard nothing for a while: an awareness message about nobody.

        Clients of both protocols give up a socket that was silent for 30 s. The echo of their own presence
        prevents it, where they have one.
        """
        for address in () if self._closed else self._documents:
            return [Send(address, wire.awareness(wire.encode_awareness(())))]
        return []

    def _shut(self, document: _Document, reason: str, now: float) -> list[Effect]:
        """Denies a document, whether it was live or not."""
        leave: list[Effect] = [Leave(document.address)] if document.phase is _Phase.LIVE else []
        self._typed = None
        document.user = None
        document.since = now
        if self.protocol is Protocol.Y_WEBSOCKET:
            document.phase = _Phase.DENIED
            held, document.held = document.held, []
            self._release(held)
            return [Send(document.address, wire.denied_unaddressed(reason)), *leave]
        document.phase = _Phase.HELD
        self._rest(now)
        return [Send(document.address, wire.denied(reason)), *leave]

    def _name(self, address: str) -> str:
        """The document that an address means."""
        return wire.split_address(address)[0] or self._room

    def _authenticate(self, message: wire.Token, now: float) -> list[Effect]:
        document = self._document(message.address, now)
        if document is None:
            return self._close(UNAUTHORIZED, f"more than {self._limits.documents} documents")
        token = message.token if len(message.token) <= self._limits.token_characters else ""
        if document.checking and document.phase is _Phase.LIVE:
            # One at a time: each asks the database, and the last one says how it is.
            document.newest = token
            return []
        # An older verdict will not be listened to. Each costs work, so each counts.
        return (self._failed() if document.checking else []) or self._check(document, token)

    def _check(self, document: _Document, token: str) -> list[Effect]:
        document.checking = True
        self._attempts += 1  # never the same twice, also when an address is left and comes back
        document.attempt = self._attempts
        return [Authenticate(document.address, self._name(document.address), token, document.attempt)]

    def _check_newest(self, document: _Document) -> list[Effect]:
        token, document.newest = document.newest, None
        return [] if token is None else self._check(document, token)

    def _failed(self) -> list[Effect]:
        self._failures += 1
        if self._failures < self._limits.failures:
            return []
        return self._close(UNAUTHORIZED, f"{self._failures} tokens came to nothing")

    def _document(self, address: str, now: float) -> _Document | None:
        document = self._documents.get(address)
        if document is None and len(self._documents) < self._limits.documents:
            document = self._documents[address] = _Document(address, now)
        return document

    def _hold(self, message: wire.Message, size: int, now: float) -> list[Effect]:
        assert not isinstance(message, wire.Ping | wire.Pong)
        document = self._document(message.address, now)
        if document is None:
            return self._close(UNAUTHORIZED, f"more than {self._limits.documents} documents")
        if isinstance(message, wire.Step1):
            # Whoever asks again, with a second token, waits for one answer: a provider of version 2 counts
            # SyncStatus, and would take an edit for saved that is not.
            asked = [each for each in document.held if isinstance(each[0], wire.Step1)]
            document.held = [each for each in document.held if not isinstance(each[0], wire.Step1)]
            self._release(asked)
        self._held_bytes += size
        self._held_messages += 1
        if self._held_bytes > self._limits.held_bytes:
            return self._close(UNAUTHORIZED, f"more than {self._limits.held_bytes} bytes before a good token")
        if self._held_messages > self._limits.held_messages:
            return self._close(
                UNAUTHORIZED, f"more than {self._limits.held_messages} messages before a good token"
            )
        document.held.append((message, size))
        return []

    def _release(self, held: list[tuple[wire.Message, int]]) -> None:
        self._held_messages -= len(held)
        self._held_bytes -= sum(size for _, size in held)

    def _handle(self, document: _Document, message: wire.Message) -> list[Effect]:
        address = document.address
        match message:
            case wire.Update():
                return self._update(document, message.update, answer=False)
            case wire.Step2():
                return self._update(document, message.update, answer=True)
            case wire.Step1():
                join = Join(address, wire.decode_state_vector(message.state_vector, wire.MAX_VECTOR))
                return [Greet(address), join] if self.protocol is Protocol.HOCUSPOCUS else [join]
            case wire.Awareness():
                return [Announce(address, wire.decode_awareness(message.payload))]
            case wire.QueryAwareness():
                return [TellPresence(address)]
            case wire.Stateless():
                if len(message.payload) > self._limits.stateless_bytes:
                    return self._close(TOO_BIG, "stateless message")
                return [Broadcast(address, message.payload)]
            case _:
                raise wire.WireError("type", f"{type(message).__name__} is not for clients to send")

    def _update(self, document: _Document, update: bytes, *, answer: bool) -> list[Effect]:
        structure.check_update(update)
        if not document.read_only:
            return [Append(document.address, update, answer)]
        if self.protocol is Protocol.Y_WEBSOCKET:
            return []
        if answer:
            return [Compare(document.address, update)]
        return [Send(document.address, wire.REFUSED)]

    def _leave(self, address: str, now: float) -> list[Effect]:
        document = self._documents.pop(address, None)
        self._typed = None
        if document is None:
            return []
        self._release(document.held)
        self._rest(now)
        leave: list[Effect] = [Leave(address)] if document.phase is _Phase.LIVE else []
        # Its token is being judged for nobody.
        return leave + self._failed() if document.checking else leave

    def _rest(self, now: float) -> None:
        """Remembers when the last live document went."""
        if not any(document.phase is _Phase.LIVE for document in self._documents.values()):
            self._idle_since = now

    def _close(self, code: int, reason: str) -> list[Effect]:
        self._closed = True
        self._typed = None
        self._documents.clear()
        return [Close(code, reason)]
