"""One JSON object a line on standard output: events, and metrics in CloudWatch's embedded metric format.

CloudWatch Logs turns the lines with an `_aws` member into metrics by itself, so they need no endpoint and
no agent (Amazon CloudWatch user guide, "Specification: Embedded metric format").
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from zedi import contract

Level = Literal["info", "warning", "error"]

_MOST_VALUES: Final = 100
"""Distinct values that one embedded metric may have."""


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

    def metrics(self, gauges: dict[str, float], counts: dict[str, int], latencies: list[float]) -> None:
        """One line of metrics. Latencies are milliseconds; there may be none."""
        names = [
            *({"Name": name, "Unit": "Count"} for name in (*gauges, *counts)),
            *([{"Name": contract.METRIC_LATENCY, "Unit": "Milliseconds"}] if latencies else []),
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
        if latencies:
            line[contract.METRIC_LATENCY] = distribution(latencies)
        self._write(line)

    def _write(self, line: dict[str, Any]) -> None:
        self._stream.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
        self._stream.flush()


def distribution(values: list[float]) -> dict[str, list[float] | list[int]]:
    """`values` as at most 100 distinct ones and how often each comes. Each is off by at most 5 %.

    Where values spread over more than a hundred steps of 10 %, the smallest are counted as larger ones:
    what an alarm looks at is the other end.
    """
    rounded = Counter(map(_rounded, values))
    kept = sorted(rounded)
    while len(kept) > _MOST_VALUES:
        rounded[kept[1]] += rounded.pop(kept.pop(0))
    return {"Values": kept, "Counts": [rounded[value] for value in kept]}


def _rounded(value: float) -> float:
    return float(f"{1.1 ** round(math.log(max(value, 0.01), 1.1)):.4g}")


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
