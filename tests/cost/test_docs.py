"""docs/cost.md says what the commands in it print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from zedi.cli.cost import money
from zedi.cost.estimate import Estimate

PAGE = (Path(__file__).parents[2] / "docs" / "cost.md").read_text("utf-8")
ALONE = {
    "networking.egress=public": "[networking]\negress = 'public'",
    "database.min_acu=0": "[database]\nmin_acu = 0",
    "cache.engine=valkey": "[cache]\nengine = 'valkey'\nengine_version = '8.1'",
    "realtime.architecture=ARM64": "[realtime]\narchitecture = 'ARM64'",
}


@pytest.mark.parametrize("change", ALONE)
def test_each_saving(estimate_of: Callable[..., Estimate], change: str) -> None:
    """Its row has what the command in it comes to."""
    saved = estimate_of("dev").total.usd - estimate_of("dev", ALONE[change]).total.usd
    (row,) = [line for line in PAGE.splitlines() if line.startswith("|") and change in line]
    assert row.split("|")[2].strip() == f"${money(saved)}"


def test_totals(estimate_of: Callable[..., Estimate]) -> None:
    """dev, lean, and lean with the hours awake that the page names."""
    assert f"**${money(estimate_of('dev').total.usd)}**" in PAGE
    assert f"**${money(estimate_of('lean').total.usd)}**" in PAGE
    for hours in ("278", "365", "730"):
        assert f"${money(estimate_of('lean', assume={'awake_hours': hours}).total.usd)}" in PAGE


def test_ways_out(estimate_of: Callable[..., Estimate]) -> None:
    """What the network costs with each."""
    endpoints = estimate_of("dev").by_phase()["networking"].usd
    nat = estimate_of("dev", "[networking]\negress = 'nat'").by_phase()["networking"].usd
    both = estimate_of("dev", "[networking]\negress = 'nat'\nnat_per_zone = true").by_phase()["networking"]
    assert f"| `endpoints` | ${money(endpoints)} |" in PAGE
    assert f"| `nat` | ${money(nat)} |" in PAGE
    assert f"adds ${money(both.usd - nat)} " in PAGE
