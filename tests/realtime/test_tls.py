"""PostgreSQL and Valkey over TLS, as on AWS: the service and the API, each as its own process."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.servers import SECONDS

from zedi import contract
from zedi.realtime import wire

if TYPE_CHECKING:
    from tests.realtime.conftest import Connect, StartService
    from tests.servers import Database, Issuer, Server

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for `localhost` that signed itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    (folder / "server.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "server.crt", folder / "server.key"


@pytest.fixture
async def tls_database(
    database: Database, postgres_server: Server, certificate: tuple[Path, Path]
) -> AsyncIterator[Database]:
    """The database of the test, whose server speaks TLS for as long as the test runs."""
    data = Path(postgres_server.command[postgres_server.command.index("-D") + 1])
    copies, owner = [data / "tls.crt", data / "tls.key"], os.stat(data)
    for file, copy in zip(certificate, copies, strict=True):
        copy.write_bytes(file.read_bytes())
        copy.chmod(0o600)
        os.chown(copy, owner.st_uid, owner.st_gid)
    administrator = await database.connect()
    try:
        for statement in ("ssl_cert_file = 'tls.crt'", "ssl_key_file = 'tls.key'", "ssl = on"):
            await administrator.execute(f"ALTER SYSTEM SET {statement}")
        await administrator.execute("SELECT pg_reload_conf()")
        yield replace(database, address=replace(database.address, tls="require"))
        for name in ("ssl", "ssl_key_file", "ssl_cert_file"):
            await administrator.execute(f"ALTER SYSTEM RESET {name}")
        await administrator.execute("SELECT pg_reload_conf()")
    finally:
        await administrator.close()


@pytest.fixture
async def tls_valkey(valkey_server: Server, certificate: tuple[Path, Path]) -> AsyncIterator[int]:
    """The port where the Valkey of the tests, which knows no TLS itself, is spoken to in it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        finally:
            target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", valkey_server.port)
        await asyncio.gather(pump(reader, outer), pump(inner, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
def trusting(certificate: tuple[Path, Path]) -> dict[str, str]:
    """What makes a process trust the certificate, as the image's system trusts Amazon's."""
    return {"SSL_CERT_FILE": str(certificate[0])}


async def test_the_service_and_the_api_work_over_tls(
    tls_database: Database,
    tls_valkey: int,
    trusting: dict[str, str],
    start_service: StartService,
    connect: Connect,
    issuer: Issuer,
    task_environment: Callable[[Database], dict[str, str]],
    free_ports: Callable[[int], list[int]],
) -> None:
    """An edit crosses from task to task, the API's news of access arrive, and no connection is in plain."""
    url = f"rediss://localhost:{tls_valkey}"
    port = free_ports(1)[0]
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig=KILL", sys.executable, "-m", "zedi.notes"),
        env={
            **task_environment(tls_database),
            **trusting,
            contract.PORT: str(port),
            contract.REDIS_URL: url,
        },
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        first, second = [await start_service(tls_database, url, **trusting) for _ in range(2)]
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            transport=httpx.AsyncHTTPTransport(retries=8),
            headers={"Authorization": f"Bearer {issuer.token(sub='hanako')}"},
        ) as api:
            async with asyncio.timeout(SECONDS):
                while (await api.get("/health")).status_code != 200:
                    pass
            page = (await api.post("/api/pages")).json()["id"]
            author, reader = await connect(first), await connect(second)
            for client, sub in ((author, "hanako"), (reader, "taro")):
                client.say(wire.Token(page, issuer.token(sub=sub), None))
                assert await client.next() == wire.Authenticated(page, "read-write")
            author.say(wire.Update(page, wire.EMPTY_UPDATE))
            assert await author.until(wire.SyncStatus) == wire.SyncStatus(page, True)
            assert await reader.next() == wire.Update(page, wire.EMPTY_UPDATE)
            sharing = await api.put(f"/api/pages/{page}/sharing/everybody", json={"role": "view"})
            assert sharing.status_code == 200
            assert await reader.next() == wire.Authenticated(page, "readonly")
        administrator = await tls_database.connect()
        try:
            rows = await administrator.fetch(
                "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        finally:
            await administrator.close()
        # One more is the fixture's own connection.
        assert len(rows) > 3 and [row["ssl"] for row in rows].count(False) == 1
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("wrong", ["name", "authority"])
async def test_a_redis_that_cannot_show_who_it_is_is_not_spoken_to(
    database: Database, tls_valkey: int, trusting: dict[str, str], start_service: StartService, wrong: str
) -> None:
    """A certificate for another name, or signed by somebody unknown: the task works alone and says why."""
    host, variables = ("127.0.0.1", trusting) if wrong == "name" else ("localhost", {})
    service = await start_service(database, f"rediss://{host}:{tls_valkey}", ready=False, **variables)
    assert "certificate verify failed" in (await service.logged("redis_away"))["reason"]
    await service.logged("database_ready")
    assert service.health()[0] == 200


async def test_a_database_without_tls_is_not_spoken_to(
    database: Database, start_service: StartService
) -> None:
    """`require` does not fall back to plain text."""
    required = replace(database, address=replace(database.address, tls="require"))
    service = await start_service(required, ready=False)
    assert "SSL" in (await service.logged("database_away"))["reason"]
    assert service.health()[0] == 503
