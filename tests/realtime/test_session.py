"""The session: one socket's state, told events and asked for effects; nothing is really sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pycrdt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zedi.realtime import session, wire
from zedi.realtime.access import User
from zedi.realtime.session import Limits, Session

NOW = 1000.0
USER = User("user-1", "a@example.com", "A", NOW + 3600)
LIMITS = Limits(documents=3, held_bytes=2000, held_messages=10, held_seconds=30, failures=4)


def an_update() -> bytes:
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    doc.get("text", type=pycrdt.Text).insert(0, "x")
    return doc.get_update()


UPDATE = an_update()


def a_session() -> Session:
    return Session(NOW, LIMITS)


def tell(it: Session, message: wire.Message, now: float = NOW) -> list[session.Effect]:
    return it.receive(wire.encode(message), now)


def open_document(it: Session, address: str = "doc", mode: Any = "read-write", user: User = USER) -> None:
    (effect,) = tell(it, wire.Token(address, "token", None))
    assert isinstance(effect, session.Authenticate)
    it.authenticated(address, effect.attempt, user, mode, NOW)


def closed(effects: list[session.Effect]) -> int | None:
    return next((effect.code for effect in effects if isinstance(effect, session.Close)), None)


def test_a_pipelined_handshake_is_held_and_answered_in_order() -> None:
    """Token, Step1 and awareness come in one go: only the token is acted on, the rest after the verdict."""
    it = a_session()
    (authenticate,) = tell(it, wire.Token("doc\0s1", "secret", "4.8.0"))
    assert authenticate == session.Authenticate("doc\0s1", "doc", "secret", 1)
    assert tell(it, wire.Step1("doc\0s1", wire.encode_state_vector({7: 3}))) == []
    here = wire.Presence(7, 1, b"{}")
    assert tell(it, wire.Awareness("doc\0s1", wire.encode_awareness([here]))) == []
    assert it.authenticated("doc\0s1", 1, USER, "read-write", NOW) == [
        session.Send("doc\0s1", wire.authenticated("read-write")),
        session.TellPresence("doc\0s1"),
        session.Join("doc\0s1", {7: 3}),
        session.Announce("doc\0s1", [here]),
    ]


def test_every_update_and_step2_is_appended_once() -> None:
    """Each becomes one Append, so that each gets its one SyncStatus."""
    it = a_session()
    open_document(it)
    assert tell(it, wire.Update("doc", UPDATE)) == [session.Append("doc", UPDATE, False)]
    assert tell(it, wire.Step2("doc", UPDATE)) == [session.Append("doc", UPDATE, True)]
    assert tell(it, wire.Update("doc", UPDATE)) == [session.Append("doc", UPDATE, False)]


def test_a_reader_may_not_write() -> None:
    """Read-only: an update is refused, a Step2 compared, awareness passed on."""
    it = a_session()
    open_document(it, mode="readonly")
    assert tell(it, wire.Update("doc", UPDATE)) == [session.Send("doc", wire.REFUSED)]
    assert tell(it, wire.Step2("doc", UPDATE)) == [session.Compare("doc", UPDATE)]
    assert tell(it, wire.Awareness("doc", b"\x00")) == [session.Announce("doc", [])]


def test_a_denied_client_may_try_again_and_finds_its_step1_answered() -> None:
    """A refused token leaves the socket open and what was held in place."""
    it = a_session()
    tell(it, wire.Token("doc", "bad", None))
    tell(it, wire.Step1("doc", wire.EMPTY_STATE_VECTOR))
    assert it.denied("doc", 1, "expired", NOW) == [session.Send("doc", wire.denied("expired"))]
    assert tell(it, wire.Token("doc", "good", None)) == [session.Authenticate("doc", "doc", "good", 2)]
    effects = it.authenticated("doc", 2, USER, "read-write", NOW)
    assert session.Join("doc", {}) in effects


def test_too_many_refused_tokens_close_the_socket() -> None:
    """Guessing ends with 4401."""
    it = a_session()
    for attempt in range(1, LIMITS.failures):
        tell(it, wire.Token("doc", "bad", None))
        assert closed(it.denied("doc", attempt, "no", NOW)) is None
    tell(it, wire.Token("doc", "bad", None))
    assert closed(it.denied("doc", LIMITS.failures, "no", NOW)) == session.UNAUTHORIZED


def test_tokens_that_do_not_wait_for_their_verdict_close_the_socket() -> None:
    """Each token costs work, so a flood of them ends with 4401."""
    it = a_session()
    codes = [closed(tell(it, wire.Token("doc", "x", None))) for _ in range(LIMITS.failures + 1)]
    assert codes[-1] == session.UNAUTHORIZED
    assert codes[:-1] == [None] * LIMITS.failures


def test_a_verdict_on_an_older_token_is_not_listened_to() -> None:
    """Only the newest attempt counts, also when the document was left and came back."""
    it = a_session()
    tell(it, wire.Token("doc", "one", None))
    tell(it, wire.Close("doc", ""))
    tell(it, wire.Token("doc", "two", None))
    assert not it.wants("doc", 1)
    assert it.authenticated("doc", 1, USER, "read-write", NOW) == []
    assert it.wants("doc", 2)


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([wire.Update("doc", b"x" * 700)] * 3, session.UNAUTHORIZED),
        ([wire.QueryAwareness("doc")] * 11, session.UNAUTHORIZED),
        ([wire.QueryAwareness(f"doc {n}") for n in range(4)], session.UNAUTHORIZED),
        ([wire.Token(f"doc {n}", "x", None) for n in range(4)], session.UNAUTHORIZED),
    ],
    ids=["bytes", "messages", "documents", "documents by token"],
)
def test_what_a_stranger_makes_us_hold_is_bounded(messages: list[wire.Message], code: int) -> None:
    """The last message is the one too many; after the close nothing has an effect."""
    it = a_session()
    codes = [closed(tell(it, message)) for message in messages]
    assert codes == [None] * (len(messages) - 1) + [code]
    assert tell(it, wire.Ping()) == []
    assert it.tick(NOW + 9999) == []


def test_what_was_released_may_be_held_again() -> None:
    """Bounds are for what is held at the moment, not for all that ever was."""
    it = a_session()
    for number in range(5):
        address = f"doc {number}"
        for _ in range(8):
            assert closed(tell(it, wire.Awareness(address, b"\x00"))) is None
        (effect,) = tell(it, wire.Token(address, "t", None))
        assert isinstance(effect, session.Authenticate)
        it.authenticated(address, effect.attempt, USER, "read-write", NOW)
        assert tell(it, wire.Close(address, "")) == [session.Leave(address)]


def test_a_socket_that_opens_nothing_is_closed() -> None:
    """4408, whether it said nothing at all or only never sent a good token."""
    assert a_session().tick(NOW + 29) == []
    assert closed(a_session().tick(NOW + 31)) == session.TIMEOUT
    it = a_session()
    open_document(it, "good")
    tell(it, wire.QueryAwareness("other"))
    assert it.tick(NOW + 29) == []
    assert closed(it.tick(NOW + 31)) == session.TIMEOUT


def test_a_new_token_is_asked_for_and_extends_the_document() -> None:
    """Two minutes before the end the client is asked, again and again; its answer moves the end."""
    it = a_session()
    open_document(it)
    end = USER.expires_at
    assert it.tick(end - 121) == []
    assert it.tick(end - 119) == [session.Send("doc", wire.TOKEN_REQUEST)]
    assert it.tick(end - 118) == []
    assert it.tick(end - 80) == [session.Send("doc", wire.TOKEN_REQUEST)]
    (effect,) = tell(it, wire.Token("doc", "fresh", None), end - 70)
    assert isinstance(effect, session.Authenticate)
    assert tell(it, wire.Update("doc", UPDATE), end - 70) == [session.Append("doc", UPDATE, False)]
    later = replace(USER, expires_at=end + 3600)
    assert it.authenticated("doc", effect.attempt, later, "read-write", end - 69) == [
        session.Send("doc", wire.authenticated("read-write"))
    ]
    assert it.tick(end + 10) == []


def test_an_expired_token_closes_the_socket() -> None:
    """4401, so that providers attach again and bring a new token."""
    it = a_session()
    open_document(it)
    assert closed(it.tick(USER.expires_at)) == session.UNAUTHORIZED


def test_a_token_refused_on_a_live_document_ends_it() -> None:
    """Who may no longer read is told so and gets nothing more; the socket stays."""
    it = a_session()
    open_document(it)
    tell(it, wire.Token("doc", "revoked", None))
    assert it.denied("doc", 2, "no", NOW) == [session.Send("doc", wire.denied("no")), session.Leave("doc")]
    assert tell(it, wire.Update("doc", UPDATE)) == []


@pytest.mark.parametrize(
    "message",
    [
        wire.BroadcastStateless("doc", "x"),
        wire.SyncStatus("doc", True),
        wire.Authenticated("doc", "read-write"),
        wire.TokenRequest("doc"),
        wire.Update("doc", b"\x01\x01"),
        wire.Step1("doc", b"\x05"),
        wire.Awareness("doc", b"\x01"),
    ],
)
@pytest.mark.parametrize("held", [False, True])
def test_what_only_servers_send_and_what_cannot_be_read_resets(message: wire.Message, held: bool) -> None:
    """4205, at once on a live document, and after the verdict for what was held before it."""
    it = a_session()
    if held:
        tell(it, wire.Token("doc", "t", None))
        assert tell(it, message) == []
        assert closed(it.authenticated("doc", 1, USER, "read-write", NOW)) == session.RESET
    else:
        open_document(it)
        assert closed(tell(it, message)) == session.RESET


def test_ping_is_answered_before_anybody_is_known() -> None:
    """Ping and Pong belong to the socket."""
    it = a_session()
    assert tell(it, wire.Ping()) == [session.Send("", wire.PONG)]
    assert tell(it, wire.Pong()) == []


def test_close_ends_one_document_only() -> None:
    """The other document of the socket goes on."""
    it = a_session()
    open_document(it, "one")
    open_document(it, "two")
    assert tell(it, wire.Close("one", "")) == [session.Leave("one")]
    assert tell(it, wire.Stateless("two", "x")) == [session.Broadcast("two", "x")]
    assert tell(it, wire.Stateless("one", "x")) == []


@given(st.lists(st.binary(max_size=60), max_size=30))
def test_no_bytes_break_a_session(frames: list[bytes]) -> None:
    """Whatever comes, a session answers with effects and never raises."""
    it = a_session()
    open_document(it)
    for frame in frames:
        it.receive(frame, NOW)
        it.receive(wire.varstring("doc") + frame, NOW)
