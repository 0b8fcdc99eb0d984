"""Who has documents compacted: starts the process that does it, gives it one document at a time, ends it.

The process is there while there is work and a little longer; an idle service has none. It may end at any
moment, by a signal, for lack of memory, in a crash of pycrdt: the document that it had is then left alone for
as long as this task lives, and the next one gets a new process.

While there are versions of pages that are to move to S3 it is given that to do, between documents. When S3 is
away that is said once; it is tried again after a pause, when a document has been compacted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from typing import Any, Final

from zedi.realtime.log import Log

TAIL_UPDATES: Final = 1000
TAIL_BYTES: Final = 1024 * 1024
"""A snapshot is due when the updates above it are so many or so long ..."""
TAIL_SHARE: Final = 4
"""... and have a fourth of its bytes, or are ten times as many: a long page is not rewritten all the time."""
LEAST_SECONDS: Final = 60.0
"""Between two snapshots of one document that this task asks for."""
MOVE_PAUSE_SECONDS: Final = 60.0
"""How long versions are not moved after S3 was found to be away."""
_MOVE_SECONDS: Final = 120.0
_IDLE_SECONDS: Final = 20.0
_JOB_SECONDS: Final = 600.0
_END_SECONDS: Final = 2.0
"""How long the process may take to end by itself; killed, it can no longer tell why it ended."""
_REMEMBERED: Final = 10_000


def due(updates: int, size: int, snapshot: int, *, closing: bool = False) -> bool:
    """Whether so many updates, of `size` bytes, above a snapshot of so many bytes go into a new one."""
    if closing and updates and (snapshot <= TAIL_BYTES or updates >= TAIL_UPDATES // 10):
        return True  # nobody writes on, so what is made now lasts
    if updates < TAIL_UPDATES and size < TAIL_BYTES:
        return False
    return size * TAIL_SHARE >= snapshot or updates >= 10 * TAIL_UPDATES


class Compactor:
    """The jobs of one task, done one after the other.

    Args:
        done: called with a document and its newest snapshot's number.
        environ: of the process; this one's own unless a test says otherwise.
        command: what to run.
    """

    def __init__(
        self,
        log: Log,
        done: Callable[[str, int], None],
        environ: Mapping[str, str] | None = None,
        command: tuple[str, ...] = (sys.executable, "-P", "-m", "zedi.realtime.compaction"),
    ) -> None:
        self._log = log
        self._done = done
        self._environ = os.environ if environ is None else environ
        self._command = command
        self._jobs: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._process: Process | None = None
        self._asked: dict[str, float] = {}
        """When each document was last given to the process, the latest at the end."""
        self._alone: set[str] = set()
        """Documents that cannot be compacted."""
        self._outgoing = False
        """Whether there are versions to move."""
        self._move_after = 0.0
        self._archive_away = False

    def ask(self, document: str, least: int) -> None:
        """Has `document` compacted, not too often, if there are `least` updates above its snapshot."""
        asked = self._asked.get(document)
        if document in self._alone or (asked is not None and time.monotonic() - asked < LEAST_SECONDS):
            return
        self._jobs.setdefault(document, least)
        self._wake.set()

    async def run(self) -> None:
        """Does the jobs, until it is cancelled."""
        try:
            while True:
                while self._jobs or self._outgoing:
                    if self._jobs:
                        document = next(iter(self._jobs))
                        await self._do(document, self._jobs.pop(document))
                    else:
                        await self._move()
                self._wake.clear()
                try:
                    async with asyncio.timeout(_IDLE_SECONDS if self._process else None):
                        await self._wake.wait()
                except TimeoutError:
                    await self._end()
        finally:
            await self._end(0)

    async def _do(self, document: str, least: int) -> None:
        self._asked.pop(document, None)
        self._asked[document] = time.monotonic()
        if len(self._asked) > _REMEMBERED:
            del self._asked[next(iter(self._asked))]
        began = time.monotonic()
        try:
            async with asyncio.timeout(_JOB_SECONDS):
                answer = await self._answer({"document": document, "least": least})
        except (TimeoutError, EOFError, ValueError) as error:
            status = await self._end()
            self._leave_alone(document, f"{str(error) or type(error).__name__}; status {status}")
            return
        except OSError as error:
            # No process could be started, or it was gone before it was given anything.
            await self._end()
            self._log.event("compaction", level="warning", document=document, reason=str(error))
            return
        self._outgoing = answer.pop("outgoing", False) and began >= self._move_after
        match answer.pop("status"):
            case "compacted":
                took = round(time.monotonic() - began, 3)
                self._log.event("compacted", **{**answer, "reason": None, "duration": took})
                self._done(document, answer["seq"])
            case "unneeded":
                self._done(document, answer["seq"])
            case "failed":
                self._leave_alone(document, answer["reason"])
            case "away":
                self._log.event("compaction", level="warning", document=document, reason=answer["reason"])

    async def _move(self) -> None:
        """Has some versions moved. A process that takes too long is killed: that is safe at any moment."""
        self._outgoing = False
        began = time.monotonic()
        try:
            async with asyncio.timeout(_MOVE_SECONDS):
                answer = await self._answer({})
        except (TimeoutError, EOFError, ValueError, OSError) as error:
            status = await self._end(0)
            answer = {"versions": 0, "reason": f"{str(error) or type(error).__name__}; status {status}"}
        if answer["versions"]:
            took = round(time.monotonic() - began, 3)
            self._log.event("versions_moved", versions=answer["versions"], size=answer["size"], duration=took)
        if answer["reason"]:
            self._move_after = time.monotonic() + MOVE_PAUSE_SECONDS
            if not self._archive_away:
                self._log.event("archive_away", level="warning", reason=answer["reason"])
            self._archive_away = True
            return
        if self._archive_away and answer["versions"]:
            self._log.event("archive_ready")
            self._archive_away = False
        self._outgoing = answer["more"]

    def _leave_alone(self, document: str, reason: str) -> None:
        self._alone.add(document)
        self._log.event("left_uncompacted", level="error", document=document, reason=reason)

    async def _answer(self, job: dict[str, object]) -> dict[str, Any]:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=dict(self._environ), stdin=PIPE, stdout=PIPE
            )
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(job).encode() + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the process ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _end(self, patience: float = _END_SECONDS) -> int | None:
        """Ends the process; its status. What it was doing is undone by the database."""
        process, self._process = self._process, None
        if process is None:
            return None
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                return await process.wait()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        return await process.wait()
