"""The first estimate of January 2026 against what it really is."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from zedi.cost import worklog
from zedi.cost.estimate import Estimate


def test_claims_are_about_lines_that_exist(estimate_of: Callable[..., Estimate]) -> None:
    """Each line of dev is in one claim at most, and each claim names lines that there are."""
    named = [key for claim in worklog.CLAIMS for key in claim.lines]
    assert len(named) == len(set(named))
    assert set(named) <= {line.key for line in estimate_of("dev").lines}


def test_verdicts(estimate_of: Callable[..., Estimate]) -> None:
    """Which figures are wrong, and by how much; together they are the whole estimate."""
    found = worklog.verdicts(estimate_of("dev"))
    assert [(each.item.split(" (")[0], each.usd, each.over) for each in found] == [
        ("VPC Endpoints", Decimal("81.77"), Decimal("67.77")),  # 81.76 + 0.01 against 14
        ("Aurora Serverless v2", Decimal("56.19"), Decimal("26.19")),  # 54.75 + 1.20 + 0.24 against 25-30
        ("Cognito User Pool", Decimal("0"), Decimal("0")),
        ("Secrets Manager", Decimal("0.40"), Decimal("0")),
        ("ElastiCache", Decimal("18.25"), Decimal("6.25")),  # against 12
        ("ECS Fargate Spot", Decimal("11.24565"), Decimal("3.24565")),  # against 8
        ("ALB", Decimal("25.119"), Decimal("9.119")),  # 17.739 + 7.30 + 0.08 against 16
        ("CloudFront", Decimal("0"), Decimal("-1")),
        ("CloudWatch", Decimal("0.80"), Decimal("-2.20")),  # against 3
        ("(not in the log)", Decimal("0.0802"), Decimal("0.0802")),  # images, files, versions of pages
    ]
    assert sum(each.usd for each in found) == estimate_of("dev").total.usd


def test_the_log_does_not_even_add_up() -> None:
    """14 + 25 to 30 + 0.40, and 12 + 8 + 16 + 1 + 3, are not 76."""
    assert worklog.claimed() == (Decimal("79.40"), Decimal("84.40"))
    assert worklog.TOTAL == 76
