"""The edge: a real bucket behind it, a service that shows what it gets, and sockets of its own."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import httpx
import pytest

from zedi import contract
from zedi.deploy.target import target_of
from zedi.embedded import EmbeddedError
from zedi.embedded.edge import Edge, Origins, policy_headers
from zedi.phases import cdn
from zedi.settings import Settings, parse

HEADERS = {"X-Frame-Options": "DENY", "Content-Security-Policy": "default-src 'self'"}
SCRIPT = b"export const a = 1;\n" * 500
PAGE = "<!doctype html><title>ノート</title>".encode()

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(port: int, handler: Handler) -> AsyncIterator[None]:
    """A server of the test's own, in place of the service."""
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.create_task(connected(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def edge_at(port: int, origins: Origins) -> AsyncIterator[Edge]:
    edge = Edge(port, origins, HEADERS)
    await edge.start()
    try:
        yield edge
    finally:
        await edge.close()


@dataclass
class Place:
    url: str
    port: int
    origins: Origins


@pytest.fixture(scope="module")
def bucket_port(embedded: Settings) -> int:
    """The AWS API with a bucket `front-end` that holds a page, a script, a picture and a settings file."""
    assert embedded.embedded is not None
    s3 = target_of(embedded).client("s3")
    s3.create_bucket(Bucket="front-end", CreateBucketConfiguration={"LocationConstraint": "ap-northeast-1"})
    s3.create_bucket(Bucket="other-one", CreateBucketConfiguration={"LocationConstraint": "ap-northeast-1"})
    s3.put_object(Bucket="other-one", Key="secret.txt", Body=b"not yours")
    for key, body, kind, cache in (
        ("index.html", PAGE, "text/html; charset=utf-8", "no-cache"),
        ("assets/app-1.js", SCRIPT, "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        ("assets/花.png", bytes(range(256)) * 40, "image/png", "public, max-age=31536000, immutable"),
        ("config.json", b"{}", "application/json", "no-store"),
    ):
        s3.put_object(Bucket="front-end", Key=key, Body=body, ContentType=kind, CacheControl=cache)
    return embedded.embedded.port


@pytest.fixture
def place(free_ports: Callable[[int], list[int]]) -> Place:
    """Free ports for an edge and the service behind it; its bucket cannot be reached."""
    port, api, realtime, nobody = free_ports(4)
    return Place(f"http://localhost:{port}", port, Origins("front-end", nobody, api, realtime))


@pytest.fixture
async def browser(place: Place) -> AsyncIterator[httpx.AsyncClient]:
    """A client that takes what it is given: no redirects, no proxy."""
    async with httpx.AsyncClient(base_url=place.url, trust_env=False) as client:
        yield client


class TestBucket:
    """Files of the front end, out of the embedded S3."""

    pytestmark = pytest.mark.server

    @pytest.fixture(autouse=True)
    async def edge(self, place: Place, bucket_port: int) -> AsyncIterator[None]:
        origins = Origins("front-end", bucket_port, place.origins.api_port, place.origins.realtime_port)
        async with edge_at(place.port, origins):
            yield

    @pytest.mark.parametrize("path", ["/", "/pages/0198", "/callback?code=1", "/api", "/a.b/c"])
    async def test_path_without_extension_is_the_app(self, browser: httpx.AsyncClient, path: str) -> None:
        """Pages of the app are its index.html, never cached, with the policy's headers."""
        answer = await browser.get(path)
        assert (answer.status_code, answer.content) == (200, PAGE)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"
        for name, value in HEADERS.items():
            assert answer.headers[name] == value

    async def test_file_has_the_headers_it_was_published_with(self, browser: httpx.AsyncClient) -> None:
        """Type, caching and tag are the object's; a name in Japanese is found; nothing of S3's shows."""
        answer = await browser.get("/assets/花.png", headers={"Accept-Encoding": "gzip"})
        assert answer.content == bytes(range(256)) * 40
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["etag"].startswith('"')
        assert "content-encoding" not in answer.headers
        assert not [name for name in answer.headers if name.startswith("x-amz")]

    async def test_file_is_compressed_for_who_takes_it(self, browser: httpx.AsyncClient) -> None:
        """gzip where asked for, a weak tag with it, and the same file plain otherwise."""
        async with browser.stream(
            "GET", "/assets/app-1.js", headers={"Accept-Encoding": "br, gzip"}
        ) as answer:
            raw = b"".join([data async for data in answer.aiter_raw()])
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.headers["etag"].startswith('W/"')
        assert gzip.decompress(raw) == SCRIPT and len(raw) < len(SCRIPT) / 10
        for refused in ("identity", "gzip;q=0", "br"):
            plain = await browser.get("/assets/app-1.js", headers={"Accept-Encoding": refused})
            assert "content-encoding" not in plain.headers
            assert plain.content == SCRIPT
        small = await browser.get("/config.json", headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in small.headers

    async def test_file_that_has_not_changed_is_not_sent_again(self, browser: httpx.AsyncClient) -> None:
        """Either tag, weak or strong, is answered with 304 and no body, and the connection goes on."""
        for coding in ("gzip", "identity"):
            first = await browser.get("/assets/app-1.js", headers={"Accept-Encoding": coding})
            again = await browser.get(
                "/assets/app-1.js",
                headers={"Accept-Encoding": coding, "If-None-Match": first.headers["etag"]},
            )
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["cache-control"] == first.headers["cache-control"]
            assert again.headers["x-frame-options"] == "DENY"
        assert (await browser.get("/config.json")).content == b"{}"

    async def test_head_is_get_without_the_body(self, browser: httpx.AsyncClient) -> None:
        """HEAD has the same headers and leaves the connection usable."""
        for coding in ("gzip", "identity"):
            headers = {"Accept-Encoding": coding}
            get = await browser.get("/assets/app-1.js", headers=headers)
            head = await browser.head("/assets/app-1.js", headers=headers)
            assert head.content == b""
            for name in ("content-length", "content-type", "etag", "cache-control"):
                assert head.headers[name] == get.headers[name]

    async def test_part_of_a_file(self, browser: httpx.AsyncClient) -> None:
        """A range is answered with that range, not compressed."""
        answer = await browser.get(
            "/assets/app-1.js", headers={"Range": "bytes=0-5", "Accept-Encoding": "gzip"}
        )
        assert (answer.status_code, answer.content) == (206, SCRIPT[:6])

    async def test_file_that_is_not_there(self, browser: httpx.AsyncClient) -> None:
        """A missing file is an error that nobody caches, not the app's page."""
        answer = await browser.get("/assets/old.js")
        assert answer.status_code == 404
        assert answer.headers["cache-control"] == "no-store"

    @pytest.mark.parametrize(
        "path",
        ["/../other-one/secret.txt", "/%2e%2e/other-one/secret.txt", "/x/..%2f../other-one/secret.txt"],
    )
    async def test_no_way_into_another_bucket(self, place: Place, path: str) -> None:
        """A path cannot leave the front end's bucket."""
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert b" 400 " in answer.splitlines()[0]
        assert b"not yours" not in answer

    async def test_only_reading_is_allowed(self, browser: httpx.AsyncClient) -> None:
        """The bucket cannot be written through the edge."""
        assert (await browser.put("/index.html", content=b"x")).status_code == 405
        assert (await browser.get("/index.html")).content == PAGE


async def read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = (line.split(": ", 1) for line in head[1:] if line)
    return head[0], {name.lower(): value for name, value in pairs}


async def test_api_gets_the_request_and_whom_it_is_from(place: Place, browser: httpx.AsyncClient) -> None:
    """Method, path, query, body and host arrive as sent, with whom they are from; the answer comes back."""
    seen: list[tuple[str, dict[str, str], bytes]] = []

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, headers = await read_request(reader)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        seen.append((line, headers, body))
        writer.write(
            b"HTTP/1.1 201 Created\r\nLocation: /api/pages/1\r\nContent-Length: 2\r\n"
            b"X-Frame-Options: A\r\n\r\n{}"
        )
        writer.close()

    async with serving(place.origins.api_port, service), edge_at(place.port, place.origins):
        answer = await browser.post(
            "/api/pages?after=%E8%8A%B1", content=b"x" * 100_000, headers={"X-Forwarded-For": "10.0.0.1"}
        )
    assert (answer.status_code, answer.content, answer.headers["location"]) == (201, b"{}", "/api/pages/1")
    assert answer.headers.get_list("x-frame-options") == ["DENY"]
    line, headers, body = seen[0]
    assert line == "POST /api/pages?after=%E8%8A%B1 HTTP/1.1"
    assert body == b"x" * 100_000
    assert headers["host"] == f"localhost:{place.port}"
    assert headers["x-forwarded-for"] in ("10.0.0.1, 127.0.0.1", "10.0.0.1, ::1")
    assert headers["x-forwarded-proto"] == "http"


async def test_api_that_streams_is_not_held_back(place: Place, browser: httpx.AsyncClient) -> None:
    """What the service sends in parts arrives in parts."""
    more = asyncio.Event()

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await more.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
        writer.close()

    async with (
        serving(place.origins.api_port, service),
        edge_at(place.port, place.origins),
        browser.stream("GET", "/api/x") as answer,
    ):
        parts = answer.aiter_raw()
        assert await anext(parts) == b"one"
        more.set()
        assert await anext(parts) == b"two"


async def test_api_that_answers_early_is_heard(place: Place, browser: httpx.AsyncClient) -> None:
    """An answer that comes before the body was read is given, and the connection is not used again."""

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.close()

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 100_000

    async with serving(place.origins.api_port, service), edge_at(place.port, place.origins):
        answer = await browser.post("/api/x", content=endless())
        assert answer.status_code == 413
        assert answer.headers["connection"] == "close"


async def test_service_that_is_down_is_an_error_in_json(place: Place, browser: httpx.AsyncClient) -> None:
    """Nobody behind /api or /realtime: 503 with a body for programs, and the policy's headers."""
    async with edge_at(place.port, place.origins):
        for path in ("/api/pages", "/realtime"):
            answer = await browser.get(path)
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "unavailable"
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["retry-after"] == "1"


async def test_service_that_breaks_off_is_not_taken_for_complete(
    place: Place, browser: httpx.AsyncClient
) -> None:
    """An answer that ends too soon ends the connection, so that the browser notices."""

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        writer.close()

    async with serving(place.origins.api_port, service), edge_at(place.port, place.origins):
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await browser.get("/api/x")


async def upgrade(place: Place, extra: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A browser's WebSocket, asked for; `extra` is sent right behind."""
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    key = base64.b64encode(b"0" * 16).decode()
    writer.write(
        f"GET /realtime?v=1 HTTP/1.1\r\nHost: localhost:{place.port}\r\nUpgrade: WebSocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        + extra
    )
    return reader, writer


SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


async def test_websocket_is_a_tunnel(place: Place) -> None:
    """The handshake arrives whole, bytes go both ways, those sent too early too."""
    heads: list[tuple[str, dict[str, str]]] = []

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_request(reader))
        writer.write(SWITCHED)
        while data := await reader.read(65536):
            writer.write(data[::-1])
        writer.close()

    async with serving(place.origins.realtime_port, service), edge_at(place.port, place.origins):
        reader, writer = await upgrade(place, b"early")
        assert await reader.readexactly(len(SWITCHED)) == SWITCHED
        assert await reader.readexactly(5) == b"ylrae"
        writer.write(b"\x00\x01\x02")
        assert await reader.readexactly(3) == b"\x02\x01\x00"
        writer.close()
    line, headers = heads[0]
    assert line == "GET /realtime?v=1 HTTP/1.1"
    assert headers["upgrade"] == "WebSocket"
    assert headers["connection"] == "Upgrade"
    assert headers["x-forwarded-for"] == "127.0.0.1"


async def test_tunnel_passes_a_half_close_on(place: Place) -> None:
    """A side that says that it is done still hears the rest."""

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SWITCHED)
        everything = await reader.read()
        writer.write(b"heard " + everything)
        writer.close()

    async with serving(place.origins.realtime_port, service), edge_at(place.port, place.origins):
        reader, writer = await upgrade(place)
        await reader.readexactly(len(SWITCHED))
        writer.write(b"last words")
        writer.write_eof()
        assert await reader.read() == b"heard last words"
        writer.close()


async def test_tunnel_waits_for_a_slow_reader(place: Place) -> None:
    """A browser that does not read stops the service from sending; nothing piles up in between."""
    sent = 0

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(SWITCHED)
        for _ in range(1000):
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000
        writer.close()

    async with serving(place.origins.realtime_port, service), edge_at(place.port, place.origins):
        reader, writer = await upgrade(place)
        await reader.readexactly(len(SWITCHED))
        before = -1
        async with asyncio.timeout(30):
            while sent != before or sent == 0:
                before = sent
                await asyncio.sleep(0.3)
        assert sent < 50_000_000
        received = len(await reader.read())
        assert received == 100_000_000
        writer.close()


async def test_many_sockets_at_once(place: Place) -> None:
    """Three hundred tunnels are open together, and each carries its own."""

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SWITCHED)
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async with serving(place.origins.realtime_port, service), edge_at(place.port, place.origins):
        sockets = await asyncio.gather(*(upgrade(place) for _ in range(300)))
        for number, (_, writer) in enumerate(sockets):
            writer.write(b"%03d" % number)
        for number, (reader, _) in enumerate(sockets):
            await reader.readexactly(len(SWITCHED))
            assert await reader.readexactly(3) == b"%03d" % number
        for _, writer in sockets:
            writer.close()


async def test_refused_websocket_is_told_as_the_service_says_it(place: Place) -> None:
    """An answer other than 101 reaches the browser as it is."""

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 503 Draining\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with serving(place.origins.realtime_port, service), edge_at(place.port, place.origins):
        reader, writer = await upgrade(place)
        assert (await reader.read()).startswith(b"HTTP/1.1 503 Draining\r\n")
        writer.close()


async def test_head_without_an_end_is_refused(place: Place) -> None:
    """A request's head is bounded."""
    async with edge_at(place.port, place.origins):
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)
        assert b" 431 " in (await reader.read()).splitlines()[0]
        writer.close()


async def test_nonsense_is_refused(place: Place) -> None:
    """What is not HTTP gets 400 and the end of the connection."""
    async with edge_at(place.port, place.origins):
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(b"\x16\x03\x01\x02\x00\r\n\r\n")
        assert b" 400 " in (await reader.read()).splitlines()[0]
        writer.close()


async def test_close_ends_what_is_open(place: Place) -> None:
    """Closing does not wait for browsers, and the port is free at once."""

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SWITCHED)
        await reader.read()
        writer.close()

    async with serving(place.origins.realtime_port, service):
        async with asyncio.timeout(5), edge_at(place.port, place.origins):
            tunnel, tunnel_writer = await upgrade(place)
            await tunnel.readexactly(len(SWITCHED))
            idle, idle_writer = await asyncio.open_connection("127.0.0.1", place.port)
        assert await tunnel.read() == b""
        assert await idle.read() == b""
        tunnel_writer.close()
        idle_writer.close()
    with socket.create_server(("127.0.0.1", place.port)):
        pass


async def test_port_that_is_taken_is_a_clear_error(place: Place) -> None:
    """The error names the port and the key that moves it."""
    with socket.create_server(("127.0.0.1", place.port)), pytest.raises(EmbeddedError) as caught:
        await Edge(place.port, place.origins, {}).start()
    assert str(place.port) in caught.value.where and "cdn.url" in caught.value.fix


async def test_it_listens_on_loopback_alone(
    place: Place, listening: Callable[[int], set[str]], loopback: set[str]
) -> None:
    """127.0.0.1 and ::1 are all that it listens on: browsers try the second first for localhost."""
    async with edge_at(place.port, place.origins):
        assert listening(os.getpid()) == loopback


def test_policy_is_read_as_cloudfront_gives_it() -> None:
    """Every part of a policy that has one becomes its header; what is absent does not."""
    policy = {
        "SecurityHeadersConfig": {
            "ContentSecurityPolicy": {"ContentSecurityPolicy": "default-src 'self'", "Override": True},
            "ContentTypeOptions": {"Override": True},
            "FrameOptions": {"FrameOption": "DENY", "Override": True},
            "StrictTransportSecurity": {"AccessControlMaxAgeSec": 300, "IncludeSubdomains": True},
        },
        "CustomHeadersConfig": {"Quantity": 1, "Items": [{"Header": "X-A", "Value": "b"}]},
    }
    assert policy_headers(policy) == {
        "Content-Security-Policy": "default-src 'self'",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Strict-Transport-Security": "max-age=300; includeSubDomains",
        "X-A": "b",
    }
    assert policy_headers({}) == {}


def test_behaviours_are_those_of_the_deployed_distribution() -> None:
    """What is forwarded here is what the distribution forwards: two patterns and no more."""
    resources = cdn.build(parse('name = "x"', "x")).to_dict()["Resources"]
    config = resources["Distribution"]["Properties"]["DistributionConfig"]
    patterns = [behaviour["PathPattern"] for behaviour in config["CacheBehaviors"]]
    assert patterns == [f"{contract.API_PATH}/*", f"{contract.REALTIME_PATH}*"]
    assert config["DefaultCacheBehavior"]["AllowedMethods"] == ["GET", "HEAD"]
