"""Ports: every one that is taken is named, with the key that moves it and who has it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from zedi.embedded import EmbeddedError, ports
from zedi.embedded.ports import Door
from zedi.settings import Settings


def test_every_port_of_the_environment_is_a_door(settings: Settings) -> None:
    """Each of the six ports is asked for, under the key that moves it."""
    doors = ports.doors(settings)
    assert [door.key for door in doors] == [
        "embedded.port",
        "database.port",
        "cache.port",
        "realtime.port",
        "realtime.api_port",
        "cdn.url",
    ]
    assert settings.cdn.url == f"http://localhost:{doors[-1].port}"
    ports.claim(doors)


def test_all_taken_ports_are_told_at_once(settings: Settings) -> None:
    """Two taken ports are two lines, each with its key, number and holder."""
    doors = ports.doors(settings)
    with (
        socket.create_server(("127.0.0.1", settings.database.port)),
        socket.create_server(("::1", doors[-1].port), family=socket.AF_INET6),
        pytest.raises(EmbeddedError) as caught,
    ):
        ports.claim(doors)
    lines = caught.value.what.splitlines()[1:]
    assert [line.split(" = ")[0].strip() for line in lines] == ["database.port", "cdn.url"]
    for line in lines:
        assert f"(process {os.getpid()}) has it" in line
    assert str(settings.database.port) in lines[0]


def test_port_that_two_keys_share_is_told(free_ports: Callable[[int], list[int]]) -> None:
    """A port that stands in the file twice is nobody else's fault."""
    (port,) = free_ports(1)
    with pytest.raises(EmbeddedError, match=r"cache\.port = \d+ \(b\): database\.port says the same"):
        ports.claim([Door("database.port", port, "a"), Door("cache.port", port, "b")])


def test_patience_waits_for_a_port(free_ports: Callable[[int], list[int]]) -> None:
    """A port that becomes free within the patience is not an error."""
    (port,) = free_ports(1)
    taken = socket.create_server(("127.0.0.1", port))
    child = os.fork()
    if child == 0:
        # Holds it a little longer than we do.
        taken.settimeout(0.3)
        try:
            taken.accept()
        except TimeoutError:
            os._exit(0)
    taken.close()
    try:
        with pytest.raises(EmbeddedError):
            ports.claim([Door("cache.port", port, "Valkey")])
        ports.claim([Door("cache.port", port, "Valkey")], patience=10.0)
    finally:
        os.waitpid(child, 0)
