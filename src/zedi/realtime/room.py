"""One open document: who reads it, who is present, what is known of it, and how far the journal is.

What comes in is collected; `flush` then sends it: the updates merged into one frame, the presence changes
into another, both made once, and hands what was written here to the journal, which merges for itself. Every
update and Step2 gets exactly one SyncStatus after its commit, with the next flush: a reader is written once,
because a write is a system call and costs more than making what is written. A Step2 that holds nothing new
is not stored again, and is still acknowledged only after all that came before it is committed: what the
server told its author to have may be among that.

Updates are numbered by the journal (1, 2, 3 ... for each document, by whichever task appends). A room knows
up to which number it has seen all (`seen`), so a gap shows, whatever was lost between tasks; the hub then
reads the missing part from the journal.

No sockets, no clock, no asyncio: times are handed in, readers are `Link`s with a `write`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from zedi.realtime import frames, wire
from zedi.realtime.history import History, Snapshot, joined

MAX_DOCUMENT: Final = 64 * 1024 * 1024
"""Bytes of all updates of a document. At its bound, and beyond wire.MAX_CLIENTS, a document refuses edits and
stays readable."""
MAX_PRESENT: Final = 100
"""Awareness clients of one reader."""
MAX_PRESENT_BYTES: Final = 4 * wire.MAX_STATE
"""Bytes of their states. A decent client is one, of a few hundred bytes."""
MAX_PRESENCE: Final = 4 * 1024 * 1024
"""Bytes of all states of a document, wherever their clients are; of those there may be wire.MAX_PRESENT, so
that one message can tell another task of all."""
REMOTE_SECONDS: Final = 45.0
"""How long somebody present at another task is believed to be there. Clients renew every 15 s."""

_FULL: Final = frames.binary(wire.denied_unaddressed("the document is full"))
"""For y-websocket, which has no other word for a refusal. It is not closed: it would be back in 0.1 s, be
sent the whole document again and send the same again."""

Owner = object
"""Whose presence it is: a Link here, or another task's id (bytes)."""


class Link:
    """One document of one socket: the address that its frames carry, and how to write to it.

    An empty address is y-websocket's: its frames carry none, and it knows no SyncStatus.
    """

    __slots__ = ("announced", "closed", "head", "refused", "saved", "write")

    def __init__(self, address: str, write: Callable[[bytes], None]) -> None:
        self.head = wire.varstring(address) if address else b""
        self.write = write
        """Takes whole WebSocket frames, or nothing."""
        self.saved = frames.binary(self.head, wire.SAVED) if address else b""
        self.refused = frames.binary(self.head, wire.REFUSED) if address else _FULL
        self.closed = False
        self.announced = False
        """It has said who is there."""

    def send(self, body: bytes) -> None:
        self.write(frames.binary(self.head, body))


class Publisher(Protocol):
    """What a room needs of the fan-out between tasks. None of these waits or fails."""

    def shared(self, document: str) -> bool: ...
    def updates(self, document: str, first: int, updates: list[bytes]) -> None: ...
    def presence(self, document: str, payload: bytes) -> None: ...
    def stateless(self, document: str, payload: str) -> None: ...


class Appender(Protocol):
    """What a room needs of the journal."""

    def append(
        self, document: str, updates: list[bytes], done: Callable[[int, list[bytes]], None], *, soon: bool
    ) -> None: ...


class Entry(NamedTuple):
    """Something to acknowledge. `update` is None where there is nothing to store."""

    link: Link
    update: bytes | None
    arrived: float


@dataclass(slots=True)
class _Here:
    clock: int
    state: bytes
    owner: Owner
    renewed: float
    heir: Owner | None = None
    """Who else announced the same: it is there, too, when the owner goes."""


class Room:
    """One open document.

    `dirty(room)` is called when there is something to flush, `owing(room)` when that is nothing but
    acknowledgements, `acknowledged(room, entries)` after a commit.
    """

    def __init__(
        self,
        document: str,
        journal: Appender,
        publisher: Publisher,
        dirty: Callable[[Room], None],
        owing: Callable[[Room], None],
        acknowledged: Callable[[Room, list[Entry]], None],
    ) -> None:
        self.document = document
        self.history = History()
        self.seen = 0
        """All updates up to this number are here."""
        self.rests_until = 0.0
        """When it may be flushed again; the hub's."""
        self._since: list[bytes] | None = None
        """While a new history is made: the updates that it may lack."""
        self._ahead: set[int] = set()
        """Numbers above `seen` that are here too."""
        self._journal = journal
        self._publisher = publisher
        self._dirty = dirty
        self._owing = owing
        self._acknowledged = acknowledged
        self._links: dict[Link, None] = {}
        self._here: dict[int, _Here] = {}
        self._here_bytes = 0
        self._entries: list[Entry] = []
        self._foreign: list[bytes] = []
        self._changed: dict[int, wire.Presence] = {}
        self._tell_tasks: dict[int, wire.Presence] = {}
        self._stateless: list[tuple[Link | None, str]] = []
        self._in_flight: deque[list[Entry]] = deque()
        self._saved: dict[Link, int] = {}
        """How many SyncStatus each reader is owed, for what is committed."""

    @property
    def busy(self) -> bool:
        """Something of it is not committed or not sent yet."""
        return bool(self._in_flight or self._entries or self._foreign)

    @property
    def gap(self) -> bool:
        """A later update is here, an earlier one is not."""
        return bool(self._ahead)

    @property
    def links(self) -> Iterable[Link]:
        return self._links.keys()

    # -- readers ------------------------------------------------------------------------------------------

    def enter(self, link: Link) -> None:
        """From now on `link` is told what happens."""
        self._links[link] = None

    def leave(self, link: Link) -> None:
        """Ends that; whoever was present through `link` is gone for the others. May be called again."""
        if link not in self._links:
            return
        del self._links[link]
        self._saved.pop(link, None)
        link.closed = True
        for client, here in list(self._here.items()):
            if here.heir is link:
                here.heir = None
            if here.owner is link:
                if here.heir is None:
                    self._forget(client, tell_tasks=True)
                else:
                    here.owner, here.heir = here.heir, None

    def greet(self, link: Link) -> None:
        """Sends our Step1."""
        link.send(wire.step1(self.history.state_vector()))

    def join(self, link: Link, vector: dict[int, int]) -> None:
        """Sends what a reader with this state vector lacks.

        A long document comes in several pieces. Step2 is the last of them, because clients take themselves
        for synchronised once it has come. Pieces are written as they are kept, not copied for each reader.
        """
        missing = self.history.missing(vector)
        *updates, last = missing or [wire.EMPTY_UPDATE]
        for update in updates:
            self._piece(link, wire.sync_head("update", len(update)), update)
        self._piece(link, wire.sync_head("step2", len(last)), last)

    def _piece(self, link: Link, head: bytes, update: bytes) -> None:
        link.write(frames.head(len(link.head) + len(head) + len(update)) + link.head + head)
        link.write(update)

    def append(self, link: Link, update: bytes, answer: bool, now: float) -> None:
        """Takes in an update of `link`; `answer` says that it is a Step2."""
        if answer and self.history.contains(update):  # so it finds room in a full document as well
            self._entries.append(Entry(link, None, now))
        elif self.history.size + len(update) > MAX_DOCUMENT or self.history.crowded:
            link.write(link.refused)
            return
        else:
            self._keep(update)
            self._entries.append(Entry(link, update, now))
        self._dirty(self)

    def compare(self, link: Link, update: bytes) -> None:
        """Answers a reader's Step2 by whether all of it is here."""
        link.write(link.saved if self.history.contains(update) else link.refused)

    # -- presence -----------------------------------------------------------------------------------------

    def announce(self, owner: Owner, present: list[wire.Presence], now: float) -> None:
        """`owner` says who is here. What changes is told to every reader, `owner` too: its echo is what
        keeps an idle provider from giving up its socket.

        A presence belongs to whoever announced it last with a clock of its own. Only its owner can end it:
        clients also report others whom they have not heard of for a while, and those may well be here. Many
        clients (y-websocket, Hocuspocus before 4) say what they were told back to us: the same clock from
        another socket changes nothing. It may also be the client itself, which comes back before its old
        socket is known to be dead; then it is alone in the first message of its socket.
        """
        local = isinstance(owner, Link)
        back = True
        if isinstance(owner, Link):
            back = not owner.announced and len(present) == 1
            owner.announced = True
        mine = [len(here.state) for here in self._here.values() if here.owner is owner] if local else []
        count, size = len(mine), sum(mine)
        for presence in present:
            client, clock, state = presence
            here = self._here.get(client)
            if state == wire.NO_STATE:
                if here is not None and here.owner == owner and clock >= here.clock:
                    here.clock = clock
                    self._forget(client, tell_tasks=local)
                continue
            if here is not None and clock < here.clock:
                continue
            if here is not None and clock == here.clock and here.owner != owner:
                if back:
                    here.heir = owner
                continue
            grown = len(state) - (0 if here is None else len(here.state))
            fresh, more = (0, grown) if here is not None and here.owner is owner else (1, len(state))
            # What is beyond the bounds is passed over in silence: presence comes many times a second, nobody
            # decent gets this far, and what was told before stays true until its socket goes.
            if local and (count + fresh > MAX_PRESENT or size + more > MAX_PRESENT_BYTES):
                continue
            if self._here_bytes + grown > MAX_PRESENCE or (
                here is None and len(self._here) >= wire.MAX_PRESENT
            ):
                continue
            count, size = count + fresh, size + more
            self._here_bytes += grown
            self._here[client] = _Here(clock, state, owner, now)
            self._changed[client] = presence
            if local:
                self._tell_tasks[client] = presence
        if self._changed or self._tell_tasks:
            self._dirty(self)

    def tell_presence(self, link: Link) -> None:
        """Sends the current awareness, if there is any."""
        if self._here:
            link.send(wire.awareness(self._awareness(self._here)))

    def local_presence(self) -> bytes | None:
        """The awareness of the readers of this task, for another one that asks."""
        local = [client for client, here in self._here.items() if isinstance(here.owner, Link)]
        return self._awareness(local) if local else None

    def expire(self, now: float) -> None:
        """Forgets those at other tasks who have not been heard of for a while: their task may be gone."""
        late = now - REMOTE_SECONDS
        for client, here in list(self._here.items()):
            if not isinstance(here.owner, Link) and here.renewed < late:
                self._forget(client, tell_tasks=False)

    def _forget(self, client: int, *, tell_tasks: bool) -> None:
        here = self._here.pop(client)
        self._here_bytes -= len(here.state)
        gone = wire.Presence(client, here.clock, wire.NO_STATE)
        self._changed[client] = gone
        if tell_tasks:
            self._tell_tasks[client] = gone
        self._dirty(self)

    def _awareness(self, clients: Iterable[int]) -> bytes:
        return wire.encode_awareness(
            wire.Presence(client, self._here[client].clock, self._here[client].state) for client in clients
        )

    # -- stateless messages -------------------------------------------------------------------------------

    def broadcast(self, link: Link | None, payload: str) -> None:
        """Passes a stateless message on to all but its author. None: it came from another task."""
        self._stateless.append((link, payload))
        self._dirty(self)

    # -- other tasks --------------------------------------------------------------------------------------

    def received(self, first: int, updates: list[bytes]) -> None:
        """Another task has committed these updates, numbered from `first` on; or they were read from the
        journal. What is here already is passed over."""
        for number, update in enumerate(updates, first):
            if number > self.seen and number not in self._ahead:
                self._keep(update)
                self._foreign.append(update)
        self._see(first, len(updates))
        if self._foreign:
            self._dirty(self)

    def received_snapshot(self, last: int, snapshot: Snapshot, pending: list[bytes]) -> None:
        """All that was said up to number `last`, in place of the updates that the journal has no more."""
        if last <= self.seen:
            return
        for update in (self.history.lacks(snapshot.data), *pending):
            if not self.history.contains(update):
                self._keep(update)
                self._foreign.append(update)
        self._see(1, last)
        if self._foreign:
            self._dirty(self)

    def begin(self, last: int, snapshot: Snapshot, pending: list[bytes]) -> None:
        """Starts with what the first `last` updates say, before anything else is here."""
        self.history.begin(snapshot)
        for update in pending:
            self.history.append(update)
        self.seen = last

    def restore(self, first: int, updates: list[bytes]) -> None:
        """Takes in a part of the journal, in order, while nobody reads yet."""
        self.history.extend(updates)
        self.seen = first + len(updates) - 1

    def _keep(self, update: bytes) -> None:
        self.history.append(update)
        if self._since is not None:
            self._since.append(update)

    # -- a shorter history --------------------------------------------------------------------------------

    def follow(self) -> None:
        """Remembers what a history may lack that is read from the journal from now on: what is not committed
        yet, and whatever comes until `rebase`."""
        own = [entry for entries in (*self._in_flight, self._entries) for entry in entries]
        self._since = [entry.update for entry in own if entry.update is not None]

    def rebase(self, history: History | None) -> None:
        """Puts `history`, read after `follow`, in place of what has grown here. None: keeps that."""
        since, self._since = self._since or [], None
        if history is not None:
            for update in since:
                history.append(update)  # what it has already is merged away
            # Folded: `flush` takes the last of a tail for what it has to send, and some of these are sent.
            history.state_vector()
            self.history = history

    def _see(self, first: int, count: int) -> None:
        if first <= self.seen + 1:
            self.seen = max(self.seen, first + count - 1)
        else:
            self._ahead.update(range(first, first + count))
        while self.seen + 1 in self._ahead:
            self.seen += 1
            self._ahead.discard(self.seen)
        if self._ahead:
            self._ahead = {number for number in self._ahead if number > self.seen}

    # -- the turn -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Sends what has come in since the last time, and gives the journal what is to be stored."""
        entries, self._entries = self._entries, []
        foreign, self._foreign = self._foreign, []
        own = [entry.update for entry in entries if entry.update is not None]
        fresh = [*own, *foreign]
        told = joined(fresh)
        if len(told) == 1 and len(fresh) > 1:
            self.history.condense(len(fresh), told[0])
        if own:
            self._in_flight.append(entries)
            soon = self._publisher.shared(self.document)
            self._journal.append(self.document, own, self._stored, soon=soon)
        elif entries:
            self._acknowledge_in_turn(entries)
        self._spread(entries, told, foreign=bool(foreign))

    def _spread(self, entries: list[Entry], updates: list[bytes], *, foreign: bool) -> None:
        bodies = [wire.update(update) for update in updates]
        others: list[bytes] = []
        if self._changed:
            others.append(wire.awareness(wire.encode_awareness(self._changed.values())))
            self._changed = {}
        if self._tell_tasks:
            self._publisher.presence(self.document, wire.encode_awareness(self._tell_tasks.values()))
            self._tell_tasks = {}
        # An author need not hear its own update; where several are merged everybody gets the whole.
        authors = {entry.link for entry in entries if entry.update is not None}
        author = authors.pop() if len(authors) == 1 and not foreign else None
        saved, self._saved = self._saved, {}
        self._write(bodies + others, others, author, saved)
        stateless, self._stateless = self._stateless, []
        for source, payload in stateless:
            body = wire.stateless(payload)
            if source is not None:
                self._publisher.stateless(self.document, payload)
            for link in list(self._links):
                if link is not source:
                    link.send(body)

    def _write(
        self, bodies: list[bytes], others: list[bytes], author: Link | None, saved: dict[Link, int]
    ) -> None:
        """Writes `bodies` to every reader, only `others` to `author`, and to each what it is owed: once."""
        known: bytes | None = None
        packet = b""
        # A copy: whoever turns out to be too slow leaves while it is written to.
        for link in list(self._links) if bodies else list(saved):
            head = link.head
            if head != known:  # mostly all readers use the same address
                known, packet = head, _packet(head, bodies)
            mine = _packet(head, others) if link is author else packet
            if link in saved:
                mine += link.saved * saved[link]
            if mine:
                write = link.write
                write(mine)

    def _stored(self, first: int, rows: list[bytes]) -> None:
        """The oldest append is committed."""
        entries = self._in_flight.popleft()
        if rows:
            self._see(first, len(rows))
            self._publisher.updates(self.document, first, rows)
        self._acknowledge(entries)

    def _acknowledge_in_turn(self, entries: list[Entry]) -> None:
        """Acknowledges what needs no commit itself, after the commits that are under way."""
        if self._in_flight:
            self._in_flight[-1].extend(entries)
        else:
            self._acknowledge(entries)

    def _acknowledge(self, entries: list[Entry]) -> None:
        """One SyncStatus for each; they go out with the next flush, or the one that is under way."""
        for link, _, _ in entries:
            if link.saved and not link.closed:
                self._saved[link] = self._saved.get(link, 0) + 1
        if self._saved:
            self._owing(self)
        self._acknowledged(self, entries)


def _packet(head: bytes, bodies: list[bytes]) -> bytes:
    return b"".join([frames.binary(head, body) for body in bodies])
