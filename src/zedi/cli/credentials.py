"""`zedi credentials`: the database's credentials, shown to who asks for them, or given to psql."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from zedi.deploy.credentials import Credentials


@click.command()
@click.argument("environment")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--psql", is_flag=True, help="Start psql with them, and show them to nobody.")
@click.option("--yes", is_flag=True, help="Do not ask before the password is shown.")
def credentials(environment: str, as_json: bool, psql: bool, yes: bool) -> None:
    """Print the credentials of ENVIRONMENT's database, after a question.

    ENVIRONMENT is a name (dev) or the path of a .toml file. Where there is no terminal to ask on, --yes or
    --json says that it is meant. The password is written to no log, and psql gets it in its environment.
    """
    import shutil

    from zedi import settings
    from zedi.deploy import DeployError
    from zedi.deploy import credentials as deployed
    from zedi.deploy.target import target_of

    if psql and as_json:
        raise click.UsageError("Say --psql or --json, not both.")
    chosen = settings.load(environment)
    program = shutil.which("psql")
    if psql and program is None:
        raise DeployError(
            "psql",
            "it is not on this machine's PATH",
            "Install PostgreSQL's client (Debian: postgresql-client; macOS: brew install libpq).",
        )
    if not psql:
        _agree(chosen.name, as_json=as_json, yes=yes)
    found = deployed.credentials(chosen, target_of(chosen))
    if program is not None and psql:
        sys.stdout.flush()
        os.execve(program, ["psql"], {**os.environ, **found.environment()})
    _show(found, as_json)


def _agree(name: str, *, as_json: bool, yes: bool) -> None:
    """Returns where the password may be shown; raises click.UsageError or click.Abort where not."""
    if yes:
        return
    seen = sys.stdout.isatty()
    if as_json and not seen:
        return
    if not (seen and sys.stdin.isatty()):
        raise click.UsageError("There is no terminal to ask on: say --yes or --json, or --psql.")
    click.confirm(f"Show the password of {name}'s database on this screen?", abort=True, err=True)


def _show(found: Credentials, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=2, ensure_ascii=False))
        return
    for name, value in dataclasses.asdict(found).items():
        click.echo(f"{name:<8}  {value}")
