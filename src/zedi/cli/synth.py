"""`zedi synth`: the templates as files."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("environment")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder to write to; made when it is not there.",
)
def synth(environment: str, output: Path) -> None:
    """Write the templates of ENVIRONMENT, one JSON file a phase.

    ENVIRONMENT is a name (dev) or the path of a .toml file.
    """
    from zedi import settings
    from zedi.phases import PHASES, render

    chosen = settings.load(environment)
    output.mkdir(parents=True, exist_ok=True)
    for phase in PHASES:
        compact = render(phase.build(chosen))
        path = output / f"{phase.name}.json"
        path.write_text(json.dumps(json.loads(compact), indent=2, ensure_ascii=False) + "\n", "utf-8")
        click.echo(f"{path}  {len(compact.encode()):>6,} bytes compact")
