"""WebSocket frames as a server sends them (RFC 6455, section 5.2): final, unmasked.

Made here and not by the WebSocket library, so that a frame is made once for all its readers, and several
frames go to a socket in one write.
"""

from __future__ import annotations

from typing import Final


def head(length: int) -> bytes:
    """What comes before a binary message of `length` bytes."""
    if length < 126:
        return bytes((0x82, length))
    if length < 0x10000:
        return b"\x82\x7e" + length.to_bytes(2, "big")
    return b"\x82\x7f" + length.to_bytes(8, "big")


def binary(*parts: bytes) -> bytes:
    """One binary message made of these parts."""
    message = b"".join(parts)
    return head(len(message)) + message


PING: Final = b"\x89\x00"


def pong(payload: bytes) -> bytes:
    """The answer to a ping with this payload, of at most 125 bytes."""
    return bytes((0x8A, len(payload))) + payload


def close(code: int, reason: str = "") -> bytes:
    """The end of the conversation; of the reason as much as there is room for (120 bytes)."""
    payload = code.to_bytes(2, "big") + reason.encode("utf-8")[:120].decode("utf-8", "ignore").encode("utf-8")
    return bytes((0x88, len(payload))) + payload
