"""AWS's price list, in the format that AWS documents: what is read of it and what is left alone."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from zedi.cost import CostError
from zedi.cost.offers import NOT_READ, Offer, refresh, url_of
from zedi.cost.prices import PriceTable

TODAY = date(2026, 11, 23)
REGION = "ap-northeast-1"


def product(sku: str, usage: str, usd: str | list[tuple[str, str]], **attributes: str) -> dict[str, Any]:
    """One SKU as the price list has it: a product, and its on-demand term with a dimension for each tier."""
    tiers = [("0", usd)] if isinstance(usd, str) else usd
    code = f"{sku}.JRTCKXETXF"
    return {
        "sku": sku,
        "product": {
            "sku": sku,
            "productFamily": "Any",
            "attributes": {"regionCode": REGION, "usagetype": usage, **attributes},
        },
        "term": {
            code: {
                "offerTermCode": "JRTCKXETXF",
                "sku": sku,
                "effectiveDate": "2026-10-01T00:00:00Z",
                "priceDimensions": {
                    f"{code}.{number}": {
                        "rateCode": f"{code}.{number}",
                        "description": "words",
                        "beginRange": begin,
                        "endRange": "Inf",
                        "unit": "Hrs",
                        "pricePerUnit": {"USD": price},
                        "appliesTo": [],
                    }
                    for number, (begin, price) in enumerate(tiers)
                },
                "termAttributes": {},
            }
        },
    }


def offer_file(service: str, *products: dict[str, Any], reserved: dict[str, Any] | None = None) -> bytes:
    terms: dict[str, Any] = {"OnDemand": {each["sku"]: each["term"] for each in products}}
    if reserved:
        terms["Reserved"] = reserved
    return json.dumps(
        {
            "formatVersion": "v1.0",
            "disclaimer": "words",
            "offerCode": service,
            "version": "20261101000000",
            "publicationDate": "2026-11-01T00:00:00Z",
            "products": {each["sku"]: each["product"] for each in products},
            "terms": terms,
            "attributesList": {},
        }
    ).encode()


ALB = "LoadBalancing:Application"
NETWORK = "LoadBalancing:Network"
POSTGRES = "Aurora PostgreSQL"
FILES = {
    "AmazonRDS": offer_file(
        "AmazonRDS",
        product("R1", "APN1-Aurora:ServerlessV2Usage", "0.1600000000", databaseEngine=POSTGRES),
        product("R2", "APN1-Aurora:ServerlessV2Usage", "0.9900000000", databaseEngine="Aurora MySQL"),
        product("R3", "APN1-Aurora:ServerlessV2IOOptimizedUsage", "0.2000000000", databaseEngine=POSTGRES),
        product("R4", "APN1-ExtendedSupport:Yr1-Yr2:AuroraPostgreSQL13", "0.1200", databaseEngine=POSTGRES),
        product("R5", "APN1-Aurora:StorageUsage", "0.1200000000", databaseEngine="Any"),
        product("R6", "APN1-Aurora:StorageIOUsage", "0.0000002400", databaseEngine="Any"),
    ),
    "AmazonElastiCache": offer_file(
        "AmazonElastiCache",
        product("C1", "APN1-NodeUsage:cache.t4g.micro", "0.0250000000", cacheEngine="Redis"),
        product("C2", "APN1-NodeUsage:cache.t4g.micro", "0.0204000000", cacheEngine="Valkey"),
        product("C3", "APN1-NodeUsage:cache.t4g.micro", "0.0250000000", cacheEngine="Memcached"),
        product("C4", "APN1-ExtendedSupportYr1-2-NodeUsage:cache.t4g.micro", "0.02", cacheEngine="Redis"),
        product("C5", "APN1-NodeUsage:cache.r7g.large", "0.2630000000", cacheEngine="Redis"),
        product("C6", "APN1-Reserved-NodeUsage:cache.t4g.small", "0.001", cacheEngine="Redis"),
        # A reserved price of a node that is read: in another branch of the terms.
        reserved={"C1": {"C1.38NPMPTW36": {"effectiveDate": "2026-01-01T00:00:00Z", "priceDimensions": {}}}},
    ),
    "AmazonECS": offer_file(
        "AmazonECS",
        product("E1", "APN1-Fargate-vCPU-Hours:perCPU", "0.0505600000"),
        product("E2", "APN1-Fargate-GB-Hours", "0.0055300000"),
        product("E3", "APN1-SpotUsage-Fargate-vCPU-Hours:perCPU", "0.0151680000"),
    ),
    "AWSELB": offer_file(
        "AWSELB",
        product("L1", "APN1-LoadBalancerUsage", "0.0250000000", operation=ALB),
        product("L2", "APN1-LoadBalancerUsage", "0.0270000000", operation=NETWORK),
        product("L3", "APN1-LCUUsage", "0.0080000000", operation=ALB),
        product("L4", "APN1-LCUUsage", "0.0060000000", operation=NETWORK),
    ),
    "AmazonVPC": offer_file(
        "AmazonVPC",
        product("V1", "APN1-VpcEndpoint-Hours", "0.0140000000"),
        product("V2", "APN1-VpcEndpoint-Bytes", [("5242880", "0.004"), ("0", "0.01"), ("1048576", "0.006")]),
        product("V3", "APN1-PublicIPv4:InUseAddress", "0.0050000000"),
    ),
    "AWSSecretsManager": offer_file(
        "AWSSecretsManager", product("S1", "APN1-AWSSecretsManager-Secrets", "0.4000000000")
    ),
    "AmazonCloudWatch": offer_file(
        "AmazonCloudWatch",
        product("W1", "APN1-CW:AlarmMonitorUsage", [("0", "0.0000000000"), ("10", "0.1000000000")]),
        # Two products under one usage type: nobody can say which.
        product("W2", "APN1-DataProcessing-Bytes", "0.7600000000", group="A"),
        product("W3", "APN1-DataProcessing-Bytes", "0.3800000000", group="B"),
    ),
    "AmazonS3": offer_file("AmazonS3", product("B1", "APN1-TimedStorage-ByteHrs", "0.0250000000")),
    "AmazonECR": offer_file("AmazonECR", product("I1", "APN1-TimedStorage-ByteHrs", "0.1000000000")),
}


@pytest.fixture
def price_list(tmp_path: Path) -> str:
    """The price list as files in the folders that AWS has them in; its base URL."""
    base = tmp_path.as_uri()
    for service, body in FILES.items():
        path = tmp_path / "offers" / "v1.0" / "aws" / service / "current" / REGION / "index.json"
        path.parent.mkdir(parents=True)
        path.write_bytes(body)
    return base


def test_address() -> None:
    """The documented one."""
    assert url_of("AmazonRDS", REGION) == (
        "https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/AmazonRDS/current/ap-northeast-1/index.json"
    )


def test_refresh(table: PriceTable, price_list: str) -> None:
    """Plain on-demand prices are read, with their dates and source; the tables' units stay."""
    result = refresh(table, TODAY, price_list)
    now = result.table.prices
    assert {price.id: price.usd for _, price in result.found} == {
        "aurora.acu": Decimal("0.16"),
        "aurora.storage": Decimal("0.12"),
        "aurora.io": Decimal("0.24"),  # 0.00000024 for one
        "cache.redis.cache.t4g.micro": Decimal("0.025"),
        "cache.valkey.cache.t4g.micro": Decimal("0.0204"),
        "cache.redis.cache.r7g.large": Decimal("0.263"),
        "fargate.x86_64.vcpu": Decimal("0.05056"),
        "fargate.x86_64.memory": Decimal("0.00553"),
        "alb.hour": Decimal("0.025"),
        "alb.lcu": Decimal("0.008"),
        "endpoint.hour": Decimal("0.014"),
        "endpoint.data": Decimal("0.01"),  # the first of three tiers
        "address.hour": Decimal("0.005"),
        "secret.month": Decimal("0.4"),
        "alarm.month": Decimal("0.1"),  # the first tier is free
        "s3.storage": Decimal("0.025"),
        "ecr.storage": Decimal("0.1"),
    }
    acu = now["aurora.acu"]
    assert (acu.effective, acu.seen, acu.verified) == (date(2026, 10, 1), TODAY, True)
    assert acu.source == url_of("AmazonRDS", REGION, price_list)
    assert now["cache.valkey.cache.t4g.micro"].verified
    assert now["alarm.month"].free == 10
    assert now["cache.redis.cache.r7g.large"].unit == "node-hour"


def test_what_is_not_found_is_kept(table: PriceTable, price_list: str) -> None:
    """Every other price stays as it was, and each has its reason."""
    result = refresh(table, TODAY, price_list)
    reasons = dict(result.kept)
    assert set(reasons) == set(table.prices) - {price.id for _, price in result.found}
    for price in reasons:
        assert result.table.prices[price] == table.prices[price]
    assert reasons["fargate.arm64.vcpu"].startswith("not in AWS's price list: APN1-Fargate-ARM")
    assert reasons["logs.in"] == (
        "more than one price in AWS's price list: APN1-DataProcessing-Bytes: 0.38, 0.76"
    )
    assert reasons["nat.hour"] == NOT_READ["AmazonEC2"]
    assert reasons["dashboard.month"] == "not looked up in the price list"


def test_no_network_says_so(table: PriceTable, tmp_path: Path) -> None:
    """Nobody answers: which address, and what the prices are meanwhile."""
    with pytest.raises(CostError, match="cannot be fetched") as caught:
        refresh(table, TODAY, "http://127.0.0.1:9")
    assert caught.value.where.startswith("http://127.0.0.1:9/offers/v1.0/aws/")
    assert "the prices are those of the package" in caught.value.fix


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b'{"products": {}}',
        b'{"products": {}, "terms": {}}',
        b'{"products": {"A": 1}, "terms": {"OnDemand": {}}}',
    ],
)
def test_what_is_no_price_list_is_refused(body: bytes) -> None:
    """A proxy's page, or another format."""
    with pytest.raises(CostError, match="not a price list"):
        Offer.parse(body, "u")


def test_a_broken_term_is_refused() -> None:
    """A term without its date is no price."""
    broken = product("A", "APN1-X", "1")
    del broken["term"]["A.JRTCKXETXF"]["effectiveDate"]
    offer = Offer.parse(offer_file("S", broken), "u")
    with pytest.raises(CostError, match="the term of A cannot be read"):
        offer.price("APN1-X", {})


@pytest.fixture
def without_s3() -> Iterator[str]:
    """AWS's answers over HTTP, where S3 has no file."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            service = self.path.split("/")[4]
            body = FILES[service]
            self.send_response(403 if service == "AmazonS3" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.server
def test_one_file_that_is_not_there_does_not_stop_the_rest(
    table: PriceTable, without_s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS answers 403 for a file that it does not have: those prices are kept, the others are read."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    result = refresh(table, TODAY, without_s3)
    assert dict(result.kept)["s3.storage"].startswith("AWS answers 403")
    assert result.table.prices["aurora.acu"].usd == Decimal("0.16")


def test_a_refreshed_table_prices_an_estimate(
    table: PriceTable, price_list: str, estimate_of: Callable[..., Any]
) -> None:
    """With other nodes in the settings too."""
    from zedi import settings
    from zedi.cost.estimate import estimate

    chosen = settings.parse('name = "dev"\n[cache]\nnode_type = "cache.r7g.large"\n', "x.toml")
    found = estimate(chosen, refresh(table, TODAY, price_list).table)
    costs = {line.key: line.usd for line in found.lines}
    assert costs["cache/Nodes"] == Decimal("191.99")  # 730 x 0.263
    assert costs["database/Capacity, minimum"] == Decimal("58.4")  # 365 x 0.16
