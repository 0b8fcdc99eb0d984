"""The service as its own process, spoken to in raw frames: what the protocols allow and clients seldom do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pycrdt
import pytest
from tests.realtime.conftest import QUICK_TICKS
from tests.servers import SECONDS

from zedi.realtime import wire

if TYPE_CHECKING:
    from tests.realtime.conftest import Connect, RawClient, StartService, Until
    from tests.servers import Database, Issuer

pytestmark = pytest.mark.server

HERE = wire.encode_awareness([wire.Presence(7, 1, b'{"name":"hanako"}')])


def an_update(text: str) -> bytes:
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    doc.get("text", type=pycrdt.Text).insert(0, text)
    return doc.get_update()


async def attach(client: RawClient, address: str, token: str) -> None:
    client.say(wire.Token(address, token, "4.8.0"))
    assert await client.next() == wire.Authenticated(address, "read-write")


async def nothing_more(client: RawClient) -> None:
    """What was said before is answered in order, so all of it has come when a ping is."""
    client.say(wire.Ping())
    assert await client.next() == wire.Pong()


async def test_one_socket_carries_many_documents(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """What is said under one address is stored, answered and heard under that one only."""
    service, token = await start_service(database), issuer.token()
    pages = [await database.page() for _ in range(3)]
    author, peer = await connect(service), await connect(service)
    for page in pages:
        await attach(author, page, token)
    await attach(peer, pages[1], token)
    updates = {page: an_update(page) for page in pages}
    for page, update in updates.items():
        author.say(wire.Update(page, update))
    saved = [await author.until(wire.SyncStatus) for _ in pages]
    assert sorted(saved) == sorted(wire.SyncStatus(page, True) for page in pages)
    assert await peer.until(wire.Update) == wire.Update(pages[1], updates[pages[1]])
    await nothing_more(peer)
    for page, update in updates.items():
        assert [data for _, data in await database.updates(page)] == [update]


async def test_two_sessions_of_one_document_share_a_socket(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """`name NUL session`: each is a reader of its own, answered under exactly its address."""
    service, page, token = await start_service(database), await database.page(), issuer.token()
    one, two = f"{page}\0s1", f"{page}\0s2"
    client = await connect(service)
    await attach(client, one, token)
    await attach(client, two, token)
    update = an_update("x")
    client.say(wire.Update(one, update))
    heard = [await client.next(), await client.next()]
    assert sorted(heard, key=lambda message: type(message).__name__) == [
        wire.SyncStatus(one, True),
        wire.Update(two, update),
    ]
    client.say(wire.Close(one, ""))
    client.say(wire.Step1(two, wire.EMPTY_STATE_VECTOR))
    assert isinstance(await client.next(), wire.Step1)
    assert await client.next() == wire.Step2(two, update)
    assert [data for _, data in await database.updates(page)] == [update]


async def test_a_closed_document_can_be_opened_again(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """CLOSE ends one document: nothing of it is heard until a token opens it again, on the same socket."""
    service, page, token = await start_service(database), await database.page(), issuer.token()
    client, author = await connect(service), await connect(service)
    await attach(client, page, token)
    await attach(author, page, token)
    client.say(wire.Awareness(page, HERE))
    assert await author.until(wire.Awareness) == wire.Awareness(page, HERE)
    client.say(wire.Close(page, ""))
    gone = await author.until(wire.Awareness)
    assert [each.state for each in wire.decode_awareness(gone.payload)] == [wire.NO_STATE]
    update = an_update("while away")
    author.say(wire.Update(page, update))
    await author.until(wire.SyncStatus)
    await client.until(wire.Awareness)  # its own echo, from before
    await nothing_more(client)
    await attach(client, page, token)
    client.say(wire.Step1(page, wire.EMPTY_STATE_VECTOR))
    assert await client.until(wire.Step2) == wire.Step2(page, update)


async def test_who_is_here_can_be_asked(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """QueryAwareness is answered with all who are present; nothing is said where nobody is."""
    service, page, token = await start_service(database), await database.page(), issuer.token()
    client, other = await connect(service), await connect(service)
    await attach(client, page, token)
    client.say(wire.QueryAwareness(page))
    await nothing_more(client)
    await attach(other, page, token)
    other.say(wire.Awareness(page, HERE))
    assert await client.until(wire.Awareness) == wire.Awareness(page, HERE)
    client.say(wire.QueryAwareness(page))
    assert await client.next() == wire.Awareness(page, HERE)


async def test_what_servers_say_is_not_for_clients(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """BroadcastStateless and the like close with 4205, and reach nobody."""
    service, page, token = await start_service(database), await database.page(), issuer.token()
    peer = await connect(service)
    await attach(peer, page, token)
    for message in (
        wire.BroadcastStateless(page, "x"),
        wire.SyncStatus(page, True),
        wire.Authenticated(page, "read-write"),
        wire.Denied(page, "no"),
        wire.TokenRequest(page),
    ):
        client = await connect(service)
        await attach(client, page, token)
        client.say(message)
        assert await client.close_code() == 4205, message
    await nothing_more(peer)


async def test_a_stateless_message_reaches_the_others(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """All readers of the document but its author; one that is too long closes with 1009."""
    service, token = await start_service(database), issuer.token()
    page, elsewhere = await database.page(), await database.page()
    author, peer, stranger = [await connect(service) for _ in range(3)]
    await attach(author, page, token)
    await attach(peer, page, token)
    await attach(stranger, elsewhere, token)
    author.say(wire.Stateless(page, "日本語"))
    assert await peer.next() == wire.Stateless(page, "日本語")
    await nothing_more(author)
    await nothing_more(stranger)
    author.say(wire.Stateless(page, "x" * (64 * 1024 + 1)))
    assert await author.close_code() == 1009
    await nothing_more(peer)


async def test_a_new_token_keeps_a_document_alive(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """The service asks, the client answers, and goes on beyond the end of the first token; nobody who has it
    open notices."""
    service, page = await start_service(database, change=QUICK_TICKS), await database.page()
    client, peer = await connect(service), await connect(service)
    await attach(client, page, issuer.token(seconds=1.5))
    await attach(peer, page, issuer.token())
    client.say(wire.Awareness(page, HERE))
    assert await client.until(wire.TokenRequest) == wire.TokenRequest(page)
    client.say(wire.Token(page, issuer.token(seconds=2.5), "4.8.0"))
    assert await client.until(wire.Authenticated) == wire.Authenticated(page, "read-write")
    # The second request comes halfway to its end: the first has ended by then, as it would at 1.5 s.
    assert await client.until(wire.TokenRequest) == wire.TokenRequest(page)
    client.say(wire.Update(page, an_update("still here")))
    assert await client.until(wire.SyncStatus) == wire.SyncStatus(page, True)
    assert await peer.next() == wire.Awareness(page, HERE)
    assert isinstance(await peer.next(), wire.Update)
    assert await client.close_code() == 4408


async def test_who_hears_nothing_is_told_something(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """An awareness message about nobody, in both protocols, before a client would give its socket up; pings,
    which its program does not see, are nothing that it heard."""
    service = await start_service(
        database, PING_INTERVAL="1", change="import zedi.realtime.server as s; s.NUDGE_TICKS = 2"
    )
    page, token = await database.page(), issuer.token()
    client = await connect(service)
    await attach(client, page, token)
    nobody = wire.encode_awareness(())
    assert await client.next() == wire.Awareness(page, nobody)
    assert await client.next() == wire.Awareness(page, nobody)
    plain = await connect(service, f"/realtime/{page}?token={token}")
    plain.send(wire.step1(wire.EMPTY_STATE_VECTOR))
    async with asyncio.timeout(SECONDS):
        while await plain.frames.get() != wire.awareness(nobody):
            pass


async def test_a_full_document_refuses_and_says_so(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer, until: Until
) -> None:
    """At its bound a document stays readable; an author hears of each update that is not taken, in either
    protocol, and keeps its socket: a client that is closed comes back at once and tries the same again."""
    service = await start_service(database, change="import zedi.realtime.room as r; r.MAX_DOCUMENT = 1000")
    page, token = await database.page(), issuer.token()
    client = await connect(service)
    await attach(client, page, token)
    kept, refused = an_update("x" * 600), an_update("y" * 600)
    client.say(wire.Update(page, kept))
    assert await client.until(wire.SyncStatus) == wire.SyncStatus(page, True)
    client.say(wire.Update(page, refused))
    assert await client.until(wire.SyncStatus) == wire.SyncStatus(page, False)
    plain = await connect(service, f"/realtime/{page}?token={token}")
    plain.send(wire.step1(wire.EMPTY_STATE_VECTOR) + wire.update(refused) + wire.update(refused))
    heard: list[wire.Message] = []
    async with asyncio.timeout(SECONDS):
        while len(heard) < 4:
            heard += wire.decode_unaddressed(await plain.frames.get())
    assert isinstance(heard[0], wire.Step1)
    assert heard[1:] == [wire.Step2("", kept), *[wire.Denied("", "the document is full")] * 2]
    await nothing_more(client)
    plain.send(wire.update(wire.EMPTY_UPDATE) + wire.step1(wire.EMPTY_STATE_VECTOR))
    async with asyncio.timeout(SECONDS):
        assert wire.decode_unaddressed(await plain.frames.get()) == [wire.Step2("", kept)]

    async def stored() -> bool:
        return [data for _, data in await database.updates(page)] == [kept, wire.EMPTY_UPDATE]

    await until(stored)  # nobody is told, in this protocol
