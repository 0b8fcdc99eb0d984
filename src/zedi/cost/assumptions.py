"""What only use decides: one number each, for a development environment of a few people in office hours.

Every assumption can be changed: `--what-if assume.connections=500`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from zedi.cost import CostError

HOURS: Final = Decimal(730)
"""Of a month: 8,760 hours in twelve parts."""
PREFIX: Final = "assume."

Assumptions = Mapping[str, Decimal]


@dataclass(frozen=True)
class Assumption:
    """One number that a person may change.

    Args:
        key: its name, behind `assume.`.
        value: the default.
        most: the largest value that means something; None: there is none.
        text: what it is, with its unit.
    """

    key: str
    value: Decimal
    most: Decimal | None
    text: str


def _one(key: str, value: str, text: str, most: int | None = None) -> Assumption:
    return Assumption(key, Decimal(value), None if most is None else Decimal(most), text)


ALL: Final = (
    _one(
        "awake_hours", "176", "hours a month in which a database that can pause is awake: 8 h, 22 days", 730
    ),
    _one("extra_acu", "0", "ACU that each database instance has above its minimum, on average", 256),
    _one("database_gb", "10", "GB in the database"),
    _one("database_io_million", "1", "million reads and writes of the database's storage, a month"),
    _one("connections", "20", "open WebSockets, on average"),
    _one("traffic_gb", "10", "GB a month that browsers get"),
    _one("requests_million", "0.1", "million requests a month that browsers make"),
    _one("users", "10", "people who sign in, a month"),
    _one("log_gb", "1", "GB a month that the service logs, its metrics among them"),
    _one("image_gb", "0.5", "GB of the images in the repository"),
    _one("frontend_gb", "0.02", "GB of the front end's files"),
    _one("history_gb", "1", "GB of versions of pages in their bucket"),
    _one("history_thousand", "1", "thousand versions of pages that move to their bucket, a month"),
    _one("spot_discount_percent", "0", "how far Fargate Spot is below the on-demand price, in percent", 70),
    _one("free_tier", "1", "1: nothing else in the account uses up AWS's free amounts; 0: all of it does", 1),
)


def defaults() -> dict[str, Decimal]:
    return {assumption.key: assumption.value for assumption in ALL}


def changed(changes: Mapping[str, str]) -> dict[str, Decimal]:
    """The defaults with `changes`, by keys without `assume.`.

    Raises CostError that lists every key that does not exist and every value that cannot be.
    """
    values = defaults()
    known = {assumption.key: assumption for assumption in ALL}
    problems = []
    for key, text in changes.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {PREFIX}{near[0]}?" if near else f"known: {', '.join(sorted(known))}"
            problems.append(f"    {PREFIX}{key}: there is no such assumption; {hint}")
            continue
        try:
            value = Decimal(text)
        except InvalidOperation:
            value = Decimal("NaN")
        most = known[key].most
        if not value.is_finite() or value < 0 or (most is not None and value > most):
            bounds = "a number from 0" + (f" to {most}" if most is not None else "")
            problems.append(f"    {PREFIX}{key}: {text!r}: expected {bounds}")
            continue
        values[key] = value
    if problems:
        raise CostError(
            "--what-if",
            "these assumptions cannot be used:\n" + "\n".join(problems),
            "Correct the keys named above.",
        )
    return values
