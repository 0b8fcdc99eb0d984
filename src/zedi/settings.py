"""Settings: what differs between environments, read from one TOML file into one frozen, typed object.

`load("dev")` reads `environments/dev.toml`; `load("some/where.toml")` reads that file. Every key has a
default here, so a file holds the differences and nothing else. A key that does not exist, a value of the
wrong type and a value that cannot be are one `SettingsError` that lists all of them, each with the file,
the key, what was expected, and the nearest key that exists.

What AWS would refuse is not judged here: that is preflight's work, which knows the whole picture. Here a
value must only mean something: a port is a port, a window is a window.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from zedi import contract
from zedi.errors import ZediError

ENVIRONMENTS_DIRECTORY: Final = Path("environments")

_TIME: Final = r"([01]\d|2[0-3]):[0-5]\d"
_WEEKDAY: Final = "(mon|tue|wed|thu|fri|sat|sun)"


def _form(pattern: str, form: str) -> AfterValidator:
    """Text that matches `pattern` as a whole; `form` is what people are told that was expected."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"expected {form}")
        return text

    return AfterValidator(check)


Port = Annotated[int, Field(ge=1, le=65535)]
Days = Annotated[int, Field(ge=0)]
Seconds = Annotated[int, Field(ge=0)]
Capacity = Annotated[float, Field(ge=0)]
"""Aurora capacity units (ACU)."""
DailyWindow = Annotated[str, _form(f"{_TIME}-{_TIME}", "a window like 03:00-04:00 (UTC)")]
WeeklyWindow = Annotated[
    str, _form(f"{_WEEKDAY}:{_TIME}-{_WEEKDAY}:{_TIME}", "a window like sun:04:00-sun:05:00 (UTC)")
]
Url = Annotated[str, _form(r"https?://[^/\s]+(/\S*)?", "an http:// or https:// address")]
Origin = Annotated[str, _form(r"https?://[^/\s]+", "an http:// or https:// address without a path")]
Name = Annotated[
    str,
    Field(max_length=24),
    _form("[a-z][a-z0-9]*(-[a-z0-9]+)*", "lower-case letters, digits and single dashes, a letter first"),
]
Identifier = Annotated[str, _form("[a-z][a-z0-9_]*", "a PostgreSQL name: a-z, 0-9 and _, a letter first")]


class SettingsError(ZediError):
    """A file of settings cannot be used. `what` has one line for each problem."""


class _Table(BaseModel):
    # strict: "4" is not 4, and 1 is not true. TOML has types, so a wrong one is a mistake.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Networking(_Table):
    vpc_cidr: Annotated[IPv4Network, Field(strict=False)] = IPv4Network("10.0.0.0/16")
    availability_zones: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = (
        "ap-northeast-1a",
        "ap-northeast-1c",
    )
    egress: Literal["endpoints", "public", "nat"] = "endpoints"
    """How tasks reach AWS: from private subnets through interface endpoints, which see nothing else of the
    internet; from public subnets with an address of their own; from private subnets through a NAT gateway."""
    nat_per_zone: bool = False
    """With egress "nat": a gateway in each zone, so that the loss of one takes no other with it."""


class Security(_Table):
    callback_urls: Annotated[tuple[Url, ...], Field(strict=False, min_length=1)] = (
        "http://localhost:30000/callback",
        "http://localhost:30000/auth/callback",
    )
    logout_urls: Annotated[tuple[Url, ...], Field(strict=False, min_length=1)] = ("http://localhost:30000",)
    mfa: Literal["OFF", "OPTIONAL", "ON"] = "OPTIONAL"
    password_minimum_length: Annotated[int, Field(ge=6, le=99)] = 8
    temporary_password_days: Annotated[int, Field(ge=1, le=365)] = 7
    token_hours: Annotated[int, Field(ge=1, le=24)] = 1
    """Life of access and ID tokens."""
    refresh_token_days: Annotated[int, Field(ge=1, le=3650)] = 30


class Database(_Table):
    engine_version: Annotated[str, _form(r"\d+(\.\d+)?", "a version like 15 or 15.12")] = "15"
    """A major (resolved at deploy time to the newest that AWS offers) or an exact version."""
    min_acu: Capacity = 0.5
    """0: the database pauses when nothing is connected to it."""
    max_acu: Capacity = 4.0
    auto_pause_seconds: Seconds = 300
    """With a minimum of 0 ACU: after how long without a connection it pauses. Aurora takes 300-86400."""
    instances: Annotated[int, Field(ge=1, le=16)] = 1
    """The first is the writer, the rest are readers."""
    port: Port = 5432
    name: Annotated[Identifier, Field(max_length=63)] = "zedi"
    master_username: Annotated[Identifier, Field(max_length=16)] = "zedi_admin"
    backup_retention_days: Annotated[int, Field(ge=1, le=35)] = 7
    backup_window: DailyWindow = "03:00-04:00"
    maintenance_window: WeeklyWindow = "sun:04:00-sun:05:00"
    log_statement: Literal["none", "ddl", "mod", "all"] = "all"
    log_min_duration_ms: Annotated[int, Field(ge=-1)] = 1000
    performance_insights_days: Annotated[int, Field(ge=0)] = 7
    deletion_protection: bool = False
    final_snapshot: bool = False
    secret_recovery_days: Annotated[int, Field(ge=0, le=30)] = 0
    """0: a deleted secret is gone at once. 7-30: it can be restored that long."""
    tls: Literal["require", "disable"] = "require"


class Cache(_Table):
    engine: Literal["redis", "valkey"] = "redis"
    engine_version: Annotated[str, _form(r"\d+\.\d+", "a version like 7.1")] = "7.1"
    node_type: Annotated[str, _form(r"cache\.[a-z0-9]+\.[a-z0-9]+", "a type like cache.t4g.micro")] = (
        "cache.t4g.micro"
    )
    nodes: Annotated[int, Field(ge=1, le=6)] = 1
    port: Port = 6379
    maintenance_window: WeeklyWindow = "sun:05:00-sun:06:00"
    snapshot_window: DailyWindow = "04:00-05:00"
    snapshot_retention_days: Annotated[int, Field(ge=0, le=35)] = 1
    log_retention_days: Days = 7
    tls: bool = True


class Realtime(_Table):
    cpu: Annotated[int, Field(ge=1)] = 256
    """CPU units of one task; 1024 are one vCPU."""
    memory: Annotated[int, Field(ge=1)] = 512
    """MiB of one task."""
    architecture: Literal["X86_64", "ARM64"] = "X86_64"
    min_tasks: Annotated[int, Field(ge=0)] = 1
    max_tasks: Annotated[int, Field(ge=1)] = 4
    on_demand_base: Annotated[int, Field(ge=0)] = 0
    """How many tasks run on demand, under the Spot ones."""
    image_tag: (
        Annotated[str, _form(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", "an image's tag, such as a git revision")]
        | None
    ) = None
    """The image to run. None: that of the git revision that is deployed (deploy/facts.py)."""
    port: Port = contract.REALTIME_PORT
    api_port: Port = contract.API_PORT
    bind_address: Annotated[str, Field(min_length=1)] = "0.0.0.0"
    ping_seconds: Annotated[int, Field(ge=1)] = 25
    idle_timeout_seconds: Annotated[int, Field(ge=1)] = 120
    """How long the load balancer keeps a silent connection; must outlast the ping."""
    drain_seconds: Seconds = 100
    stop_timeout_seconds: Seconds = 120
    deregistration_delay_seconds: Seconds = 100
    connections_per_task: Annotated[int, Field(ge=1)] = 500
    """The number that auto scaling aims at."""
    cpu_target_percent: Annotated[int, Field(ge=1, le=100)] = 60
    certificate_arn: str | None = None
    """A certificate of this region for the load balancer: HTTPS, with HTTP redirecting."""
    log_retention_days: Days = 7


class History(_Table):
    """Older versions of pages: how many, how dense, how long, and where."""

    versions: Annotated[int, Field(ge=0, le=1000)] = 30
    """Of each page that stay in the database, beside its newest state."""
    days: Annotated[int, Field(ge=1, le=3650)] = 90
    """How long they stay there at most; counted when the page is next compacted."""
    minutes: Annotated[int, Field(ge=0, le=7 * 24 * 60)] = 10
    """Least time between two of them: what follows one sooner gives way to what comes next."""
    bucket: bool = True
    """Whether what leaves the database goes to a bucket. If not it is deleted."""
    bucket_days: Annotated[int, Field(ge=0, le=36500)] = 365
    """How long it stays there, counted from its arrival. 0: for ever."""


class Cdn(_Table):
    domain_name: str | None = None
    """The product's own domain; needs `certificate_arn`."""
    certificate_arn: str | None = None
    """A certificate from us-east-1."""
    url: Origin | None = None
    """Where browsers find the product, where that is neither CloudFront's name nor `domain_name`."""
    price_class: Literal["PriceClass_100", "PriceClass_200", "PriceClass_All"] = "PriceClass_200"
    versioned: bool = False

    @property
    def public_url(self) -> str | None:
        """The address in the browser's bar, or None: it is CloudFront's name, known after the deploy."""
        if self.url:
            return self.url
        return f"https://{self.domain_name}" if self.domain_name else None


class Monitoring(_Table):
    email: str | None = None
    budget_usd: Annotated[int, Field(ge=1)] = 200
    """A month."""
    latency_p99_ms: Annotated[int, Field(ge=1)] = 500
    error_rate_percent: Annotated[float, Field(gt=0, le=100)] = 1.0
    utilisation_percent: Annotated[int, Field(ge=1, le=100)] = 80
    """For CPU, memory and connections."""


class ExampleUser(_Table):
    email: str
    display_name: str
    password: str


class Embedded(_Table):
    """The embedded AWS. An environment with this table runs on this machine and nowhere else.

    PostgreSQL and Valkey listen on `database.port` and `cache.port`, the service on `realtime.port` and
    `realtime.api_port`, the front end on the port of `cdn.url`.
    """

    port: Port = 4566
    """Of the AWS API."""
    users: Annotated[tuple[ExampleUser, ...], Field(strict=False)] = ()


class Settings(_Table):
    name: Name
    region: Annotated[str, _form(r"[a-z]{2}(-[a-z]+)+-\d", "a region like ap-northeast-1")] = "ap-northeast-1"
    networking: Networking = Networking()
    security: Security = Security()
    database: Database = Database()
    cache: Cache = Cache()
    realtime: Realtime = Realtime()
    history: History = History()
    cdn: Cdn = Cdn()
    monitoring: Monitoring = Monitoring()
    embedded: Embedded | None = None

    @property
    def prefix(self) -> str:
        """What every name of this environment starts with, e.g. `zedi-dev`."""
        return f"zedi-{self.name}"

    @property
    def endpoint_url(self) -> str | None:
        """The AWS API to talk to, or None: AWS itself."""
        return f"http://127.0.0.1:{self.embedded.port}" if self.embedded else None

    @model_validator(mode="after")
    def _embedded_has_an_address(self) -> Settings:
        if self.embedded and not self.cdn.url:
            raise ValueError("an environment with [embedded] needs cdn.url: where the front end is served")
        return self


def load(environment: str, directory: Path = ENVIRONMENTS_DIRECTORY) -> Settings:
    """Reads the settings of `environment`: a name in `directory`, or the path of a .toml file.

    Raises:
        SettingsError: the file is missing, is not TOML, or says something that cannot be.
    """
    path = Path(environment) if environment.endswith(".toml") else directory / f"{environment}.toml"
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise _missing(environment, path, directory) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(str(path), f"cannot be read: {error}", "Give a readable UTF-8 file.") from error
    return parse(text, str(path))


def parse(text: str, where: str) -> Settings:
    """Reads settings from TOML `text`; `where` names it in errors. Raises SettingsError."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(where, f"is not TOML: {error}", "Correct the line named above.") from error
    return _validated(data, where)


def _validated(data: dict[str, Any], where: str) -> Settings:
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        problems = "\n".join(_problem(detail) for detail in error.errors())
        raise SettingsError(
            where, f"these settings cannot be used:\n{problems}", "Correct the keys named above."
        ) from error


def changed(settings: Settings, changes: Mapping[str, str], where: str) -> Settings:
    """`settings` with other values, by their dotted keys, e.g. {"database.min_acu": "0"}.

    A value is written as in TOML; text needs no quotes. `where` names the changes in errors. Raises
    SettingsError, as if the keys stood in the file.
    """
    data = settings.model_dump(mode="json", exclude_unset=True)
    for key, text in changes.items():
        _put(data, key, _toml_value(text), where)
    try:
        Settings.model_validate(data)
    except ValidationError as error:
        for detail in error.errors():
            key = ".".join(map(str, detail["loc"]))
            if detail["type"] == "string_type" and key in changes:
                _put(data, key, changes[key], where)  # 8.1 is a number in TOML, and a version here
    return _validated(data, where)


def _put(data: dict[str, Any], key: str, value: Any, where: str) -> None:
    *tables, name = key.split(".")
    for part in tables:
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise SettingsError(where, f"{key}: {part} is not a table", "Name a key of the settings.")
    data[name] = value


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _missing(environment: str, path: Path, directory: Path) -> SettingsError:
    names = sorted(file.stem for file in directory.glob("*.toml"))
    near = difflib.get_close_matches(environment, names, n=1)
    if not names:
        fix = f"Run zedi where the folder {directory}/ is, or name a .toml file."
    elif near:
        fix = f"Did you mean {near[0]}? There are: {', '.join(names)}."
    else:
        fix = f"There are: {', '.join(names)}."
    return SettingsError(str(path), "there is no such file", fix)


def _problem(detail: Any) -> str:
    """One line for one of pydantic's errors."""
    location = tuple(str(part) for part in detail["loc"])
    key = ".".join(location) or "(whole file)"
    value = detail.get("input")
    match detail["type"]:
        case "extra_forbidden":
            known = _keys_of(location[:-1])
            near = difflib.get_close_matches(location[-1], known, n=1)
            hint = (
                f"did you mean {'.'.join((*location[:-1], near[0]))}?"
                if near
                else f"known: {', '.join(known)}"
            )
            return f"    {key}: there is no such key; {hint}"
        case "missing":
            return f"    {key}: is missing"
        case _:
            return f"    {key}: {value!r}: {detail['msg'].removeprefix('Value error, ')}"


def _model_at(location: tuple[str, ...]) -> type[BaseModel] | None:
    """The table that stands at `location`, e.g. ("database",)."""
    model: type[BaseModel] = Settings
    for part in location:
        if part.isdigit():
            continue
        field = model.model_fields.get(part)
        if field is None:
            return None
        found = _table_in(field.annotation)
        if found is None:
            return None
        model = found
    return model


def _table_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _table_in(argument)
        if found is not None:
            return found
    return None


def _keys_of(location: tuple[str, ...]) -> list[str]:
    model = _model_at(location)
    return sorted(model.model_fields) if model else []
