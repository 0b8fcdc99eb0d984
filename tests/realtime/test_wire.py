"""The codec: everything comes back as it was, and nothing but WireError comes of bad bytes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zedi.realtime import structure, wire

numbers = st.integers(0, wire.MAX_VARUINT)
texts = st.text(max_size=40)
addresses = st.text(min_size=1, max_size=40).filter(lambda text: not text.startswith("\0"))
data = st.binary(max_size=200)
states = st.one_of(st.just(b"null"), st.just(b"{}"), st.just('{"name":"花子"}'.encode()))
messages = st.one_of(
    st.builds(wire.Step1, addresses, data),
    st.builds(wire.Step2, addresses, data),
    st.builds(wire.Update, addresses, data),
    st.builds(wire.Awareness, addresses, data),
    st.builds(wire.Token, addresses, texts, st.none() | texts),
    st.builds(wire.TokenRequest, addresses),
    st.builds(wire.Denied, addresses, texts),
    st.builds(wire.Authenticated, addresses, texts),
    st.builds(wire.QueryAwareness, addresses),
    st.builds(wire.Stateless, addresses, texts),
    st.builds(wire.BroadcastStateless, addresses, texts),
    st.builds(wire.Close, addresses, texts),
    st.builds(wire.SyncStatus, addresses, st.booleans()),
    st.just(wire.Ping()),
    st.just(wire.Pong()),
)


@given(messages)
def test_every_message_comes_back(message: wire.Message) -> None:
    """decode(encode(message)) is the message."""
    decoded = wire.decode(wire.encode(message))
    assert decoded == message
    assert type(decoded) is type(message)


unaddressed = st.lists(
    st.one_of(
        st.builds(wire.Step1, st.just(""), data),
        st.builds(wire.Step2, st.just(""), data),
        st.builds(wire.Update, st.just(""), data),
        st.builds(wire.Awareness, st.just(""), data),
        st.builds(wire.Denied, st.just(""), texts),
        st.just(wire.QueryAwareness("")),
    ),
    min_size=1,
    max_size=8,
)


def body(message: wire.Message) -> bytes:
    """An unaddressed message: most are a Hocuspocus frame without its address, which is one byte here."""
    if isinstance(message, wire.Denied):
        return wire.denied_unaddressed(message.reason)
    return wire.encode(message)[1:]


@given(unaddressed)
def test_every_frame_of_y_websocket_comes_back(messages: list[wire.Message]) -> None:
    """Several messages in one frame are decoded as they were, each of its type."""
    decoded = wire.decode_unaddressed(b"".join(map(body, messages)))
    assert decoded == messages
    assert list(map(type, decoded)) == list(map(type, messages))


@given(unaddressed, st.data())
def test_a_cut_frame_of_y_websocket_is_refused_or_ends_with_a_message(
    messages: list[wire.Message], choice: st.DataObject
) -> None:
    """A prefix of a frame is the first of its messages, or nothing that can be read."""
    frame = b"".join(map(body, messages))
    cut = frame[: choice.draw(st.integers(0, len(frame) - 1))]
    try:
        decoded = wire.decode_unaddressed(cut)
    except wire.WireError:
        return
    assert 0 < len(decoded) < len(messages) and decoded == messages[: len(decoded)]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x09",  # Ping is Hocuspocus's
        b"\x02\x01\x00",  # so is this denial
        b"\x00\x03\x00",
        b"\x00\x00\x01\x00\x03\x01",
        b"\x03" * (wire.MAX_TOGETHER + 1),
    ],
)
def test_frames_that_y_websocket_does_not_know_are_refused(frame: bytes) -> None:
    """No message, one of the other protocol, an unknown step, half a message, too many."""
    with pytest.raises(wire.WireError):
        wire.decode_unaddressed(frame)


@given(st.binary(max_size=300))
@example(b"")
@example(b"\xff" * 20)
@example(b"\x01a\x00\x02\xff\xff\xff\xff\x0f")
@example(b"\x80\x80\x80V")
def test_any_bytes_are_a_message_or_a_wire_error(frame: bytes) -> None:
    """Whatever a client sends is decoded or refused, in every reader of foreign bytes."""
    for read in (
        wire.decode,
        wire.decode_unaddressed,
        wire.decode_awareness,
        wire.decode_state_vector,
        structure.check_update,
    ):
        try:
            read(frame)
        except wire.WireError as error:
            assert error.where and error.what


@given(messages, st.data())
def test_a_message_cut_short_is_refused(message: wire.Message, choice: st.DataObject) -> None:
    """No prefix of a frame passes for the whole, but where a trailing field may be left out."""
    frame = wire.encode(message)
    cut = frame[: choice.draw(st.integers(0, max(0, len(frame) - 1)))]
    try:
        decoded = wire.decode(cut)
    except wire.WireError:
        return
    assert isinstance(decoded, wire.TokenRequest | wire.Token | wire.Close | wire.Ping | wire.Pong)


@given(numbers)
def test_numbers_come_back(number: int) -> None:
    """A varuint is read as it was written, up to what JavaScript can count to."""
    reader = wire.Reader(wire.varuint(number))
    assert reader.varuint("number") == number
    assert reader.at_end


@pytest.mark.parametrize("encoded", [b"\x80", b"\xff" * 8 + b"\x01", b"\xff" * 7 + b"\x7f", b"\x80" * 9])
def test_numbers_that_end_nowhere_or_are_too_big_are_refused(encoded: bytes) -> None:
    """A varuint that is cut, too long or above 2**53 - 1 is a WireError."""
    with pytest.raises(wire.WireError):
        wire.Reader(encoded).varuint("number")


@given(st.text(max_size=60))
def test_strings_are_counted_in_bytes(text: str) -> None:
    """A varstring's length is that of its UTF-8, as lib0 has it."""
    encoded = wire.varstring(text)
    assert wire.Reader(encoded).varstring("text") == text
    assert len(encoded) >= len(text.encode())


@given(st.lists(st.builds(wire.Presence, numbers, numbers, states), max_size=20))
def test_awareness_comes_back(present: list[wire.Presence]) -> None:
    """An awareness payload is read as it was written."""
    assert wire.decode_awareness(wire.encode_awareness(present)) == present


@pytest.mark.parametrize("state", [b"{", b"NaN", b"\xff", b"", b"[" * 5000, b"nul"])
def test_awareness_that_is_not_json_is_refused(state: bytes) -> None:
    """What a peer's JSON.parse would throw at does not get there."""
    with pytest.raises(wire.WireError):
        wire.decode_awareness(wire.encode_awareness([wire.Presence(1, 1, state)]))


@given(st.dictionaries(numbers, numbers, max_size=20))
def test_state_vectors_come_back(vector: dict[int, int]) -> None:
    """A state vector is read as it was written."""
    assert wire.decode_state_vector(wire.encode_state_vector(vector)) == vector


@pytest.mark.parametrize(
    "frame",
    [
        b"\x00\x00\x00\x01\x00",  # y-websocket's first frame: the address is empty
        wire.varstring("\0session") + b"\x03",
        wire.varstring("a" * 2000) + b"\x03",
        wire.varstring("a") + b"\x0b",
        wire.varstring("a") + b"\x00\x03\x00",
        wire.varstring("a") + b"\x03" + b"too much",
        wire.varbytes(b"\xff\xfe") + b"\x03",
    ],
)
def test_frames_that_mean_nothing_are_refused(frame: bytes) -> None:
    """An empty or endless address, an unknown type or step, and trailing bytes are WireErrors."""
    with pytest.raises(wire.WireError):
        wire.decode(frame)
