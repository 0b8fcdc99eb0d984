"""An estimate: the lines of one environment with their totals; what-if changes; the difference of two."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from zedi.cost import CostError, assumptions, quantities
from zedi.cost.assumptions import Assumptions
from zedi.cost.prices import Price, PriceTable
from zedi.cost.quantities import Kind, Line
from zedi.phases import PHASES, render
from zedi.settings import Settings, changed

_ZERO = Decimal(0)


@dataclass(frozen=True)
class Total:
    """A sum of lines.

    Args:
        usd: a month, of the lines whose cost is known.
        low: the least that the settings allow.
        high: the most.
        known: how many lines are in it.
        unknown: how many could not be.
    """

    usd: Decimal
    low: Decimal
    high: Decimal
    known: int
    unknown: int


@dataclass(frozen=True)
class Estimate:
    """What one environment costs a month.

    Args:
        environment: its name.
        region: of the prices.
        lines: in the order of the phases.
        prices: those that the lines use, by ID.
        assume: the assumptions that they rest on.
    """

    environment: str
    region: str
    lines: tuple[Line, ...]
    prices: Mapping[str, Price]
    assume: Assumptions

    @property
    def total(self) -> Total:
        return total(self.lines)

    def of_kind(self, kind: Kind) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.kind == kind)

    def by_phase(self) -> dict[str, Total]:
        return _grouped(self.lines, lambda line: line.phase)

    def by_service(self) -> dict[str, Total]:
        """The dearest first."""
        found = _grouped(self.lines, lambda line: line.service)
        return dict(sorted(found.items(), key=lambda entry: (-entry[1].usd, entry[0])))

    @property
    def oldest(self) -> Price:
        """The price that was seen longest ago."""
        return min(self.prices.values(), key=lambda price: price.seen)

    @property
    def newest(self) -> Price:
        return max(self.prices.values(), key=lambda price: price.seen)

    @property
    def unverified(self) -> tuple[Price, ...]:
        return tuple(price for price in self.prices.values() if not price.verified)


@dataclass(frozen=True)
class Difference:
    """One line of two estimates. A side that has no such line is None."""

    before: Line | None
    after: Line | None

    @property
    def usd(self) -> Decimal | None:
        """What the second has more; None where one of them is unknown."""
        sides = [side for side in (self.before, self.after) if side is not None]
        if any(side.usd is None for side in sides):
            return None
        return _usd(self.after) - _usd(self.before)

    @property
    def line(self) -> Line:
        found = self.after or self.before
        assert found is not None
        return found


def estimate(settings: Settings, table: PriceTable, assume: Assumptions | None = None) -> Estimate:
    """Synthesizes the environment and prices it.

    Raises CostError when the table is of another region.
    """
    if settings.region != table.region:
        raise CostError(
            f"{settings.name}: region",
            f"{settings.region} has no prices here: the table is of {table.region}",
            f"See what it would cost there: --what-if region={table.region}",
        )
    values = assumptions.defaults() if assume is None else assume
    templates = {phase.name: json.loads(render(phase.build(settings))) for phase in PHASES}
    lines = quantities.lines(templates, table, values)
    used = {line.price_id for line in lines if line.price_id is not None}
    prices = {price: table.prices[price] for price in table.prices if price in used}
    return Estimate(settings.name, table.region, lines, prices, values)


def what_if(settings: Settings, changes: Mapping[str, str]) -> tuple[Settings, Assumptions]:
    """The settings and assumptions with `changes`: keys of settings, and `assume.` keys.

    Raises SettingsError and CostError, each of which names every key of its own that cannot be.
    """
    assumed = {
        key.removeprefix(assumptions.PREFIX): value
        for key, value in changes.items()
        if key.startswith(assumptions.PREFIX)
    }
    values = assumptions.changed(assumed)
    keys = {key: value for key, value in changes.items() if not key.startswith(assumptions.PREFIX)}
    return (changed(settings, keys, "--what-if") if keys else settings), values


def total(lines: Iterable[Line]) -> Total:
    usd = low = high = _ZERO
    known = unknown = 0
    for line in lines:
        if line.usd is None or line.low is None or line.high is None:
            unknown += 1
        else:
            known += 1
            usd, low, high = usd + line.usd, low + line.low, high + line.high
    return Total(usd, low, high, known, unknown)


def differences(before: Estimate, after: Estimate) -> tuple[Difference, ...]:
    """Line by line, the largest first; lines that cost the same, or are unknown in both, are left out."""
    first = {line.key: line for line in before.lines}
    second = {line.key: line for line in after.lines}
    found = [Difference(first.get(key), second.get(key)) for key in dict.fromkeys([*first, *second])]
    telling = [each for each in found if each.usd or (each.usd is None and _newly_unknown(each))]
    return tuple(sorted(telling, key=lambda each: -abs(each.usd or _ZERO)))


def months_between(earlier: date, later: date) -> int:
    """Whole months, for the age of a price."""
    months = (later.year - earlier.year) * 12 + later.month - earlier.month
    return months - (later.day < earlier.day)


def _newly_unknown(each: Difference) -> bool:
    return (each.before is None or each.before.usd is None) != (each.after is None or each.after.usd is None)


def _usd(line: Line | None) -> Decimal:
    return line.usd if line is not None and line.usd is not None else _ZERO


def _grouped(lines: Iterable[Line], name: Callable[[Line], str]) -> dict[str, Total]:
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(name(line), []).append(line)
    return {key: total(group) for key, group in groups.items()}
