"""One JSON object a line on standard output: events, and metrics in CloudWatch's embedded metric format.

CloudWatch Logs turns the lines with an `_aws` member into metrics by itself, so they need no endpoint and
no agent (Amazon CloudWatch user guide, "Specification: Embedded metric format").
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from zedi import contract

Level = Literal["info", "warning", "error"]


class Log:
    """Writes lines about one task. `stream` is standard output unless a test says otherwise."""

    def __init__(self, task: str, environment: str, stream: TextIO | None = None) -> None:
        self._task = task
        self._environment = environment
        self._stream = stream if stream is not None else sys.stdout

    def event(self, event: str, *, level: Level = "info", **fields: Any) -> None:
        """One line. Fields that are None are left out; `duration` is in seconds."""
        line: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": level,
            "event": event,
            "task": self._task,
        }
        line.update((key, value) for key, value in fields.items() if value is not None)
        self._write(line)

    def metrics(
        self,
        gauges: Mapping[str, float],
        counts: Mapping[str, int],
        latency: Mapping[str, list[float] | list[int]],
    ) -> None:
        """One line of metrics. `latency` is a distribution in milliseconds, {"Values": ..., "Counts": ...};
        it may be empty."""
        names = [
            *({"Name": name, "Unit": "Count"} for name in (*gauges, *counts)),
            *([{"Name": contract.METRIC_LATENCY, "Unit": "Milliseconds"}] if latency else []),
        ]
        line: dict[str, Any] = {
            "_aws": {
                "Timestamp": int(time.time() * 1000),
                "CloudWatchMetrics": [
                    {
                        "Namespace": contract.METRIC_NAMESPACE,
                        "Dimensions": [[contract.METRIC_DIMENSION]],
                        "Metrics": names,
                    }
                ],
            },
            contract.METRIC_DIMENSION: self._environment,
            "task": self._task,
            **gauges,
            **counts,
        }
        if latency:
            line[contract.METRIC_LATENCY] = latency
        self._write(line)

    def _write(self, line: dict[str, Any]) -> None:
        self._stream.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
        self._stream.flush()


class LogHandler(logging.Handler):
    """Passes what libraries log on to the service's log."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.event(
            record.name,
            level="error" if record.levelno >= logging.ERROR else "warning",
            reason=record.getMessage(),
        )
