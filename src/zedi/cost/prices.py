"""The table of prices: what one unit costs, since when, seen when, and where that comes from.

The package brings a table. `refresh` (offers.py) may have written a newer one into the user's folder; of
two prices of the same thing the one that was seen later counts, so that a newer package beats an old refresh.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from importlib import resources
from pathlib import Path
from typing import Any, Final

from zedi.cost import CostError

_FILE: Final = "prices.json"


@dataclass(frozen=True)
class Price:
    """What one unit costs.

    Args:
        id: our name for it, e.g. `aurora.acu`.
        service: AWS's offer code, e.g. AmazonRDS.
        usage_type: AWS's name of what is metered, or None: it is not looked up in AWS's list.
        unit: what `usd` is for, in words, e.g. `ACU-hour`.
        usd: without tax.
        effective: since when the price holds, as far as is known.
        seen: when it was last read at its source; its age counts from here.
        source: where.
        verified: False: derived or remembered, not read in a price list.
        where: attributes that tell its product from others of the same usage type.
        per: how many of AWS's units are one of ours: a million, where AWS prices one request.
        free: units a month that AWS gives every account.
    """

    id: str
    service: str
    usage_type: str | None
    unit: str
    usd: Decimal
    effective: date
    seen: date
    source: str
    verified: bool = True
    where: Mapping[str, str] = field(default_factory=dict)
    per: int = 1
    free: Decimal = Decimal(0)


@dataclass(frozen=True)
class PriceTable:
    """The prices of one region, by their IDs."""

    region: str
    prices: Mapping[str, Price]

    def get(self, price: str) -> Price | None:
        return self.prices.get(price)

    def service(self, price: str) -> str:
        """Who bills what is priced under such an ID, also where there is no such price."""
        family = price.partition(".")[0]
        return next(
            (each.service for each in self.prices.values() if each.id.startswith(f"{family}.")), family
        )

    def with_newer(self, others: Iterable[Price]) -> PriceTable:
        """This table with each of `others` that it lacks, or that was seen later than its own."""
        merged = dict(self.prices)
        for other in others:
            known = merged.get(other.id)
            if known is None or other.seen > known.seen:
                merged[other.id] = other
        return PriceTable(self.region, merged)


def user_file() -> Path:
    """Where `refresh` keeps what it has read: $XDG_DATA_HOME/zedi/prices.json."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "zedi" / _FILE


def packaged() -> PriceTable:
    """The table that the package brings."""
    where = resources.files("zedi.cost") / _FILE
    return parse(where.read_text("utf-8"), str(where))


def load(file: Path | None = None) -> PriceTable:
    """The package's table with what is newer in `file` (None: `user_file()`), where there is one.

    Raises CostError when the file is not a table, or one of another region.
    """
    table = packaged()
    path = file or user_file()
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return table
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(str(path), f"cannot be read: {error}") from error
    newer = parse(text, str(path))
    if newer.region != table.region:
        raise _unusable(str(path), f"has the prices of {newer.region}, not of {table.region}")
    return table.with_newer(newer.prices.values())


def parse(text: str, where: str) -> PriceTable:
    """Reads a table from JSON `text`; `where` names it in errors. Raises CostError."""
    try:
        data = json.loads(text)
        prices = [_price(entry) for entry in data["prices"]]
        region = str(data["region"])
    except (ValueError, KeyError, TypeError, InvalidOperation) as error:
        raise _unusable(where, f"is not a table of prices: {error!r}") from error
    return PriceTable(region, {price.id: price for price in prices})


def render(table: PriceTable) -> str:
    """The table as JSON, one price a line; `parse` reads it back."""
    lines = ",\n".join(
        f"    {json.dumps(_plain(price), ensure_ascii=False)}" for price in table.prices.values()
    )
    return f'{{\n  "region": {json.dumps(table.region)},\n  "prices": [\n{lines}\n  ]\n}}\n'


def write(table: PriceTable, file: Path) -> None:
    """Puts the table into `file`, all of it or nothing. Raises CostError when it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        new.write_text(render(table), "utf-8")
        new.replace(file)
    except OSError as error:
        fix = "Make room, or set XDG_DATA_HOME to a folder that you may write to."
        raise CostError(str(file), f"cannot be written: {error}", fix) from error


def _plain(price: Price) -> dict[str, Any]:
    empty: tuple[Any, ...] = (None, "", {}, Decimal(0))
    return {
        key: str(value) if isinstance(value, Decimal | date) else value
        for key, value in asdict(price).items()
        if key == "usage_type" or value not in empty or key == "usd" or isinstance(value, bool)
    }


def _price(entry: Mapping[str, Any]) -> Price:
    usd = Decimal(entry["usd"])
    if not usd.is_finite() or usd < 0:
        raise ValueError(f"{entry['id']}: {usd} is no price")
    return Price(
        id=str(entry["id"]),
        service=str(entry["service"]),
        usage_type=entry["usage_type"],
        unit=str(entry["unit"]),
        usd=usd,
        effective=date.fromisoformat(entry["effective"]),
        seen=date.fromisoformat(entry["seen"]),
        source=str(entry["source"]),
        verified=bool(entry.get("verified", True)),
        where=dict(entry.get("where", {})),
        per=int(entry.get("per", 1)),
        free=Decimal(entry.get("free", 0)),
    )


def _unusable(where: str, what: str) -> CostError:
    return CostError(where, what, "Delete it, or write it anew: zedi cost refresh.")
