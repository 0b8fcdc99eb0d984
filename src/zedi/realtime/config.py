"""The environment that the task definition gives, parsed once into one frozen object.

Names and meanings are in `zedi.contract`. Both containers of a task (`zedi.realtime` and `zedi.notes`) have
the same variables, so both parse them here.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast
from urllib.parse import urlsplit

from zedi import contract
from zedi.errors import ZediError

Tls = Literal["require", "disable"]

CONNECT_SECONDS: Final = 10.0
COMMAND_SECONDS: Final = 20.0
"""A statement that takes longer is given up."""


class ServiceError(ZediError):
    """The service cannot start with the environment that it was given."""


@dataclass(frozen=True)
class DatabaseAddress:
    """Where PostgreSQL is, and how to log in. `password` is left out of every representation."""

    host: str
    port: int
    name: str
    username: str
    password: str
    tls: Tls

    def options(self) -> dict[str, Any]:
        """What asyncpg needs to connect, with bounded waits."""
        return {
            "host": self.host,
            "port": self.port,
            "database": self.name,
            "user": self.username,
            "password": self.password,
            "ssl": _encrypted() if self.tls == "require" else False,
            "timeout": CONNECT_SECONDS,
            "command_timeout": COMMAND_SECONDS,
        }

    def __repr__(self) -> str:
        return f"DatabaseAddress({self.username}@{self.host}:{self.port}/{self.name}, tls={self.tls})"


def _encrypted() -> ssl.SSLContext:
    """Encrypted, the server's name unchecked: what libpq calls `require`.

    RDS signs with roots of its own, which no system trusts and which change; an image that carried an old
    bundle would lose its database one day. Only the tasks' security group reaches the database, inside the
    VPC. (Redis is verified, name and all: ElastiCache's certificates are signed by a public authority.)
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True)
class Keeping:
    """What becomes of a page's older versions."""

    versions: int
    """So many stay in the database, beside the newest snapshot ..."""
    days: int
    """... for so long ..."""
    minutes: int
    """... so far apart."""
    bucket: str
    """Where they go from there. Empty: nowhere, they are deleted."""
    bucket_days: int
    """How long they stay there; 0: for ever."""
    region: str
    """The bucket's."""


@dataclass(frozen=True)
class Config:
    """One task's environment. Times are seconds."""

    environment: str
    bind_address: str
    port: int
    """0 lets the system choose; the line `listening` of the log then tells which."""
    database: DatabaseAddress
    redis_url: str
    cognito_issuer: str
    cognito_client_id: str
    cognito_jwks: str
    """A JSON key set, or empty: fetch it from `cognito_jwks_url`."""
    cognito_jwks_url: str
    ping_interval: float
    drain_seconds: float
    keeping: Keeping


def parse(environ: Mapping[str, str]) -> Config:
    """Reads a Config from `environ`.

    Raises:
        ServiceError: naming every variable that is missing or malformed, and what is expected of each.
    """
    reader = _Reader(environ)
    tls = reader.choice(contract.DB_TLS, ("require", "disable"))
    config = Config(
        environment=reader.text(contract.ENVIRONMENT, "the environment's name, e.g. dev"),
        bind_address=reader.text(contract.BIND_ADDRESS, "an address to listen on, e.g. 0.0.0.0"),
        port=reader.whole(contract.PORT, 0, 65535),
        database=reader.database(cast(Tls, tls)),
        redis_url=reader.url(contract.REDIS_URL, ("redis", "rediss")),
        cognito_issuer=reader.url(contract.COGNITO_ISSUER, ("https", "http")),
        cognito_client_id=reader.text(contract.COGNITO_CLIENT_ID, "the id of the user pool's client"),
        cognito_jwks=reader.key_set(contract.COGNITO_JWKS),
        cognito_jwks_url=reader.url(contract.COGNITO_JWKS_URL, ("https", "http"), optional=True),
        ping_interval=reader.number(contract.PING_INTERVAL, 1, 3600),
        drain_seconds=reader.number(contract.DRAIN_SECONDS, 0, 3600),
        keeping=Keeping(
            versions=reader.whole(contract.HISTORY_VERSIONS, 0, 1000),
            days=reader.whole(contract.HISTORY_DAYS, 1, 3650),
            minutes=reader.whole(contract.HISTORY_MINUTES, 0, 7 * 24 * 60),
            bucket=environ.get(contract.HISTORY_BUCKET, ""),
            bucket_days=reader.whole(contract.HISTORY_BUCKET_DAYS, 0, 36500),
            region=reader.text(contract.REGION, "a region, e.g. ap-northeast-1"),
        ),
    )
    if not (environ.get(contract.COGNITO_JWKS) or environ.get(contract.COGNITO_JWKS_URL)):
        reader.wrong(
            contract.COGNITO_JWKS,
            f"is empty, and so is {contract.COGNITO_JWKS_URL}",
            "a JSON key set in the first or its address in the second",
        )
    reader.finish()
    return config


_KEYS: Final = ("username", "password", "host", "port", "dbname")


class _Reader:
    """Reads variables; collects what is wrong instead of stopping at the first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._problems: list[str] = []

    def wrong(self, name: str, problem: str, expected: str) -> None:
        self._problems.append(f"    {name}: {problem}; expected {expected}")

    def finish(self) -> None:
        if self._problems:
            raise ServiceError(
                "environment",
                "these variables cannot be used:\n" + "\n".join(self._problems),
                "Set the variables named above; the task definition gives all of them.",
            )

    def text(self, name: str, expected: str) -> str:
        value = self._environ.get(name, "")
        if not value:
            self.wrong(name, "is missing", expected)
        return value

    def choice(self, name: str, values: tuple[str, ...]) -> str:
        value = self._environ.get(name, "")
        if value not in values:
            self.wrong(name, f"is {value!r}" if value else "is missing", " or ".join(values))
        return value

    def number(self, name: str, low: float, high: float, *, whole: bool = False) -> float:
        value = self._environ.get(name, "")
        expected = f"{'a whole number' if whole else 'a number'} from {low:g} to {high:g}"
        try:
            number = float(int(value) if whole else float(value))
        except ValueError:
            self.wrong(name, f"is {value!r}" if value else "is missing", expected)
            return low
        if not low <= number <= high:
            self.wrong(name, f"is {value}", expected)
        return number

    def whole(self, name: str, low: int, high: int) -> int:
        return int(self.number(name, low, high, whole=True))

    def url(self, name: str, schemes: tuple[str, ...], *, optional: bool = False) -> str:
        value = self._environ.get(name, "")
        if not value and optional:
            return value
        try:
            parts = urlsplit(value)
            good = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            good = False
        if not good:
            expected = " or ".join(f"{scheme}://..." for scheme in schemes)
            self.wrong(name, f"is {value!r}" if value else "is missing", expected)
        return value

    def key_set(self, name: str) -> str:
        value = self._environ.get(name, "")
        if not value:
            return ""
        data = _object(value)
        if data is None or not isinstance(data.get("keys"), list) or not data["keys"]:
            self.wrong(name, "is not a key set", 'JSON of the form {"keys": [...]}, or nothing')
        return value

    def database(self, tls: Tls) -> DatabaseAddress:
        name = contract.DB_CREDENTIALS_JSON
        expected = "a JSON object with username, password, host, port and dbname"
        # The value is a secret: an error says what is wrong with it and never what it is.
        value = self._environ.get(name, "")
        data = _object(value) if value else {}
        if data is None:
            self.wrong(name, "is not a JSON object", expected)
            data = {}
        elif missing := [key for key in _KEYS if not data.get(key)]:
            self.wrong(name, "is missing" if not value else f"lacks {', '.join(missing)}", expected)
        try:
            port = int(data.get("port") or 0)
        except (TypeError, ValueError):
            port = 0
        if data.get("port") and not 1 <= port <= 65535:
            self.wrong(name, "has a port that is no port", expected)
        return DatabaseAddress(
            host=str(data.get("host", "")),
            port=port,
            name=str(data.get("dbname", "")),
            username=str(data.get("username", "")),
            password=str(data.get("password", "")),
            tls=tls,
        )


def _object(text: str) -> dict[str, Any] | None:
    try:
        data = json.loads(text)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None
