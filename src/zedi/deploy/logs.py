"""What the service's containers have written, out of CloudWatch Logs: each line once, none lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from zedi.deploy import DeployError, stacks
from zedi.deploy.target import Target, asking
from zedi.phases import stack_name
from zedi.settings import Settings

PHASE: Final = "realtime"

_LOG_GROUP: Final = "AWS::Logs::LogGroup"
_PAGE: Final = 10_000
"""Events that FilterLogEvents gives at most in one answer."""
_LATE_MS: Final = 120_000
"""How much older than the newest line another may be and still arrive after it: tasks send in batches."""
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 5.0
"""Seconds between two looks while nothing is written; AWS allows five questions a second and account."""


@dataclass(frozen=True)
class Entry:
    id: str
    at: int
    """Milliseconds since 1970."""
    container: str
    """realtime or api: the first part of its stream's name (the task definition's awslogs-stream-prefix)."""
    stream: str
    text: str


def group(settings: Settings, target: Target) -> str:
    """The name of the log group of the service's containers. Raises DeployError when there is none."""
    with asking(target, PHASE):
        stack = stacks.describe(target, stack_name(settings, PHASE))
        if stack is None or not stack.deployed:
            raise DeployError(
                PHASE,
                "the service is not deployed, so it has no log",
                f"Deploy it: zedi deploy {settings.name} --through {PHASE}",
            )
        for resource in stacks.resources(target, stack):
            if resource.type == _LOG_GROUP:
                return resource.physical_id
    raise DeployError(
        f"{PHASE}: {stack.name}", "it has no log group", f"Deploy it again: zedi deploy {settings.name}"
    )


class Tail:
    """The lines of a log group from a moment on. Ask `new` again and again: each line comes once.

    A line that CloudWatch gets more than two minutes after a younger one may be missed.

    Args:
        since: milliseconds since 1970.
        container: only this one's lines.
    """

    def __init__(self, target: Target, group: str, since: int, container: str | None = None) -> None:
        self._target = target
        self._group = group
        self._since = since
        self._container = container
        self._newest = since
        self._seen: dict[str, int] = {}
        """When the lines were written that may be given again, by their IDs."""

    def new(self) -> Iterator[Entry]:
        """What was not given before, oldest first. Raises DeployError."""
        start: int | None = self._start
        token: str | None = None
        while start is not None:
            with asking(self._target, self._group):
                answer = self._ask(start, token)
            fresh = [event for event in answer["events"] if event["eventId"] not in self._seen]
            for event in fresh:
                self._seen[event["eventId"]] = event["timestamp"]
                self._newest = max(self._newest, event["timestamp"])
            token = answer.get("nextToken")
            if token is None:
                # The embedded AWS has no tokens: a full page is followed by one from its end on.
                full = len(answer["events"]) >= _PAGE and bool(fresh)
                start = answer["events"][-1]["timestamp"] if full else None
            for event in fresh:
                stream = event["logStreamName"]
                container = stream.partition("/")[0]
                if self._container in (None, container):
                    yield Entry(event["eventId"], event["timestamp"], container, stream, event["message"])
        self._seen = {id: at for id, at in self._seen.items() if at >= self._start}

    @property
    def _start(self) -> int:
        return max(self._since, self._newest - _LATE_MS)

    def _ask(self, start: int, token: str | None) -> Any:
        logs = self._target.client("logs")
        more: dict[str, Any] = {"nextToken": token} if token else {}
        if self._container:
            more["logStreamNamePrefix"] = f"{self._container}/"
        try:
            return logs.filter_log_events(logGroupName=self._group, startTime=start, limit=_PAGE, **more)
        except logs.exceptions.ResourceNotFoundException:
            raise DeployError(
                self._group,
                "the log group is gone, though its stack is there",
                "See what else was changed by hand: zedi drift. Then make it anew.",
            ) from None

    def follow(self, stop: threading.Event) -> Iterator[Entry]:
        """What is there, and then what comes, until `stop` is set. Looks less often while nothing comes."""
        pause = _FIRST_PAUSE
        while not stop.is_set():
            came = False
            for entry in self.new():
                came = True
                yield entry
            pause = _FIRST_PAUSE if came else min(pause * 1.5, _LONGEST_PAUSE)
            stop.wait(pause)
