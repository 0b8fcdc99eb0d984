"""Children that cannot outlive us.

Every child is given a parent-death signal, so the kernel ends it when this process ends, however that
happens; and a process group of its own, so a Ctrl-C in the terminal reaches only us and we stop the
children in the right order. Linux's signal is tied to the parent *thread* (prctl(2)), so children are
started from the main thread only, which lives as long as the process. A child that ends by itself is
reported with its last words and started again, waiting longer each time, as ECS does.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from zedi.embedded import EmbeddedError

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_POLL_SECONDS: Final = 0.01
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_LONG_ENOUGH: Final = 60.0
"""Seconds of life after which a child's next end counts as its first."""
_LAST_WORDS: Final = 8
"""Lines of a child's log that a message about its end shows."""
_LOG_TAIL: Final = 16 * 1024


@dataclass(frozen=True)
class Program:
    """What to run, how to see that it is ready, and how to stop it. Times are seconds."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    """All of it: nothing is inherited."""
    ready: Callable[[], Awaitable[bool]]
    """Asked again and again after each start, until it says yes."""
    before: Callable[[], Awaitable[None]] | None = None
    """Done here, before each start."""
    become: Callable[[], None] | None = None
    """Done in the child, between fork and exec: changes who it runs as."""
    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends the child when we are gone."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    """How long it may take to stop; then it is killed."""
    ready_seconds: float = 30.0


class _Process:
    """A running process that leads a group, seen to its end.

    It is waited for with a pidfd and not reaped before its group has been killed: as long as it is not
    reaped its number belongs to nobody else, and a signal can hit no stranger.
    """

    def __init__(self, started: subprocess.Popen[bytes]) -> None:
        self.pid = started.pid
        self.status: int | None = None
        """Its exit status once it has ended; negative: the signal that ended it."""
        self._started = started
        self._ended = asyncio.Event()
        self._file = os.pidfd_open(started.pid)
        asyncio.get_running_loop().add_reader(self._file, self._end)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._file)
        os.close(self._file)
        self.kill()
        self.status = self._started.wait()
        self._ended.set()

    def signal(self, number: signal.Signals) -> None:
        if self.status is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it, if it has not ended, and what it has started itself."""
        if self.status is None:
            os.killpg(self.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """Its exit status, once it has ended."""
        await self._ended.wait()
        assert self.status is not None
        return self.status


@dataclass
class _Child:
    program: Program
    process: _Process
    started: float
    pause: float = _FIRST_PAUSE
    keeper: asyncio.Task[None] | None = field(default=None)


class Supervisor:
    """Starts programs, keeps them running, and stops them. `tell` gets one line at a time, for people.

    Raises EmbeddedError where the machine has no parent-death signal.
    """

    def __init__(self, logs: Path, tell: Callable[[str], None]) -> None:
        self._logs = logs
        self._tell = tell
        self._children: dict[str, _Child] = {}
        self._rotated: set[str] = set()
        try:
            self._prctl = ctypes.CDLL(None, use_errno=True).prctl
        except AttributeError:
            raise EmbeddedError(
                "this machine",
                "has no parent-death signal (prctl), so servers could be left behind",
                "Run zedi up on Linux; on a Mac, in a Linux container.",
            ) from None

    def log(self, name: str) -> Path:
        """Where the output of the child of that name goes."""
        return self._logs / f"{name}.log"

    def process_id(self, name: str) -> int:
        """The process ID of a running child."""
        return self._children[name].process.pid

    async def run(self, program: Program) -> None:
        """Runs a program to its end. Its `ready` is not asked; raises EmbeddedError unless it succeeds."""
        child = await self._spawn(program)
        try:
            status = await asyncio.wait_for(child.process.wait(), program.ready_seconds)
        except TimeoutError:
            raise self._failed(child, f"was not done after {program.ready_seconds:g} s") from None
        finally:
            await self._kill(child)
        if status != 0:
            raise self._failed(child, _ending(status))

    async def start(self, program: Program) -> None:
        """Starts a program and waits until it is ready; from then on it is kept running.

        Raises:
            EmbeddedError: it cannot be started, ended, or was not ready in time; its last words are told.
        """
        child = await self._spawn(program)
        self._children[program.name] = child
        try:
            await self._until_ready(child)
        except BaseException:
            # Also when cancelled: a child that nobody keeps must not stay.
            del self._children[program.name]
            await self._kill(child)
            raise
        child.keeper = asyncio.create_task(self._keep(child), name=f"keep {program.name}")

    async def stop(self, *names: str) -> None:
        """Stops the children of these names at the same time. Names that do not run are passed over."""
        await asyncio.gather(*(self._stop(self._children[name]) for name in names if name in self._children))

    async def stop_all(self) -> None:
        """Stops whatever still runs."""
        await self.stop(*self._children)

    async def _stop(self, child: _Child) -> None:
        # First its keeper, or it would be started again.
        if child.keeper:
            child.keeper.cancel()
            await asyncio.gather(child.keeper, return_exceptions=True)
        child.process.signal(child.program.stop_signal)
        try:
            await asyncio.wait_for(child.process.wait(), child.program.stop_seconds)
        except TimeoutError:
            self._tell(f"{child.program.name} did not stop within {child.program.stop_seconds:g} s: killed")
        await self._kill(child)
        self._children.pop(child.program.name, None)

    async def _kill(self, child: _Child) -> None:
        """Ends the child, if it has not ended, and what it has started itself."""
        child.process.kill()
        await child.process.wait()

    async def _spawn(self, program: Program) -> _Child:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("children must be started from the main thread")
        if program.before:
            await program.before()
        log = self.log(program.name)
        if program.name not in self._rotated:
            self._rotated.add(program.name)
            with contextlib.suppress(FileNotFoundError):
                log.replace(log.with_suffix(".log.1"))
        try:
            with log.open("ab") as output:
                # Not asyncio's: that one reaps at once, and gives the number away.
                started = subprocess.Popen(  # noqa: ASYNC220
                    program.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=dict(program.environment),
                    process_group=0,
                    preexec_fn=self._entry(program, os.getpid()),
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedError(
                program.name, f"cannot be started: {error}", f"The command is: {' '.join(program.command)}"
            ) from error
        return _Child(program, _Process(started), time.monotonic())

    def _entry(self, program: Program, parent: int) -> Callable[[], None]:
        """What the child does between fork and exec. It must not allocate much, log or lock."""
        prctl, become, death_signal = self._prctl, program.become, int(program.death_signal)

        def enter() -> None:
            # First who it is, then the signal: a change of credentials clears it.
            if become:
                become()
            if prctl(_PR_SET_PDEATHSIG, death_signal) != 0:
                os._exit(126)
            # Where we ended before the signal was set, nobody will send it.
            if os.getppid() != parent:
                os._exit(126)

        return enter

    async def _until_ready(self, child: _Child) -> None:
        deadline = child.started + child.program.ready_seconds
        while not await child.program.ready():
            if child.process.status is not None:
                raise self._failed(child, f"{_ending(child.process.status)} before it was ready")
            if time.monotonic() > deadline:
                raise self._failed(child, f"was not ready after {child.program.ready_seconds:g} s")
            await asyncio.sleep(_POLL_SECONDS)

    async def _keep(self, child: _Child) -> None:
        """Starts the child again whenever it ends by itself."""
        while True:
            status = await child.process.wait()
            if time.monotonic() - child.started > _LONG_ENOUGH:
                child.pause = _FIRST_PAUSE
            words = "".join(f"\n    {line}" for line in self.last_words(child.program.name))
            self._tell(
                f"{child.program.name} {_ending(status)}; starting it again in {child.pause:g} s{words}"
            )
            await asyncio.sleep(child.pause)
            child.pause = min(child.pause * 2, _LONGEST_PAUSE)
            await self._again(child)

    async def _again(self, child: _Child) -> None:
        try:
            fresh = await self._spawn(child.program)
        except EmbeddedError as error:
            self._tell(str(error))
            return
        child.process, child.started = fresh.process, fresh.started
        try:
            await self._until_ready(child)
        except EmbeddedError:
            # The loop that called tells of its end, and tries again.
            await self._kill(child)
        else:
            self._tell(f"{child.program.name} is back")

    def last_words(self, name: str) -> list[str]:
        """The last lines of a child's log."""
        try:
            with self.log(name).open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - _LOG_TAIL))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip()][-_LAST_WORDS:]

    def _failed(self, child: _Child, how: str) -> EmbeddedError:
        name = child.program.name
        words = "".join(f"\n    {line}" for line in self.last_words(name))
        return EmbeddedError(name, f"{how}{words}", f"All that it said is in {self.log(name)}.")


def _ending(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


async def answers(port: int, request: bytes, expected: bytes) -> bool:
    """Whether the server on a loopback port answers `request` with bytes that begin with `expected`."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            return (await reader.readexactly(len(expected))) == expected
    except (OSError, asyncio.IncompleteReadError, TimeoutError):
        return False
    finally:
        if writer:
            writer.close()


async def healthy(port: int, path: str) -> bool:
    """Whether a GET of `path` on a loopback port is answered with status 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    return await answers(port, request.encode("ascii"), b"HTTP/1.1 200")
