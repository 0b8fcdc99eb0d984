"""Which key, and which line, a value of a template came from."""

from __future__ import annotations

import pytest

from zedi.preflight.origin import Origin, key_lines
from zedi.preflight.run import Options, check
from zedi.preflight.subject import of_text
from zedi.settings import parse

TEXT = """\
# an environment
name = "dev"
region = "ap-northeast-1"

[database] # the table
min_acu = 9.0
"max_acu" = 8.0

[cache]
tls = true

[[embedded.users]]
email = "a@example.com"
"""


def test_lines_of_keys() -> None:
    """Tables, keys, quoted keys, and comments after them."""
    assert key_lines(TEXT) == {
        "name": 2,
        "region": 3,
        "database": 5,
        "database.min_acu": 6,
        "database.max_acu": 7,
        "cache": 9,
        "cache.tls": 10,
        "embedded.users": 12,
        "embedded.users.email": 13,
    }


def test_what_looks_like_a_key_inside_a_value_is_none() -> None:
    """A list and a text of several lines hold no keys."""
    text = 'a = """\nb = 1\n[c]\n"""\nd = [\n  "e = 1",\n]\nf.g = 1\n'
    assert key_lines(text) == {"a": 1, "d": 5, "f.g": 8}


@pytest.mark.parametrize(
    ("phase", "resource", "path", "key"),
    [
        ("database", "Cluster", "ServerlessV2ScalingConfiguration.MinCapacity", "database.min_acu"),
        ("database", "Cluster", "Port", "database.port"),
        ("networking", "Vpc", "CidrBlock", "networking.vpc_cidr"),
        ("networking", "PublicSubnet1", "AvailabilityZone", "networking.availability_zones"),
        ("networking", "PublicSubnet2", None, "networking.availability_zones"),
        ("realtime", "Task", "Cpu", "realtime.cpu"),
        ("realtime", "Task", "ContainerDefinitions.0.StopTimeout", "realtime.stop_timeout_seconds"),
        ("realtime", "LoadBalancer", "Name", "name"),
        ("cache", "ReplicationGroup", "SnapshotWindow", "cache.snapshot_window"),
        ("security", "UserPool", "Policies.PasswordPolicy.MinimumLength", "security.password_minimum_length"),
        ("cdn", "Distribution", "DistributionConfig.PriceClass", "cdn.price_class"),
        ("database", "Cluster", "Engine", None),
        ("database", "Nothing", "Engine", None),
        ("elsewhere", "Cluster", "Engine", None),
    ],
)
def test_keys_of_properties(phase: str, resource: str, path: str | None, key: str | None) -> None:
    """Changing a key shows where it goes; what no key makes has none."""
    assert Origin(parse('name = "dev"', "x.toml"), "").key(phase, resource, path) == key


def test_the_line_that_somebody_wrote_is_named() -> None:
    """Where two keys do not fit, the one in the file is shown, and not the other one's default."""
    found = check(of_text('name = "dev"\n[database]\nmax_acu = 1.0\nmin_acu = 1.5\n', "e.toml"), None, RULES)
    assert [str(each.where) for each in found if each.id == "Z302"] == [
        "e.toml:4 database.min_acu → database/Cluster.ServerlessV2ScalingConfiguration.MinCapacity"
    ]
    found = check(of_text('name = "dev"\n[realtime]\nstop_timeout_seconds = 60\n', "e.toml"), None, RULES)
    assert {each.where.line for each in found if each.id == "Z508"} == {3}
    found = check(of_text('name = "dev"\nrealtime = { cpu = 300 }\n', "e.toml"), None, RULES)
    assert {each.where.line for each in found if each.id == "Z501"} == {2}


def test_a_default_is_called_one() -> None:
    """A value that no file says is the default of its key."""
    found = check(of_text('name = "dev"\n', "e.toml"), None, RULES)
    assert {str(each.where).split(" → ")[0] for each in found if each.id == "Z606"} == {
        "default of realtime.certificate_arn"
    }


RULES = Options(linters=False)
