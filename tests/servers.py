"""The servers and the user pool that tests of the service need: PostgreSQL, Valkey, a signing key.

A plugin (tests/conftest.py names it), so that its fixtures are there for every folder.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import jwt
import pycrdt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from zedi import contract
from zedi.embedded import postgres, valkey
from zedi.realtime.config import Config, DatabaseAddress, Keeping
from zedi.schema import migrate

SECONDS = 20.0
"""The bound of every wait; a quiet machine needs a small part of it."""
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

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

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

    async def text(self, document: str) -> str:
        """What the journal says, however many rows it took; the Yjs text is named `text`."""
        doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
        for _, update in await self.updates(document):
            doc.apply_update(update)
        return str(doc.get("text", type=pycrdt.Text))


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
    await migrate(empty_database.address.options())
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
        keeping=Keeping(
            versions=30, days=90, minutes=10, bucket="", bucket_days=365, region="ap-northeast-1"
        ),
    )


@pytest.fixture
def task_environment(config: Config) -> Callable[[Database], dict[str, str]]:
    """The environment that a task definition gives a container, with a database of the tests."""

    def environment(database: Database) -> dict[str, str]:
        address = database.address
        credentials = {
            "username": address.username,
            "password": address.password,
            "engine": "postgres",
            "host": address.host,
            "port": address.port,
            "dbname": address.name,
        }
        return {
            contract.ENVIRONMENT: config.environment,
            contract.BIND_ADDRESS: config.bind_address,
            contract.PORT: str(config.port),
            contract.DB_CREDENTIALS_JSON: json.dumps(credentials),
            contract.DB_TLS: address.tls,
            contract.REDIS_URL: config.redis_url,
            contract.COGNITO_ISSUER: config.cognito_issuer,
            contract.COGNITO_CLIENT_ID: config.cognito_client_id,
            contract.COGNITO_JWKS: config.cognito_jwks,
            contract.PING_INTERVAL: f"{config.ping_interval:g}",
            contract.DRAIN_SECONDS: f"{config.drain_seconds:g}",
            contract.HISTORY_VERSIONS: str(config.keeping.versions),
            contract.HISTORY_DAYS: str(config.keeping.days),
            contract.HISTORY_MINUTES: str(config.keeping.minutes),
            contract.HISTORY_BUCKET: config.keeping.bucket,
            contract.HISTORY_BUCKET_DAYS: str(config.keeping.bucket_days),
            contract.REGION: config.keeping.region,
        }

    return environment
