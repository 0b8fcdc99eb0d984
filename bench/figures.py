"""Arithmetic on what was measured: latencies in a histogram, medians, ratios, spread. No I/O."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

STEP: Final = 50e-6
"""Seconds of one bucket of a histogram, and so the precision of every latency."""
_BUCKETS: Final = 400_000
"""20 s; what takes longer counts as 20 s."""


class Histogram:
    """Counts latencies in buckets of STEP: millions of them in constant memory."""

    def __init__(self) -> None:
        self.counts = [0] * _BUCKETS
        self.scale = 1 / STEP

    def add(self, seconds: float) -> None:
        self.counts[min(max(0, int(seconds * self.scale)), _BUCKETS - 1)] += 1

    def clear(self) -> None:
        self.counts[:] = [0] * _BUCKETS

    @property
    def total(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """Seconds that a share (above 0, up to 1) of the latencies do not exceed: the upper edge of a bucket.

        0.0 where nothing was counted.
        """
        total = self.total
        rank = max(1, math.ceil(share * total))
        passed = 0
        for place, count in enumerate(self.counts):
            passed += count
            if total and passed >= rank:
                return (place + 1) * STEP
        return 0.0


@dataclass(frozen=True)
class Spread:
    """Of several measurements of one thing."""

    median: float
    least: float
    greatest: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError where there is no value."""
    if not values:
        raise ValueError("no measurement to summarize")
    return Spread(statistics.median(values), min(values), max(values), len(values))


def ratio(ours: float, peer: float) -> float:
    """Ours in units of the peer's. Infinite where the peer's is 0 and ours is not; 1 where both are 0."""
    if peer == 0:
        return 1.0 if ours == 0 else math.inf
    return ours / peer


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that a share (above 0, up to 1) of the values do not exceed.

    Raises ValueError where there is no value.
    """
    if not values:
        raise ValueError("no measurement to summarize")
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]
