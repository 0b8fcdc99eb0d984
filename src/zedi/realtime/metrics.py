"""What one task counts, for its two readers: a log line a minute, and Prometheus at /metrics.

CloudWatch wants what happened since the last line, Prometheus what happened since the start. So everything is
counted from the start, and a line is the difference to the one before it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: the upper bounds of the histogram's buckets."""

_MOST_VALUES: Final = 100
"""Distinct values that one embedded metric may have."""
_STEP: Final = math.log(1.1)
_FIRST: Final = round(math.log(1e-5) / _STEP)
_EDGES: Final = tuple(math.exp((_FIRST + step + 0.5) * _STEP) for step in range(300))
"""Seconds, between a step and the next: from 10 µs to more than a month."""


class Durations:
    """How often it took how long, in steps of 10 %: as exact as anybody needs, in bounded memory."""

    def __init__(self) -> None:
        self._steps: Counter[int] = Counter()
        self._reported: Counter[int] = Counter()
        self.seconds = 0.0
        """Their sum."""

    def add(self, seconds: float) -> None:
        self.seconds += seconds
        self._steps[_FIRST + bisect_left(_EDGES, seconds)] += 1

    def fresh(self) -> dict[str, list[float] | list[int]]:
        """Those since the last call, as the embedded metric format has them: values in milliseconds and how
        often each came; empty when there were none.

        Where values spread over more than a hundred steps, the smallest are counted as larger ones: what an
        alarm looks at is the other end.
        """
        new = self._steps - self._reported
        self._reported = self._steps.copy()
        kept = sorted(new)
        while len(kept) > _MOST_VALUES:
            new[kept[1]] += new.pop(kept.pop(0))
        if not kept:
            return {}
        return {
            "Values": [float(f"{1000 * math.exp(step * _STEP):.4g}") for step in kept],
            "Counts": [new[step] for step in kept],
        }

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound in seconds and how many were at most that, from the start, as Prometheus has them."""
        counts = [0] * (len(BOUNDS) + 1)
        for step, count in self._steps.items():
            counts[bisect_left(BOUNDS, math.exp(step * _STEP))] += count
        bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
        return list(zip(bounds, map(float, accumulate(counts)), strict=True))


class Metrics:
    """Counted where it happens; all from the start of the process."""

    def __init__(self) -> None:
        self.messages = 0
        """Received from clients."""
        self.edits = 0
        """Updates that were stored."""
        self.errors = 0
        """Messages, tokens and sockets that were refused, or failed."""
        self.latency = Durations()
        """From an update's arrival to its acknowledgement."""
        self._reported: Counter[str] = Counter()

    def fresh(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Of counts from the start, by name, what has come since the last call."""
        new = {name: count - self._reported[name] for name, count in counts.items()}
        self._reported.update(new)
        return new


@dataclass(frozen=True)
class Sample:
    """One figure of a task for Prometheus. `name` is without the prefix zedi_; a counter's without _total."""

    name: str
    help: str
    value: float
    counter: bool = False


def exposition(samples: Iterable[Sample], latency: Durations) -> bytes:
    """The text that Prometheus reads, with the process's own figures (memory, CPU, open files) added."""
    # Nothing of this is needed before somebody asks.
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.registry import Collector

    class Task(Collector):
        def collect(self) -> Iterable[Metric]:
            for sample in samples:
                family = CounterMetricFamily if sample.counter else GaugeMetricFamily
                yield family(f"zedi_{sample.name}", sample.help, value=sample.value)
            yield HistogramMetricFamily(
                "zedi_acknowledgement_seconds",
                "From the arrival of an update to its acknowledgement",
                buckets=latency.buckets(),
                sum_value=latency.seconds,
            )

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Task())
    ProcessCollector(registry=registry)
    return generate_latest(registry)
