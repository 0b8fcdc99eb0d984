"""The table of prices: complete, dated, and beaten only by what was seen later."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from zedi.cost import CostError, prices
from zedi.cost.estimate import months_between
from zedi.cost.prices import PriceTable


def test_packaged_table_is_dated(table: PriceTable) -> None:
    """Every price has a date, a source and a unit; what nobody has read in a price list says so."""
    assert table.region == "ap-northeast-1"
    for price in table.prices.values():
        assert price.usd > 0
        assert price.source and price.unit and price.service
        assert date(2025, 1, 1) < price.seen < date(2027, 1, 1)
        assert price.usage_type is None or price.usage_type.startswith("APN1-")
    doubtful = {price.id for price in table.prices.values() if not price.verified}
    assert "cache.valkey.cache.t4g.micro" in doubtful
    assert "endpoint.hour" not in doubtful


def test_render_is_read_back(table: PriceTable) -> None:
    """What is written is what was there, to the last digit."""
    assert prices.parse(prices.render(table), "x") == table


def test_no_user_file_is_the_packaged_table(table: PriceTable, tmp_path: Path) -> None:
    """Without a refresh the package's prices count."""
    assert prices.load(tmp_path / "prices.json") == table


def test_what_was_seen_later_counts(table: PriceTable, tmp_path: Path) -> None:
    """Price by price: a newer one in the user's file is taken, an older one is not, a new one is added."""
    hour, secret = table.prices["alb.hour"], table.prices["secret.month"]
    newer = replace(hour, usd=Decimal("0.03"), seen=date(2026, 11, 20))
    older = replace(secret, usd=Decimal("9"), seen=date(2020, 1, 1))
    other = replace(hour, id="cache.redis.cache.m7g.large", usd=Decimal("0.2"))
    file = tmp_path / "deep" / "prices.json"
    prices.write(PriceTable(table.region, {price.id: price for price in (newer, older, other)}), file)
    loaded = prices.load(file)
    assert loaded.prices["alb.hour"] == newer
    assert loaded.prices["secret.month"] == secret
    assert loaded.prices[other.id] == other
    assert set(loaded.prices) == {*table.prices, other.id}
    assert [path.name for path in file.parent.iterdir()] == ["prices.json"]


def test_user_file_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It lies where data of programs lies."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert prices.user_file() == tmp_path / "zedi" / "prices.json"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert prices.user_file() == tmp_path / ".local" / "share" / "zedi" / "prices.json"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not a table of prices"),
        ('{"region": "ap-northeast-1"}', "not a table of prices"),
        ('{"region": "x", "prices": [{"id": "a"}]}', "not a table of prices"),
        ('{"region": "eu-west-1", "prices": []}', "has the prices of eu-west-1"),
    ],
)
def test_a_broken_user_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    """The error says which file, and what to do."""
    file = tmp_path / "prices.json"
    file.write_text(text)
    with pytest.raises(CostError, match=says) as caught:
        prices.load(file)
    assert caught.value.where == str(file)
    assert "zedi cost refresh" in caught.value.fix


@pytest.mark.parametrize("usd", ["-1", "NaN", "Infinity", "one"])
def test_impossible_prices_are_refused(table: PriceTable, usd: str) -> None:
    """A price is a number from 0 on."""
    data = json.loads(prices.render(table))
    data["prices"][0]["usd"] = usd
    with pytest.raises(CostError):
        prices.parse(json.dumps(data), "x")


def test_a_folder_that_cannot_be_written_is_named(table: PriceTable, tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "zedi").write_text("")
    with pytest.raises(CostError, match="cannot be written"):
        prices.write(table, tmp_path / "zedi" / "prices.json")


def test_ages() -> None:
    """Whole months."""
    assert months_between(date(2025, 12, 1), date(2026, 11, 23)) == 11
    assert months_between(date(2026, 10, 31), date(2026, 11, 23)) == 0
    assert months_between(date(2025, 11, 23), date(2026, 11, 23)) == 12
