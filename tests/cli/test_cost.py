"""`zedi cost`, as a person and as a program reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.cells import cell_len

from zedi.cli.cost import age, cost, refreshed_lines
from zedi.cost import CostError, offers, prices
from zedi.cost.offers import Refreshed
from zedi.cost.prices import PriceTable, packaged

ROOT = Path(__file__).parents[2]

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the verb where the repository's environments are, with nobody's refreshed prices."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(cost, list(words))

    return invoke


@pytest.mark.parametrize("words", [("dev",), ("lean", "--compare", "dev"), ("dev", "--assumptions")])
def test_no_line_ends_in_spaces(run: Run, words: tuple[str, ...]) -> None:
    """What is copied out of a terminal, or compared with diff, has none."""
    printed = run(*words).stdout
    assert printed and not [line for line in printed.splitlines() if line != line.rstrip()]


def rows(output: str, *first: str) -> list[str]:
    return [line for line in output.splitlines() if line.strip().startswith(first)]


def test_dev(run: Run) -> None:
    """Totals apart, each line with quantity, unit, price and sum, the age of the prices, and the log."""
    done = run("dev")
    assert done.exit_code == 0
    assert done.output.startswith("dev in ap-northeast-1: about $193.85 a month")
    assert [line.split()[:4] for line in rows(done.output, "fixed ", "assumed ", "together ")][:3] == [
        ["fixed", "181.00", "181.00", "181.00"],
        ["assumed", "12.86", "4.98", "429.84"],
        ["together", "193.85", "185.98", "610.84"],
    ]
    (endpoints,) = rows(done.output, "Interface endpoints")
    assert endpoints.split()[2:7] == ["fixed", "5,840", "zone-hour", "0.014", "81.76"]
    assert "4 endpoints x 2 zones x 730 h" in endpoints
    (storage,) = rows(done.output, "Storage")
    assert "assumed" in storage and "assume.database_gb" in storage
    (backups,) = rows(done.output, "Backups")
    assert "unknown" in backups and " ? " in backups
    assert "seen 2025-12 to 2026-11; the oldest (aurora.acu)" in done.output
    assert "The work log of 2026-01-31 said about $76. Its own figures add up to $79.40-84.40" in done.output
    (claim,) = rows(done.output, "VPC Endpoints")
    assert claim.split()[5:8] == ["14.00", "81.77", "+67.77"]


def test_tables_are_aligned_with_japanese(run: Run) -> None:
    """Columns end at the same cell, though a Japanese character takes two."""
    claims = rows(run("dev").output, "VPC Endpoints (Interface型", "Secrets Manager (1シークレット)", "ALB ")
    ends = {
        cell_len(line[: line.index(sum_) + len(sum_)])
        for line, sum_ in zip(claims, ("81.77", "0.40    0.40", "25.12"), strict=True)
    }
    assert len(ends) == 1


def test_no_colour_but_on_a_terminal(run: Run) -> None:
    """What goes into a file is plain text."""
    assert "\x1b" not in run("dev").output


def test_lean_has_no_log(run: Run) -> None:
    """The log was about dev; Valkey's price is marked as derived."""
    output = run("lean").output
    assert "about $68.28 a month" in output
    assert "work log" not in output
    assert "cache.valkey.cache.t4g.micro (derived" in " ".join(output.split())


def test_the_embedded_environment_costs_nothing(run: Run) -> None:
    """What runs on this machine is told apart from what it would cost."""
    assert "It runs on this machine and costs nothing" in run("local").output


def test_compare(run: Run) -> None:
    """Another environment, line by line, the largest difference first."""
    output = run("lean", "--compare", "dev").output
    assert "Against dev ($193.85): $125.57 less a month" in output
    table = output[output.index("Against dev") :]
    assert table.index("networking/Interface endpoints") < table.index("database/Capacity, minimum")
    (row,) = rows(table, "database/Capacity, minimum")
    assert row.split()[-3:] == ["54.75", "13.20", "-41.55"]
    (together,) = rows(table, "together")
    assert together.split() == ["together", "193.85", "68.28", "-125.57"]


def test_what_if(run: Run) -> None:
    """A change is compared with the environment as it is."""
    output = run("dev", "--what-if", "networking.egress=nat", "--what-if", "assume.log_gb=10").output
    assert "Against dev as it is ($193.85):" in output
    (row,) = rows(output, "networking/NAT gateways")
    assert row.split()[-2:] == ["45.26", "+45.26"]
    assert "work log" not in output


@pytest.mark.parametrize(
    "words", [("dev", "--what-if", "x"), ("dev", "--what-if", "=1"), ("refresh", "--json")]
)
def test_usage(run: Run, words: tuple[str, ...]) -> None:
    """What cannot be understood is a usage error."""
    assert run(*words).exit_code == 2


def test_mistyped_keys(run: Run) -> None:
    """The error goes up to where it is printed for people."""
    error = run("dev", "--what-if", "database.min_acus=0").exception
    assert "did you mean database.min_acu?" in str(error)


def test_json(run: Run) -> None:
    """Everything that people see, as numbers; unknown is null, never 0."""
    report = json.loads(run("dev", "--json").output)
    assert report["total"] == {"usd": 193.8549, "low": 185.9829, "high": 610.8418, "unknown": 5}
    assert report["fixed"]["usd"] == 180.999
    by_key = {f"{line['phase']}/{line['item']}": line for line in report["lines"]}
    assert by_key["networking/Interface endpoints"] == {
        "phase": "networking",
        "service": "AmazonVPC",
        "item": "Interface endpoints",
        "kind": "fixed",
        "quantity": 5840.0,
        "unit": "zone-hour",
        "price": 0.014,
        "free": 0.0,
        "usd": 81.76,
        "low": 81.76,
        "high": 81.76,
        "how": "4 endpoints x 2 zones x 730 h",
    }
    assert by_key["database/Backups"]["usd"] is None
    assert report["services"]["AWSDataTransfer"]["usd"] is None
    assert report["work_log"]["total"] == 76
    assert {"id": "alb.hour", "usd": 0.0243, "unit": "hour"}.items() <= next(
        price for price in report["prices"] if price["id"] == "alb.hour"
    ).items()
    assert "compared_with" not in report


def test_json_of_a_comparison(run: Run) -> None:
    """The differences are there too."""
    report = json.loads(run("lean", "--compare", "dev", "--json").output)
    assert report["compared_with"]["difference"] == -125.5702
    assert report["compared_with"]["lines"][0] == {
        "line": "networking/Interface endpoints",
        "before": 81.76,
        "after": None,
        "difference": -81.76,
    }
    assert "work_log" not in report


def test_assumptions(run: Run) -> None:
    """All of them, with their values and what they are."""
    output = run("dev", "--assumptions", "--what-if", "assume.users=7").output
    (users,) = rows(output, "assume.users")
    assert users.split()[:2] == ["assume.users", "7"]
    assert json.loads(run("dev", "--assumptions", "--json").output)["assume.awake_hours"] == 176


def test_an_old_table_says_how_to_renew_it(run: Run) -> None:
    """The age is counted from the day on which it is read."""
    from zedi import settings
    from zedi.cost.estimate import estimate

    found = estimate(settings.load("dev"), packaged())
    assert any("the oldest (aurora.acu) 23 months ago" in line for line in age(found, date(2027, 11, 23)))
    assert list(age(found, date(2027, 11, 23)))[-1] == "`zedi cost refresh` reads AWS's price list."


def test_refresh_writes_and_tells(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What AWS's list says is kept for the user, and the next estimate is computed with it."""
    from dataclasses import replace
    from decimal import Decimal

    def read(table: PriceTable, today: date, base: str = "") -> Refreshed:
        before = table.prices["endpoint.hour"]
        now = replace(before, usd=Decimal("0.015"), seen=today, source="AWS")
        return Refreshed(
            PriceTable(table.region, {**table.prices, before.id: now}),
            ((before, now),),
            (("nat.hour", "not read"),),
        )

    monkeypatch.setattr(offers, "refresh", read)
    done = run("refresh")
    assert done.exit_code == 0, done.exception
    assert "Read 1 prices of ap-northeast-1" in done.output
    assert "endpoint.hour: 0.014 → 0.015 USD for a zone-hour" in done.output
    assert "nat.hour: kept, seen 2026-09-01: not read" in done.output
    assert str(tmp_path / "zedi" / "prices.json") in done.output
    (endpoints,) = rows(run("dev").output, "Interface endpoints")
    assert "87.60" in endpoints  # 5,840 x 0.015


def test_refresh_that_changes_nothing_says_so() -> None:
    """The same prices, seen today."""
    table = packaged()
    same = table.prices["alb.hour"]
    told = list(refreshed_lines(Refreshed(table, ((same, same),), ())))
    assert told == [
        "Read 1 prices of ap-northeast-1 from AWS's price list.",
        "  None of those that were known has changed.",
    ]


def test_refresh_without_network_changes_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The error says so, and no file appears."""

    def away(table: PriceTable, today: date, base: str = offers.BASE) -> Any:
        return REFRESH(table, today, "http://127.0.0.1:9")

    monkeypatch.setattr(offers, "refresh", away)
    done = run("refresh")
    assert isinstance(done.exception, CostError)
    assert "cannot be fetched" in done.exception.what
    assert not prices.user_file().exists()


REFRESH = offers.refresh
