"""What CloudFront does on AWS: the front end's bucket, the API and the WebSocket on one address.

The same three behaviours as the distribution's (phases/cdn.py): `/api/*` and `/realtime*` are forwarded to
the service, everything else is an object of the bucket, where a path without an extension is a page of the
app. The headers of the deployed response headers policy are read from the deployment and added to answers.

One asyncio server in the process of `zedi up`, h11 for the syntax of HTTP. Nothing is held in memory but
what is on its way: every copying loop waits for its reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

import h11

from zedi import contract
from zedi.embedded import EmbeddedError

_LOOPBACK: Final = "127.0.0.1"
_MAX_HEAD: Final = 32 * 1024
"""Bytes of a request's or an answer's head; CloudFront takes 32,768 as well."""
_CHUNK: Final = 64 * 1024
_HEAD_SECONDS: Final = 10.0
"""How long a new connection may take to send its first request."""
_IDLE_SECONDS: Final = 75.0
"""How long a connection may be silent between two requests, or within a body."""
_CONNECT_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 60.0
"""How long an origin may take to begin its answer: the distribution's OriginReadTimeout."""
_UNWANTED_SECONDS: Final = 2.0
"""How long a browser may go on sending a body that nobody wants."""
_LINGER_SECONDS: Final = 10.0
"""How long the other half of a tunnel may stay open when one is closed."""

# CloudFront compresses objects of these sizes and kinds (Developer Guide, "Serve compressed files").
_COMPRESSED_SIZES: Final = range(1_000, 10_000_001)
_COMPRESSED_TYPES: Final = frozenset(
    {
        "application/javascript",
        "application/json",
        "application/manifest+json",
        "application/wasm",
        "application/xml",
        "image/svg+xml",
        "image/x-icon",
        "font/ttf",
        "font/otf",
    }
)
# Of an object's headers, those that browsers are to see.
_OBJECT_HEADERS: Final = frozenset(
    {
        b"accept-ranges",
        b"cache-control",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-range",
        b"content-type",
        b"etag",
        b"last-modified",
    }
)
# RFC 9110 7.6.1: of this connection, not of the message.
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"te", b"trailer", b"upgrade"}
)

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Origins:
    """Where answers come from, all on loopback."""

    bucket: str
    """The front end's bucket."""
    aws_port: int
    """Of the AWS API, whose S3 has the bucket."""
    api_port: int
    realtime_port: int


class OriginError(Exception):
    """An origin cannot be reached, or answers nonsense."""


class RequestError(Exception):
    """The browser's request cannot be answered; `status` is what it is told."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def policy_headers(policy: Mapping[str, Any]) -> dict[str, str]:
    """The headers that a response headers policy adds: a ResponseHeadersPolicyConfig of CloudFront's API."""
    security = policy.get("SecurityHeadersConfig") or {}
    headers: dict[str, str] = {}
    if part := security.get("ContentSecurityPolicy"):
        headers["Content-Security-Policy"] = part["ContentSecurityPolicy"]
    if security.get("ContentTypeOptions"):
        headers["X-Content-Type-Options"] = "nosniff"
    if part := security.get("FrameOptions"):
        headers["X-Frame-Options"] = part["FrameOption"]
    if part := security.get("ReferrerPolicy"):
        headers["Referrer-Policy"] = part["ReferrerPolicy"]
    if part := security.get("StrictTransportSecurity"):
        value = f"max-age={part['AccessControlMaxAgeSec']}"
        value += "; includeSubDomains" if _yes(part.get("IncludeSubdomains")) else ""
        headers["Strict-Transport-Security"] = value + ("; preload" if _yes(part.get("Preload")) else "")
    for item in (policy.get("CustomHeadersConfig") or {}).get("Items") or ():
        headers[item["Header"]] = item["Value"]
    return headers


def _yes(value: object) -> bool:
    return value is True or str(value).lower() == "true"


class Edge:
    """Serves one address until closed.

    Args:
        port: to listen on, at 127.0.0.1 and, where the machine has it, ::1.
        headers: added to every answer but a WebSocket's, in place of those of the same name.
    """

    def __init__(self, port: int, origins: Origins, headers: Mapping[str, str]) -> None:
        self._port = port
        self._origins = origins
        self._headers: Headers = [
            (name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()
        ]
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens. Raises EmbeddedError when the port cannot be had."""
        try:
            self._servers.append(await self._listen(_LOOPBACK))
        except OSError as error:
            raise EmbeddedError(
                f"port {self._port}", f"the front end cannot be served there: {error}", "Change cdn.url."
            ) from error
        if socket.has_ipv6:
            # Browsers try ::1 first for localhost. A machine without it is served at 127.0.0.1 alone.
            with contextlib.suppress(OSError):
                self._servers.append(await self._listen("::1"))

    async def _listen(self, address: str) -> asyncio.Server:
        return await asyncio.start_server(self._accept, address, self._port, limit=_CHUNK, backlog=512)

    async def close(self) -> None:
        """Ends every connection, and listens no more."""
        for server in self._servers:
            server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0)  # the sockets themselves are closed in the loop's next turn

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Our own task: asyncio's would be reported as failed when it is cancelled.
        task = asyncio.create_task(self._connected(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        browser = _Peer(h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD), reader, writer)
        try:
            # The other side may go at any moment: there is nobody left to tell.
            with contextlib.suppress(ConnectionError, TimeoutError):
                await self._converse(browser)
                await browser.linger()
        except asyncio.CancelledError:
            browser.broken = True  # we are closing: what is not sent yet is not waited for
            raise
        finally:
            writer.transport.abort() if browser.broken else writer.close()

    async def _converse(self, browser: _Peer) -> None:
        patience = _HEAD_SECONDS
        while True:
            try:
                request = await browser.receive(patience)
                if not isinstance(request, h11.Request):
                    return
                if await self._answer(browser, request):
                    return
            except (RequestError, OriginError, h11.RemoteProtocolError) as error:
                if browser.http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                    browser.broken = True  # the answer has begun: all that can be said is that it ended
                    return
                await self._refuse(browser, error)
            if browser.http.our_state is not h11.DONE or browser.http.their_state is not h11.DONE:
                return
            browser.http.start_next_cycle()
            patience = _IDLE_SECONDS

    async def _answer(self, browser: _Peer, request: h11.Request) -> bool:
        """Answers one request; True when the connection was used up by a WebSocket."""
        path = request.target.decode("ascii", "replace").partition("?")[0]
        if path.startswith(contract.REALTIME_PATH):
            if _header(request.headers, b"upgrade").lower() == b"websocket":
                await self._tunnel(browser, request)
                return True
            await self._forward(browser, request, self._origins.realtime_port)
        elif path.startswith(f"{contract.API_PATH}/"):
            await self._forward(browser, request, self._origins.api_port)
        else:
            await self._object(browser, request, path)
        return False

    async def _refuse(self, browser: _Peer, error: Exception) -> None:
        if isinstance(error, RequestError):
            status, code = error.status, "invalid"
        elif isinstance(error, h11.RemoteProtocolError):
            status, code = error.error_status_hint, "invalid"
        else:
            status, code = 503, "unavailable"
        body = json.dumps({"error": {"code": code, "message": str(error)}}).encode("utf-8")
        headers: Headers = [(b"Content-Type", b"application/json"), (b"Connection", b"close")]
        if status == 503:
            headers.append((b"Retry-After", b"1"))
        await self._respond(browser, status, headers, body)

    async def _respond(self, browser: _Peer, status: int, headers: Headers, body: bytes) -> None:
        # h11 leaves the body of an answer to HEAD, and of a 304, out itself.
        length = [] if status == 304 else [(b"Content-Length", str(len(body)).encode("ascii"))]
        await browser.send(h11.Response(status_code=status, headers=self._guarded(headers) + length))
        if body and status != 304 and not browser.head_only:
            await browser.send(h11.Data(data=body))
        await browser.send(h11.EndOfMessage())

    def _guarded(self, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """The headers with the policy's in place of those of the same names."""
        ours = {name.lower() for name, _ in self._headers}
        return [pair for pair in headers if pair[0].lower() not in ours] + self._headers

    async def _object(self, browser: _Peer, request: h11.Request, path: str) -> None:
        """Answers with an object of the bucket."""
        if request.method not in (b"GET", b"HEAD"):
            raise RequestError(405, "Only GET and HEAD are answered here.")
        await browser.drain()
        key = unquote(path).lstrip("/")
        parts = key.split("/")
        if "." not in parts[-1]:
            key = "index.html"  # a page of the app, which finds its way itself
        elif any(part in (".", "..") for part in parts):
            raise RequestError(400, "This is not a path of an object.")
        headers: Headers = [(b"Host", f"{_LOOPBACK}:{self._origins.aws_port}".encode("ascii"))]
        for name in (b"if-none-match", b"if-modified-since", b"range", b"if-range"):
            if value := _header(request.headers, name):
                # What we compressed has a weak tag; to the bucket it is the object's own.
                headers.append((name, value.replace(b"W/", b"")))
        target = f"/{self._origins.bucket}/{quote(key)}".encode("ascii")
        async with _origin(self._origins.aws_port) as bucket:
            await bucket.send(h11.Request(method="GET", target=target, headers=headers))
            await bucket.send(h11.EndOfMessage())
            answer = await bucket.answer()
            found = [pair for pair in answer.headers if pair[0] in _OBJECT_HEADERS]
            if answer.status_code not in (200, 206, 304):
                status = 404 if answer.status_code in (403, 404) else 502
                text = b"There is no such file.\n" if status == 404 else b"The bucket cannot be read.\n"
                headers = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"Cache-Control", b"no-store")]
                await self._respond(browser, status, headers, text)
                return
            compressible = _compressible(found)
            if compressible:
                found.append((b"Vary", b"Accept-Encoding"))
            if answer.status_code == 304:
                await self._respond(browser, 304, found, b"")
                return
            length = int(_header(answer.headers, b"content-length") or -1)
            if (
                answer.status_code == 200
                and compressible
                and length in _COMPRESSED_SIZES
                and _takes_gzip(_header(request.headers, b"accept-encoding"))
            ):
                body = b"".join([data async for data in bucket.body()])
                found = [(name, b"W/" + value if name == b"etag" else value) for name, value in found]
                found.append((b"Content-Encoding", b"gzip"))
                await self._respond(browser, 200, found, await asyncio.to_thread(gzip.compress, body, 6))
                return
            if length >= 0:
                found.append((b"Content-Length", str(length).encode("ascii")))
            await self._relay(browser, bucket, answer.status_code, found)

    async def _forward(self, browser: _Peer, request: h11.Request, port: int) -> None:
        """Has the service on a port answer; bodies go through as they come."""
        headers = self._forwarded(browser, request.headers, drop=_HOP_BY_HOP | {b"expect"})
        async with _origin(port) as service:
            await service.send(h11.Request(method=request.method, target=request.target, headers=headers))
            sending = asyncio.create_task(_copy_body(browser, service))
            try:
                answer = await service.answer()
                headers = [pair for pair in answer.headers if pair[0] not in _HOP_BY_HOP]
                if not sending.done():
                    # It answers without having read all: what is still coming cannot be told from a
                    # next request.
                    headers.append((b"Connection", b"close"))
                await self._relay(browser, service, answer.status_code, headers)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    async def _relay(self, browser: _Peer, origin: _Peer, status: int, headers: Headers) -> None:
        await browser.send(h11.Response(status_code=status, headers=self._guarded(headers)))
        if not browser.head_only:
            async for data in origin.body():
                await browser.send(h11.Data(data=data))
        await browser.send(h11.EndOfMessage())

    async def _tunnel(self, browser: _Peer, request: h11.Request) -> None:
        """Connects a browser's WebSocket with the realtime service; from here on bytes are only copied."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    _LOOPBACK, self._origins.realtime_port, limit=_CHUNK
                )
        except (OSError, TimeoutError) as error:
            raise OriginError("The realtime service does not answer.") from error
        lines = [b"%s %s HTTP/1.1" % (request.method, request.target)]
        lines += [b"%s: %s" % pair for pair in self._forwarded(browser, request.headers, drop=frozenset())]
        try:
            # What came after the head is the WebSocket's already.
            writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + browser.rest())
            halves = {
                asyncio.create_task(_copy(browser.reader, writer)),
                asyncio.create_task(_copy(reader, browser.writer)),
            }
            try:
                await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait(halves, timeout=_LINGER_SECONDS)
            finally:
                for half in halves:
                    half.cancel()
                await asyncio.gather(*halves, return_exceptions=True)
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            writer.close()

    def _forwarded(
        self, browser: _Peer, headers: Iterable[tuple[bytes, bytes]], drop: frozenset[bytes]
    ) -> Headers:
        """A browser's headers as an origin gets them: with whom they came from."""
        address = str(browser.writer.get_extra_info("peername")[0]).encode("ascii")
        kept: Headers = []
        for name, value in headers:
            if name == b"x-forwarded-for":
                address = value + b", " + address
            elif name not in drop and name not in (b"x-forwarded-proto", b"x-forwarded-port"):
                kept.append((name, value))
        port = str(self._port).encode("ascii")
        return [
            *kept,
            (b"X-Forwarded-For", address),
            (b"X-Forwarded-Proto", b"http"),
            (b"X-Forwarded-Port", port),
        ]


class _Peer:
    """One side of a conversation in HTTP/1.1."""

    def __init__(
        self, http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.http = http
        self.reader = reader
        self.writer = writer
        self.head_only = False
        self.broken = False

    async def receive(self, patience: float) -> Any:
        """The next event; waits at most `patience` seconds for bytes. Raises TimeoutError."""
        async with asyncio.timeout(patience):
            while True:
                event = self.http.next_event()
                if event is not h11.NEED_DATA:
                    if isinstance(event, h11.Request):
                        self.head_only = event.method == b"HEAD"
                    return event
                if self.http.they_are_waiting_for_100_continue:
                    await self.send(h11.InformationalResponse(status_code=100, headers=[]))
                self.http.receive_data(await self.reader.read(_CHUNK))

    async def send(self, event: Any) -> None:
        if data := self.http.send(event):
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self) -> h11.Response:
        """The head of an origin's answer. Raises OriginError."""
        try:
            while True:
                event = await self.receive(_ANSWER_SECONDS)
                if isinstance(event, h11.Response):
                    return event
                if not isinstance(event, h11.InformationalResponse):
                    raise OriginError("The service has closed the connection without an answer.")
        except (h11.RemoteProtocolError, ConnectionError, TimeoutError) as error:
            raise OriginError("The service does not answer.") from error

    async def body(self) -> AsyncIterator[bytes]:
        """The parts of the body that is coming. Raises OriginError when it breaks off."""
        try:
            while isinstance(event := await self.receive(_IDLE_SECONDS), h11.Data):
                yield bytes(event.data)
        except (h11.RemoteProtocolError, ConnectionError, TimeoutError) as error:
            raise OriginError("The answer breaks off.") from error

    async def drain(self) -> None:
        """Reads a request's body, which nobody wants, to its end."""
        while not isinstance(await self.receive(_IDLE_SECONDS), h11.EndOfMessage):
            pass

    async def linger(self) -> None:
        """Reads for a moment what a browser is still sending that has its answer already.

        Closed with bytes unread, a socket is reset, and the answer is lost with it (RFC 9112 9.6).
        """
        if self.http.their_state is h11.SEND_BODY and not self.broken:
            self.writer.write_eof()
            async with asyncio.timeout(_UNWANTED_SECONDS):
                while await self.reader.read(_CHUNK):
                    pass

    def rest(self) -> bytes:
        """What was read beyond the request; nothing more is parsed after that."""
        event = self.http.next_event()
        while event not in (h11.PAUSED, h11.NEED_DATA):
            event = self.http.next_event()
        return bytes(self.http.trailing_data[0])


@contextlib.asynccontextmanager
async def _origin(port: int) -> AsyncIterator[_Peer]:
    """A connection to an origin for one request. Raises OriginError where nobody listens."""
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(_LOOPBACK, port, limit=_CHUNK)
    except (OSError, TimeoutError) as error:
        raise OriginError("The service does not answer.") from error
    try:
        yield _Peer(h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD), reader, writer)
    except ConnectionError as error:
        # Where it was the browser's connection, nobody hears this any more.
        raise OriginError("The service has closed the connection.") from error
    finally:
        writer.close()


async def _copy_body(browser: _Peer, service: _Peer) -> None:
    """A request's body, as it comes. Where it breaks off, so does what the service gets."""
    try:
        while isinstance(event := await browser.receive(_IDLE_SECONDS), h11.Data):
            await service.send(h11.Data(data=event.data))
        await service.send(h11.EndOfMessage())
    except (h11.RemoteProtocolError, ConnectionError, TimeoutError):
        service.writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction of a tunnel, to its end; then the other side is told that nothing more comes."""
    with contextlib.suppress(ConnectionError, OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """The value of a header (its name in lower case), the first of several, or nothing."""
    return next((value for key, value in headers if key == name), b"")


def _compressible(headers: Headers) -> bool:
    if _header(headers, b"content-encoding"):
        return False
    kind = _header(headers, b"content-type").decode("latin-1").partition(";")[0].strip().lower()
    return kind.startswith("text/") or kind in _COMPRESSED_TYPES


def _takes_gzip(accepted: bytes) -> bool:
    """Whether an Accept-Encoding allows gzip."""
    for part in accepted.decode("latin-1").lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() == "gzip":
            # q=0, q=0.0: not acceptable (RFC 9110 12.4.2).
            return weight.replace(" ", "").removeprefix("q=").strip("0.") != "" or not weight
    return False
