"""What sockets with a good token may make this task keep of messages that are not whole yet: bounded for all.

Each may be as long as a message may be, so a few hundred that never end would fill the memory. A large frame
counts from its head on with the length that this announces, a message in fragments with what has come of it.
"""

from __future__ import annotations

from typing import Final, Protocol

MAX_UNFINISHED: Final = 128 * 1024 * 1024
"""Bytes of all of them."""

TRY_AGAIN_LATER: Final = 1013


class Sender(Protocol):
    """Somebody with a good token."""

    def cut_off(self, code: int, reason: str) -> None:
        """Ends the socket and frees what it keeps, at once."""


class Unfinished:
    """What a task keeps, or has agreed to keep, of large messages that are not whole yet."""

    def __init__(self) -> None:
        self._sizes: dict[Sender, int] = {}
        self._bytes = 0

    def hold(self, sender: Sender, size: int) -> None:
        """From now on it is `size` bytes for `sender`; 0: nothing. Whoever has most is cut off when all of it
        is too much: an author's edits are small, and are not what this is about."""
        self._bytes += size - self._sizes.pop(sender, 0)
        if size:
            self._sizes[sender] = size
        while self._bytes > MAX_UNFINISHED:
            most = max(self._sizes, key=lambda each: self._sizes[each])
            self.hold(most, 0)
            most.cut_off(TRY_AGAIN_LATER, "too much from too many at once")
