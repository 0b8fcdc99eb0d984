"""What sockets without a good token may make this task keep: bounded for each, and for all of them together.

picows keeps a frame until it is whole and shows nobody how much it has, so its user cannot bound that. Its
protocol is wrapped instead, until the first good token: what stands in front counts the bytes and hands the
very buffers of picows on. After the token it is gone, and nothing stands in the way of an author's frames.

All that a stranger has sent counts until its socket is gone, whether it is kept or not: a client sends a
token and a few hundred bytes, and whoever sends more is one to be rid of. Kept is up to about three times as
much, because picows doubles its buffer and a whole frame is copied out of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MAX_STRANGER: Final = 2 * 1024 * 1024 + 512 * 1024
"""Bytes of one stranger: what a session holds for it, tokens that were refused, and frames' heads."""
MAX_STRANGERS: Final = 32 * 1024 * 1024
"""Bytes of all of them. When more come, whoever sent most is cut off: newcomers with a token send little."""
_MAX_DISCARD: Final = 72 * 1024 * 1024
"""Bytes that are read and thrown away, so that a close code arrives at one who is still sending."""

_SINK: Final = bytearray(64 * 1024)
"""Where all of that goes; nobody reads it."""

TOO_BIG: Final = 1009
TRY_AGAIN_LATER: Final = 1013

Refuse = Callable[[int, str], None]
"""Starts to close the socket, with a code and a reason."""


class Strangers:
    """All strangers of a task."""

    def __init__(self) -> None:
        self._all: dict[Stranger, None] = {}
        self._bytes = 0

    def admit(self, stream: asyncio.Transport, refuse: Refuse) -> Stranger:
        """Stands in front of the protocol of `stream`, a buffered one, and counts.

        `refuse` is called where it has sent more than one may; what still comes in is then thrown away, so
        that the code is not overtaken by a reset.
        """
        stranger = Stranger(self, stream, refuse)
        self._all[stranger] = None
        return stranger

    def count(self, stranger: Stranger, size: int) -> None:
        """Another `size` bytes have come in of `stranger`."""
        stranger.sent += size
        self._bytes += size
        while self._bytes > MAX_STRANGERS:
            most = max(self._all, key=lambda each: each.sent)
            self.forget(most)
            most.refuse(TRY_AGAIN_LATER, "too much from too many without a token")
            most.stream.abort()  # at once: it is its memory that is wanted

    def forget(self, stranger: Stranger) -> None:
        """It is none any more. May be called again."""
        if stranger in self._all:
            del self._all[stranger]
            self._bytes -= stranger.sent


class _InFront(asyncio.BufferedProtocol):
    """Stands in front of the protocol of `stream`, a buffered one, and hands on to it whatever comes."""

    def __init__(self, stream: asyncio.Transport) -> None:
        inner = stream.get_protocol()
        assert isinstance(inner, asyncio.BufferedProtocol)
        self.stream = stream
        self._inner = inner
        stream.set_protocol(self)

    def get_buffer(self, sizehint: int) -> ReadableBuffer:
        return self._inner.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        self._inner.buffer_updated(nbytes)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)


class Stranger(_InFront):
    """One socket without a good token."""

    def __init__(self, strangers: Strangers, stream: asyncio.Transport, refuse: Refuse) -> None:
        super().__init__(stream)
        self.refuse = refuse
        self.sent = 0
        """Bytes that have been kept of it, or were; not those that were thrown away."""
        self._strangers = strangers

    def leave(self) -> None:
        """It has shown a good token, and what it sends goes straight to picows again."""
        if self.stream.get_protocol() is self:
            self._strangers.forget(self)
            self.stream.set_protocol(self._inner)

    def buffer_updated(self, nbytes: int) -> None:
        self._strangers.count(self, nbytes)
        if self.stream.is_closing():
            return
        if self.sent > MAX_STRANGER:
            Deaf(self.stream)
            self.refuse(TOO_BIG, "too much before a good token")
        else:
            super().buffer_updated(nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        self._strangers.forget(self)
        super().connection_lost(exc)


class Deaf(_InFront):
    """Throws away what comes in, so that a close code is not overtaken by a reset. Whoever sends on and on is
    cut off."""

    def __init__(self, stream: asyncio.Transport) -> None:
        super().__init__(stream)
        self._discarded = 0

    def get_buffer(self, sizehint: int) -> ReadableBuffer:
        return _SINK

    def buffer_updated(self, nbytes: int) -> None:
        self._discarded += nbytes
        if self._discarded > _MAX_DISCARD:
            self.stream.abort()
