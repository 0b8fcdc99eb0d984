"""The front end's files and config.json into their bucket, with the headers that CloudFront serves them with.

Order matters while people are using the product: first the assets that the new page will ask for, then the
pages, last config.json. What the build does not have any more stays: a tab that was opened yesterday loads
its parts when they are needed. It is listed in `RETIRED` with the day, and deleted by the first publish that
comes `KEPT_DAYS` later.

Publishing may be interrupted anywhere. The next one uploads what is missing; an invalidation that was lost
costs nothing but a little freshness, because whatever can change is served with `no-cache`.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Final

from zedi import contract
from zedi.deploy import DeployError
from zedi.deploy.frontend import address
from zedi.deploy.target import Target
from zedi.settings import Settings

INDEX: Final = "index.html"
ASSETS: Final = "assets/"
"""Under it, a file's name has a hash of its content: the build never gives one name to two contents."""
RETIRED: Final = "retired.json"
"""Assets that the latest build does not have: {key: day on which it was found missing, ISO 8601}."""
KEPT_DAYS: Final = 30

FOREVER: Final = "public, max-age=31536000, immutable"
ASK_FIRST: Final = "no-cache"

_UPLOADS: Final = 8
_DELETED_AT_ONCE: Final = 1000
_TYPES: Final = mimetypes.MimeTypes()  # not the machine's own table: every machine publishes alike
for _type, _suffix in (
    ("text/javascript", ".js"),
    ("text/javascript", ".mjs"),
    ("application/json", ".map"),
    ("application/manifest+json", ".webmanifest"),
    ("application/wasm", ".wasm"),
    ("font/woff2", ".woff2"),
    ("image/svg+xml", ".svg"),
    ("image/webp", ".webp"),
    ("image/avif", ".avif"),
    ("image/x-icon", ".ico"),
):
    _TYPES.add_type(_type, _suffix)


@dataclass(frozen=True)
class File:
    key: str
    body: bytes

    @property
    def md5(self) -> str:
        """What S3 gives as the ETag of an object that was put in one piece."""
        return hashlib.md5(self.body, usedforsecurity=False).hexdigest()

    @property
    def cache_control(self) -> str:
        return FOREVER if self.key.startswith(ASSETS) else ASK_FIRST

    @property
    def content_type(self) -> str:
        kind, _ = _TYPES.guess_type(self.key)
        if kind is None:
            return "application/octet-stream"
        textual = kind.startswith("text/") or kind in ("application/json", "image/svg+xml")
        return f"{kind}; charset=utf-8" if textual else kind


@dataclass(frozen=True)
class Published:
    """Keys, sorted."""

    uploaded: tuple[str, ...]
    unchanged: tuple[str, ...]
    deleted: tuple[str, ...]
    invalidated: tuple[str, ...]
    """Paths, as CloudFront takes them."""


def built(web: Traversable | None = None) -> list[File]:
    """The files of the built front end: the one in this package, or `web`.

    Raises DeployError when there is none.
    """
    root = web if web is not None else resources.files("zedi") / "web"
    if not (root / INDEX).is_file():
        raise DeployError(
            "cdn",
            f"the front end is not built: {root} has no {INDEX}",
            "Build it: `scripts/web` (`make up` and `make test` do).",
        )
    return sorted(_walk(root, ""), key=lambda file: file.key)


def publish(
    settings: Settings, target: Target, outputs: Mapping[str, str], files: Iterable[File]
) -> Published:
    """Brings the bucket in line with `files` and the outputs.

    Args:
        outputs: of all phases up to cdn, by their names in the templates.
    """
    bucket = outputs["FrontendBucket"]
    s3 = target.client("s3")
    there: dict[str, str] = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        there |= {entry["Key"]: entry["ETag"].strip('"') for entry in page.get("Contents", ())}

    wanted = [*files, config_file(settings, target, outputs)]
    retired = _retired(s3, bucket) if RETIRED in there else {}
    still_retired, expired = retire(
        there.keys(), {file.key for file in wanted}, retired, datetime.now(UTC).date()
    )
    if still_retired != retired:
        wanted.append(File(RETIRED, json.dumps(still_retired, indent=1, sort_keys=True).encode()))
    changed = [file for file in wanted if there.get(file.key) != file.md5]
    with ThreadPoolExecutor(_UPLOADS) as uploads:
        for batch in _in_order(changed):
            list(uploads.map(lambda file: _put(s3, bucket, file), batch))
    for start in range(0, len(expired), _DELETED_AT_ONCE):
        answer = s3.delete_objects(
            Bucket=bucket,
            Delete={"Objects": [{"Key": key} for key in expired[start : start + _DELETED_AT_ONCE]]},
        )
        for failed in answer.get("Errors", ()):
            raise DeployError(
                "cdn", f"cannot delete {failed.get('Key')}: {failed.get('Message')}", "Run the command again."
            )

    paths = invalidations((file.key for file in changed if file.key in there), expired)
    if paths:
        target.client("cloudfront").create_invalidation(
            DistributionId=outputs["CloudfrontDistributionId"],
            InvalidationBatch={
                "Paths": {"Quantity": len(paths), "Items": list(paths)},
                "CallerReference": uuid.uuid4().hex,
            },
        )
    uploaded = {file.key for file in changed}
    return Published(
        uploaded=tuple(sorted(uploaded)),
        unchanged=tuple(sorted(file.key for file in wanted if file.key not in uploaded)),
        deleted=expired,
        invalidated=paths,
    )


def config_file(settings: Settings, target: Target, outputs: Mapping[str, str]) -> File:
    """`/config.json`: where the front end finds everything else."""
    config: contract.FrontEndConfig = {
        "environment": settings.name,
        "region": target.region,
        "api_url": address("api_url", outputs),
        "websocket_url": address("websocket_url", outputs),
        "hosted_ui_url": address("hosted_ui_url", outputs),
        "user_pool_id": address("user_pool_id", outputs),
        "client_id": address("client_id", outputs),
        "redirect_uri": address("redirect_uri", outputs),
        "logout_uri": address("logout_uri", outputs),
    }
    return File(contract.CONFIG_FILE, (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode())


def retire(
    there: Iterable[str], wanted: Iterable[str], retired: Mapping[str, str], today: date
) -> tuple[dict[str, str], tuple[str, ...]]:
    """What becomes of files that the build does not have: (retired since when, to be deleted now)."""
    gone = sorted(set(there) - set(wanted) - {RETIRED})
    since = {key: retired.get(key, today.isoformat()) for key in gone}
    oldest = today - timedelta(days=KEPT_DAYS)
    expired = tuple(key for key in gone if date.fromisoformat(since[key]) <= oldest)
    return {key: day for key, day in since.items() if key not in expired}, expired


def invalidations(replaced: Iterable[str], deleted: Iterable[str]) -> tuple[str, ...]:
    """The paths that CloudFront may hold an old answer for. A file that is new is none of them."""
    keys = {*replaced, *deleted} - {RETIRED}
    paths = {f"/{key}" for key in keys}
    return tuple(sorted(paths | {"/"} if INDEX in keys else paths))


def _walk(directory: Traversable, prefix: str) -> Iterable[File]:
    for entry in directory.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield File(prefix + entry.name, entry.read_bytes())


def _in_order(files: Iterable[File]) -> list[list[File]]:
    """What others refer to comes first; config.json comes last."""
    batches: list[list[File]] = [[], [], [], []]
    last = (ASSETS, "", INDEX, contract.CONFIG_FILE)
    for file in files:
        kind = ASSETS if file.key.startswith(ASSETS) else file.key if file.key in last else ""
        batches[last.index(kind)].append(file)
    return batches


def _put(s3: Any, bucket: str, file: File) -> None:
    s3.put_object(
        Bucket=bucket,
        Key=file.key,
        Body=file.body,
        ContentType=file.content_type,
        CacheControl=file.cache_control,
    )


def _retired(s3: Any, bucket: str) -> dict[str, str]:
    """The record; an unreadable one counts as none, which keeps files for longer and loses nothing."""
    body = s3.get_object(Bucket=bucket, Key=RETIRED)["Body"].read()
    try:
        record = json.loads(body)
        return {str(key): date.fromisoformat(day).isoformat() for key, day in record.items()}
    except (ValueError, TypeError, AttributeError):
        return {}
