"""The session: one socket's state, told events and asked for effects; nothing is really sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pycrdt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zedi.realtime import session, wire
from zedi.realtime.access import Mode, User
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
    return Session(NOW, limits=LIMITS)


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
        session.Greet("doc\0s1"),
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


def test_a_right_that_changes_is_told_and_holds_at_once() -> None:
    """An editor becomes a reader and back; what is as it was is not told again."""
    it = a_session()
    open_document(it)
    ((address, document, user),) = it.readers()
    assert (address, document) == ("doc", "doc")
    assert it.reassessed("doc", user, "read-write", NOW) == []
    for mode, effect in (
        ("readonly", session.Send("doc", wire.REFUSED)),
        ("read-write", session.Append("doc", UPDATE, False)),
    ):
        told = [session.Send("doc", wire.authenticated(cast(Mode, mode)))]
        assert it.reassessed("doc", user, cast(Mode, mode), NOW) == told
        assert tell(it, wire.Update("doc", UPDATE)) == [effect]


def test_a_right_that_is_taken_away_ends_the_document_and_not_the_socket() -> None:
    """The client is told, is nobody's reader any more, and may come again with another token."""
    it = a_session()
    open_document(it)
    ((_, _, user),) = it.readers()
    assert it.reassessed("doc", user, None, NOW) == [
        session.Send("doc", wire.denied("no such page")),
        session.Leave("doc"),
    ]
    assert it.readers() == []
    assert tell(it, wire.Update("doc", UPDATE)) == []
    assert it.reassessed("doc", user, "read-write", NOW) == []
    assert tell(it, wire.Token("doc", "good", None)) == [session.Authenticate("doc", "doc", "good", 2)]


def test_a_right_of_somebody_else_changes_nothing() -> None:
    """An answer that comes after another user has taken the address is about nobody."""
    it = a_session()
    open_document(it)
    other = replace(USER, sub="somebody else")
    assert it.reassessed("doc", other, None, NOW) == []
    assert it.reassessed("other", USER, None, NOW) == []


def test_y_websocket_loses_its_right() -> None:
    """It is told in its own words, and its socket is closed a little later; becoming a reader is not told."""
    it = Session(NOW, "room", "secret", LIMITS)
    it.receive(STEP1, NOW)
    it.authenticated("", 1, USER, "read-write", NOW)
    ((address, document, user),) = it.readers()
    assert (address, document) == ("", "room")
    assert it.reassessed("", user, "readonly", NOW) == []
    assert it.reassessed("", user, None, NOW) == [
        session.Send("", wire.denied_unaddressed("no such page")),
        session.Leave(""),
    ]
    assert closed(it.tick(NOW + LIMITS.denied_seconds)) == session.UNAUTHORIZED


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


def test_tokens_that_are_left_before_their_verdict_close_the_socket() -> None:
    """A document that is closed at once takes its token with it, and that counts, whatever its name is."""
    it = a_session()
    for number in range(1, LIMITS.failures):
        assert isinstance(tell(it, wire.Token(f"doc {number}", "x", None))[0], session.Authenticate)
        assert tell(it, wire.Close(f"doc {number}", "")) == []
        assert it.denied(f"doc {number}", number, "no", NOW) == []
    tell(it, wire.Token("doc", "x", None))
    assert closed(tell(it, wire.Close("doc", ""))) == session.UNAUTHORIZED


def test_a_good_token_forgives_those_before_it() -> None:
    """Only what comes to nothing without a good one between counts."""
    it = a_session()
    for _ in range(3):
        for _ in range(LIMITS.failures - 1):
            tell(it, wire.Token("other", "x", None))
            assert closed(tell(it, wire.Close("other", ""))) is None
        open_document(it)


def test_a_live_document_has_one_token_checked_at_a_time() -> None:
    """Of a hundred that come meanwhile the newest is judged next, and the others never."""
    it = a_session()
    open_document(it)
    (first,) = tell(it, wire.Token("doc", "first", None))
    assert isinstance(first, session.Authenticate)
    assert [tell(it, wire.Token("doc", f"token {number}", None)) for number in range(100)] == [[]] * 100
    effects = it.authenticated("doc", first.attempt, USER, "read-write", NOW)
    second = session.Authenticate("doc", "doc", "token 99", first.attempt + 1)
    assert effects == [session.Send("doc", wire.authenticated("read-write")), second]
    assert len(it.authenticated("doc", second.attempt, USER, "read-write", NOW)) == 1
    assert it.authenticated("doc", second.attempt, USER, "read-write", NOW) == []


def test_a_refused_token_is_forgotten_where_a_newer_one_came() -> None:
    """The document stays live until the newest is judged; each refusal counts."""
    it = a_session()
    open_document(it)
    (effect,) = tell(it, wire.Token("doc", "bad", None))
    for number in range(1, LIMITS.failures):
        assert isinstance(effect, session.Authenticate)
        tell(it, wire.Token("doc", f"bad {number}", None))
        (effect,) = it.denied("doc", effect.attempt, "no", NOW)
        assert tell(it, wire.Update("doc", UPDATE)) == [session.Append("doc", UPDATE, False)]
    assert isinstance(effect, session.Authenticate) and effect.token == f"bad {LIMITS.failures - 1}"
    effects = it.denied("doc", effect.attempt, "no", NOW)
    assert effects[:2] == [session.Send("doc", wire.denied("no")), session.Leave("doc")]
    assert closed(effects) == session.UNAUTHORIZED


def test_a_right_that_is_lost_while_a_token_is_checked_comes_back_with_it() -> None:
    """The verdict opens the document again, and the newest token is judged after it."""
    it = a_session()
    open_document(it)
    (effect,) = tell(it, wire.Token("doc", "fresh", None))
    assert isinstance(effect, session.Authenticate)
    tell(it, wire.Token("doc", "newest", None))
    it.reassessed("doc", USER, None, NOW)
    effects = it.authenticated("doc", effect.attempt, USER, "read-write", NOW)
    assert session.TellPresence("doc") in effects
    assert effects[-1] == session.Authenticate("doc", "doc", "newest", effect.attempt + 1)


def test_a_token_that_is_too_long_is_not_kept() -> None:
    """It is judged as none at all, now or later."""
    it = Session(NOW)
    long = wire.Token("doc", "x" * (Limits().token_characters + 1), None)
    assert tell(it, long) == [session.Authenticate("doc", "doc", "", 1)]
    it.authenticated("doc", 1, USER, "read-write", NOW)
    tell(it, wire.Token("doc", "x", None))
    tell(it, long)
    assert it.denied("doc", 2, "no", NOW) == [session.Authenticate("doc", "doc", "", 3)]


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
    """4408, so that providers of all versions attach again and bring a new token."""
    it = a_session()
    open_document(it)
    assert closed(it.tick(USER.expires_at)) == session.TIMEOUT


def test_who_asks_twice_before_a_good_token_is_answered_once() -> None:
    """The newest Step1 counts, and the others are not held any more."""
    it = a_session()
    for vector in (b"\x00", b"\x01\x07\x05"):
        for number in range(LIMITS.held_messages):
            assert tell(it, wire.Step1("doc", vector)) == [], number
    (ask,) = tell(it, wire.Token("doc", "good", None))
    assert isinstance(ask, session.Authenticate)
    answered = it.authenticated("doc", ask.attempt, USER, "read-write", NOW)
    assert [each for each in answered if isinstance(each, session.Join)] == [session.Join("doc", {7: 5})]


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


def test_two_sessions_of_one_document_are_two_addresses() -> None:
    """Each is authenticated, answered and left for itself, under the very address that it came with."""
    it = a_session()
    open_document(it, "doc\0one")
    open_document(it, "doc\0two", mode="readonly")
    assert tell(it, wire.Update("doc\0one", UPDATE)) == [session.Append("doc\0one", UPDATE, False)]
    assert tell(it, wire.Update("doc\0two", UPDATE)) == [session.Send("doc\0two", wire.REFUSED)]
    assert tell(it, wire.Close("doc\0one", "")) == [session.Leave("doc\0one")]
    assert tell(it, wire.QueryAwareness("doc\0two")) == [session.TellPresence("doc\0two")]


def test_a_state_vector_of_too_many_clients_closes_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every entry costs a hundred bytes, and a message has room for millions of them."""
    monkeypatch.setattr(wire, "MAX_VECTOR", 100)
    it = a_session()
    open_document(it)
    known, more = dict.fromkeys(range(100), 1), dict.fromkeys(range(101), 1)
    assert tell(it, wire.Step1("doc", wire.encode_state_vector(known))) == [
        session.Greet("doc"),
        session.Join("doc", known),
    ]
    assert closed(tell(it, wire.Step1("doc", wire.encode_state_vector(more)))) == session.RESET


STEP1 = wire.step1(wire.encode_state_vector({7: 3}))
HERE = wire.Presence(7, 1, b"{}")
AWARENESS = wire.awareness(wire.encode_awareness([HERE]))


def a_room(first: bytes = STEP1 + AWARENESS) -> Session:
    """A y-websocket that has sent its first frame."""
    it = Session(NOW, "room", "secret", LIMITS)
    assert it.receive(first, NOW) == [session.Authenticate("", "room", "secret", 1)]
    return it


def test_a_first_frame_without_address_is_y_websocket() -> None:
    """The token of the address is judged; then the server speaks first, and what was held is answered."""
    it = a_room()
    assert it.receive(wire.QUERY_AWARENESS, NOW) == []
    assert it.authenticated("", 1, USER, "read-write", NOW) == [
        session.Greet(""),
        session.TellPresence(""),
        session.Join("", {7: 3}),
        session.Announce("", [HERE]),
        session.TellPresence(""),
    ]
    assert it.protocol == "y-websocket"
    both = wire.update(UPDATE) + wire.step2(UPDATE)
    assert it.receive(both, NOW) == [session.Append("", UPDATE, False), session.Append("", UPDATE, True)]


def test_hocuspocus_may_come_to_a_room_too() -> None:
    """A first frame with an address is Hocuspocus, whatever the path says; without a room 0 means nothing."""
    it = Session(NOW, "room", "secret", LIMITS)
    open_document(it)
    assert it.protocol == "hocuspocus"
    assert closed(Session(NOW, limits=LIMITS).receive(STEP1, NOW)) == session.RESET


def test_a_denied_y_websocket_is_told_why_and_closed_a_little_later() -> None:
    """Not at once: it would be back in a tenth of a second. Nothing that it says is listened to."""
    it = a_room()
    assert it.denied("", 1, "expired", NOW) == [session.Send("", wire.denied_unaddressed("expired"))]
    assert it.receive(wire.update(UPDATE), NOW) == []
    assert it.receive(b"\xff", NOW) == []
    assert it.tick(NOW + LIMITS.denied_seconds - 0.1) == []
    assert closed(it.tick(NOW + LIMITS.denied_seconds)) == session.UNAUTHORIZED


def test_a_y_websocket_ends_with_its_token_and_is_not_asked_for_another() -> None:
    """It has no way to bring one on the same socket."""
    it = a_room()
    it.authenticated("", 1, USER, "read-write", NOW)
    assert it.tick(USER.expires_at - 1) == []
    assert closed(it.tick(USER.expires_at)) == session.UNAUTHORIZED


def test_a_y_websocket_that_only_reads_has_its_updates_dropped() -> None:
    """There is no word for a refusal; its awareness and its questions are heard."""
    it = a_room()
    it.authenticated("", 1, USER, "readonly", NOW)
    assert it.receive(wire.update(UPDATE) + wire.step2(UPDATE), NOW) == []
    assert it.receive(AWARENESS + STEP1, NOW) == [session.Announce("", [HERE]), session.Join("", {7: 3})]


@pytest.mark.parametrize(
    "frame", [b"\x09", b"\x05\x01x", wire.denied_unaddressed("x"), b"", b"\x00\x02\x01\x01"]
)
def test_what_y_websocket_does_not_send_resets(frame: bytes) -> None:
    """4205 for messages of Hocuspocus or of servers, an empty frame and a broken update."""
    it = a_room()
    it.authenticated("", 1, USER, "read-write", NOW)
    assert closed(it.receive(frame, NOW)) == session.RESET


def test_what_a_y_websocket_makes_us_hold_is_bounded() -> None:
    """Bytes and messages, also where many stand in one frame; nothing follows the close."""
    assert closed(a_room().receive(wire.update(b"x" * 2000), NOW)) == session.UNAUTHORIZED
    effects = a_room(STEP1).receive(wire.QUERY_AWARENESS * 12, NOW)
    assert len(effects) == 1 and closed(effects) == session.UNAUTHORIZED


def test_a_client_that_heard_nothing_can_be_told_something() -> None:
    """An awareness message about nobody, under an address that the client knows."""
    nobody = wire.awareness(b"\x00")
    assert a_session().nudge() == []
    it = a_session()
    open_document(it, "doc\0s")
    assert it.nudge() == [session.Send("doc\0s", nobody)]
    assert a_room().nudge() == [session.Send("", nobody)]


ADDRESSES = st.sampled_from(["a", "b", "a\0s", "c", "d"])
SAID: st.SearchStrategy[wire.Message] = st.one_of(
    st.builds(wire.Token, ADDRESSES, st.text(max_size=3), st.none()),
    st.builds(wire.Step1, ADDRESSES, st.sampled_from([b"\x00", b"\x01\x07\x03", b"\x05"])),
    st.builds(wire.Step2, ADDRESSES, st.sampled_from([wire.EMPTY_UPDATE, UPDATE, b"x"])),
    st.builds(wire.Update, ADDRESSES, st.sampled_from([wire.EMPTY_UPDATE, UPDATE, b""])),
    st.builds(wire.Awareness, ADDRESSES, st.sampled_from([b"\x00", wire.encode_awareness([HERE]), b"\x09"])),
    st.builds(wire.QueryAwareness, ADDRESSES),
    st.builds(wire.Stateless, ADDRESSES, st.sampled_from(["", "x", "x" * 70_000])),
    st.builds(wire.Close, ADDRESSES, st.just("")),
    st.just(wire.Ping()),
    st.just(wire.Pong()),
)
STEPS = st.lists(
    st.one_of(
        SAID,
        st.binary(max_size=40),
        st.sampled_from(["good", "readonly", "bad"]),
        st.sampled_from([0.5, 2.0, 40.0, 4000.0]),
    ),
    max_size=40,
)


@given(STEPS, st.booleans())
def test_nothing_that_happens_breaks_a_session(
    steps: list[wire.Message | bytes | str | float], bare: bool
) -> None:
    """Messages, bytes, verdicts and time in any order, in either protocol: effects come and nothing else.

    A shell can carry all of them out: only live addresses are written to, none after it was left, and nothing
    follows a close.
    """
    it = Session(NOW, "room", "t", LIMITS) if bare else a_session()
    now = NOW
    asked: list[session.Authenticate] = []
    live: set[str] = set()
    over = False
    if bare:
        steps = [STEP1, *steps]
    for step in steps:
        verdict = None
        match step:
            case bytes():
                effects = it.receive(step, now)
            case float():
                now += step
                effects = it.tick(now) + it.nudge()
            case str():
                if not asked:
                    continue
                verdict = asked.pop()
                if step == "bad":
                    effects = it.denied(verdict.address, verdict.attempt, "no", now)
                else:
                    if it.wants(verdict.address, verdict.attempt):
                        live.add(verdict.address)
                    user = replace(USER, expires_at=now + 3600)
                    mode: Any = "readonly" if step == "readonly" else "read-write"
                    effects = it.authenticated(verdict.address, verdict.attempt, user, mode, now)
            case _:
                frame = wire.encode(step)
                effects = it.receive(frame[1 + frame[0] :] if bare and frame[0] < 9 else frame, now)
        for effect in effects:
            assert not over
            match effect:
                case session.Authenticate():
                    asked.append(effect)
                case session.Leave(address):
                    live.remove(address)
                case session.Close():
                    over = True
                case session.Send():
                    pass
                case _:
                    assert effect.address in live
    if over:
        assert it.receive(STEP1, now) == it.tick(now) == it.nudge() == []


@given(
    st.one_of(st.just(wire.update(UPDATE)), st.binary(max_size=200).map(wire.update), st.binary(max_size=200))
)
def test_a_frame_means_the_same_whatever_came_before_it(body: bytes) -> None:
    """The second Update of a document is read by a shorter way, with every check of the longer one."""
    answers = []
    for before in (0, 1):
        it = a_session()
        open_document(it)
        for _ in range(before):
            assert tell(it, wire.Update("doc", UPDATE)) == [session.Append("doc", UPDATE, False)]
        answers.append([it.receive(frame, NOW) for frame in (wire.varstring("doc") + body, b"\x09")])
    assert answers[0] == answers[1]


@pytest.mark.parametrize("cut", [1, len(UPDATE), len(UPDATE) + 1])
def test_a_second_update_that_is_cut_or_too_long_closes(cut: int) -> None:
    """What a length announces must be there, and nothing more."""
    frame = wire.encode(wire.Update("doc", UPDATE))
    for broken in (frame[:-cut], frame + b"\0" * cut):
        it = a_session()
        open_document(it)
        it.receive(frame, NOW)
        assert closed(it.receive(broken, NOW)) == session.RESET


def test_a_document_that_was_left_or_may_not_be_written_takes_no_second_update() -> None:
    """The shorter way asks for the same permission."""
    it = a_session()
    open_document(it)
    update = wire.Update("doc", UPDATE)
    assert tell(it, update) == [session.Append("doc", UPDATE, False)]
    it.reassessed("doc", USER, "readonly", NOW)
    assert tell(it, update) == [session.Send("doc", wire.REFUSED)]
    assert tell(it, wire.Close("doc", "")) == [session.Leave("doc")]
    assert tell(it, update) == []
    (authenticate,) = tell(it, wire.Token("doc", "token", None))
    assert isinstance(authenticate, session.Authenticate)
    answers = it.authenticated("doc", authenticate.attempt, USER, "read-write", NOW)
    assert answers[-1] == session.Append("doc", UPDATE, False)
    assert tell(it, update) == [session.Append("doc", UPDATE, False)]
    it.reassessed("doc", USER, None, NOW)
    assert tell(it, update) == []
