"""State folders, settings on free ports, supervisors that leave nothing behind, and a look into /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from zedi.embedded.state import State
from zedi.embedded.supervisor import Supervisor
from zedi.settings import Settings, load


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """A state folder of its own, locked."""
    folder = State(tmp_path / "state")
    yield folder
    folder.close()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may come to; pytest keeps its own private, and closes them again."""
    with tempfile.TemporaryDirectory(prefix="zedi-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def told() -> list[str]:
    """What the supervisor has told people."""
    return []


@pytest.fixture
async def supervisor(state: State, told: list[str]) -> AsyncIterator[Supervisor]:
    """A supervisor whose children end with the test."""
    children = Supervisor(state.logs, told.append)
    yield children
    await children.stop_all()


@pytest.fixture
def settings(tmp_path: Path, embedded_environment: Callable[[Path], tuple[Path, str]]) -> Settings:
    """An embedded environment on free ports."""
    return load(str(embedded_environment(tmp_path)[0]))


@pytest.fixture(scope="session")
def processes_with() -> Callable[[str], dict[int, str]]:
    """The living processes with a text in command, environment or current folder: number -> command."""

    def find(text: str) -> dict[int, str]:
        found: dict[int, str] = {}
        for process in Path("/proc").iterdir():
            if not process.name.isdigit() or int(process.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                environment = (process / "environ").read_bytes().decode("utf-8", "replace")
                # A backend of PostgreSQL writes its title over both, but stays in the data folder.
                place = os.readlink(process / "cwd")
                zombie = (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
                if not zombie and any(text in each for each in (command, environment, place)):
                    found[int(process.name)] = command
        return found

    return find


@pytest.fixture(scope="session")
def until() -> Callable[..., float]:
    """Waits until something is so, at most so many seconds; returns how long it took."""

    def wait(condition: Callable[[], bool], seconds: float, what: Callable[[], object] = str) -> float:
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, what()
            time.sleep(0.01)
        return time.monotonic() - began

    return wait


@pytest.fixture(scope="session")
def listening() -> Callable[[int], set[str]]:
    """The addresses, as /proc/net has them, that a process listens on for TCP."""

    def find(process: int) -> set[str]:
        sockets: set[str] = set()
        for file in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):
                sockets.add(os.readlink(file))
        addresses: set[str] = set()
        for table in ("tcp", "tcp6"):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                    addresses.add(fields[1].split(":")[0])
        return addresses

    return find


LOOPBACK = {"0100007F", "00000000000000000000000001000000"}


@pytest.fixture(scope="session")
def loopback() -> set[str]:
    """127.0.0.1 and ::1 as /proc/net has them."""
    return LOOPBACK


@dataclass
class Up:
    """`zedi up` as its own process, with a front end of two files."""

    settings_file: Path
    state: Path
    web: Path
    process: subprocess.Popen[str] | None = None
    output: Path = Path()

    @property
    def settings(self) -> Settings:
        return load(str(self.settings_file))

    def start(self, seconds: float = 120.0) -> None:
        """Runs it until it says that it is ready."""
        self.output = self.state.with_suffix(".txt")
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "zedi.cli", "up", str(self.settings_file)),
                    *("--state", str(self.state), "--web", str(self.web)),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        deadline = time.monotonic() + seconds
        while "ready in" not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)

    @property
    def said(self) -> str:
        return self.output.read_text("utf-8")

    def end(self, number: signal.Signals) -> int:
        """Sends it a signal and waits for its end."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(60)
        self.process = None
        return status


@pytest.fixture(scope="module")
def up(
    tmp_path_factory: pytest.TempPathFactory, embedded_environment: Callable[[Path], tuple[Path, str]]
) -> Iterator[Up]:
    """`zedi up`, not started; stopped when the module is done, if it runs then."""
    folder = tmp_path_factory.mktemp("up")
    web = folder / "web"
    (web / "assets").mkdir(parents=True)
    (web / "index.html").write_text("<!doctype html><title>ノート</title>", "utf-8")
    (web / "assets" / "app-1.js").write_text("export {}\n")
    running = Up(embedded_environment(folder)[0], folder / "state", web)
    yield running
    if running.process is not None:
        running.end(signal.SIGINT)
