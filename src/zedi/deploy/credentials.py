"""The database's credentials, out of Secrets Manager."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from zedi.deploy import DeployError
from zedi.deploy.stacks import describe
from zedi.deploy.target import Target, asking
from zedi.phases import stack_name
from zedi.settings import Settings

_PHASE = "database"


@dataclass(frozen=True)
class Credentials:
    host: str
    port: int
    dbname: str
    username: str
    password: str = field(repr=False)
    sslmode: str
    """As libpq names it: require, or disable."""

    def environment(self) -> dict[str, str]:
        """Under the names by which libpq finds them, so that no argument shows them to other people."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGDATABASE": self.dbname,
            "PGUSER": self.username,
            "PGPASSWORD": self.password,
            "PGSSLMODE": self.sslmode,
        }


def credentials(settings: Settings, target: Target) -> Credentials:
    """Raises DeployError when the database is not deployed, was only imported, or has another secret than
    deploys make.
    """
    with asking(target, _PHASE):
        stack = describe(target, stack_name(settings, _PHASE))
        if stack is None or not stack.deployed:
            raise DeployError(
                _PHASE,
                "the database is not deployed, so nobody has credentials for it",
                f"Deploy it: zedi deploy {settings.name} --through database",
            )
        secret = stack.outputs.get("DbCredentialsSecretArn")
        if secret is None:
            raise DeployError(
                _PHASE,
                "the database was taken over and not deployed yet, so nothing says which secret is its own",
                f"Deploy it: zedi deploy {settings.name} --only database",
            )
        text = target.client("secretsmanager").get_secret_value(SecretId=secret).get("SecretString", "")
    return _read(settings, secret, text)


def _read(settings: Settings, secret: str, text: str) -> Credentials:
    # Neither the text nor a part of it may stand in an error: a JSON error's context would hold it.
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    needed = ("host", "port", "username", "password")
    missing = [name for name in needed if not isinstance(found, Mapping) or name not in found]
    if missing or not isinstance(found, Mapping):
        raise DeployError(
            f"{_PHASE}: {secret}",
            f"the secret has no {', '.join(missing)}",
            f"Deploy the database again, which attaches the secret to it: zedi deploy {settings.name} --only"
            " database",
        )
    return Credentials(
        host=str(found["host"]),
        port=int(found["port"]),
        dbname=str(found.get("dbname") or settings.database.name),
        username=str(found["username"]),
        password=str(found["password"]),
        sslmode=settings.database.tls,
    )
