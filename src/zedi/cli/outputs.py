"""`zedi outputs`: what is deployed, by name."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("environment")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; lists stay lists.")
def outputs(environment: str, as_json: bool) -> None:
    """Print the outputs of what is deployed in ENVIRONMENT, in the order of the phases.

    ENVIRONMENT is a name (dev) or the path of a .toml file.
    """
    from zedi import settings
    from zedi.deploy import outputs as deployed
    from zedi.deploy.target import target_of

    chosen = settings.load(environment)
    found = deployed.outputs(chosen, target_of(chosen))
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if not found:
        none = f"Nothing is deployed in {chosen.name}, or it was taken over and not deployed yet."
        click.echo(f"{none} Deploy it: zedi deploy {environment}", err=True)
        return
    width = max(map(len, found))
    for name, value in found.items():
        click.echo(f"{name:<{width}}  {value if isinstance(value, str) else ', '.join(value)}")
