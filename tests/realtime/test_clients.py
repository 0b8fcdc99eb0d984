"""Real clients of both protocols against the service, a real PostgreSQL and a real Valkey."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from tests.realtime.conftest import QUICK_TICKS

if TYPE_CHECKING:
    from tests.realtime.conftest import NodeClients, StartService, Until
    from tests.servers import Database, Issuer, Server

pytestmark = pytest.mark.server

HOCUSPOCUS = ["hocuspocus-2", "hocuspocus-3", "hocuspocus-4"]
Y_WEBSOCKET = ["y-websocket-1", "y-websocket-2", "y-websocket-3"]
KINDS = [*HOCUSPOCUS, *Y_WEBSOCKET]


async def saved(clients: NodeClients, name: str, kind: str) -> None:
    """Waits until nothing of a client is on its way, where its protocol can say so.

    Version 2 queues what is written while it is away or denied and then starts to count anew, so it may end
    below 0.
    """
    if kind == "hocuspocus-2":
        await clients.wait(name, has_unsynced=False)
    elif kind in HOCUSPOCUS:
        await clients.wait(name, unsynced=0, has_unsynced=False)


@pytest.mark.parametrize("kind", KINDS)
async def test_every_client_writes_reads_and_is_seen(
    database: Database, start_service: StartService, clients: NodeClients, issuer: Issuer, kind: str
) -> None:
    """Two of a kind: edits both ways, presence that goes with its socket, and a third who finds it all."""
    service = await start_service(database)
    page = await database.page()
    for name in "ab":
        await clients.open(name, service, page, issuer.token(), kind=kind)
        await clients.wait(name, synced=True)
        await clients.command("present", name, name=name)
    await clients.command("type", "a", text="one ")
    await clients.wait("b", text="one ")
    await clients.command("type", "b", text="two")
    await clients.command("remove", "b", at=0, length=1)
    for name in "ab":
        await clients.wait(name, text="ne two", names=["a", "b"])
        if kind in HOCUSPOCUS:
            await clients.wait(name, unsynced=0)
    await clients.command("cut", "b")
    await clients.command("disconnect", "b")
    await clients.wait("a", names=["a"])
    await clients.open("c", service, page, issuer.token(), kind=kind)
    # What is there when the provider says "synced" is the whole.
    assert (await clients.wait("c", synced=True))["text"] == "ne two"
    await clients.wait("c", names=["", "a"])


@pytest.mark.parametrize("kind", KINDS)
async def test_every_client_comes_back_to_a_new_process_with_its_edits(
    database: Database, start_service: StartService, clients: NodeClients, issuer: Issuer, kind: str
) -> None:
    """The service is killed; both write meanwhile; the next one on the port gets all of it, and keeps it."""
    first = await start_service(database)
    page = await database.page()
    for name in "ab":
        await clients.open(name, first, page, issuer.token(), kind=kind)
        await clients.wait(name, synced=True)
    await clients.command("insert", "a", text="one ")
    await clients.wait("b", text="one ")
    await saved(clients, "a", kind)
    await first.stop(signal.SIGKILL)
    await clients.command("insert", "a", text="two ")
    await clients.command("insert", "b", text="three ")
    second = await start_service(database, PORT=str(first.port))
    for name in "ab":
        await clients.wait(name, synced=True, words=["one", "three", "two"])
        await saved(clients, name, kind)
    states = [await clients.status(name) for name in "ab"]
    assert states[0]["text"] == states[1]["text"] and states[0]["state"] == states[1]["state"]
    assert await second.stop() == 0
    third = await start_service(database)
    await clients.open("c", third, page, issuer.token(), kind=kind)
    assert (await clients.wait("c", synced=True))["text"] == states[0]["text"]


async def test_all_six_kinds_share_one_document(
    database: Database, start_service: StartService, clients: NodeClients, issuer: Issuer
) -> None:
    """All write at once, some lose their network in between: equal states, everybody present, all saved."""
    service = await start_service(database)
    page = await database.page()
    for kind in KINDS:
        await clients.open(kind, service, page, issuer.token(sub=kind), kind=kind)
    for kind in KINDS:
        await clients.wait(kind, synced=True)
        await clients.command("present", kind, name=kind)
    for turn in range(3):
        for kind in KINDS:
            await clients.command("insert", kind, text=f"{kind}/{turn} ", at=0)
        await clients.command("cut", KINDS[turn])
        await clients.command("cut", KINDS[turn + 3])
    words = sorted(f"{kind}/{turn}" for kind in KINDS for turn in range(3))
    for kind in KINDS:
        await clients.wait(kind, synced=True, words=words)
        await saved(clients, kind, kind)
        await clients.command("present", kind, name=f"{kind} still")
    names = sorted(f"{kind} still" for kind in KINDS)
    statuses = [await clients.wait(kind, names=names) for kind in KINDS]
    assert len({status["text"] for status in statuses}) == 1
    assert len({status["state"] for status in statuses}) == 1


async def for_reading(database: Database) -> str:
    """A page that everybody may read and somebody, its owner, may write."""
    page = await database.page()
    connection = await database.connect()
    try:
        await connection.execute("UPDATE pages SET everybody = 'view' WHERE id = $1::text::uuid", page)
    finally:
        await connection.close()
    return page


@pytest.mark.parametrize("kind", HOCUSPOCUS)
async def test_all_documents_of_a_socket_have_a_life_of_their_own(
    database: Database,
    start_service: StartService,
    clients: NodeClients,
    issuer: Issuer,
    stranger: Issuer,
    until: Until,
    kind: str,
) -> None:
    """Of three documents on one socket one may be written, one only read, one is denied until a good token
    comes; each hears its own messages. Tokens are asked for again, and the socket is cut: all are back."""
    service = await start_service(database, change=QUICK_TICKS)
    written, read, denied = await database.page(), await for_reading(database), await database.page()
    # A new token is asked for halfway to the end of the old one: for the third when the first has ended.
    # Version 2 does not know the question.
    lives = [3600] if kind == "hocuspocus-2" else [2, 3.2, 3600]
    tokens = [issuer.token(seconds=life) for life in lives]
    together = {"kind": kind, "socket": "one", "sessionAwareness": kind == "hocuspocus-4"}
    await clients.open("writes", service, written, tokens, **together)
    await clients.open("reads", service, read, issuer.token(), **together)
    await clients.open("knocks", service, denied, stranger.token(), **together)
    ours = ["writes", "reads"]
    if kind == "hocuspocus-4":  # which may open a document twice on one socket
        await clients.open("twin", service, written, issuer.token(), **together)
        ours.append("twin")
    await clients.open("peer", service, written, issuer.token(), kind=kind)
    await clients.open("owner", service, read, issuer.token(sub="somebody"), kind=kind)
    for name in ("writes", "peer", "owner"):
        await clients.wait(name, synced=True, unsynced=0, scope="read-write")
    await clients.wait("reads", synced=True, unsynced=0, scope="readonly")
    await clients.wait("knocks", denied=["the token's signature is wrong"], authenticated=False)
    figures = service.metrics()
    assert (figures["zedi_connections"], figures["zedi_documents"]) == (3, 2)

    await clients.command("insert", "reads", text="refused ")
    await clients.wait("reads", refused=1, has_unsynced=True)
    await clients.command("insert", "owner", text="owner ")
    await clients.wait("owner", unsynced=0, text="owner ")
    await clients.wait("reads", words=["owner", "refused"])

    await clients.command("stateless", "peer", payload="hello")
    await clients.wait("writes", stateless=["hello"])
    await clients.command("stateless", "writes", payload="hello yourself")
    await clients.wait("peer", stateless=["hello yourself"])

    await clients.command("token", "knocks", token=issuer.token(), send=True)
    await clients.wait("knocks", authenticated=True, synced=True)
    await saved(clients, "knocks", kind)
    await clients.command("insert", "knocks", text="welcome")

    async def stored() -> bool:
        return await database.text(denied) == "welcome"

    await until(stored)
    await saved(clients, "knocks", kind)

    await clients.wait("writes", tokens=len(tokens), authenticated=True)
    await clients.command("insert", "writes", text="still ")
    await clients.wait("writes", unsynced=0)
    await clients.command("insert", "peer", text="here")
    everybody = [*ours, "knocks", "peer", "owner"]
    statuses = {name: await clients.status(name) for name in everybody}
    assert all(status["closes"] == [] for status in statuses.values())
    assert statuses["writes"]["stateless"] == ["hello"] and statuses["reads"]["stateless"] == []

    await clients.command("cut", "writes")
    await clients.wait("writes", closes=[1006])
    for name in ("writes", "knocks", "peer", "owner"):
        await clients.wait(name, synced=True, has_unsynced=False)
    if "twin" in ours:
        await clients.wait("twin", synced=True, text="still here", stateless=["hello", "hello yourself"])
    # What it was refused it still has, and offers again.
    await clients.wait("reads", synced=True, refused=2, words=["owner", "refused"])
    await clients.wait("writes", text="still here")
    await clients.wait("peer", text="still here")
    assert service.metrics()["zedi_connections"] == 3
    assert await database.text(read) == "owner "
    assert await database.text(written) == "still here"


async def test_a_provider_that_knows_no_request_for_a_token_comes_back_with_a_new_one(
    database: Database, start_service: StartService, clients: NodeClients, issuer: Issuer
) -> None:
    """Version 2 hears of its token's end by the socket's, and brings the next; what it wrote is there."""
    service = await start_service(database, change=QUICK_TICKS)
    page = await database.page()
    tokens = [issuer.token(seconds=1), issuer.token()]
    await clients.open("old", service, page, tokens, kind="hocuspocus-2")
    await clients.wait("old", synced=True, tokens=2, closes=[4408], scope="read-write")
    await clients.command("insert", "old", text="still here")
    await clients.wait("old", unsynced=0)
    assert await database.text(page) == "still here"


async def test_a_y_websocket_hears_that_it_was_denied_and_may_only_read(
    database: Database,
    start_service: StartService,
    clients: NodeClients,
    issuer: Issuer,
    stranger: Issuer,
) -> None:
    """Of each version: its handler for denials is given the reason, and it is closed with 4401 a while later,
    not at once, so that it does not hammer. What a reader writes is dropped, it reads what others write."""
    service = await start_service(database)
    page = await for_reading(database)
    await clients.open("owner", service, page, issuer.token(sub="somebody"))
    for kind in Y_WEBSOCKET:
        await clients.open(f"{kind} bad", service, page, stranger.token(), kind=kind)
        await clients.open(f"{kind} none", service, await database.page(), None, kind=kind)
        await clients.open(kind, service, page, issuer.token(), kind=kind)
    for kind in Y_WEBSOCKET:
        bad = ["the token's signature is wrong"]
        await clients.wait(f"{kind} bad", denied=bad, closes=[], synced=False)
        await clients.wait(f"{kind} none", denied=["no token was given"])
        await clients.wait(kind, synced=True)
        await clients.command("insert", kind, text="refused ")
        await clients.command("present", kind, name=kind)
    # Presence came after the edit, on the same socket: that was looked at.
    await clients.wait("owner", names=["", *Y_WEBSOCKET], unsynced=0)
    await clients.command("insert", "owner", text="owner ")
    for kind in Y_WEBSOCKET:
        await clients.wait(kind, words=["owner", "refused"], closes=[], denied=[])
    assert (await clients.wait("owner", unsynced=0))["text"] == "owner "
    assert await database.text(page) == "owner "
    for kind in Y_WEBSOCKET:
        await clients.wait(f"{kind} bad", closes=[4401])
    closed = [line for line in service.log if line["event"] == "disconnected" and line["code"] == 4401]
    assert len(closed) >= len(Y_WEBSOCKET) and all(line["duration"] >= 3.0 for line in closed)


async def test_an_edit_is_seen_by_the_other_client_and_saved(
    database: Database, start_service: StartService, clients: NodeClients, issuer: Issuer
) -> None:
    """What one client writes the other one reads, both are told that it is saved, and it is in the table."""
    service = await start_service(database)
    page = await database.page()
    await clients.open("a", service, page, issuer.token())
    await clients.open("b", service, page, issuer.token(sub="user-2"))
    for name in "ab":
        await clients.wait(name, synced=True, unsynced=0, authenticated=True, scope="read-write")
    await clients.command("type", "a", text="こんにちは")
    await clients.wait("b", text="こんにちは")
    await clients.command("insert", "b", text="!")
    await clients.wait("a", text="こんにちは!", unsynced=0)
    await clients.wait("b", text="こんにちは!", unsynced=0)
    assert await database.text(page) == "こんにちは!"


async def test_presence_is_seen_and_goes_with_its_socket(
    database: Database, start_service: StartService, clients: NodeClients, issuer: Issuer
) -> None:
    """Awareness is told to those who are there and to who comes later; a socket that breaks ends it."""
    service = await start_service(database)
    page = await database.page()
    await clients.open("a", service, page, issuer.token())
    await clients.wait("a", synced=True)
    await clients.command("present", "a", name="Hanako")
    await clients.open("b", service, page, issuer.token())
    await clients.command("present", "b", name="Taro")
    for name in "ab":
        await clients.wait(name, names=["Hanako", "Taro"])
    await clients.command("cut", "b")
    await clients.command("disconnect", "b")
    await clients.wait("a", names=["Hanako"])


async def test_who_comes_back_is_present_again(
    database: Database, start_service: StartService, clients: NodeClients, issuer: Issuer
) -> None:
    """A client whose network broke comes back by itself, and the others see it again."""
    service = await start_service(database)
    page = await database.page()
    for name in "ab":
        await clients.open(name, service, page, issuer.token())
        await clients.wait(name, synced=True)
        await clients.command("present", name, name=name)
    await clients.wait("a", names=["a", "b"])
    await clients.command("cut", "b")
    await clients.wait("a", names=["a"])
    await clients.wait("b", synced=True)
    await clients.command("present", "b", name="b again")
    await clients.wait("a", names=["a", "b again"])


async def test_saved_is_said_only_after_the_commit(
    database: Database, start_service: StartService, clients: NodeClients, issuer: Issuer, until: Until
) -> None:
    """While the document's row is locked the commit waits: the peer has the text, the author is not told
    that it is saved; it is told once the lock is gone."""
    service = await start_service(database)
    page = await database.page()
    for name in "ab":
        await clients.open(name, service, page, issuer.token())
    await clients.wait("a", unsynced=0)
    await clients.command("insert", "a", text="first ")
    await clients.wait("a", unsynced=0)
    locker = await database.connect()
    watcher = await database.connect()
    try:
        transaction = locker.transaction()
        await transaction.start()
        await locker.execute("SELECT 1 FROM documents WHERE name = $1 FOR UPDATE", page)
        await clients.command("insert", "a", text="second")
        await clients.wait("b", text="first second")
        await until(lambda: watcher.fetchval("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"))
        # A connection that breaks and comes back must not be told "saved" either: its Step2 holds nothing
        # that the server does not have, and what the server has is not committed.
        await clients.command("cut", "a")
        await clients.wait("a", synced=True, text="first second")
        status = await clients.status("a")
        assert status["has_unsynced"] is True
        assert len(await database.updates(page)) == 1
        await transaction.rollback()
        await clients.wait("a", has_unsynced=False)
        assert len(await database.updates(page)) == 2
    finally:
        await locker.close()
        await watcher.close()


async def test_an_unknown_page_is_denied(
    database: Database, start_service: StartService, clients: NodeClients, issuer: Issuer
) -> None:
    """A document whose page is not in the table is denied."""
    service = await start_service(database)
    await clients.open("a", service, "3f0a3a52-94b2-4ef4-8a17-f1d6a3dd3d0f", issuer.token())
    await clients.wait("a", denied=["no such page"])


async def test_an_outage_of_the_database_loses_nothing(
    database: Database,
    start_service: StartService,
    clients: NodeClients,
    issuer: Issuer,
    postgres_server: Server,
) -> None:
    """Edits go on while PostgreSQL restarts: peers see them, and they are acknowledged afterwards."""
    service = await start_service(database)
    page = await database.page()
    for name in "ab":
        await clients.open(name, service, page, issuer.token())
        await clients.wait(name, unsynced=0)
    await clients.command("type", "a", text="before ")
    await clients.wait("a", unsynced=0)
    postgres_server.stop(signal.SIGQUIT)
    try:
        await clients.command("type", "a", text="during ")
        await clients.wait("b", text="before during ")
        await service.logged("database_away")
        assert (await clients.status("a"))["has_unsynced"] is True
        status, health = service.health()
        # It says what is wrong, and stays in traffic: people go on writing here.
        assert status == 200
        assert health["ready"] and health["database"] != "ok"
    finally:
        postgres_server.start()
    await clients.command("type", "b", text="after")
    await clients.wait("a", text="before during after", has_unsynced=False)
    await clients.wait("b", has_unsynced=False)
    assert service.health()[1]["database"] == "ok"
    assert await database.text(page) == "before during after"


async def test_what_was_acknowledged_survives_sigkill(
    database: Database, start_service: StartService, clients: NodeClients, issuer: Issuer
) -> None:
    """The process is killed right after the acknowledgement; a new one gives a new client all of it."""
    first = await start_service(database)
    page = await database.page()
    await clients.open("a", first, page, issuer.token())
    # What is typed before that a provider sends, and does not count.
    await clients.wait("a", synced=True, unsynced=0)
    await clients.command("type", "a", text="x" * 300)
    await clients.wait("a", text="x" * 300, unsynced=0)
    await first.stop(signal.SIGKILL)
    await clients.command("destroy", "a")
    second = await start_service(database)
    await clients.open("b", second, page, issuer.token())
    # What is there when the provider says "synced" is the whole.
    status = await clients.wait("b", synced=True)
    assert status["text"] == "x" * 300


async def test_clients_of_a_killed_process_bring_their_edits_along(
    database: Database, start_service: StartService, clients: NodeClients, issuer: Issuer
) -> None:
    """Edits made while the service is gone are sent, stored and acknowledged when it is back."""
    first = await start_service(database)
    page = await database.page()
    await clients.open("a", first, page, issuer.token())
    await clients.command("insert", "a", text="one ")
    await clients.wait("a", unsynced=0)
    await first.stop(signal.SIGKILL)
    await clients.command("insert", "a", text="two")
    await start_service(database, PORT=str(first.port))
    await clients.wait("a", synced=True, has_unsynced=False)
    await clients.open("b", first, page, issuer.token())
    await clients.wait("b", synced=True, text="one two")


async def test_two_tasks_see_each_others_edits_and_heal(
    database: Database,
    start_service: StartService,
    clients: NodeClients,
    issuer: Issuer,
    valkey_server: Server,
) -> None:
    """Clients of two tasks share text and presence; Valkey dies, edits go on, and all meet again."""
    redis_url = f"redis://127.0.0.1:{valkey_server.port}"
    one, two = await start_service(database, redis_url), await start_service(database, redis_url)
    page = await database.page()
    await clients.open("a", one, page, issuer.token())
    await clients.wait("a", unsynced=0)
    await clients.command("present", "a", name="a")
    await clients.open("b", two, page, issuer.token())
    await clients.wait("b", unsynced=0, names=["", "a"])
    await clients.command("present", "b", name="b")
    await clients.wait("a", names=["a", "b"])
    await clients.command("type", "a", text="one ")
    await clients.wait("b", text="one ")
    await clients.command("stateless", "b", payload="across")
    await clients.wait("a", stateless=["across"])

    valkey_server.stop(signal.SIGKILL)
    try:
        await one.logged("redis_away")
        await two.logged("redis_away")
        await clients.command("type", "a", text="two ")
        await clients.wait("a", text="one two ", unsynced=0)
        assert one.health()[0] == 200
    finally:
        valkey_server.start()
    await clients.wait("b", text="one two ")
    await clients.command("type", "b", text="three")
    for name in "ab":
        await clients.wait(name, text="one two three", unsynced=0)


async def test_a_gap_in_the_numbers_is_read_from_the_journal_without_redis(
    database: Database, start_service: StartService, clients: NodeClients, issuer: Issuer
) -> None:
    """Two tasks that cannot reach Redis meet as soon as both commit: the numbers show the gap."""
    one, two = await start_service(database), await start_service(database)
    page = await database.page()
    await clients.open("a", one, page, issuer.token())
    await clients.open("b", two, page, issuer.token())
    for name in "ab":
        await clients.wait(name, unsynced=0)
    await clients.command("type", "a", text="left ")
    await clients.wait("a", unsynced=0)
    await clients.command("insert", "b", text="right ")
    await clients.wait("b", words=["left", "right"])


async def test_sigterm_sends_clients_away_and_ends_in_time(
    database: Database, start_service: StartService, clients: NodeClients, issuer: Issuer
) -> None:
    """At SIGTERM sockets are closed with 1012, everything is committed, the status is 0."""
    service = await start_service(database)
    page = await database.page()
    await clients.open("a", service, page, issuer.token())
    await clients.wait("a", unsynced=0)
    await clients.command("type", "a", text="last words")
    await clients.wait("a", unsynced=0)
    assert await service.stop(signal.SIGTERM) == 0
    status = await clients.status("a")
    assert 1012 in status["closes"]
    assert (await service.logged("stopped"))["waiting"] == 0
    assert await database.text(page) == "last words"
