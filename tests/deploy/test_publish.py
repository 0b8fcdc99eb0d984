"""Headers, order, what is invalidated, when old files go; and the whole of it against a real bucket."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from zedi import contract
from zedi.deploy import DeployError, publish
from zedi.deploy.publish import File
from zedi.deploy.target import Target
from zedi.settings import Settings


@pytest.mark.parametrize(
    ("key", "kind", "cached"),
    [
        ("index.html", "text/html; charset=utf-8", "no-cache"),
        ("config.json", "application/json; charset=utf-8", "no-cache"),
        ("favicon.svg", "image/svg+xml; charset=utf-8", "no-cache"),
        ("assets/index-B2x.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        ("assets/index-B2x.css", "text/css; charset=utf-8", "public, max-age=31536000, immutable"),
        ("assets/noto-1.woff2", "font/woff2", "public, max-age=31536000, immutable"),
        ("assets/what-1.unknown", "application/octet-stream", "public, max-age=31536000, immutable"),
    ],
)
def test_headers(key: str, kind: str, cached: str) -> None:
    """Hashed assets are kept for a year, everything else is asked for again; types are the web's."""
    file = File(key, b"")
    assert (file.content_type, file.cache_control) == (kind, cached)


def test_what_is_referred_to_comes_first() -> None:
    """Assets, then other files, then the page that names them, then its settings."""
    files = [File(key, b"") for key in ("config.json", "index.html", "robots.txt", "assets/a.js")]
    batches = [[file.key for file in batch] for batch in publish._in_order(files)]
    assert batches == [["assets/a.js"], ["robots.txt"], ["index.html"], ["config.json"]]


def test_invalidates_only_what_may_be_old() -> None:
    """Replaced and deleted files are invalidated, new ones are not; the page is the root's as well."""
    assert publish.invalidations(["index.html"], ["assets/old.js"]) == ("/", "/assets/old.js", "/index.html")
    assert publish.invalidations(["config.json"], []) == ("/config.json",)
    assert publish.invalidations([publish.RETIRED], []) == ()


def test_old_files_go_after_their_days() -> None:
    """A file that the build dropped stays for 30 days from then on, and is forgotten when it comes back."""
    there = ["a.js", "b.js", "c.js", publish.RETIRED]
    retired = {"b.js": "2026-10-24", "a.js": "2026-10-25", "long-gone.js": "2026-01-01"}
    today = date(2026, 11, 23)
    assert publish.retire(there, ["c.js"], retired, today) == ({"a.js": "2026-10-25"}, ("b.js",))
    assert publish.retire(there, ["a.js", "b.js", "c.js"], retired, today) == ({}, ())
    assert publish.retire(there, ["a.js", "b.js"], {}, today) == ({"c.js": "2026-11-23"}, ())


def test_a_front_end_that_is_not_built_is_said(tmp_path: Path) -> None:
    """An empty folder is an error that says how to build."""
    with pytest.raises(DeployError) as caught:
        publish.built(tmp_path)
    assert "scripts/web" in caught.value.fix


def outputs_of(bucket: str, distribution: str) -> dict[str, str]:
    return {
        "FrontendBucket": bucket,
        "CloudfrontDistributionId": distribution,
        "FrontendUrl": "http://localhost:30000",
        "WebsocketUrl": "ws://localhost:30000/realtime",
        "CognitoHostedUiUrl": "https://zedi-dev-1.auth.ap-northeast-1.amazoncognito.com",
        "CognitoUserPoolId": "ap-northeast-1_X",
        "CognitoClientId": "client",
    }


def test_the_front_end_learns_where_everything_is() -> None:
    """config.json has every key of the contract, with addresses as browsers use them."""
    target = Target("ap-northeast-1", "1")
    file = publish.config_file(Settings(name="dev"), target, outputs_of("bucket", "E1"))
    config = json.loads(file.body)
    assert config.keys() == contract.FrontEndConfig.__annotations__.keys()
    assert config["api_url"] == "http://localhost:30000/api"
    assert config["websocket_url"] == "ws://localhost:30000/realtime"
    assert config["redirect_uri"] == "http://localhost:30000/callback"
    assert config["hosted_ui_url"] == "https://zedi-dev-1.auth.ap-northeast-1.amazoncognito.com"


@pytest.fixture
def place(settings: Settings, target: Target) -> dict[str, str]:
    """A bucket and a distribution."""
    bucket = f"{settings.prefix}-files"
    target.client("s3").create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "ap-northeast-1"}
    )
    config: Any = {
        "CallerReference": settings.name,
        "Comment": "",
        "Enabled": True,
        "Origins": {
            "Quantity": 1,
            "Items": [
                {
                    "Id": "files",
                    "DomainName": f"{bucket}.s3.amazonaws.com",
                    "S3OriginConfig": {"OriginAccessIdentity": ""},
                }
            ],
        },
        "DefaultCacheBehavior": {
            "TargetOriginId": "files",
            "ViewerProtocolPolicy": "redirect-to-https",
            "MinTTL": 0,
            "ForwardedValues": {"QueryString": False, "Cookies": {"Forward": "none"}},
        },
    }
    made = target.client("cloudfront").create_distribution(DistributionConfig=config)
    return outputs_of(bucket, made["Distribution"]["Id"])


def invalidations(target: Target, distribution: str) -> list[list[str]]:
    cloudfront = target.client("cloudfront")
    listed = cloudfront.list_invalidations(DistributionId=distribution)["InvalidationList"].get("Items", [])
    batches = [
        cloudfront.get_invalidation(DistributionId=distribution, Id=summary["Id"])["Invalidation"]
        for summary in listed
    ]
    return [sorted(batch["InvalidationBatch"]["Paths"]["Items"]) for batch in batches]


@pytest.mark.server
def test_publishes_what_changed_and_nothing_else(
    settings: Settings, target: Target, place: dict[str, str], tmp_path: Path
) -> None:
    """First everything, then nothing, then the new build beside the old one's assets."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<script src=/assets/index-1.js>")
    (tmp_path / "assets" / "index-1.js").write_text("1")
    everything = ("assets/index-1.js", "config.json", "index.html")

    first = publish.publish(settings, target, place, publish.built(tmp_path))
    assert (first.uploaded, first.unchanged, first.invalidated) == (everything, (), ())
    page = target.client("s3").get_object(Bucket=place["FrontendBucket"], Key="index.html")
    assert (page["ContentType"], page["CacheControl"]) == ("text/html; charset=utf-8", "no-cache")
    asset = target.client("s3").head_object(Bucket=place["FrontendBucket"], Key="assets/index-1.js")
    assert asset["CacheControl"] == publish.FOREVER
    config = target.client("s3").get_object(Bucket=place["FrontendBucket"], Key=contract.CONFIG_FILE)
    assert json.loads(config["Body"].read())["hosted_ui_url"] == place["CognitoHostedUiUrl"]

    second = publish.publish(settings, target, place, publish.built(tmp_path))
    assert (second.uploaded, second.unchanged, second.invalidated) == ((), everything, ())
    assert invalidations(target, place["CloudfrontDistributionId"]) == []

    (tmp_path / "assets" / "index-1.js").rename(tmp_path / "assets" / "index-2.js")
    (tmp_path / "index.html").write_text("<script src=/assets/index-2.js>")
    third = publish.publish(settings, target, place, publish.built(tmp_path))
    assert third.uploaded == ("assets/index-2.js", "index.html", publish.RETIRED)
    assert third.deleted == ()
    assert third.invalidated == ("/", "/index.html")
    assert invalidations(target, place["CloudfrontDistributionId"]) == [["/", "/index.html"]]
    target.client("s3").head_object(Bucket=place["FrontendBucket"], Key="assets/index-1.js")


@pytest.mark.server
def test_deletes_what_was_retired_long_ago(
    settings: Settings, target: Target, place: dict[str, str], tmp_path: Path
) -> None:
    """An asset that no build has had for a month is deleted and invalidated."""
    (tmp_path / "index.html").write_text("page")
    s3 = target.client("s3")
    s3.put_object(Bucket=place["FrontendBucket"], Key="assets/old.js", Body=b"old")
    s3.put_object(
        Bucket=place["FrontendBucket"], Key=publish.RETIRED, Body=b'{"assets/old.js": "2026-01-01"}'
    )
    done = publish.publish(settings, target, place, publish.built(tmp_path))
    assert done.deleted == ("assets/old.js",)
    assert done.invalidated == ("/assets/old.js",)
    left = s3.list_objects_v2(Bucket=place["FrontendBucket"])["Contents"]
    assert [entry["Key"] for entry in left] == ["config.json", "index.html", publish.RETIRED]
