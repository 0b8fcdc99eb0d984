"""What several folders of tests use: free ports, an environment that has them, the platform itself."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import hypothesis
import pytest

pytest_plugins = ["tests.aws", "tests.servers"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background so. Tests that press Ctrl-C would wait for nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long one example takes says more about who else uses the machine than about the code.
hypothesis.settings.register_profile("zedi", deadline=None)
hypothesis.settings.load_profile("zedi")

READY_TIMEOUT = 120.0
"""Seconds that `zedi up` may take here; a laptop takes a few, a loaded test machine more."""
STOP_TIMEOUT = 30.0


def pytest_configure() -> None:
    """Lets Ctrl-C through to the tests of it: what a shell runs in the background ignores it otherwise."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [server.getsockname()[1] for server in sockets]
    finally:
        for server in sockets:
            server.close()


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """Ports of loopback that nobody listens on."""
    return _free_ports


@dataclass
class Platform:
    """`zedi up` as a person would run it: its own process, its own state folder, free ports."""

    settings: Path
    state: Path
    url: str
    process: subprocess.Popen[str] | None = None
    printed: list[str] = field(default_factory=list)
    _lines: queue.SimpleQueue[str | None] = field(default_factory=queue.SimpleQueue)
    _reader: threading.Thread = field(default_factory=threading.Thread)

    def start(self) -> None:
        """Runs `zedi up` and waits until it says that it is ready."""
        assert self.process is None
        self.printed.clear()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "zedi.cli", "up", str(self.settings), "--state", str(self.state)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "NO_COLOR": "1"},
        )
        self._lines = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()
        try:
            self.wait_for(r"^ready\b", READY_TIMEOUT)
        except AssertionError:
            self._end(signal.SIGKILL)
            raise

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, pattern: str, timeout: float) -> str:
        """The next printed line that `pattern` is found in."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(
                    f"no line with {pattern!r} in {timeout} s:\n{''.join(self.printed)}"
                ) from None
            if line is None:
                raise AssertionError(f"it ended without {pattern!r}:\n{''.join(self.printed)}")
            self.printed.append(line)
            if re.search(pattern, line):
                return line

    def stop(self, sign: signal.Signals = signal.SIGINT) -> int:
        """Stops it as Ctrl-C does and returns its exit status."""
        status = self._end(sign)
        assert status is not None, f"it did not stop:\n{''.join(self.printed)}"
        return status

    def _end(self, sign: signal.Signals) -> int | None:
        """Signals it and waits for its end; None when it had to be killed."""
        process, self.process = self.process, None
        assert process is not None
        process.send_signal(sign)
        try:
            status: int | None = process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = None
        self._reader.join(STOP_TIMEOUT)
        while not self._lines.empty():
            self.printed.append(self._lines.get() or "")
        return status


@pytest.fixture(scope="session")
def embedded_environment() -> Callable[[Path], tuple[Path, str]]:
    """Writes settings of an embedded environment on free ports into a folder: (file, front end's URL)."""

    def write(folder: Path) -> tuple[Path, str]:
        aws, database, cache, realtime, api, front = _free_ports(6)
        url = f"http://localhost:{front}"
        file = folder / "local.toml"
        file.write_text(
            f"""
name = "local"
[security]
callback_urls = [{json.dumps(f"{url}/callback")}]
logout_urls = [{json.dumps(url)}]
[database]
port = {database}
tls = "disable"
[cache]
port = {cache}
tls = false
[realtime]
port = {realtime}
api_port = {api}
bind_address = "127.0.0.1"
[cdn]
url = {json.dumps(url)}
[embedded]
port = {aws}
[[embedded.users]]
email = "hanako@example.com"
display_name = "花子"
password = "Zedi-example-1"
[[embedded.users]]
email = "taro@example.com"
display_name = "太郎"
password = "Zedi-example-2"
""",
            "utf-8",
        )
        return file, url

    return write


@pytest.fixture(scope="module")
def platform(
    tmp_path_factory: pytest.TempPathFactory,
    embedded_environment: Callable[[Path], tuple[Path, str]],
) -> Iterator[Platform]:
    """The platform, started; stopped when the module is done, if it still runs."""
    folder = tmp_path_factory.mktemp("platform")
    settings, url = embedded_environment(folder)
    running = Platform(settings, folder / "state", url)
    running.start()
    try:
        yield running
    finally:
        if running.process is not None:
            running.stop()
