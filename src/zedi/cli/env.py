"""`zedi env`: the front end's settings as the lines of an .env file."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("environment")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def env(environment: str, as_json: bool) -> None:
    """Print the front end's settings of what is deployed in ENVIRONMENT, as an .env file has them.

    ENVIRONMENT is a name (dev) or the path of a .toml file. What a phase that is not deployed yet would say
    is left out, and named on standard error.
    """
    from zedi import settings
    from zedi.deploy import frontend
    from zedi.deploy.target import target_of

    chosen = settings.load(environment)
    found = frontend.variables(chosen, target_of(chosen))
    if as_json:
        click.echo(json.dumps(found.values, indent=2, ensure_ascii=False))
    else:
        for name, value in found.values.items():
            click.echo(f"{name}={value}")
    for name, phase in found.missing.items():
        click.echo(f"{name} is not known before {phase} is deployed.", err=True)
