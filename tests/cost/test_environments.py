"""The cost of dev and lean, worked out by hand from AWS's prices of Tokyo, line by line.

Nothing here is computed by the code under test: each number is the product in the comment beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Literal

import pytest

from zedi.cost.estimate import Estimate, total

By = Callable[[Estimate], dict[str, Decimal | None]]
Kind = Literal["fixed", "assumed"]

# What both have. Months of 730 hours.
BOTH: dict[str, tuple[Kind, str]] = {
    "security/Users, essentials": ("assumed", "0"),  # 10 of 10,000 free
    "database/Capacity above the minimum": ("assumed", "0"),  # none assumed
    "database/Storage": ("assumed", "1.20"),  # 10 GB x 0.12
    "database/Reads and writes of storage": ("assumed", "0.24"),  # 1 million x 0.24
    "database/Secrets": ("fixed", "0.40"),  # 1 x 0.40
    "realtime/Load balancer": ("fixed", "17.739"),  # 730 h x 0.0243
    "realtime/Public addresses of the load balancer": ("fixed", "7.30"),  # 2 zones x 730 h x 0.005
    # 10 GB are 10 LCU-hours; 20 connections of 3,000, all month, are 4.87: the larger counts. 10 x 0.008
    "realtime/Load balancer, capacity units": ("assumed", "0.08"),
    "realtime/Images": ("assumed", "0.05"),  # 0.5 GB x 0.10
    "realtime/Versions of pages": ("assumed", "0.025"),  # 1 GB x 0.025
    "realtime/Versions of pages, moved": ("assumed", "0.0047"),  # 1 thousand x 0.0047
    "realtime/Logs, written": ("assumed", "0"),  # 1 GB of 5 free
    "realtime/Logs, kept": ("assumed", "0"),  # a quarter of a GB of 5 free
    "cdn/Data to browsers": ("assumed", "0"),  # 10 GB of 1,024 free
    "cdn/Requests of browsers": ("assumed", "0"),  # 0.1 million of 10 million free
    "cdn/Calls of the function": ("assumed", "0"),  # 0.1 million of 2 million free
    "cdn/Files": ("assumed", "0.0005"),  # 0.02 GB x 0.025
    # 13 alarms, of which one watches two metrics: 14; 2 scaling policies make 2 each: 18; 10 free: 8 x 0.10
    "monitoring/Alarms": ("fixed", "0.80"),
    "monitoring/Custom metrics": ("fixed", "0"),  # 6 of 10 free
    "monitoring/Dashboards": ("fixed", "0"),  # 1 of 3 free
}

DEV: dict[str, tuple[Kind, str]] = {
    **BOTH,
    "networking/Interface endpoints": ("fixed", "81.76"),  # 4 x 2 zones x 730 h = 5,840 h x 0.014
    "networking/Data through interface endpoints": ("assumed", "0.01"),  # 1 GB x 0.01
    "database/Capacity, minimum": ("fixed", "54.75"),  # 0.5 ACU x 730 h = 365 x 0.15
    "cache/Nodes": ("fixed", "18.25"),  # 730 h x 0.025
    "realtime/Tasks on Spot, vCPU": ("assumed", "9.2272"),  # 0.25 x 730 h = 182.5 x 0.05056
    "realtime/Tasks on Spot, memory": ("assumed", "2.01845"),  # 0.5 x 730 h = 365 x 0.00553
}
# 81.76 + 54.75 + 18.25 + 0.40 + 17.739 + 7.30 + 0.80
DEV_FIXED = "180.999"
# 0.01 + 1.20 + 0.24 + 9.2272 + 2.01845 + 0.08 + 0.05 + 0.025 + 0.0047 + 0.0005
DEV_ASSUMED = "12.85585"
DEV_TOTAL = "193.85485"

LEAN: dict[str, tuple[Kind, str]] = {
    **BOTH,
    "database/Capacity, minimum": ("assumed", "13.20"),  # awake 176 h x 0.5 ACU = 88 x 0.15
    "cache/Nodes": ("fixed", "14.60"),  # 730 h x 0.020, Valkey
    "realtime/Tasks on Spot, vCPU": ("assumed", "7.382125"),  # Arm: 182.5 x 0.04045
    "realtime/Tasks on Spot, memory": ("assumed", "1.6133"),  # Arm: 365 x 0.00442
    "realtime/Public addresses of tasks": ("fixed", "3.65"),  # 1 task x 730 h x 0.005
}
# 14.60 + 3.65 + 0.40 + 17.739 + 7.30 + 0.80
LEAN_FIXED = "44.489"
# 13.20 + 1.20 + 0.24 + 7.382125 + 1.6133 + 0.08 + 0.05 + 0.025 + 0.0047 + 0.0005
LEAN_ASSUMED = "23.795625"
LEAN_TOTAL = "68.284625"

UNKNOWN = {
    "database/Backups",
    "database/Data API",
    "realtime/Traffic between zones",
    "realtime/Data out past CloudFront",
    "cdn/Requests to the bucket",
}


@pytest.mark.parametrize(
    ("environment", "lines", "fixed", "assumed", "together"),
    [("dev", DEV, DEV_FIXED, DEV_ASSUMED, DEV_TOTAL), ("lean", LEAN, LEAN_FIXED, LEAN_ASSUMED, LEAN_TOTAL)],
)
def test_every_line(
    estimate_of: Callable[..., Estimate],
    environment: str,
    lines: dict[str, tuple[Kind, str]],
    fixed: str,
    assumed: str,
    together: str,
) -> None:
    """Each line and each total is what it is by hand, to the last digit; nothing is beside them."""
    found = estimate_of(environment)
    known = {line.key: (line.kind, line.usd) for line in found.lines if line.kind != "unknown"}
    assert known == {key: (kind, Decimal(usd)) for key, (kind, usd) in lines.items()}
    assert {line.key for line in found.of_kind("unknown")} == UNKNOWN
    assert total(found.of_kind("fixed")).usd == Decimal(fixed)
    assert total(found.of_kind("assumed")).usd == Decimal(assumed)
    assert found.total.usd == Decimal(together)
    assert found.total.unknown == len(UNKNOWN)
    # By hand once more, from the lines as they stand here.
    assert sum(Decimal(usd) for _, usd in lines.values()) == Decimal(together)
    for sums in (found.by_phase(), found.by_service()):
        assert sum(each.usd for each in sums.values()) == Decimal(together)


def test_four_endpoints(estimate_of: Callable[..., Estimate]) -> None:
    """The line that the platform's first estimate had at $14."""
    (line,) = [line for line in estimate_of("dev").lines if line.item == "Interface endpoints"]
    assert (line.quantity, line.unit, line.price) == (Decimal(5840), "zone-hour", Decimal("0.014"))
    assert line.usd == line.low == line.high == Decimal("81.76")


def test_lean_stays_under_76_dollars(estimate_of: Callable[..., Estimate]) -> None:
    """With Fargate at its full price, until the database is awake for 278 hours a month; not beyond."""
    # 68.284625 + 102 h x 0.5 ACU x 0.15 = 75.934625; an hour more is 76.009625.
    assert estimate_of("lean", assume={"awake_hours": "278"}).total.usd == Decimal("75.934625")
    assert estimate_of("lean", assume={"awake_hours": "279"}).total.usd == Decimal("76.009625")
    # Awake all month, at half Fargate's price: 44.489 + 54.75 + 1.44 + 4.4977125 + 0.1602
    always = estimate_of("lean", assume={"awake_hours": "730", "spot_discount_percent": "50"})
    assert always.total.usd == Decimal("105.3369125")


def test_ranges(estimate_of: Callable[..., Estimate]) -> None:
    """What floats has its range: Aurora up to its maximum, tasks up to theirs, Spot down to 30 %."""
    ranges = {line.key: (line.low, line.high) for line in estimate_of("dev").lines if line.low != line.high}
    assert ranges == {
        # 4 - 0.5 = 3.5 ACU x 730 h x 0.15
        "database/Capacity above the minimum": (Decimal(0), Decimal("383.25")),
        "realtime/Tasks on Spot, vCPU": (Decimal("2.76816"), Decimal("36.9088")),  # x 0.3; 4 tasks
        "realtime/Tasks on Spot, memory": (Decimal("0.605535"), Decimal("8.0738")),
    }
    paused = {line.key: (line.low, line.high) for line in estimate_of("lean").lines if line.low != line.high}
    assert paused["database/Capacity, minimum"] == (Decimal(0), Decimal("54.75"))
    assert paused["database/Capacity above the minimum"] == (Decimal(0), Decimal("383.25"))
    assert paused["realtime/Public addresses of tasks"] == (Decimal("3.65"), Decimal("14.60"))
