from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import ValidationError

from zedi import settings
from zedi.settings import SettingsError

ENVIRONMENTS = Path(__file__).parents[1] / "environments"


@pytest.mark.parametrize("name", ["local", "dev", "lean", "staging", "prod"])
def test_every_environment_loads(name: str) -> None:
    """The files that we ship are settings, each of the environment that it is named after."""
    assert settings.load(name, ENVIRONMENTS).name == name


def test_a_path_is_an_environment(tmp_path: Path) -> None:
    """A .toml file anywhere can stand for an environment."""
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\n[database]\nmin_acu = 1\n')
    loaded = settings.load(str(file))
    assert (loaded.name, loaded.prefix, loaded.database.min_acu) == ("mine", "zedi-mine", 1.0)


def test_settings_are_frozen() -> None:
    """What was loaded cannot be changed behind somebody's back."""
    loaded = settings.load("dev", ENVIRONMENTS)
    with pytest.raises(ValidationError):
        loaded.database.min_acu = 2.0


@dataclass(frozen=True)
class Broken:
    text: str
    says: tuple[str, ...]


BROKEN = {
    "unknown key": Broken(
        "[database]\nmin_acus = 1", ("database.min_acus", "did you mean database.min_acu?")
    ),
    "unknown table": Broken("[databse]\nmin_acu = 1", ("databse", "did you mean database?")),
    "far from any key": Broken("[cdn]\nzzz = 1", ("cdn.zzz", "known: certificate_arn, domain_name")),
    "wrong type": Broken('[database]\nmin_acu = "1"', ("database.min_acu", "'1'", "valid number")),
    "a truth for a number": Broken("[cache]\nnodes = true", ("cache.nodes", "True", "valid integer")),
    "impossible port": Broken("[cache]\nport = 70000", ("cache.port", "70000", "65535")),
    "impossible window": Broken(
        '[database]\nbackup_window = "25:00-26:00"',
        ("database.backup_window", "expected a window like 03:00-04:00"),
    ),
    "window without a day": Broken(
        '[cache]\nmaintenance_window = "05:00-06:00"',
        ("cache.maintenance_window", "expected a window like sun:04:00"),
    ),
    "not a network": Broken(
        '[networking]\nvpc_cidr = "10.0.0.0/33"', ("networking.vpc_cidr", "IPv4 network")
    ),
    "not an address": Broken(
        '[security]\ncallback_urls = ["http://a/cb", "ftp://x"]',
        ("security.callback_urls.1", "ftp://x", "http:// or https://"),
    ),
    "in a list of tables": Broken(
        '[cdn]\nurl = "http://localhost:1"\n[embedded]\n[[embedded.users]]\n'
        'emial = "a"\ndisplay_name = "b"\npassword = "c"',
        (
            "embedded.users.0.emial",
            "did you mean embedded.users.0.email?",
            "embedded.users.0.email: is missing",
        ),
    ),
    "unknown way out": Broken("[networking]\negress = 'vpn'", ("networking.egress", "'vpn'", "'endpoints'")),
    "unknown cache": Broken("[cache]\nengine = 'memcached'", ("cache.engine", "'redis' or 'valkey'")),
    "embedded without an address": Broken("[embedded]\nport = 1", ("cdn.url",)),
    "not TOML": Broken("[database\n", ("is not TOML", "line 2")),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_what_cannot_be_is_named(broken: Broken) -> None:
    """A mistake is answered with the file, the key, what was expected, and the nearest key."""
    with pytest.raises(SettingsError) as caught:
        settings.parse(f'name = "x"\n{broken.text}\n', "environments/x.toml")
    assert caught.value.where == "environments/x.toml"
    for word in broken.says:
        assert word in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    """Nobody has to mend a file once for each of its mistakes."""
    with pytest.raises(SettingsError) as caught:
        settings.parse('name = "X"\n[cache]\nport = 0\nnode = 2\n', "f.toml")
    assert [line.split(":")[0].strip() for line in caught.value.what.splitlines()[1:]] == [
        "name",
        "cache.port",
        "cache.node",
    ]


def test_a_missing_file_names_its_neighbours() -> None:
    """A mistyped environment is answered with the one that was meant."""
    with pytest.raises(SettingsError, match="Did you mean staging"):
        settings.load("stagin", ENVIRONMENTS)


def test_a_folder_without_settings_says_where_to_run(tmp_path: Path) -> None:
    """Outside a checkout the error says what is missing."""
    with pytest.raises(SettingsError, match="Run zedi where the folder"):
        settings.load("dev", tmp_path)


def test_changed_values_are_read_as_in_toml() -> None:
    """Numbers, lists and text without quotes; what looks like a number is text where text is due."""
    loaded = settings.load("prod", ENVIRONMENTS)
    changes = {
        "database.min_acu": "0",
        "networking.egress": "public",
        "networking.vpc_cidr": "10.9.0.0/16",
        "cache.engine_version": "8.1",
        "realtime.image_tag": "2026-11-23",
        "security.logout_urls": '["http://localhost:1"]',
        "cache.tls": "false",
    }
    found = settings.changed(loaded, changes, "--what-if")
    assert found.database.min_acu == 0
    assert (found.networking.egress, str(found.networking.vpc_cidr)) == ("public", "10.9.0.0/16")
    assert (found.cache.engine_version, found.realtime.image_tag) == ("8.1", "2026-11-23")
    assert found.security.logout_urls == ("http://localhost:1",)
    assert found.cache.tls is False
    assert found.database.instances == loaded.database.instances == 2


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("database.min_acus", "0", "did you mean database.min_acu?"),
        ("name.first", "x", "name.first: name is not a table"),
        ("database", "3", "database: 3"),
        ("cache.nodes", "two", "cache.nodes: 'two'"),
        ("cache.engine_version", "8", "cache.engine_version: '8': expected a version like 7.1"),
        ("", "1", "there is no such key"),
    ],
)
def test_a_change_that_cannot_be_is_named(key: str, value: str, says: str) -> None:
    """As if it stood in the file, but where it was said."""
    with pytest.raises(SettingsError) as caught:
        settings.changed(settings.load("dev", ENVIRONMENTS), {key: value}, "--what-if")
    assert caught.value.where == "--what-if"
    assert says in str(caught.value)


def test_lean_is_what_it_says() -> None:
    """The four settings that make it cheap, and the budget that watches it."""
    lean = settings.load("lean", ENVIRONMENTS)
    assert lean.networking.egress == "public"
    assert (lean.database.min_acu, lean.database.auto_pause_seconds) == (0, 300)
    assert (lean.cache.engine, lean.realtime.architecture) == ("valkey", "ARM64")
    assert lean.monitoring.budget_usd == 76
