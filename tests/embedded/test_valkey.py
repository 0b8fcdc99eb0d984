"""The server behind the ElastiCache endpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from zedi.embedded import valkey
from zedi.embedded.state import State
from zedi.embedded.supervisor import Supervisor
from zedi.phases import cache
from zedi.settings import Settings


@pytest.mark.server
async def test_it_has_the_deployed_parameters_and_keeps_nothing(
    settings: Settings,
    state: State,
    supervisor: Supervisor,
    listening: Callable[[int], set[str]],
    loopback: set[str],
) -> None:
    """It evicts and notifies as the parameter group says, stays small, and listens on loopback only."""
    await supervisor.start(valkey.program(settings, state))
    async with Redis(port=settings.cache.port) as client:
        wanted = ("maxmemory-policy", "tcp-keepalive", "save", "appendonly", "maxmemory")
        shown = await client.config_get(*wanted)
        assert shown == {
            "maxmemory-policy": "allkeys-lru",
            "tcp-keepalive": "300",
            "save": "",
            "appendonly": "no",
            "maxmemory": str(64 * 1024 * 1024),
        }
        events = (await client.config_get("notify-keyspace-events"))["notify-keyspace-events"]
        assert set(events or "") == {"E", "x"}
        await client.set("key", "value")
    assert listening(supervisor.process_id("valkey")) <= loopback
    await supervisor.stop("valkey")
    assert not list(state.temporary.iterdir())


def test_old_servers_of_the_machine_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server older than what is deployed gives way to the wheel's; a newer one is taken."""
    for version, taken in (("6.2.16", False), ("7.0.15", True)):
        program = tmp_path / "redis-server"
        program.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=00000000:0 bits=64'\n")
        program.chmod(0o755)
        monkeypatch.setattr(
            shutil, "which", lambda name, program=program: str(program) if name == program.name else None
        )
        assert (valkey.server() == program) is taken


def test_parameters_are_those_of_the_deployed_group(settings: Settings) -> None:
    """What the server is started with is what the cache's template says."""
    resources = cache.build(settings).to_dict()["Resources"].values()
    (group,) = (each for each in resources if each["Type"] == "AWS::ElastiCache::ParameterGroup")
    assert group["Properties"]["Properties"] == valkey._PARAMETERS
