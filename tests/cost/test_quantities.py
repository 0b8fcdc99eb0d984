"""What is billed is read off the templates; every type of resource is priced or known to be free."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from zedi import contract, settings
from zedi.cost import assumptions, quantities
from zedi.cost.estimate import Estimate
from zedi.cost.prices import PriceTable
from zedi.cost.quantities import FREE, PRICED, Deployment, lines
from zedi.phases import PHASES, render

ENVIRONMENTS = Path(__file__).parents[2] / "environments"
By = Callable[[Estimate], dict[str, Decimal | None]]
CERTIFICATE = "arn:aws:acm:{}:111122223333:certificate/12345678-1234-1234-1234-123456789012"
VARIANTS = [
    *sorted(file.stem for file in ENVIRONMENTS.glob("*.toml")),
    '[networking]\negress = "nat"\nnat_per_zone = true',
    f'[realtime]\ncertificate_arn = "{CERTIFICATE.format("ap-northeast-1")}"',
    f'[cdn]\ndomain_name = "n.example.com"\ncertificate_arn = "{CERTIFICATE.format("us-east-1")}"',
    '[monitoring]\nemail = "ops@example.com"',
]


def templates_of(variant: str) -> dict[str, Any]:
    chosen = (
        settings.parse(f'name = "dev"\n{variant}', "test.toml")
        if variant.startswith("[")
        else settings.load(variant, ENVIRONMENTS)
    )
    return {phase.name: json.loads(render(phase.build(chosen))) for phase in PHASES}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_type_is_priced_or_free(variant: str) -> None:
    """A type that nobody has looked up fails here, before it is on a bill."""
    types = set(Deployment(templates_of(variant)).types)
    assert types <= PRICED | set(FREE), types - PRICED - set(FREE)


def test_nothing_is_both_and_nothing_is_stale() -> None:
    """Every entry is in one list, has a reason if free, and is in some template."""
    assert not PRICED & set(FREE)
    assert all(FREE.values())
    there = set().union(*(Deployment(templates_of(variant)).types for variant in VARIANTS))
    assert there == PRICED | set(FREE)


def test_a_new_type_is_not_taken_for_free(table: PriceTable) -> None:
    """It is a line of its own that says that its cost is unknown."""
    templates = templates_of("dev")
    templates["cdn"]["Resources"]["Wall"] = {"Type": "AWS::WAFv2::WebACL", "Properties": {}}
    (line,) = [
        line for line in lines(templates, table, assumptions.defaults()) if line.item == "AWS::WAFv2::WebACL"
    ]
    assert (line.phase, line.service, line.kind, line.usd) == ("cdn", "WAFv2", "unknown", None)


def test_metrics_are_the_contracts() -> None:
    """The metrics that are billed are all that the service writes."""
    others = {"METRIC_NAMESPACE", "METRIC_DIMENSION", "METRIC_PERIOD"}
    names = {
        value for name, value in vars(contract).items() if name.startswith("METRIC_") and name not in others
    }
    assert set(quantities._METRICS) == names


def test_templates_count_and_not_settings(table: PriceTable) -> None:
    """A template that somebody edited is priced as it stands."""
    templates = templates_of("dev")
    endpoint = templates["networking"]["Resources"]["LogsEndpoint"]["Properties"]
    endpoint["SubnetIds"] = endpoint["SubnetIds"][:1]
    templates["cache"]["Resources"]["ReplicationGroup"]["Properties"]["NumCacheClusters"] = 3
    found = {line.key: line for line in lines(templates, table, assumptions.defaults())}
    # (3 x 2 + 1) x 730 h x 0.014
    assert found["networking/Interface endpoints"].usd == Decimal("71.54")
    assert found["networking/Interface endpoints"].note == "4 endpoints x 1-2 zones x 730 h"
    assert found["cache/Nodes"].usd == Decimal("54.75")  # 3 x 730 x 0.025


@pytest.mark.parametrize(("per_zone", "gateways"), [("false", 1), ("true", 2)])
def test_nat(estimate_of: Callable[..., Estimate], usd: By, per_zone: str, gateways: int) -> None:
    """A gateway, its address and its data; no interface endpoint, and no address for tasks."""
    found = usd(estimate_of("dev", f"[networking]\negress = 'nat'\nnat_per_zone = {per_zone}"))
    assert {key: value for key, value in found.items() if key.startswith("networking/")} == {
        "networking/NAT gateways": gateways * Decimal("45.26"),  # 730 x 0.062
        "networking/Data through NAT gateways": Decimal("0.062"),  # 1 GB
        "networking/Public addresses of NAT gateways": gateways * Decimal("3.65"),
    }
    assert "realtime/Public addresses of tasks" not in found


def test_zones(estimate_of: Callable[..., Estimate], usd: By) -> None:
    """A third zone is a third more for the endpoints and the load balancer's addresses."""
    zones = 'availability_zones = ["ap-northeast-1a", "ap-northeast-1c", "ap-northeast-1d"]'
    found = usd(estimate_of("dev", f"[networking]\n{zones}"))
    assert found["networking/Interface endpoints"] == Decimal("122.64")  # 4 x 3 x 730 x 0.014
    assert found["realtime/Public addresses of the load balancer"] == Decimal("10.95")


def test_prod(estimate_of: Callable[..., Estimate], usd: By) -> None:
    """A floor for each instance, both nodes, a task on demand under the Spot ones, more alarms."""
    found = estimate_of("prod")
    costs = usd(found)
    assert costs["database/Capacity, minimum"] == Decimal("109.50")  # 2 x 0.5 x 730 x 0.15
    assert costs["cache/Nodes"] == Decimal("36.50")
    assert costs["realtime/Tasks on demand, vCPU"] == Decimal("9.2272")
    assert costs["realtime/Tasks on Spot, vCPU"] == Decimal("9.2272")
    assert costs["realtime/Tasks on demand, memory"] == Decimal("2.01845")
    (spot,) = [line for line in found.lines if line.item == "Tasks on Spot, vCPU"]
    assert spot.high == 7 * Decimal("9.2272")  # 8 at most, 1 of them on demand
    assert costs["monitoring/Alarms"] == Decimal("1.00")  # 14 + 2 of the second node + 4 - 10 = 10
    assert costs["cache/Snapshots"] is None


@pytest.mark.parametrize(
    ("toml", "on_demand", "spot", "spot_high"),
    [
        ("min_tasks = 3\nmax_tasks = 3\non_demand_base = 1", 1, 2, 2),
        ("min_tasks = 1\nmax_tasks = 4\non_demand_base = 3", 1, 0, 1),
        ("min_tasks = 0\nmax_tasks = 2", 0, 0, 2),
    ],
)
def test_tasks(
    estimate_of: Callable[..., Estimate], toml: str, on_demand: int, spot: int, spot_high: int
) -> None:
    """The base is on demand as far as there are tasks; the rest is Spot."""
    found = {line.item: line for line in estimate_of("dev", f"[realtime]\n{toml}").lines}
    one = Decimal("9.2272")
    assert found["Tasks on Spot, vCPU"].usd == spot * one
    assert found["Tasks on Spot, vCPU"].high == spot_high * one
    demand = found.get("Tasks on demand, vCPU")
    assert (demand.usd if demand else Decimal(0)) == on_demand * one


def test_awake_hours_need_a_database_that_pauses(estimate_of: Callable[..., Estimate], usd: By) -> None:
    """Hours awake change nothing where there is a minimum, and cap at the settings' maximum where not."""
    awake = {"awake_hours": "10", "extra_acu": "100"}
    dev = usd(estimate_of("dev", assume=awake))
    assert dev["database/Capacity, minimum"] == Decimal("54.75")
    assert dev["database/Capacity above the minimum"] == Decimal("383.25")
    lean = usd(estimate_of("lean", assume=awake))
    assert lean["database/Capacity, minimum"] == Decimal("0.75")  # 10 h x 0.5 x 0.15
    assert lean["database/Capacity above the minimum"] == Decimal("5.25")  # 10 h x 3.5 x 0.15


def test_spot_discount(estimate_of: Callable[..., Estimate], usd: By) -> None:
    """A discount is off the price; the range stays what it was."""
    found = estimate_of("dev", assume={"spot_discount_percent": "70"})
    (line,) = [line for line in found.lines if line.item == "Tasks on Spot, vCPU"]
    assert line.usd == line.low == Decimal("2.76816")
    assert line.high == Decimal("36.9088")


def test_without_free_amounts(estimate_of: Callable[..., Estimate], usd: By) -> None:
    """An account whose free amounts are used up pays from the first unit on, and the lines say so."""
    found = estimate_of("dev", assume={"free_tier": "0"})
    costs = usd(found)
    assert costs["monitoring/Alarms"] == Decimal("1.80")
    assert costs["monitoring/Custom metrics"] == Decimal("1.80")
    assert costs["monitoring/Dashboards"] == Decimal("3.00")
    assert costs["realtime/Logs, written"] == Decimal("0.76")
    assert costs["cdn/Data to browsers"] == Decimal("1.14")
    assert costs["security/Users, essentials"] == Decimal("0.15")
    (alarms,) = [line for line in found.lines if line.item == "Alarms"]
    assert alarms.note.endswith("; none are free")


def test_connections_can_outweigh_traffic(estimate_of: Callable[..., Estimate], usd: By) -> None:
    """3,000 open connections are one capacity unit."""
    found = usd(estimate_of("dev", assume={"connections": "3000"}))
    assert found["realtime/Load balancer, capacity units"] == Decimal("5.84")


def test_logs_kept_for_ever_are_unknown(estimate_of: Callable[..., Estimate], usd: By) -> None:
    """What grows every month has no monthly sum."""
    assert usd(estimate_of("dev", "[realtime]\nlog_retention_days = 0"))["realtime/Logs, kept"] is None


def test_long_insights_are_unknown(estimate_of: Callable[..., Estimate], usd: By) -> None:
    """Seven days of Performance Insights are free, more are not."""
    assert "database/Performance Insights" not in usd(estimate_of("dev"))
    more = usd(estimate_of("dev", "[database]\nperformance_insights_days = 31"))
    assert more["database/Performance Insights"] is None


def test_a_price_that_is_missing_is_unknown(estimate_of: Callable[..., Estimate], table: PriceTable) -> None:
    """A node type that the table lacks is not free: it says what is missing and how to get it."""
    found = estimate_of("dev", "[cache]\nnode_type = 'cache.r7g.large'")
    (line,) = [line for line in found.lines if line.item == "Nodes"]
    assert (line.kind, line.usd, line.service) == ("unknown", None, "AmazonElastiCache")
    assert "cache.redis.cache.r7g.large" in line.note and "zedi cost refresh" in line.note


def test_an_internal_load_balancer_has_no_public_address(table: PriceTable) -> None:
    """Only what faces the internet holds addresses."""
    templates = templates_of("dev")
    templates["realtime"]["Resources"]["LoadBalancer"]["Properties"]["Scheme"] = "internal"
    keys = {line.key for line in lines(templates, table, assumptions.defaults())}
    assert "realtime/Public addresses of the load balancer" not in keys


def test_ids_and_units_are_the_tables(estimate_of: Callable[..., Estimate], table: PriceTable) -> None:
    """Each line carries the price that it was computed with."""
    dearer = PriceTable(
        table.region,
        {**table.prices, "alb.hour": replace(table.prices["alb.hour"], usd=Decimal(1))},
    )
    found = {line.item: line for line in lines(templates_of("dev"), dearer, assumptions.defaults())}
    assert found["Load balancer"].price_id == "alb.hour"
    assert (found["Load balancer"].usd, found["Load balancer"].price) == (Decimal(730), Decimal(1))
