"""picows as a parser: it reads frames, and what it would say and do about them is decided here.

Left alone, picows 2.3 sends 1009 about a frame above its bound and closes the socket 10 ms later, when the
reset overtakes the code; it tells nobody, and logs it as an error of ours. What it has of a frame it keeps in
a buffer that doubles and never shrinks, and it shows nobody how full that is. Counting what comes in would
stand in the way of every read; so each long frame is heard of by its head instead:

- The bound of picows is LARGE, a small one. Where a head announces more, picows logs that before anything
  else, to a logger of ours: `on_large_frame`. Every other complaint about a frame is `on_broken_frame`.
- What picows then sends and closes does not happen, because the transport that it was given does neither
  after the handshake. Asked to go on, it reads on where it was: the large frame arrives like any other.

That picows behaves so is in its picows.pyx (_get_next_frame, _fast_write), is pinned by its version, and each
of it has its test in tests/realtime/test_parser.py.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import mmap
import re
import sys
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from picows import WSAutoPingStrategy, WSCloseCode, WSTransport, WSUpgradeRequest
from picows.picows import WSProtocol  # type: ignore[attr-defined]

LARGE: Final = 64 * 1024
"""Bytes of a frame above which it is told of as soon as its head has come."""
_READ_BUFFER: Final = 4096
_KEPT_BUFFER: Final = 128 * 1024
"""Bytes of a read buffer that are kept for the next frames; a frame that is not large makes it no bigger."""
_MADV_DONTNEED: Final = 4

_libc = ctypes.CDLL(None)
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class Owner(Protocol):
    """Whoever's socket it is. Called in the middle of reading, before frames that came with it."""

    def on_large_frame(self, length: int) -> None:
        """A data frame with `length` bytes of payload, above LARGE, has begun. Asks for `go_on`, soon."""

    def on_broken_frame(self, code: int, reason: str) -> None:
        """These are no frames, and nothing that comes after is one: close with `code`."""

    def on_defect(self, error: BaseException) -> None:
        """Reading failed where it must not."""


class Parser(WSProtocol):  # type: ignore[misc]
    """picows' protocol of one socket. `answer` makes a listener, or a response, of its request."""

    def __init__(self, answer: Callable[[WSUpgradeRequest], Any], handshake_seconds: float) -> None:
        self._log = _Log()
        super().__init__(
            *(None, None, False, answer, self._log, True, handshake_seconds),
            *(False, 0, 0, WSAutoPingStrategy.PING_WHEN_IDLE, False),  # nothing is sent by itself
            *(LARGE, None, _READ_BUFFER),
        )

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.stream = transport
        self._hands = _Hands(transport)
        super().connection_made(self._hands)

    @staticmethod
    def of(transport: WSTransport) -> Parser:
        """Whose `transport` it is that a listener is given."""
        parser = cast(_Hands, transport.underlying_transport).stream.get_protocol()
        assert isinstance(parser, Parser)
        return parser

    def attach(self, owner: Owner) -> None:
        """The handshake is over: from now on picows only reads, and `owner` is told."""
        self._log.owner = owner
        self._hands.tied = True

    def detach(self) -> None:
        self._log.owner = None

    def go_on(self) -> None:
        """To be called after `on_large_frame`, not in it: picows waits for more, and all may be here."""
        self.buffer_updated(0)

    def give_back(self) -> None:
        """Gives back the memory of its buffer that holds nothing at the moment, where that is much.

        The addresses stay, and are memory again when something is read into them.
        """
        free: memoryview = self.get_buffer(-1)
        if len(free) <= _KEPT_BUFFER:
            return
        start = ctypes.addressof(ctypes.c_char.from_buffer(free))
        first = (start + LARGE) // mmap.PAGESIZE * mmap.PAGESIZE
        last = (start + len(free)) // mmap.PAGESIZE * mmap.PAGESIZE
        _libc.madvise(first, last - first, _MADV_DONTNEED)  # refused where memory is locked, and stays there


class _Hands:
    """The transport as picows has it: for the handshake it does what it is asked to, then nothing."""

    def __init__(self, stream: asyncio.Transport) -> None:
        self.stream = stream
        self.tied = False
        self.get_write_buffer_size = stream.get_write_buffer_size

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        # To what it takes for TLS, picows writes by `write` only, not straight to the socket.
        return self if name == "ssl_object" else self.stream.get_extra_info(name, default)

    def write(self, data: bytes) -> None:
        if not self.tied:
            self.stream.write(data)

    def close(self) -> None:
        if not self.tied:
            self.stream.close()


class _Log:
    """The logger of one socket's picows."""

    def __init__(self) -> None:
        self.owner: Owner | None = None
        self._real = logging.getLogger("picows")

    def isEnabledFor(self, level: int) -> bool:
        return False

    def debug(self, *_: object) -> None:
        """Of no interest, and so is what is at level info."""

    log = info = debug

    def warning(self, message: str, *arguments: object) -> None:
        self._real.warning(message, *arguments)

    def error(self, message: str, *arguments: Any) -> None:
        match arguments:
            case ((code, reason),) if self.owner is not None:
                length = re.search(r"(\d+) > \d+$", reason) if code == WSCloseCode.MESSAGE_TOO_BIG else None
                if length is not None:
                    self.owner.on_large_frame(int(length[1]))
                else:
                    self.owner.on_broken_frame(int(code), reason)
            case _:
                self.exception(message, *arguments)

    def exception(self, message: str, *arguments: object) -> None:
        error = sys.exception()
        if self.owner is not None and error is not None:
            self.owner.on_defect(error)
        else:
            self._real.error(message, *arguments)
