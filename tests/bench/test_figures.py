"""Percentiles, ratios and spread."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import STEP, Histogram, Spread, quantile, ratio, spread


@given(st.lists(st.floats(0, 19), min_size=1), st.sampled_from([0.01, 0.5, 0.99, 1.0]))
def test_a_histograms_quantile_is_the_exact_one_up_to_a_bucket(values: list[float], share: float) -> None:
    """A histogram answers what sorting all values would, rounded up by at most one bucket."""
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = quantile(values, share)
    assert exact - 1e-9 <= histogram.quantile(share) <= exact + STEP + 1e-9
    assert histogram.total == len(values)


def test_what_takes_longer_than_the_histogram_is_counted_at_its_end() -> None:
    """A latency beyond the last bucket is not lost: it makes the last bucket's quantile."""
    histogram = Histogram()
    histogram.add(0.001)
    histogram.add(1000.0)
    assert histogram.total == 2
    assert histogram.quantile(1.0) == pytest.approx(20.0)


def test_an_empty_histogram_says_nothing() -> None:
    """Without latencies there is no quantile; a cleared histogram is empty."""
    histogram = Histogram()
    histogram.add(1.0)
    histogram.clear()
    assert histogram.total == 0
    assert histogram.quantile(0.99) == 0.0


def test_quantiles_by_rank() -> None:
    """The p99 of a hundred values is the second greatest, of two the greatest, and the p50 the lower one."""
    values = [float(value) for value in range(1, 101)]
    assert quantile(values, 0.99) == 99
    assert quantile([2.0, 1.0], 0.99) == 2
    assert quantile([2.0, 1.0], 0.5) == 1


def test_ratio_with_nothing_at_the_peer() -> None:
    """Nothing lost on both sides is equal; something against nothing is infinitely worse."""
    assert ratio(1, 4) == 0.25
    assert ratio(0, 0) == 1
    assert ratio(1, 0) == math.inf


def test_spread_of_measurements() -> None:
    """Median, least and greatest; no measurement is an error and not a zero."""
    assert spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)
    with pytest.raises(ValueError, match="no measurement"):
        spread([])
