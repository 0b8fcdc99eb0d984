"""Ports: which ones the environment wants, which of them are taken, and by whom."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from zedi.embedded import EmbeddedError
from zedi.settings import Settings

_LISTENING: Final = "0A"  # the state's number in /proc/net/tcp
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Door:
    """One port that the embedded AWS listens on, on loopback."""

    key: str
    """The setting that moves it, e.g. `database.port`."""
    port: int
    what: str
    """Who will listen there."""


def edge_port(settings: Settings) -> int:
    """The port of `cdn.url`: where the front end is served."""
    parts = urlsplit(settings.cdn.url or "")
    return parts.port or (443 if parts.scheme == "https" else 80)


def doors(settings: Settings) -> tuple[Door, ...]:
    """Every port of the environment, which must have [embedded]."""
    assert settings.embedded is not None
    return (
        Door("embedded.port", settings.embedded.port, "the AWS API"),
        Door("database.port", settings.database.port, "PostgreSQL"),
        Door("cache.port", settings.cache.port, "Valkey"),
        Door("realtime.port", settings.realtime.port, "the realtime service"),
        Door("realtime.api_port", settings.realtime.api_port, "the HTTP API"),
        Door("cdn.url", edge_port(settings), "the front end"),
    )


def claim(wanted: Sequence[Door], patience: float = 0.0) -> None:
    """Makes sure that every door is free, waiting up to `patience` seconds for those that are not.

    Raises:
        EmbeddedError: naming every port that is taken, the key that moves it, and who has it.
    """
    deadline = time.monotonic() + patience
    while problems := _problems(wanted):
        if time.monotonic() >= deadline:
            raise EmbeddedError(
                "ports",
                "these are not free:\n" + "\n".join(f"    {problem}" for problem in problems),
                "Stop what has them, or give the keys other values in the environment's file.",
            )
        time.sleep(_POLL_SECONDS)


def _problems(wanted: Sequence[Door]) -> list[str]:
    """One line for each door that cannot be opened."""
    problems: list[str] = []
    seen: dict[int, Door] = {}
    for door in wanted:
        if door.port in seen:
            problems.append(f"{door.key} = {door.port} ({door.what}): {seen[door.port].key} says the same")
            continue
        seen[door.port] = door
        error = _binding_error(door.port)
        if error == errno.EADDRINUSE:
            problems.append(f"{door.key} = {door.port} ({door.what}): {holder(door.port)} has it")
        elif error:
            problems.append(f"{door.key} = {door.port} ({door.what}): {os.strerror(error)}")
    return problems


def _binding_error(port: int) -> int:
    """The errno that binding the port on loopback gives, or 0."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                # As servers do: an address that is only in TIME_WAIT is free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
        except OSError as error:
            # A machine without IPv6 has nobody on ::1.
            if family == socket.AF_INET or error.errno == errno.EADDRINUSE:
                return error.errno or errno.EADDRINUSE
    return 0


def holder(port: int) -> str:
    """Who listens on a TCP port, for people: `nginx (process 812)`."""
    owners: dict[str, int] = {}
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text("ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    owners[f"socket:[{fields[9]}]"] = int(fields[7])
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        # A process that ends while it is looked at, or that is not ours to look into.
        with contextlib.suppress(OSError):
            for file in (process / "fd").iterdir():
                if os.readlink(file) in owners:
                    return f"{(process / 'comm').read_text('utf-8').strip()} (process {process.name})"
    for user in owners.values():
        try:
            return f"a process of user {pwd.getpwuid(user).pw_name}"
        except KeyError:
            return f"a process of user {user}"
    return "another process"
