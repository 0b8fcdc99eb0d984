"""Real servers and real clients: PostgreSQL, Valkey, the service as its own process, Yjs clients on Node."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import picows
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.servers import SECONDS, Database

from zedi import contract
from zedi.realtime import wire

NODE = Path(__file__).parent / "node"
QUICK_TICKS = (
    "import asyncio; from zedi.realtime import server; server.NUDGE_TICKS *= 20; sleep = asyncio.sleep;"
    "asyncio.sleep = lambda delay, result=None: sleep(0.05 if delay == 1.0 else delay, result)"
)
"""A change for a service that is to look after its sockets 20 times a second, instead of once."""
ROOT = Path(__file__).parents[2]


async def _until(true: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            answer = true()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.005)


Until = Callable[[Callable[[], bool | Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
def until() -> Until:
    """Waits until a function (or coroutine function) says yes, for what nobody announces."""
    return _until


@dataclass
class Service:
    """The service as its own process, as a task runs it."""

    process: asyncio.subprocess.Process
    log: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    readers: list[asyncio.Task[None]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/realtime"

    def health(self) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=SECONDS) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def metrics(self, **headers: str) -> dict[str, float]:
        """What Prometheus reads, by name. Raises urllib.error.HTTPError where it is refused."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{contract.METRICS_PATH}", headers=headers
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return {sample.name: sample.value for family in families for sample in family.samples}

    async def logged(self, event: str, **fields: Any) -> dict[str, Any]:
        """The first line of the log with this event and these fields; waits for it."""
        async with asyncio.timeout(SECONDS):
            while True:
                for line in self.log:
                    if line.get("event") == event and fields.items() <= line.items():
                        return line
                assert self.process.returncode is None, "".join(self.errors)
                await asyncio.sleep(0.005)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(SECONDS):
            status = await self.process.wait()
            await asyncio.gather(*self.readers)
        return status


StartService = Callable[..., Awaitable[Service]]


@pytest.fixture
async def start_service(
    task_environment: Callable[[Database], dict[str, str]],
) -> AsyncIterator[StartService]:
    """Starts services; `start(database, redis_url=..., ready=False, change=..., **environment)`.

    `change` is a statement that is executed first, for a constant that would make a test slow.
    """
    services: list[Service] = []

    async def start(
        database: Database,
        redis_url: str = "redis://127.0.0.1:1",
        ready: bool = True,
        change: str = "",
        **variables: str,
    ) -> Service:
        environment = {
            **task_environment(database),
            contract.REDIS_URL: redis_url,
            "PYTHONWARNINGS": "error",
            **variables,
        }
        module = "-m", "zedi.realtime"
        changed = "-c", f"{change}; import runpy; runpy.run_module('zedi.realtime', run_name='__main__')"
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig=KILL", sys.executable, *(changed if change else module)),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1024 * 1024,
        )
        service = Service(process)
        services.append(service)

        async def read_log() -> None:
            assert process.stdout is not None
            async for line in process.stdout:
                service.log.append(json.loads(line))

        async def read_errors() -> None:
            assert process.stderr is not None
            async for line in process.stderr:
                service.errors.append(line.decode())

        service.readers = [asyncio.create_task(read_log()), asyncio.create_task(read_errors())]
        service.port = (await service.logged("listening"))["port"]
        if ready:
            await service.logged("database_ready")
            if "redis_url" in variables or redis_url != "redis://127.0.0.1:1":
                await service.logged("redis_ready")
        return service

    yield start
    for service in services:
        await service.stop(signal.SIGKILL)
        # Status 1 is a refusal to start, and says why on standard error.
        assert service.process.returncode == 1 or service.errors == []


class NodeClients:
    """Clients in one Node process; every method is a command of node/clients.mjs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._ids = itertools.count(1)
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            answer = json.loads(line)
            future = self._answers.pop(answer["id"])
            if "error" in answer:
                future.set_exception(AssertionError(answer["error"]))
            else:
                future.set_result(answer["result"])

    async def command(self, do: str, client: str, **arguments: Any) -> Any:
        number = next(self._ids)
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        line = json.dumps({"id": number, "do": do, "client": client, **arguments})
        self._process.stdin.write(line.encode() + b"\n")
        async with asyncio.timeout(SECONDS + 5):
            return await future

    async def open(
        self, client: str, service: Service, document: str, token: str | list[str] | None, **options: Any
    ) -> None:
        """`kind` is a dependency of node/package.json, hocuspocus-4 unless told; who gives the same `socket`
        shares one. A Hocuspocus client with several tokens shows the next one each time."""
        await self.command("open", client, url=service.url, document=document, token=token, **options)

    async def status(self, client: str) -> dict[str, Any]:
        status: dict[str, Any] = await self.command("status", client)
        return status

    async def wait(self, client: str, **until: Any) -> dict[str, Any]:
        """Waits until the client's status has all these values."""
        status: dict[str, Any] = await self.command("wait", client, until=until, seconds=SECONDS)
        return status


@pytest.fixture(scope="session")
def node_modules() -> str:
    """The Node to run, with its modules installed."""
    return subprocess.check_output([ROOT / "scripts" / "clients"], text=True).strip()


@pytest.fixture
async def clients(node_modules: str) -> AsyncIterator[NodeClients]:
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig=KILL", node_modules, str(NODE / "clients.mjs")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    running = NodeClients(process)
    yield running
    process.kill()
    await process.wait()
    await running.reader


class RawClient(picows.WSListener):
    """A WebSocket that speaks frames, for what no decent client does."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[bytes] = asyncio.Queue()
        self.pongs: asyncio.Queue[bytes] = asyncio.Queue()
        self.pings: list[float] = []
        """When they came; the clock is monotonic."""
        self.answers = True
        """Whether it says that it is there, when it is pinged."""
        self.closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.BINARY:
            self.frames.put_nowait(frame.get_payload_as_bytes())
        elif frame.msg_type == picows.WSMsgType.PONG:
            self.pongs.put_nowait(frame.get_payload_as_bytes())
        elif frame.msg_type == picows.WSMsgType.PING:
            self.pings.append(time.monotonic())
            if self.answers:
                transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == picows.WSMsgType.CLOSE:
            self.closed.set_result((int(frame.get_close_code()), frame.get_close_reason() or ""))  # type: ignore[call-overload]
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        if not self.closed.done():
            self.closed.set_result((1006, "without a close frame"))

    def send(self, data: bytes) -> None:
        self.transport.send(picows.WSMsgType.BINARY, data)

    def say(self, message: wire.Message) -> None:
        self.send(wire.encode(message))

    async def next(self) -> wire.Message:
        async with asyncio.timeout(SECONDS):
            return wire.decode(await self.frames.get())

    async def until(self, kind: type[wire.Message]) -> Any:
        """The next message of this kind; others are passed over."""
        while True:
            message = await self.next()
            if isinstance(message, kind):
                return message

    async def close_code(self) -> int:
        async with asyncio.timeout(SECONDS):
            code, _ = await self.closed
            return code


Connect = Callable[..., Awaitable[RawClient]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    opened: list[RawClient] = []

    async def open_one(service: Service, path: str = "/realtime", **options: Any) -> RawClient:
        url = f"ws://127.0.0.1:{service.port}{path}"
        _, client = await picows.ws_connect(RawClient, url, enable_auto_pong=False, **options)
        assert isinstance(client, RawClient)
        opened.append(client)
        return client

    yield open_one
    for client in opened:
        client.transport.disconnect(graceful=False)
        await client.transport.wait_disconnected()
