"""The API as its own process, as a task runs it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.servers import Database, Issuer

pytestmark = pytest.mark.server


async def start(environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig=KILL", sys.executable, "-m", "zedi.notes"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_it_comes_up_migrates_and_ends_in_order(
    empty_database: Database,
    issuer: Issuer,
    task_environment: Callable[[Database], dict[str, str]],
    free_ports: Callable[[int], list[int]],
) -> None:
    """From an empty database to an answered call, one JSON line a request, and gone at SIGTERM."""
    port = free_ports(1)[0]
    process = await start({**task_environment(empty_database), "PORT": str(port)})
    assert process.stdout is not None and process.stderr is not None
    try:
        lines = [json.loads(await process.stdout.readline())]
        assert lines[0]["event"] == "listening"
        async with (
            asyncio.timeout(20),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
        ):
            while (health := await client.get("/health")).status_code == 503:
                assert health.json()["database"]
            headers = {"Authorization": f"Bearer {issuer.token()}"}
            assert (await client.post("/api/pages", headers=headers)).status_code == 201
            while (line := lines[-1]).get("method") != "POST":
                lines.append(json.loads(await process.stdout.readline()))
        assert (line["path"], line["status"]) == ("/api/pages", 201)
        assert "0001_pages_and_journal.sql" in [line.get("file") for line in lines]
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            _, errors = await process.communicate()
    assert errors == b""
    assert process.returncode in (0, -signal.SIGTERM)


async def test_a_wrong_environment_is_one_error() -> None:
    """Every variable that is missing is named at once, without a traceback."""
    process = await start({})
    async with asyncio.timeout(20):
        _, errors = await process.communicate()
    assert process.returncode == 1
    for name in (b"DB_CREDENTIALS_JSON", b"COGNITO_ISSUER", b"PORT"):
        assert name in errors
    assert b"Traceback" not in errors
