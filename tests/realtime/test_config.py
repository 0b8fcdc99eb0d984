"""The environment: all of it, or one error that names everything that is wrong."""

from __future__ import annotations

import json

import pytest

from zedi.realtime.config import ServiceError, parse

CREDENTIALS = {
    "username": "zedi_admin",
    "password": "a secret",
    "engine": "postgres",
    "host": "db.example",
    "port": 5432,
    "dbname": "zedi",
}
GOOD = {
    "ZEDI_ENVIRONMENT": "dev",
    "BIND_ADDRESS": "0.0.0.0",
    "PORT": "1234",
    "DB_CREDENTIALS_JSON": json.dumps(CREDENTIALS),
    "DB_TLS": "require",
    "REDIS_URL": "rediss://cache.example:6379",
    "COGNITO_ISSUER": "https://cognito-idp.ap-northeast-1.amazonaws.com/pool",
    "COGNITO_CLIENT_ID": "client",
    "COGNITO_JWKS": '{"keys": [{"kid": "a"}]}',
    "COGNITO_JWKS_URL": "",
    "PING_INTERVAL": "25",
    "DRAIN_SECONDS": "100",
    "HISTORY_VERSIONS": "30",
    "HISTORY_DAYS": "90",
    "HISTORY_MINUTES": "10",
    "HISTORY_BUCKET": "",
    "HISTORY_BUCKET_DAYS": "0",
    "AWS_REGION": "ap-northeast-1",
}


def test_a_task_s_environment_is_read() -> None:
    """Every variable finds its place, and the password stays out of sight."""
    config = parse(GOOD)
    assert (config.database.host, config.database.port, config.database.tls) == (
        "db.example",
        5432,
        "require",
    )
    assert (config.port, config.ping_interval, config.drain_seconds) == (1234, 25.0, 100.0)
    assert "a secret" not in repr(config)


def test_everything_that_is_missing_is_named_at_once() -> None:
    """An empty environment is one error with a line for each variable that must be there."""
    with pytest.raises(ServiceError) as caught:
        parse({})
    for name in GOOD.keys() - {"COGNITO_JWKS_URL", "HISTORY_BUCKET"}:
        assert f"    {name}: " in caught.value.what


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORT", "70000", "from 0 to 65535"),
        ("PORT", "12.5", "a whole number"),
        ("DB_TLS", "yes", "require or disable"),
        ("DB_CREDENTIALS_JSON", "a secret", "not a JSON object"),
        ("DB_CREDENTIALS_JSON", json.dumps(CREDENTIALS | {"password": ""}), "lacks password"),
        ("DB_CREDENTIALS_JSON", json.dumps(CREDENTIALS | {"port": "many"}), "a port that is no port"),
        ("REDIS_URL", "cache.example:6379", "redis://... or rediss://..."),
        ("REDIS_URL", "redis://cache:port", "redis://... or rediss://..."),
        ("COGNITO_ISSUER", "pool", "https://..."),
        ("COGNITO_JWKS", "{}", "not a key set"),
        ("COGNITO_JWKS", "", "a JSON key set in the first or its address in the second"),
        ("PING_INTERVAL", "soon", "a number from 1"),
        ("DRAIN_SECONDS", "nan", "a number from 0"),
        ("HISTORY_VERSIONS", "-1", "a whole number from 0"),
        ("HISTORY_BUCKET_DAYS", "1.5", "a whole number from 0"),
    ],
)
def test_a_malformed_variable_is_named_with_what_is_expected(name: str, value: str, said: str) -> None:
    """One line: the variable, what it is, what it should be; never the secret."""
    with pytest.raises(ServiceError) as caught:
        parse({**GOOD, name: value})
    (line,) = caught.value.what.splitlines()[1:]
    assert line.startswith(f"    {name}: ") and said in line
    assert "a secret" not in str(caught.value)
