"""What-if, comparison, and the sums of an estimate."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from zedi import settings
from zedi.cost import CostError, assumptions
from zedi.cost.estimate import Estimate, differences, estimate, what_if
from zedi.cost.prices import PriceTable
from zedi.settings import SettingsError

ENVIRONMENTS = Path(__file__).parents[2] / "environments"


@pytest.fixture
def dev() -> settings.Settings:
    return settings.load("dev", ENVIRONMENTS)


def test_what_if_takes_settings_and_assumptions(dev: settings.Settings, table: PriceTable) -> None:
    """Four changes make of dev what lean is, to the cent."""
    changes = {
        "networking.egress": "public",
        "database.min_acu": "0",
        "cache.engine": "valkey",
        "cache.engine_version": "8.1",
        "realtime.architecture": "ARM64",
        "assume.awake_hours": "100",
    }
    chosen, assume = what_if(dev, changes)
    assert assume == {**assumptions.defaults(), "awake_hours": Decimal(100)}
    # 68.284625 of lean, less 76 h x 0.5 ACU x 0.15
    assert estimate(chosen, table, assume).total.usd == Decimal("62.584625")


def test_what_if_changes_nothing_else(dev: settings.Settings) -> None:
    """All that was set stays, and the settings that were given are left alone."""
    chosen, _ = what_if(dev, {"database.instances": "2"})
    assert chosen == dev.model_copy(update={"database": dev.database.model_copy(update={"instances": 2})})
    assert dev.database.instances == 1
    assert what_if(dev, {}) == (dev, assumptions.defaults())


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"networking.egres": "nat"}, SettingsError, "did you mean networking.egress?"),
        ({"networking.egress": "vpn"}, SettingsError, "'endpoints', 'public' or 'nat'"),
        ({"databse.min_acu": "0"}, SettingsError, "did you mean database?"),
        ({"database.instances": "two"}, SettingsError, "valid integer"),
        ({"assume.connection": "1"}, CostError, "did you mean assume.connections?"),
        ({"assume.zzz": "1"}, CostError, "known: awake_hours, connections"),
        ({"assume.log_gb": "-1"}, CostError, "expected a number from 0"),
        ({"assume.awake_hours": "731"}, CostError, "from 0 to 730"),
        ({"assume.users": "NaN"}, CostError, "'NaN'"),
        ({"assume.users": "many"}, CostError, "'many'"),
    ],
)
def test_what_if_names_what_cannot_be(
    dev: settings.Settings, changes: dict[str, str], error: type[Exception], says: str
) -> None:
    """A mistyped key or a value that means nothing is answered as in a file of settings."""
    with pytest.raises(error) as caught:
        what_if(dev, changes)
    assert says in str(caught.value)
    assert "--what-if" in str(caught.value)


def test_all_wrong_assumptions_at_once(dev: settings.Settings) -> None:
    """Nobody has to try twice."""
    with pytest.raises(CostError) as caught:
        what_if(dev, {"assume.a": "1", "assume.log_gb": "x"})
    assert "assume.a" in caught.value.what and "assume.log_gb" in caught.value.what


def test_differences(estimate_of: Callable[..., Estimate]) -> None:
    """Line by line, the largest first; what is only on one side counts in full."""
    found = differences(estimate_of("dev"), estimate_of("lean"))
    assert [(each.line.key, each.usd) for each in found] == [
        ("networking/Interface endpoints", Decimal("-81.76")),
        ("database/Capacity, minimum", Decimal("-41.55")),
        ("cache/Nodes", Decimal("-3.65")),
        ("realtime/Public addresses of tasks", Decimal("3.65")),
        ("realtime/Tasks on Spot, vCPU", Decimal("-1.845075")),
        ("realtime/Tasks on Spot, memory", Decimal("-0.40515")),
        ("networking/Data through interface endpoints", Decimal("-0.01")),
    ]
    change = estimate_of("lean").total.usd - estimate_of("dev").total.usd
    assert sum(each.usd or Decimal(0) for each in found) == change
    assert differences(estimate_of("dev"), estimate_of("dev")) == ()


def test_a_line_that_becomes_unknown_is_told(estimate_of: Callable[..., Estimate]) -> None:
    """Neither more nor less: nobody knows."""
    found = differences(estimate_of("dev"), estimate_of("dev", "[cache]\nnode_type = 'cache.r7g.large'"))
    assert [(each.line.key, each.usd) for each in found] == [("cache/Nodes", None)]


def test_another_region_is_refused(table: PriceTable) -> None:
    """Prices of Tokyo are not those of Ireland, and the error says what can be done."""
    elsewhere = settings.parse('name = "eu"\nregion = "eu-west-1"\n', "eu.toml")
    with pytest.raises(CostError, match="eu-west-1 has no prices here") as caught:
        estimate(elsewhere, table)
    assert "--what-if region=ap-northeast-1" in caught.value.fix
    chosen, _ = what_if(elsewhere, {"region": "ap-northeast-1"})
    assert estimate(chosen, table).total.usd > 0


def test_age_of_what_is_used(estimate_of: Callable[..., Estimate]) -> None:
    """Only prices that a line was computed with count."""
    found = estimate_of("dev")
    assert found.oldest.id == "aurora.acu"
    assert "cache.valkey.cache.t4g.micro" not in {price.id for price in found.unverified}
    assert "cache.valkey.cache.t4g.micro" in {price.id for price in estimate_of("lean").unverified}


def test_unknown_lines_are_in_no_sum(estimate_of: Callable[..., Estimate]) -> None:
    """They are counted, and what has nothing else is not shown as free."""
    sums = estimate_of("dev").by_service()["AWSDataTransfer"]
    assert (sums.known, sums.unknown, sums.usd) == (0, 2, Decimal(0))
