"""The servers of a measurement: PostgreSQL and Valkey as `zedi up` runs them, our service, and the peer.

The machine is divided: the servers that are measured have a core of their own; the generator, PostgreSQL and
Valkey, which would be other machines, share the rest. Where there is one core only nothing is divided.
Children are the supervisor's, which ends them however this process ends.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import asyncpg
import jwt
import picows
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.load import Job, Result
from zedi import contract
from zedi.embedded import postgres, valkey
from zedi.embedded.state import State
from zedi.embedded.supervisor import Program, Supervisor, answers
from zedi.errors import ZediError
from zedi.schema import migrate
from zedi.settings import Settings, changed, load

ROOT: Final = Path(__file__).resolve().parents[1]
PEER: Final = ROOT / "bench" / "peer"
ISSUER: Final = "https://cognito-idp.ap-northeast-1.amazonaws.com/ap-northeast-1_bench"
CLIENT_ID: Final = "bench"
JOB_SECONDS: Final = 300.0
"""The bound of one job of the load generator."""

Kind = Literal["ours", "peer"]
KINDS: Final[tuple[Kind, Kind]] = ("ours", "peer")
_PEER_TABLE: Final = """
CREATE TABLE peer_documents (
    name text PRIMARY KEY, data bytea NOT NULL, updated_at timestamptz NOT NULL DEFAULT now()
)
"""


class BenchError(ZediError):
    """A measurement could not be made, or found a server broken."""


@dataclasses.dataclass(frozen=True)
class Server:
    """A server under measurement that runs."""

    kind: Kind
    name: str
    pid: int
    url: str
    """Where its WebSockets are."""


@dataclasses.dataclass(frozen=True)
class Database:
    """A database of one measurement, with the tables of both sides in it."""

    name: str
    credentials: dict[str, Any]

    def options(self) -> dict[str, Any]:
        """What asyncpg needs to connect."""
        given = self.credentials
        return {
            "host": given["host"],
            "port": given["port"],
            "user": given["username"],
            "password": given["password"],
            "database": self.name,
            "ssl": False,
        }

    async def connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(**self.options())

    async def pages(self, count: int) -> list[str]:
        """Makes pages; their ids are their documents' names."""
        ids = [uuid.uuid4() for _ in range(count)]
        connection = await self.connect()
        try:
            await connection.executemany(
                "INSERT INTO pages (id, owner) VALUES ($1, 'bench')", [(each,) for each in ids]
            )
        finally:
            await connection.close()
        return list(map(str, ids))


@dataclasses.dataclass(frozen=True)
class Pool:
    """A user pool: its keys, and tokens of as many users as there are clients."""

    jwks: str
    tokens: list[str]


def pool(users: int) -> Pool:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    now = time.time()
    claims = {"iss": ISSUER, "aud": CLIENT_ID, "token_use": "id", "iat": now - 10, "exp": now + 4 * 3600}
    tokens = [
        jwt.encode({**claims, "sub": f"user-{number}"}, key, algorithm="RS256", headers={"kid": "bench"})
        for number in range(users)
    ]
    return Pool(json.dumps({"keys": [{**public, "kid": "bench", "use": "sig", "alg": "RS256"}]}), tokens)


class Stage:
    """What is there for all measurements of a run."""

    def __init__(
        self,
        settings: Settings,
        state: State,
        supervisor: Supervisor,
        users: Pool,
        node: str,
        server_cores: set[int],
    ) -> None:
        self._settings = settings
        self._state = state
        self._supervisor = supervisor
        self._users = users
        self._node = node
        self._password = secrets.token_urlsafe(12)
        self._numbers = 0
        self._server_cores = server_cores

    @property
    def postgres_version(self) -> int:
        return postgres.choose(self._state.postgres).major

    async def open(self) -> None:
        installation = await postgres.prepared(self._state, self._supervisor)
        await self._supervisor.start(postgres.program(self._settings, self._state, installation))
        await postgres.provide(self._settings, self._state, self._password, statistics=False)
        await self._supervisor.start(valkey.program(self._settings, self._state))

    # -- what measurements use ----------------------------------------------------------------------------

    async def database(self) -> Database:
        """A new, empty database."""
        self._numbers += 1
        name = f"bench_{self._numbers}"
        credentials: dict[str, Any] = {
            "username": self._settings.database.master_username,
            "password": self._password,
            "engine": "postgres",
            "host": "127.0.0.1",
            "port": self._settings.database.port,
            "dbname": name,
        }
        administrator = await Database(self._settings.database.name, credentials).connect()
        try:
            await administrator.execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY wal_log")
        finally:
            await administrator.close()
        database = Database(name, credentials)
        await migrate(database.options())
        connection = await database.connect()
        try:
            await connection.execute(_PEER_TABLE)
        finally:
            await connection.close()
        return database

    async def start(self, kind: Kind, database: Database, *, redis: bool = False) -> Server:
        """Starts a server and waits until it is ready; `redis` where another task of it runs."""
        self._numbers += 1
        name = f"{kind}-{self._numbers}"
        port = free_port()
        environment = {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            contract.ENVIRONMENT: "bench",
            contract.BIND_ADDRESS: "127.0.0.1",
            contract.PORT: str(port),
            contract.DB_CREDENTIALS_JSON: json.dumps(database.credentials),
            contract.DB_TLS: "disable",
            contract.COGNITO_ISSUER: ISSUER,
            contract.COGNITO_CLIENT_ID: CLIENT_ID,
            contract.COGNITO_JWKS: self._users.jwks,
            contract.PING_INTERVAL: "25",
            contract.DRAIN_SECONDS: "5",
            contract.HISTORY_VERSIONS: "30",
            contract.HISTORY_DAYS: "90",
            contract.HISTORY_MINUTES: "10",
            contract.HISTORY_BUCKET_DAYS: "365",
            contract.REGION: "ap-northeast-1",
        }
        if kind == "ours":
            # Ours always has its Redis, as every task has. The peer's extension is for several tasks only.
            environment[contract.REDIS_URL] = f"redis://127.0.0.1:{self._settings.cache.port}"
            command: tuple[str, ...] = (sys.executable, "-m", "zedi.realtime")
            path, expected = contract.HEALTH_PATH, b"HTTP/1.1 200"
        else:
            if redis:
                environment[contract.REDIS_URL] = f"redis://127.0.0.1:{self._settings.cache.port}"
            environment["NODE_ENV"] = "production"
            command = (self._node, "server.mjs")
            path, expected = "/", b"HTTP/1.1 200"
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()

        async def ready() -> bool:
            return await answers(port, request, expected)

        listed = ",".join(map(str, sorted(self._server_cores)))
        program = Program(
            name=name,
            command=("taskset", "-c", listed, "env", "-C", str(PEER), *command),
            environment=environment,
            ready=ready,
        )
        await self._supervisor.start(program)
        where = contract.REALTIME_PATH if kind == "ours" else "/"
        return Server(kind, name, self._supervisor.process_id(name), f"ws://127.0.0.1:{port}{where}")

    async def stop(self, *servers: Server) -> None:
        await self._supervisor.stop(*(server.name for server in servers))

    async def restarted(self, server: Server, within: float = 30.0) -> Server:
        """The server again, once the supervisor has started anew what was killed."""
        async with asyncio.timeout(within):
            while (pid := self._supervisor.process_id(server.name)) == server.pid:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            fresh = dataclasses.replace(server, pid=pid)
            while not await accepts(fresh):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return fresh

    async def load(self, job: Job) -> Result:
        """Has the load generator do a job, in a process of its own."""
        watched = dataclasses.replace(
            job,
            tokens=self._users.tokens,
            databases={name: self._supervisor.process_id(name) for name in (postgres.NAME, valkey.NAME)},
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.load"),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(JOB_SECONDS + job.seconds):
                output, errors = await process.communicate(json.dumps(dataclasses.asdict(watched)).encode())
        except TimeoutError:
            raise BenchError("load generator", "did not end in time", "Is the machine busy?") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise BenchError(
                "load generator",
                errors.decode("utf-8", "replace").strip()[-2000:],
                f"The servers' logs are in {self._state.logs}, while the run lasts (--keep keeps them).",
            )
        return Result(**json.loads(output))


async def accepts(server: Server) -> bool:
    """Whether a WebSocket can be opened."""
    try:
        transport, _ = await picows.ws_connect(picows.WSListener, server.url)
    except (OSError, picows.WSError):
        return False
    transport.disconnect(graceful=False)
    await transport.wait_disconnected()
    return True


@asynccontextmanager
async def staged(users: int, keep: bool, tell: Callable[[str], None]) -> AsyncIterator[Stage]:
    """A stage that is cleared away at the end, however that comes. Raises EmbeddedError, BenchError."""
    tell("installing the peer")
    node = _installed_peer()
    server_cores, other_cores = cores()
    if server_cores == other_cores:
        tell("one core only: servers and generator are in each other's way, figures are not to be trusted")
    os.sched_setaffinity(0, other_cores)
    folder = Path(tempfile.mkdtemp(prefix="zedi-bench-"))
    settings = changed(
        load("local"),
        {"database.port": str(free_port()), "cache.port": str(free_port())},
        "bench",
    )
    state = State(folder)
    # The last words of a server that was killed on purpose are not worth a screen.
    supervisor = Supervisor(state.logs, lambda text: tell(text.partition("\n")[0]))
    try:
        tell("starting PostgreSQL and Valkey")
        stage = Stage(settings, state, supervisor, pool(users), node, server_cores)
        await stage.open()
        yield stage
    finally:
        await supervisor.stop_all()
        state.close()
        if keep:
            tell(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _installed_peer() -> str:
    """The Node to run, with the peer's modules installed."""
    done = subprocess.run([ROOT / "scripts" / "peer"], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(
            "scripts/peer", done.stderr.strip()[-2000:], "It needs the npm registry; run it by itself to see."
        )
    return done.stdout.strip()


def cores() -> tuple[set[int], set[int]]:
    """Cores for the servers under measurement, and for everything else."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others) or {first}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
