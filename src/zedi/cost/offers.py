"""AWS's public price list: one JSON file for each service and region, free to read without credentials.

A file has products by SKU with their attributes (usage type, operation, engine …) and, for each SKU, terms:
`OnDemand`, `Reserved`. Of an on-demand term the price dimensions are read, one for each tier. Source: AWS
Price List Bulk API, "Reading the service price list files".

What is looked for is in the table itself: service, usage type and telling attributes. A usage type is
compared as a whole, so that `APN1-ExtendedSupport…` rows are not taken for plain ones. What is not found, or
is found with two prices, keeps the price that it has, and that is told: nothing is guessed.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from zedi.cost import CostError
from zedi.cost.prices import Price, PriceTable

BASE: Final = "https://pricing.us-east-1.amazonaws.com"
NOT_READ: Final[Mapping[str, str]] = {
    "AmazonEC2": "its file has hundreds of megabytes, for the two prices of NAT gateways",
}
"""Services whose prices are in the list and left as they are, with the reason."""

_TIMEOUT: Final = 60.0
_MOST_BYTES: Final = 400 * 1024 * 1024
_NODE: Final = re.compile(r"[A-Z0-9]+-NodeUsage:cache\..+")
_CACHE_ENGINES: Final = {"Redis": "redis", "Valkey": "valkey"}
_NOT_PLAIN: Final = ("ExtendedSupport", "Reserved", "Spot")


@dataclass(frozen=True)
class Refreshed:
    """What reading the price list came to.

    Args:
        table: with what was found.
        found: the prices that were read, as they were before (None: not in the table) and are now.
        kept: the IDs of the others, with the reason.
    """

    table: PriceTable
    found: tuple[tuple[Price | None, Price], ...]
    kept: tuple[tuple[str, str], ...]


def refresh(table: PriceTable, today: date, base: str = BASE) -> Refreshed:
    """Reads the prices of the table's region anew.

    Raises CostError when nobody answers, or with something that is no price list; nothing is written here.
    """
    services = dict.fromkeys(
        price.service for price in table.prices.values() if price.usage_type and price.service not in NOT_READ
    )
    found: list[tuple[Price | None, Price]] = []
    kept: list[tuple[str, str]] = []
    away = dict(NOT_READ)
    for service in services:
        url = url_of(service, table.region, base)
        try:
            offer = Offer.parse(_fetch(url), url)
        except urllib.error.HTTPError as error:
            away[service] = f"AWS answers {error.code} for {url}"
            continue
        if service == "AmazonElastiCache":
            # All nodes: another type in the settings then has its price too.
            found += [(table.get(price.id), price) for price in _cache_nodes(offer, table, today)]
            continue
        for price in table.prices.values():
            if price.service == service and price.usage_type:
                read = offer.price(price.usage_type, price.where)
                if isinstance(read, str):
                    kept.append((price.id, read))
                else:
                    usd, effective = read
                    found.append((price, _now(price, usd * price.per, effective, today, offer.url)))
    names = {price.id for _, price in found} | {name for name, _ in kept}
    for price in table.prices.values():
        if price.id not in names:
            reason = away.get(price.service) if price.usage_type else "not looked up in the price list"
            kept.append((price.id, reason or "not in AWS's price list under this usage type"))
    merged = {**table.prices, **{price.id: price for _, price in found}}
    return Refreshed(PriceTable(table.region, merged), tuple(found), tuple(kept))


def url_of(service: str, region: str, base: str = BASE) -> str:
    """Where AWS keeps the current prices of a service in a region."""
    return f"{base}/offers/v1.0/aws/{service}/current/{region}/index.json"


@dataclass(frozen=True)
class Offer:
    """One file of the price list."""

    url: str
    products: Mapping[str, Mapping[str, str]]
    """Attributes by SKU, of plain products."""
    terms: Mapping[str, Mapping[str, Any]]
    """On-demand terms by SKU."""

    @classmethod
    def parse(cls, body: bytes, url: str) -> Offer:
        """Raises CostError when `body` is not a price list."""
        try:
            data = json.loads(body)
            products = {sku: product["attributes"] for sku, product in data["products"].items()}
            terms = data["terms"]["OnDemand"]
            plain = {sku: each for sku, each in products.items() if _is_plain(each) and sku in terms}
            return cls(url, plain, terms)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CostError(
                url,
                f"is not a price list: {error!r}",
                "Look at what answers there; the table stays as it is.",
            ) from error

    def price(self, usage_type: str, where: Mapping[str, str]) -> tuple[Decimal, date] | str:
        """The price of one of AWS's units and since when it holds, or in words why there is none.

        `Any` in an attribute that should be `where`'s stands for it: storage of Aurora is priced alike for
        all engines.
        """
        answers: set[tuple[Decimal, date]] = set()
        for sku, attributes in self.products.items():
            if attributes.get("usagetype") != usage_type:
                continue
            if all(attributes.get(key, value) in (value, "Any") for key, value in where.items()):
                answers.update(self._tiers(sku))
        if not answers:
            return f"not in AWS's price list: {usage_type}"
        if len({usd for usd, _ in answers}) > 1:
            prices = ", ".join(str(usd) for usd in sorted({usd for usd, _ in answers}))
            return f"more than one price in AWS's price list: {usage_type}: {prices}"
        return max(answers)

    def _tiers(self, sku: str) -> Iterator[tuple[Decimal, date]]:
        """Of each on-demand term: the lowest tier that is not free, which is the one that small use pays."""
        for term in self.terms[sku].values():
            try:
                effective = date.fromisoformat(term["effectiveDate"][:10])
                tiers = sorted(
                    (Decimal(dimension["beginRange"]), Decimal(dimension["pricePerUnit"]["USD"]))
                    for dimension in term["priceDimensions"].values()
                )
            except (KeyError, TypeError, ValueError, InvalidOperation) as error:
                raise CostError(
                    self.url,
                    f"the term of {sku} cannot be read: {error!r}",
                    "Look at what answers there; the table stays as it is.",
                ) from error
            for _, usd in tiers:
                if usd > 0:
                    yield usd.normalize(), effective
                    break


def _is_plain(attributes: Mapping[str, str]) -> bool:
    usage = attributes.get("usagetype", "")
    return not any(word in usage for word in _NOT_PLAIN)


def _cache_nodes(offer: Offer, table: PriceTable, today: date) -> Iterator[Price]:
    """Every node type of Redis and Valkey."""
    usages = {
        (attributes["usagetype"], attributes["cacheEngine"])
        for attributes in offer.products.values()
        if _NODE.fullmatch(attributes.get("usagetype", ""))
        and attributes.get("cacheEngine") in _CACHE_ENGINES
    }
    for usage, engine in sorted(usages):
        node = usage.partition(":")[2]
        where = {"cacheEngine": engine}
        read = offer.price(usage, where)
        if isinstance(read, str):
            continue
        usd, effective = read
        name = f"cache.{_CACHE_ENGINES[engine]}.{node}"
        known = table.get(name) or Price(
            name, "AmazonElastiCache", usage, "node-hour", usd, effective, today, offer.url, where=where
        )
        yield _now(known, usd, effective, today, offer.url)


def _now(price: Price, usd: Decimal, effective: date, today: date, url: str) -> Price:
    return replace(price, usd=usd, effective=effective, seen=today, source=url, verified=True)


def _fetch(url: str) -> bytes:
    """Raises HTTPError where AWS answers and has no such file, CostError where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
            body: bytes = answer.read(_MOST_BYTES + 1)
    except urllib.error.HTTPError:
        raise
    except OSError as error:  # URLError and a timeout while reading are all of its kind
        raise CostError(
            url,
            f"cannot be fetched: {error}",
            "Check the network; until then the prices are those of the package, or of the last refresh.",
        ) from error
    if len(body) > _MOST_BYTES:
        raise CostError(url, f"has more than {_MOST_BYTES:,} bytes", "The table stays as it is.")
    return body
