"""Estimates with the package's prices, whatever the user of this machine has refreshed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from zedi import settings
from zedi.cost import assumptions, prices
from zedi.cost.estimate import Estimate, estimate
from zedi.cost.prices import PriceTable

ENVIRONMENTS = Path(__file__).parents[2] / "environments"


@pytest.fixture
def table() -> PriceTable:
    return prices.packaged()


@pytest.fixture
def estimate_of(table: PriceTable) -> Callable[..., Estimate]:
    """The estimate of an environment in the repository, or of `dev` that the given TOML changes."""

    def make(environment: str = "dev", toml: str = "", assume: Mapping[str, str] | None = None) -> Estimate:
        chosen = (
            settings.parse(f'name = "{environment}"\n{toml}', "test.toml")
            if toml
            else settings.load(environment, ENVIRONMENTS)
        )
        return estimate(chosen, table, assumptions.changed(assume or {}))

    return make


@pytest.fixture
def usd() -> Callable[[Estimate], dict[str, Decimal | None]]:
    """USD a month by the lines' keys."""

    def by_key(found: Estimate) -> dict[str, Decimal | None]:
        assert len({line.key for line in found.lines}) == len(found.lines)
        return {line.key: line.usd for line in found.lines}

    return by_key
