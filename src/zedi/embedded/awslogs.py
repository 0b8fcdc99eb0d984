"""What ECS's awslogs driver does: the containers' lines into the log group that their definition names.

The containers write to files (supervisor.py), and the files are the buffer: a log that is slow to take lines
can hold up no container. Lines are read off them and sent in batches. Every run has a stream of its own,
named as ECS names them, prefix/container/task. The embedded AWS keeps logs in memory and forgets none by
itself, so a stream that is full is followed by a new one and only the newest few are kept.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zedi.deploy import DeployError
from zedi.deploy.target import Target, asking

if TYPE_CHECKING:
    from mypy_boto3_logs.type_defs import InputLogEventTypeDef

_POLL_SECONDS: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
_BATCH_BYTES: Final = 256 * 1024
_BACKLOG_BYTES: Final = 4 * 1024 * 1024
"""awslogs's buffer (max-buffer-size in the task definition): what is more is dropped."""
_STREAM_BYTES: Final = 512 * 1024
_KEPT_STREAMS: Final = 4
"""Of each container; with _STREAM_BYTES the bound of what the embedded AWS keeps."""
_LONGEST_LINE: Final = 64 * 1024
_CLOSE_SECONDS: Final = 3.0


@dataclass(frozen=True)
class Destination:
    group: str
    prefix: str


def destination(definition: Mapping[str, Any]) -> Destination | None:
    """Where a container definition, as the ECS API has it, sends its lines; None: nowhere that we know."""
    configured = definition.get("logConfiguration", {})
    options = configured.get("options", {})
    group, prefix = options.get("awslogs-group"), options.get("awslogs-stream-prefix")
    if configured.get("logDriver") != "awslogs" or not group or not prefix:
        return None
    return Destination(group, prefix)


class Shipper:
    """Sends the lines of containers on, from the beginning of their files.

    Args:
        files: the file of each container, and where its lines go.
        tell: is told, for people, when lines could not be sent.
    """

    def __init__(
        self, target: Target, files: Mapping[str, tuple[Path, Destination]], tell: Callable[[str], None]
    ) -> None:
        self._target = target
        self._tell = tell
        self._sources = [_Source(target, name, *where) for name, where in files.items()]
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self._run(), name="awslogs")

    async def close(self) -> None:
        """Sends the last lines, if that is quick, and ends. To be called when the containers have ended."""
        if self._running is None:
            return
        self._running.cancel()
        # A thread that sends cannot be cancelled, but it ends by itself, within the client's own bounds.
        await asyncio.gather(self._running, return_exceptions=True)
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._send()
        except (DeployError, TimeoutError):
            self._tell("the last lines of the service are in its log files only")

    async def _run(self) -> None:
        pause = _POLL_SECONDS
        while True:
            try:
                await self._send()
                pause = _POLL_SECONDS
            except DeployError as error:
                if pause == _POLL_SECONDS:
                    self._tell(f"the service's lines do not reach the log for now: {error.what}")
                pause = min(pause * 2, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _send(self) -> None:
        for source in self._sources:
            while source.behind:
                if not await asyncio.to_thread(source.send):
                    break


class _Source:
    """One container's file and how far it was sent."""

    def __init__(self, target: Target, container: str, file: Path, to: Destination) -> None:
        self._target = target
        self._file = file
        self._to = to
        self._prefix = f"{to.prefix}/{container}/"
        self._offset = 0
        self._sending = threading.Lock()
        self._stream = ""
        self._sent = 0
        """Bytes in the stream."""

    @property
    def behind(self) -> bool:
        try:
            return self._file.stat().st_size > self._offset
        except FileNotFoundError:
            return False

    def send(self) -> bool:
        """Sends one batch; False when there is no whole line yet. Raises DeployError."""
        # `close` may come while the thread of the batch before is still at it.
        with self._sending:
            return self._send()

    def _send(self) -> bool:
        events, end = self._read()
        if events:
            with asking(self._target, f"log group {self._to.group}"):
                if not self._stream or self._sent >= _STREAM_BYTES:
                    self._begin_stream()
                self._target.client("logs").put_log_events(
                    logGroupName=self._to.group, logStreamName=self._stream, logEvents=events
                )
        self._sent += sum(len(event["message"].encode()) for event in events)
        done = end > self._offset
        self._offset = end
        return done

    def _read(self) -> tuple[list[InputLogEventTypeDef], int]:
        """The lines of the next batch, and where the one after it begins."""
        with self._file.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = self._offset
            if size - start > _BACKLOG_BYTES:
                file.seek(size - _BACKLOG_BYTES)
                file.readline()
                start = file.tell()
            file.seek(start)
            chunk = file.read(_BATCH_BYTES)
        # A line that is being written still waits for its end, unless it is longer than any batch.
        whole = chunk.rfind(b"\n") + 1 or (len(chunk) if len(chunk) == _BATCH_BYTES else 0)
        events = _events(chunk[:whole].decode("utf-8", "replace").split("\n"))
        return events, (start + whole if whole else self._offset)

    def _begin_stream(self) -> None:
        logs = self._target.client("logs")
        pages = logs.get_paginator("describe_log_streams").paginate(
            logGroupName=self._to.group, logStreamNamePrefix=self._prefix
        )
        there = [stream for page in pages for stream in page["logStreams"]]
        there.sort(key=lambda stream: stream.get("creationTime", 0), reverse=True)
        for stream in there[_KEPT_STREAMS - 1 :]:
            logs.delete_log_stream(logGroupName=self._to.group, logStreamName=stream["logStreamName"])
        name = f"{self._prefix}{uuid.uuid4().hex}"
        logs.create_log_stream(logGroupName=self._to.group, logStreamName=name)
        self._stream, self._sent = name, 0


def _events(lines: Sequence[str]) -> list[InputLogEventTypeDef]:
    """Lines as CloudWatch takes them: in the order of their times, none empty, none too long."""
    now = int(time.time() * 1000)
    found: list[InputLogEventTypeDef] = []
    at = now
    for line in filter(str.strip, lines):
        at = _written(line, at)
        for first in range(0, len(line), _LONGEST_LINE):
            found.append({"timestamp": at, "message": line[first : first + _LONGEST_LINE]})
    return sorted(found, key=lambda event: event["timestamp"])


def _written(line: str, otherwise: int) -> int:
    """When a line says that it was written, milliseconds since 1970; one that does not: `otherwise`."""
    try:
        return int(datetime.fromisoformat(json.loads(line)["time"]).timestamp() * 1000)
    except (ValueError, KeyError, TypeError, RecursionError):
        return otherwise
