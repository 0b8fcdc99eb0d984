"""What one may do with a page changes while it is open: API, Redis, two tasks, real clients."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import httpx
import pycrdt
import pytest
from tests.servers import SECONDS

from zedi import contract
from zedi.realtime import wire

if TYPE_CHECKING:
    from tests.realtime.conftest import Connect, NodeClients, RawClient, StartService
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


async def attached(client: RawClient, page: str, token: str) -> RawClient:
    client.say(wire.Token(page, token, None))
    assert await client.next() == wire.Authenticated(page, "read-write")
    return client


async def change_silently(database: Database, change: str) -> None:
    """What Redis would have told of, and lost."""
    connection = await database.connect()
    try:
        await connection.execute(change)
    finally:
        await connection.close()


async def test_a_new_token_is_taken_while_the_database_is_away(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer, postgres_server: Server
) -> None:
    """Its author goes on writing beyond the end of the first one, with the right they had; as soon as the
    database is back they are asked about, and have the one they have got by now."""
    soon = "from zedi.realtime import journal, server; journal._LONGEST_PAUSE = server._REASSESS_PAUSE = 0.05"
    service = await start_service(database, change=soon)
    page, token = await database.page(), issuer.token(seconds=2)
    author = await attached(await connect(service), page, token)
    other = await attached(await connect(service), page, token)
    await change_silently(database, "UPDATE pages SET everybody = 'view'")
    postgres_server.stop(signal.SIGQUIT)
    try:
        author.say(wire.Token(page, issuer.token(), None))
        assert await author.until(wire.Authenticated) == wire.Authenticated(page, "read-write")
        assert await other.close_code() == 4408  # the first token has ended
        doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
        doc.get("text", type=pycrdt.Text).insert(0, "still here")
        author.say(wire.Update(page, doc.get_update()))
        author.say(wire.Ping())
        await author.until(wire.Pong)
    finally:
        postgres_server.start()
    heard = {await author.next(), await author.next()}
    assert heard == {wire.SyncStatus(page, True), wire.Authenticated(page, "readonly")}
    assert await database.text(page) == "still here"


async def test_nobody_else_gets_in_while_the_database_is_away(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer, postgres_server: Server
) -> None:
    """Not somebody else under an address that is open, nor the same person under one that is not, nor they
    themselves with a token that is not good."""
    service = await start_service(database, change="from zedi.realtime import hub; hub.LOAD_SECONDS = 0.5")
    page = await database.page()
    token = issuer.token(sub="hanako")
    clients = [await attached(await connect(service), page, token) for _ in range(3)]
    postgres_server.stop(signal.SIGQUIT)
    try:
        clients[0].say(wire.Token(page, issuer.token(sub="taro"), None))
        clients[1].say(wire.Token(f"{page}\0other", token, None))
        clients[2].say(wire.Token(page, issuer.token(sub="hanako", seconds=-60), None))
        assert [await client.close_code() for client in clients[:2]] == [1013, 1013]
        assert await clients[2].next() == wire.Denied(page, "the token has expired")
    finally:
        postgres_server.start()
    assert all(client.frames.empty() for client in clients)
