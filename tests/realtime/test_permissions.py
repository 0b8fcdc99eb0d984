"""What one may do with a page changes while it is open: API, Redis, two tasks, real clients."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.servers import SECONDS

from zedi import contract

if TYPE_CHECKING:
    from tests.realtime.conftest import NodeClients, StartService
    from tests.servers import Database, Issuer, Server

pytestmark = pytest.mark.server


@pytest.fixture
async def api(
    database: Database,
    task_environment: Callable[[Database], dict[str, str]],
    valkey_server: Server,
    free_ports: Callable[[int], list[int]],
    issuer: Issuer,
) -> AsyncIterator[httpx.AsyncClient]:
    """Hanako at the HTTP API, which is its own process with the Redis that the tasks have."""
    port = free_ports(1)[0]
    variables = {
        **task_environment(database),
        contract.PORT: str(port),
        contract.REDIS_URL: f"redis://127.0.0.1:{valkey_server.port}",
    }
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig=KILL", sys.executable, "-m", "zedi.notes"),
        env=variables,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()  # it listens, or will in a moment
    transport = httpx.AsyncHTTPTransport(retries=8)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", transport=transport) as client:
        async with asyncio.timeout(SECONDS):
            while (await client.get("/health")).status_code != 200:
                pass
        client.headers["Authorization"] = f"Bearer {issuer.token(sub='hanako')}"
        yield client
    process.kill()
    await process.communicate()


async def test_a_right_that_changes_reaches_every_task(
    database: Database,
    api: httpx.AsyncClient,
    start_service: StartService,
    clients: NodeClients,
    issuer: Issuer,
    valkey_server: Server,
) -> None:
    """The owner lets somebody only read, lets them write again, and shuts them out, at another task; what
    was refused never reaches the page, and the owner goes on."""
    redis = f"redis://127.0.0.1:{valkey_server.port}"
    first, second = await start_service(database, redis), await start_service(database, redis)
    page = (await api.post("/api/pages")).json()["id"]
    sharing = f"/api/pages/{page}/sharing/everybody"

    async def share(role: str | None) -> None:
        assert (await api.put(sharing, json={"role": role})).status_code == 200

    await clients.open("owner", first, page, issuer.token(sub="hanako"))
    await clients.open("other", second, page, issuer.token(sub="taro"))
    for name in ("owner", "other"):
        await clients.wait(name, synced=True, unsynced=0, scope="read-write")

    await share("view")
    await clients.wait("other", scope="readonly")
    await clients.command("insert", "owner", text="written ")
    await clients.wait("other", text="written ")

    await share("edit")
    await clients.wait("other", scope="read-write")
    await clients.command("insert", "other", text="again")
    await clients.wait("owner", text="written again")

    await share(None)
    await clients.wait("other", denied=["no such page"])
    await clients.command("insert", "owner", text=" alone")
    await clients.wait("owner", unsynced=0)
    assert (await clients.status("other"))["text"] == "written again"
    await clients.open("stranger", first, page, issuer.token(sub="ken"))
    await clients.wait("stranger", denied=["no such page"])

    assert (await api.delete(f"/api/pages/{page}")).status_code == 204
    await clients.wait("owner", denied=["no such page"])


async def test_an_edit_of_a_reader_is_refused(
    database: Database,
    api: httpx.AsyncClient,
    start_service: StartService,
    clients: NodeClients,
    issuer: Issuer,
) -> None:
    """Who may only view is told so on opening, and nothing that they write is stored."""
    service = await start_service(database)
    page = (await api.post("/api/pages")).json()["id"]
    await api.put(f"/api/pages/{page}/sharing/everybody", json={"role": "view"})
    await clients.open("other", service, page, issuer.token(sub="taro"))
    await clients.wait("other", synced=True, scope="readonly", unsynced=0)
    await clients.command("insert", "other", text="no")
    await clients.open("owner", service, page, issuer.token(sub="hanako"))
    await clients.wait("owner", scope="read-write", synced=True, unsynced=0)
    await clients.command("insert", "owner", text="yes")
    await clients.wait("owner", text="yes", unsynced=0)
    assert (await clients.status("other"))["has_unsynced"]
    assert len(await database.updates(page)) == 1


async def test_without_redis_a_right_is_asked_for_again_in_time(
    database: Database, start_service: StartService, clients: NodeClients, issuer: Issuer
) -> None:
    """Nobody says that something has changed; as long as somebody writes it is found out all the same."""
    service = await start_service(
        database, change="from zedi.realtime import server; server.REASSESS_SECONDS = 0.1"
    )
    page = await database.page()
    await clients.open("other", service, page, issuer.token(sub="taro"))
    await clients.wait("other", synced=True, unsynced=0, scope="read-write")
    await clients.command("insert", "other", text="x")
    await clients.wait("other", unsynced=0)
    connection = await database.connect()
    try:
        await connection.execute("UPDATE pages SET everybody = NULL")
    finally:
        await connection.close()
    await clients.wait("other", denied=["no such page"])
