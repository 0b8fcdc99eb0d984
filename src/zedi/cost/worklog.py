"""The platform's first estimate, and what was wrong with it.

The work log of 2026-01-31 (section 8) put the whole platform at about $76 a month. Its figures stand here as
they were written, each with the lines that it was about.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from zedi.cost.estimate import Estimate, total
from zedi.cost.quantities import Line

ENVIRONMENT: Final = "dev"
"""What the log was about."""
TOTAL: Final = Decimal(76)
"""USD a month, as the log sums itself up."""


@dataclass(frozen=True)
class Claim:
    """One figure of the log.

    Args:
        item: in the log's words.
        low: USD a month, as the log has it.
        high: the same, where the log gives no range.
        lines: the keys of the lines that it stands for.
        why: what is right or wrong about it.
    """

    item: str
    low: Decimal
    high: Decimal
    lines: frozenset[str]
    why: str


def _claim(item: str, low: str, high: str, why: str, *lines: str) -> Claim:
    return Claim(item, Decimal(low), Decimal(high), frozenset(lines), why)


CLAIMS: Final = (
    _claim(
        "VPC Endpoints (Interface型 x 4)",
        "14",
        "14",
        "an endpoint is billed in each of its zones; even in one alone it would be half of that",
        "networking/Interface endpoints",
        "networking/Data through interface endpoints",
    ),
    _claim(
        "Aurora Serverless v2 (0.5-4 ACU)",
        "25",
        "30",
        "an instance never runs below 0.5 ACU: 365 ACU-hours a month; storage comes on top",
        "database/Capacity, minimum",
        "database/Capacity above the minimum",
        "database/Storage",
        "database/Reads and writes of storage",
    ),
    _claim(
        "Cognito User Pool",
        "0",
        "0",
        "free, but for 10,000 users a month, not 50,000",
        "security/Users, essentials",
    ),
    _claim("Secrets Manager (1シークレット)", "0.40", "0.40", "right", "database/Secrets"),
    _claim(
        "ElastiCache (cache.t4g.micro)",
        "12",
        "12",
        "less than a node costs in Tokyo",
        "cache/Nodes",
    ),
    _claim(
        "ECS Fargate Spot",
        "8",
        "8",
        "possible: Spot's price floats, and is counted here at its upper end",
        "realtime/Tasks on Spot, vCPU",
        "realtime/Tasks on Spot, memory",
    ),
    _claim(
        "ALB",
        "16",
        "16",
        "its two public addresses and its capacity units are missing",
        "realtime/Load balancer",
        "realtime/Load balancer, capacity units",
        "realtime/Public addresses of the load balancer",
    ),
    _claim(
        "CloudFront",
        "1",
        "1",
        "within what is free",
        "cdn/Data to browsers",
        "cdn/Requests of browsers",
        "cdn/Calls of the function",
    ),
    _claim(
        "CloudWatch",
        "3",
        "3",
        "most of it is free: 10 alarms, 10 metrics, 3 dashboards, 5 GB of logs",
        "monitoring/Alarms",
        "monitoring/Custom metrics",
        "monitoring/Dashboards",
        "realtime/Logs, written",
        "realtime/Logs, kept",
    ),
)
"""Section 8.1 and 8.2 of the log, in its order."""


@dataclass(frozen=True)
class Verdict:
    """One claim against what the lines come to.

    Args:
        item: the claim's, or what the log left out.
        low: what the log said, USD a month; None: it said nothing.
        high: the same, where it gave no range.
        usd: what it comes to.
        over: how far that is above the log's upper figure, or below its lower one; 0 within them.
        why: in words.
    """

    item: str
    low: Decimal | None
    high: Decimal | None
    usd: Decimal
    over: Decimal
    why: str


def claimed() -> tuple[Decimal, Decimal]:
    """What the log's own figures add up to, from and to; it says `TOTAL`."""
    return (
        sum((claim.low for claim in CLAIMS), Decimal(0)),
        sum((claim.high for claim in CLAIMS), Decimal(0)),
    )


def verdicts(estimate: Estimate) -> tuple[Verdict, ...]:
    """Each claim of the log against the estimate, and at the end what it left out; together all lines."""
    found = []
    for claim in CLAIMS:
        usd = total(line for line in estimate.lines if line.key in claim.lines).usd
        found.append(Verdict(claim.item, claim.low, claim.high, usd, _over(usd, claim), claim.why))
    missing = tuple(_left_out(estimate.lines))
    usd = total(missing).usd
    names = ", ".join(line.item.lower() for line in missing)
    return (*found, Verdict("(not in the log)", None, None, usd, usd, names))


def _over(usd: Decimal, claim: Claim) -> Decimal:
    if usd > claim.high:
        return usd - claim.high
    return min(usd - claim.low, Decimal(0))


def _left_out(lines: Iterable[Line]) -> Iterable[Line]:
    known = frozenset().union(*(claim.lines for claim in CLAIMS))
    return (line for line in lines if line.key not in known and line.usd is not None)
