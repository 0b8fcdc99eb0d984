"""The service as its own process, spoken to in raw frames: what decent clients never do, and health."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import TYPE_CHECKING

import picows
import pycrdt
import pytest
from tests.realtime.conftest import QUICK_TICKS
from tests.servers import SECONDS

from zedi.realtime import wire
from zedi.realtime.server import MAX_BACKLOG, MAX_FRAGMENTS, MAX_MESSAGE

if TYPE_CHECKING:
    from tests.realtime.conftest import Connect, RawClient, StartService, Until
    from tests.servers import Database, Issuer, Server

pytestmark = pytest.mark.server


async def join(client: RawClient, page: str, token: str) -> None:
    """Authenticates and synchronises an empty client."""
    client.say(wire.Token(page, token, "4.8.0"))
    client.say(wire.Step1(page, wire.EMPTY_STATE_VECTOR))
    assert await client.next() == wire.Authenticated(page, "read-write")
    await client.until(wire.Step1)
    client.say(wire.Step2(page, wire.EMPTY_UPDATE))
    await client.until(wire.Step2)
    assert await client.until(wire.SyncStatus) == wire.SyncStatus(page, True)


def an_update(size: int) -> bytes:
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    doc.get("text", type=pycrdt.Text).insert(0, "x" * size)
    return doc.get_update()


async def test_each_update_is_acknowledged_once(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """A hundred updates in one go: a hundred acknowledgements and no more, and all of it in the journal."""
    service, page = await start_service(database), await database.page()
    client = await connect(service)
    await join(client, page, issuer.token())
    updates = [an_update(1) for _ in range(100)]
    for update in updates:
        client.say(wire.Update(page, update))
    for _ in updates:
        assert await client.until(wire.SyncStatus) == wire.SyncStatus(page, True)
    client.say(wire.Ping())
    assert await client.next() == wire.Pong()
    assert await database.text(page) == "x" * 100


async def test_an_edit_before_an_abrupt_end_is_kept(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer, until: Until
) -> None:
    """Who writes and vanishes at once has still written, for the peers and for the journal."""
    service, page = await start_service(database), await database.page()
    author, peer = await connect(service), await connect(service)
    await join(author, page, issuer.token())
    await join(peer, page, issuer.token())
    update = an_update(3)
    author.say(wire.Update(page, update))
    author.transport.disconnect(graceful=True)
    assert await peer.until(wire.Update) == wire.Update(page, update)

    async def stored() -> bool:
        return [data for _, data in await database.updates(page)] == [update]

    await until(stored)


async def test_fragments_are_put_together(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """A message in three WebSocket frames is one message."""
    service, page = await start_service(database), await database.page()
    client = await connect(service)
    frame = wire.encode(wire.Token(page, issuer.token(), None))
    client.transport.send(picows.WSMsgType.BINARY, frame[:5], fin=False)
    client.transport.send_ping()
    client.transport.send(picows.WSMsgType.CONTINUATION, frame[5:50], fin=False)
    client.transport.send(picows.WSMsgType.CONTINUATION, frame[50:])
    assert await client.next() == wire.Authenticated(page, "read-write")


async def test_a_message_that_never_ends_is_too_big(
    database: Database, start_service: StartService, connect: Connect
) -> None:
    """Empty fragments add no byte, and are counted all the same: 1009."""
    service = await start_service(database)
    client = await connect(service)
    client.transport.send(picows.WSMsgType.BINARY, b"", fin=False)
    for _ in range(MAX_FRAGMENTS - 1):
        client.transport.send(picows.WSMsgType.CONTINUATION, b"", fin=False)
    client.transport.send(picows.WSMsgType.CONTINUATION, b"", fin=False)
    assert await client.close_code() == 1009
    assert (await service.logged("disconnected"))["reason"] == "message too big"


async def test_what_is_not_the_protocol_closes_the_socket(
    database: Database, start_service: StartService, connect: Connect
) -> None:
    """Each offence has its close code, and none disturbs the service."""
    service = await start_service(database)

    async def code_after(send: object) -> int:
        client = await connect(service)
        assert callable(send)
        send(client)
        return await client.close_code()

    message, text = picows.WSMsgType.BINARY, picows.WSMsgType.TEXT
    continuation = picows.WSMsgType.CONTINUATION
    assert await code_after(lambda c: c.send(b"\xff" * 30)) == 4205
    assert await code_after(lambda c: c.send(b"")) == 4205
    assert await code_after(lambda c: c.transport.send(text, "hello")) == 1003
    assert await code_after(lambda c: c.transport.send(continuation, b"x")) == 1002
    assert await code_after(lambda c: c.transport.send(message, b"x" * (MAX_MESSAGE + 1))) == 1009

    def two_halves(client: RawClient) -> None:
        client.transport.send(message, b"x" * (MAX_MESSAGE - 5), fin=False)
        client.transport.send(continuation, b"x" * 10)

    assert await code_after(two_halves) == 1009
    assert await code_after(lambda c: c.transport.send(message, b"x" * 3 * MAX_MESSAGE)) == 1009
    assert service.health()[0] == 200


@pytest.mark.parametrize(
    ("said", "answer"), [(b"", 1000), (b"\x0f\xa0bye", 4000), (b"\x03\xee", 1002), (b"\x13\x88", 1002)]
)
async def test_a_close_is_answered(
    database: Database, start_service: StartService, connect: Connect, said: bytes, answer: int
) -> None:
    """With its own code; nothing said is 1000, and what may not be on the wire (1006, 5000) is 1002."""
    service = await start_service(database)
    client = await connect(service)
    client.transport.underlying_transport.write(bytes((0x88, 0x80 + len(said))) + bytes(4) + said)
    assert await client.close_code() == answer
    line = await service.logged("disconnected", reason="by the client")
    assert line["code"] == (int.from_bytes(said[:2], "big") or 1005)


async def test_a_reader_that_does_not_read_is_closed(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """What waits for a slow reader is bounded; it is closed, the others go on, and it can come back."""
    service, page = await start_service(database), await database.page()
    author, sleeper = await connect(service), await connect(service)
    await join(author, page, issuer.token())
    await join(sleeper, page, issuer.token())
    sleeper.transport.underlying_transport.pause_reading()
    for _ in range(20):
        author.say(wire.Update(page, an_update(1024 * 1024)))
    await service.logged("slow_reader")
    await service.logged("disconnected", code=1013)
    for _ in range(20):
        assert await author.until(wire.SyncStatus) == wire.SyncStatus(page, True)
    again = await connect(service)
    again.say(wire.Token(page, issuer.token(), None))
    again.say(wire.Step1(page, wire.EMPTY_STATE_VECTOR))
    step2 = await again.until(wire.Step2)
    assert step2.update


SMALL_BACKLOG = "import zedi.realtime.server as s; s.MAX_BACKLOG = 1024 * 1024; s.CAUGHT_UP = 128 * 1024"
MORE_THAN_THE_KERNEL = 14 * 1024 * 1024
"""Bytes of which some MB are left when the kernel has taken what it takes for one that does not read."""


async def pages_of(
    author: RawClient, database: Database, token: str, sizes: list[int]
) -> list[tuple[str, bytes]]:
    """Pages, each with the one update that it is made of; `author` is left reading all of them."""
    pages = []
    for size in sizes:
        page, update = await database.page(), an_update(size)
        await join(author, page, token)
        author.say(wire.Update(page, update))
        assert await author.until(wire.SyncStatus) == wire.SyncStatus(page, True)
        pages.append((page, update))
    return pages


async def test_long_documents_are_sent_one_after_the_other(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """One that reads slowly is sent a document when it has caught up, with all that is in it by then; it may
    close another one meanwhile, and is no slow reader for what it was sent itself."""
    service, token = await start_service(database, change=SMALL_BACKLOG), issuer.token()
    author, client = [await connect(service, max_frame_size=MAX_MESSAGE) for _ in range(2)]
    (first, long), (second, _), (third, _) = await pages_of(
        author, database, token, [MORE_THAN_THE_KERNEL, 10, 10]
    )
    for page in (first, second, third):
        client.say(wire.Token(page, token, None))
        assert await client.until(wire.Authenticated) == wire.Authenticated(page, "read-write")
    client.transport.underlying_transport.pause_reading()
    for page in (first, second, third):
        client.say(wire.Step1(page, wire.EMPTY_STATE_VECTOR))
    client.say(wire.Close(third, ""))
    client.say(wire.Update(second, an_update(1)))
    assert (await author.until(wire.Update)).address == second  # so all before it has been read, too
    client.say(wire.Close(first, ""))
    client.say(wire.Update(second, an_update(1)))
    assert (await author.until(wire.Update)).address == second
    client.transport.underlying_transport.resume_reading()
    assert await client.until(wire.Step2) == wire.Step2(first, long)
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    message: wire.Message | None = None
    while not isinstance(message, wire.Step2):
        message = await client.next()
        if isinstance(message, wire.Update | wire.Step2):
            assert message.address == second
            doc.apply_update(message.update)
    assert len(str(doc.get("text", type=pycrdt.Text))) == 12
    client.say(wire.Ping())
    while (message := await client.next()) != wire.Pong():
        assert not isinstance(message, wire.Step2)


async def test_one_long_update_makes_nobody_slow(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """A reader that had read all but is not reading now gets it; what comes after that is too much."""
    service, page, token = (
        await start_service(database, change=SMALL_BACKLOG),
        await database.page(),
        issuer.token(),
    )
    author, reader, sleeper = [await connect(service, max_frame_size=MAX_MESSAGE) for _ in range(3)]
    for client in (author, reader, sleeper):
        await join(client, page, token)
    for client in (reader, sleeper):
        client.transport.underlying_transport.pause_reading()
    update = an_update(MORE_THAN_THE_KERNEL)
    author.say(wire.Update(page, update))
    assert await author.until(wire.SyncStatus) == wire.SyncStatus(page, True)
    reader.transport.underlying_transport.resume_reading()
    assert await reader.until(wire.Update) == wire.Update(page, update)
    author.say(wire.Update(page, an_update(1)))
    assert isinstance(await reader.until(wire.Update), wire.Update)
    await service.logged("disconnected", code=1013)
    assert not reader.closed.done()


async def test_who_has_a_document_already_may_leave_no_more_unread_for_its_length(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """Asking for what it has brings an answer of a few bytes, and no more allowance than that."""
    service, token = await start_service(database, change=SMALL_BACKLOG), issuer.token()
    author, sleeper = [await connect(service, max_frame_size=MAX_MESSAGE) for _ in range(2)]
    ((page, update),) = await pages_of(author, database, token, [MORE_THAN_THE_KERNEL])
    sleeper.say(wire.Token(page, token, None))
    sleeper.say(wire.Step1(page, pycrdt.get_state(update)))
    assert len((await sleeper.until(wire.Step2)).update) < 100
    sleeper.transport.underlying_transport.pause_reading()
    for _ in range(MORE_THAN_THE_KERNEL // 1024**2):
        author.say(wire.Update(page, an_update(1024**2)))
        await author.until(wire.SyncStatus)
    await service.logged("slow_reader")


async def test_who_pings_and_does_not_read_is_closed(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """A pong for every ping, with its payload; they count as anything else that waits to be read."""
    service, page = await start_service(database), await database.page()
    client = await connect(service)
    await join(client, page, issuer.token())
    client.transport.send_ping(b"are you there")
    async with asyncio.timeout(20):
        assert await client.pongs.get() == b"are you there"
    client.transport.underlying_transport.pause_reading()
    told = asyncio.create_task(service.logged("slow_reader"))
    while not told.done():  # what the kernel takes is a lot, and not always the same
        for _ in range(1000):
            client.transport.send_ping(b"?" * 125)
        await asyncio.sleep(0.001)
    assert (await told)["backlog"] > MAX_BACKLOG
    await service.logged("disconnected", code=1013)


async def test_pings_show_that_a_client_lives(
    database: Database, start_service: StartService, connect: Connect
) -> None:
    """One that only pings is not silent."""
    service = await start_service(
        database, PING_INTERVAL="1", change="import zedi.realtime.server as s; s.CLOSE_SECONDS = 0.5"
    )
    pinging, silent = await connect(service), await connect(service)
    pinging.answers = silent.answers = False
    while not silent.closed.done():
        pinging.transport.send_ping()
        async with asyncio.timeout(20):
            await pinging.pongs.get()
    assert await silent.close_code() == 1001
    assert not pinging.closed.done()


async def test_a_token_that_runs_out_ends_the_socket(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """A new token is asked for before the end of the old one; without it the socket is closed with 4408."""
    service, page = await start_service(database, change=QUICK_TICKS), await database.page()
    client = await connect(service)
    await join(client, page, issuer.token(seconds=1))
    assert await client.until(wire.TokenRequest) == wire.TokenRequest(page)
    assert await client.close_code() == 4408


async def test_who_does_not_answer_a_ping_is_gone(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer, until: Until
) -> None:
    """Everybody is pinged once an interval, however busy; who gives no sign for two of them and a little more
    is closed with 1001, and its presence goes. Who answers, or says something, stays."""
    change = f"{QUICK_TICKS}; server.CLOSE_SECONDS = 0.5"
    service = await start_service(database, change=change, PING_INTERVAL="1")
    page, began = await database.page(), time.monotonic()
    silent, answering, talking = everybody = [await connect(service) for _ in range(3)]
    silent.answers = talking.answers = False
    for client in everybody:
        await join(client, page, issuer.token())
    silent.say(wire.Awareness(page, wire.encode_awareness([wire.Presence(7, 1, b"{}")])))
    assert wire.decode_awareness((await answering.until(wire.Awareness)).payload)[0].state == b"{}"
    async with asyncio.timeout(SECONDS):
        while not silent.closed.done():
            talking.say(wire.Update(page, an_update(1)))
            await talking.until(wire.SyncStatus)
    assert await silent.closed == (1001, "silent for too long")
    assert (await service.logged("disconnected", code=1001))["duration"] >= 2.5
    gone = wire.decode_awareness((await answering.until(wire.Awareness)).payload)
    assert gone == [wire.Presence(7, 1, wire.NO_STATE)]
    await until(lambda: len(answering.pings) > 1 and len(talking.pings) > 1)
    assert silent.pings and max(len(client.pings) for client in everybody) <= time.monotonic() - began
    assert not answering.closed.done() and not talking.closed.done()


async def test_firefox_may_come_in(database: Database, start_service: StartService, connect: Connect) -> None:
    """`Connection: keep-alive, Upgrade` is an upgrade as well."""
    service = await start_service(database)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(
        b"GET /realtime?x=1 HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with asyncio.timeout(20):
        assert (await reader.readline()).startswith(b"HTTP/1.1 101")
    writer.close()
    await writer.wait_closed()


async def test_a_crowd_at_the_door_is_not_turned_away(
    database: Database, start_service: StartService
) -> None:
    """Three hundred connect while it is too busy to look: the kernel takes them all, and each is answered."""
    service = await start_service(database)
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    service.process.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):  # beyond the backlog nothing would come, however long it takes
            crowd = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(300)]
        for _, writer in crowd:
            writer.write(request)
    finally:
        service.process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(20):
        for reader, writer in crowd:
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()


async def test_other_paths_are_not_found(database: Database, start_service: StartService) -> None:
    """The port has a WebSocket and a health page, and nothing else."""
    service = await start_service(database)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(b"GET /admin HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(20):
        assert (await reader.readline()).startswith(b"HTTP/1.1 404")
    writer.close()
    await writer.wait_closed()


async def test_it_starts_without_its_database_and_says_so(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer, postgres_server: Server
) -> None:
    """No database at the start: live but not ready, with the reason; it is ready as soon as there is one."""
    postgres_server.stop(signal.SIGQUIT)
    try:
        service = await start_service(database, ready=False)
        reason = (await service.logged("database_away"))["reason"]
        status, body = service.health()
        assert status == 503 and body["live"] and not body["ready"]
        assert body["database"].split(":")[0] == reason.split(":")[0]
    finally:
        postgres_server.start()
    await service.logged("database_ready")
    assert service.health() == (
        200,
        {
            "live": True,
            "ready": True,
            "draining": False,
            "database": "ok",
            "redis": service.health()[1]["redis"],
        },
    )
    assert service.health()[1]["redis"] != "ok"


async def test_a_connection_that_fails_costs_the_others_nothing(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer, until: Until
) -> None:
    """A defect that shows once a second is logged once a second; the task stays, and so do its sockets."""
    change = "import zedi.realtime.server as s; s.Connection.tick = lambda connection, now: 1 / 0"
    service, page = await start_service(database, change=change), await database.page()
    client = await connect(service)
    await until(lambda: [line.get("event") for line in service.log].count("tick failed") >= 2)
    await join(client, page, issuer.token())


async def test_a_missing_variable_is_named(database: Database, start_service: StartService) -> None:
    """Without its environment the service ends with status 1 and says what is missing."""
    with pytest.raises(AssertionError, match="COGNITO_CLIENT_ID: is missing"):
        await start_service(database, COGNITO_CLIENT_ID="")


async def test_the_last_metrics_are_written_at_the_end(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """A task that goes writes its metrics once more: edits, messages, latency."""
    service, page = await start_service(database), await database.page()
    client = await connect(service)
    await join(client, page, issuer.token())
    client.say(wire.Update(page, an_update(1)))
    await client.until(wire.SyncStatus)
    assert await service.stop() == 0
    (line,) = [line for line in service.log if "_aws" in line]
    assert line["SyncOperations"] == 1 and line["Messages"] == 4 and line["Errors"] == 0
    assert sum(line["SyncLatency"]["Counts"]) == 1
    assert json.dumps(line).count("Environment") == 2


async def test_authors_hear_saved_before_a_drain_closes_their_socket(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """SIGTERM while a commit waits for a lock: first the acknowledgement, then 1012."""
    service, page = await start_service(database, DRAIN_SECONDS="60"), await database.page()
    client = await connect(service)
    await join(client, page, issuer.token())
    client.say(wire.Update(page, an_update(1)))
    await client.until(wire.SyncStatus)
    locker = await database.connect()
    try:
        transaction = locker.transaction()
        await transaction.start()
        await locker.execute("SELECT 1 FROM documents WHERE name = $1 FOR UPDATE", page)
        client.say(wire.Update(page, an_update(1)))
        client.say(wire.Ping())
        await client.until(wire.Pong)
        service.process.send_signal(signal.SIGTERM)
        await service.logged("draining")
        await transaction.rollback()
    finally:
        await locker.close()
    assert await client.until(wire.SyncStatus) == wire.SyncStatus(page, True)
    assert await client.close_code() == 1012


async def test_a_task_that_goes_takes_nobody_in_and_closes_one_after_the_other(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer
) -> None:
    """SIGTERM: /health and newcomers hear 503 before anybody is closed; those who are not closed yet are
    served on, and the task ends with status 0."""
    slow = "from zedi.realtime import server; server.DRAIN_INTERVAL = 0.3"
    service, page = await start_service(database, change=slow, DRAIN_SECONDS="60"), await database.page()
    clients = [await connect(service) for _ in range(4)]
    for client in clients:
        await join(client, page, issuer.token())
    first, last = clients[0], clients[-1]
    first.say(wire.Update(page, an_update(1)))
    await first.until(wire.SyncStatus)

    async def turned_away() -> None:
        status, body = service.health()
        assert status == 503 and body["draining"] and not body["ready"]
        with pytest.raises(picows.WSHandshakeError, match="503"):
            await connect(service)

    async def served(client: RawClient) -> None:
        client.say(wire.Ping())
        await client.until(wire.Pong)

    locker = await database.connect()
    try:
        transaction = locker.transaction()
        await transaction.start()
        await locker.execute("SELECT 1 FROM documents WHERE name = $1 FOR UPDATE", page)
        first.say(wire.Update(page, an_update(1)))  # so that the journal keeps it waiting
        await served(first)
        service.process.send_signal(signal.SIGTERM)
        await service.logged("draining")
        await turned_away()
        for client in clients:
            await served(client)
        await transaction.rollback()
    finally:
        await locker.close()
    assert await first.close_code() == 1012
    await served(last)
    await turned_away()
    assert [await client.close_code() for client in clients] == [1012] * 4
    async with asyncio.timeout(20):
        assert await service.process.wait() == 0


@pytest.mark.parametrize("form", ["/realtime/{}", "/realtime/{}/", "//realtime//{}", "/{}"])
async def test_y_websocket_finds_its_room_in_the_path(
    database: Database, start_service: StartService, connect: Connect, issuer: Issuer, form: str
) -> None:
    """Step1 first, then the answer to its own; one trace in the log, and its token nowhere."""
    service, page = await start_service(database), await database.page()
    token = issuer.token()
    path = form.format(page.replace("-", "%2D")) + f"?token={token}"
    client = await connect(service, path)
    client.send(wire.step1(wire.EMPTY_STATE_VECTOR) + wire.update(an_update(1)) + wire.QUERY_AWARENESS)
    kinds: list[type[wire.Message]] = []
    async with asyncio.timeout(20):
        while wire.Step2 not in kinds:
            kinds += map(type, wire.decode_unaddressed(await client.frames.get()))
    assert kinds == [wire.Step1, wire.Step2]
    client.send(b"\x09")
    assert await client.close_code() == 4205
    trace = (await service.logged("authenticated", protocol="y-websocket"))["trace"]
    for event in ("connected", "refused", "disconnected"):
        await service.logged(event, trace=trace)
    assert token not in json.dumps(service.log) and "token=" not in json.dumps(service.log)
    assert service.errors == []
