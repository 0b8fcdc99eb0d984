"""`zedi up`, whole: what it serves, and what is left of it however it ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from zedi import contract
from zedi.deploy.target import Target
from zedi.embedded import EmbeddedError
from zedi.embedded.platform import Platform
from zedi.settings import load

pytestmark = pytest.mark.server


@pytest.fixture
def running(up: Any) -> Any:
    """It runs, whatever the test before has done to it."""
    if up.process is None:
        up.start()
    return up


def pool_of(up: Any) -> str:
    """The ID of the user pool that it printed."""
    line = next(line for line in up.said.splitlines() if "cognito_user_pool_id" in line)
    return str(line.split()[-1])


def in_database(up: Any, statement: str) -> Any:
    """The one value that the service's own user gets for a statement, with the deployed secret."""
    settings = up.settings
    secrets = Target(settings.region, "", settings.endpoint_url).client("secretsmanager")
    text = secrets.get_secret_value(SecretId=f"{settings.prefix}-db-credentials")["SecretString"]
    credentials = httpx.Response(200, text=text).json()

    async def ask() -> Any:
        connection = await asyncpg.connect(
            host=credentials["host"],
            port=int(credentials["port"]),
            user=credentials["username"],
            password=credentials["password"],
            database=credentials["dbname"],
            ssl=False,
        )
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


def healthy(up: Any) -> bool:
    try:
        answer = httpx.get(f"http://127.0.0.1:{up.settings.realtime.api_port}/health", trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


def test_it_serves_front_end_api_and_realtime(running: Any) -> None:
    """One address: pages, the settings of this environment, the API's own errors, the realtime service."""
    with httpx.Client(base_url=running.settings.cdn.url, trust_env=False) as browser:
        page = browser.get("/pages/1")
        assert "ノート" in page.text
        assert "default-src 'self'" in page.headers["content-security-policy"]
        config = browser.get(f"/{contract.CONFIG_FILE}").json()
        assert config["environment"] == "local"
        assert config["api_url"] == f"{running.settings.cdn.url}/api"
        assert browser.get("/api/pages").status_code == 401
        key = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        socket = browser.get(
            contract.REALTIME_PATH, headers={**key, "Sec-WebSocket-Key": "MDAwMDAwMDAwMDAwMDAwMA=="}
        )
        assert socket.status_code == 101


def test_it_says_what_one_needs_to_know(running: Any) -> None:
    """Address, users with passwords, outputs, logs and how to stop."""
    said = running.said
    assert running.settings.cdn.url in said
    for user in running.settings.embedded.users:
        assert f"{user.email}" in said and user.password in said and user.display_name in said
    assert "aurora_cluster_endpoint" in said and "Ctrl-C" in said
    assert str(running.state / "logs") in said
    assert {file.name for file in (running.state / "logs").glob("*.log")} >= {
        "api.log",
        "aws.log",
        "postgres.log",
        "realtime.log",
        "valkey.log",
    }


def test_example_users_can_sign_in(running: Any) -> None:
    """Confirmed, with a verified address and the name that people see."""
    settings = running.settings
    cognito = Target(settings.region, "", settings.endpoint_url).client("cognito-idp")
    for user in settings.embedded.users:
        found = cognito.admin_get_user(UserPoolId=pool_of(running), Username=user.email)
        attributes = {entry["Name"]: entry["Value"] for entry in found["UserAttributes"]}
        assert found["UserStatus"] == "CONFIRMED"
        assert attributes["email_verified"] == "true"
        assert attributes["custom:display_name"] == user.display_name


def test_nothing_is_open_beyond_loopback(
    running: Any,
    processes_with: Callable[[str], dict[int, str]],
    listening: Callable[[int], set[str]],
    loopback: set[str],
) -> None:
    """Every listening socket of it and its children is on 127.0.0.1 or ::1."""
    found = {process: listening(process) for process in processes_with(str(running.state))}
    assert len(found) >= 6
    assert {address for addresses in found.values() for address in addresses} <= loopback
    assert sum(bool(addresses) for addresses in found.values()) == 6


def test_service_survives_a_dead_database(running: Any, until: Callable[..., float]) -> None:
    """PostgreSQL is killed: it is told and started again, and the API is healthy after it."""
    process = int((running.state / "postgres" / "postmaster.pid").read_text().split()[0])
    os.kill(process, signal.SIGKILL)
    until(lambda: "postgres is back" in running.said, 30.0, lambda: running.said)
    assert "postgres was ended by SIGKILL; starting it again" in running.said
    until(lambda: healthy(running), 30.0)
    assert in_database(running, "SELECT count(*) FROM pages") >= 0


def test_killed_service_is_started_again(
    running: Any, processes_with: Callable[[str], dict[int, str]], until: Callable[..., float]
) -> None:
    """As ECS would, with its last words."""
    (process,) = (
        number
        for number, command in processes_with(str(running.state)).items()
        if command.rstrip().endswith(contract.API_COMMAND[-1])
    )
    os.kill(process, signal.SIGKILL)
    until(lambda: "api is back" in running.said, 30.0, lambda: running.said)
    assert healthy(running)


def test_second_one_on_the_same_folder_is_refused(running: Any) -> None:
    """The error names the process that has the folder; the one that runs is not disturbed."""

    async def second() -> None:
        platform = Platform(running.settings, running.state, print)
        try:
            await platform.start()
        finally:
            await platform.stop()

    with pytest.raises(EmbeddedError, match=f"process {running.process.pid}"):
        asyncio.run(second())
    assert healthy(running)


def test_second_one_on_the_same_ports_is_refused(running: Any, tmp_path: Path) -> None:
    """All six ports are told, with who has them; nothing is started."""

    async def second() -> None:
        platform = Platform(running.settings, tmp_path / "other", print)
        try:
            await platform.start()
        finally:
            await platform.stop()

    with pytest.raises(EmbeddedError) as caught:
        asyncio.run(second())
    lines = caught.value.what.splitlines()[1:]
    assert len(lines) == 6
    assert all("(process " in line for line in lines)
    assert f"(process {running.process.pid})" in lines[-1]
    assert not list((tmp_path / "other" / "logs").iterdir())


def test_ctrl_c_stops_in_order_and_leaves_nothing(
    running: Any, processes_with: Callable[[str], dict[int, str]]
) -> None:
    """Status 0, no process, no temporary file; the database was there until the service had ended."""
    before = set(Path(tempfile.gettempdir()).glob("ministack*"))
    assert not [file for file in before if str(running.settings.embedded.port) in file.name]
    assert running.end(signal.SIGINT) == 0
    assert "stopped" in running.said
    assert not processes_with(str(running.state))
    assert not (running.state / "tmp").exists()
    log = (running.state / "logs" / "postgres.log").read_text()
    assert "received fast shutdown request" in log and "database system is shut down" in log
    assert "terminating connection due to administrator command" not in log


def test_everything_outlives_stop_kill_and_lost_aws(
    running: Any, processes_with: Callable[[str], dict[int, str]], until: Callable[..., float]
) -> None:
    """Pool and pages stay through SIGTERM and SIGKILL; the pages stay even when AWS's state is gone."""
    pool = pool_of(running)
    in_database(running, "INSERT INTO pages (id, owner) VALUES (gen_random_uuid(), 'x')")
    pages = in_database(running, "SELECT count(*) FROM pages")

    assert running.end(signal.SIGTERM) == 0
    running.start()
    assert pool_of(running) == pool
    assert in_database(running, "SELECT count(*) FROM pages") == pages

    assert running.end(signal.SIGKILL) == -9
    until(lambda: not processes_with(str(running.state)), 2.0, lambda: processes_with(str(running.state)))
    running.start()
    assert pool_of(running) == pool
    assert in_database(running, "SELECT count(*) FROM pages") == pages

    assert running.end(signal.SIGHUP) == 0
    shutil.rmtree(running.state / "aws")
    running.start()
    assert pool_of(running) != pool
    assert in_database(running, "SELECT count(*) FROM pages") == pages
    assert healthy(running)


def test_killed_at_once_is_no_harm(
    running: Any, processes_with: Callable[[str], dict[int, str]], until: Callable[..., float]
) -> None:
    """A run that follows a kill without a pause waits for what is still ending, and comes up."""
    assert running.end(signal.SIGKILL) == -9
    running.start()
    assert healthy(running)


def test_environment_for_aws_is_refused(tmp_path: Path) -> None:
    """Without [embedded] nothing is touched, and the error says what to run."""
    file = tmp_path / "x.toml"
    file.write_text('name = "dev"\n')
    with pytest.raises(EmbeddedError, match=r"no \[embedded\] table"):
        Platform(load(str(file)), tmp_path / "state", print)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("heard", ["Valkey", "AWS API", "networking"])
def test_stop_while_it_starts_leaves_nothing(
    heard: str,
    tmp_path: Path,
    embedded_environment: Callable[[Path], tuple[Path, str]],
    processes_with: Callable[[str], dict[int, str]],
) -> None:
    """Ctrl-C in the middle of a first start, servers and deploy, is an orderly stop too."""
    web = tmp_path / "web"
    web.mkdir()
    (web / "index.html").write_text("")
    file, _ = embedded_environment(tmp_path)
    command = [sys.executable, "-m", "zedi.cli", "up", str(file), "--state", str(tmp_path / "state")]
    with subprocess.Popen(
        [*command, "--web", str(web)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if heard in line:
                process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, said
    assert said[-1].endswith("stopped\n")
    assert not processes_with(str(tmp_path / "state"))
