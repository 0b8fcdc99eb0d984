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
@click.option("--json", "as_json", is_flag=True, help="Say what was written as one JSON object, by phase.")
def synth(environment: str, output: Path, as_json: bool) -> None:
    """Write the templates of ENVIRONMENT, one JSON file a phase.

    ENVIRONMENT is a name (dev) or the path of a .toml file. With --json `bytes` is the size of what
    CloudFormation is given.
    """
    from zedi import settings
    from zedi.phases import PHASES, render

    chosen = settings.load(environment)
    output.mkdir(parents=True, exist_ok=True)
    written: dict[str, dict[str, str | int]] = {}
    for phase in PHASES:
        compact = render(phase.build(chosen))
        path = output / f"{phase.name}.json"
        path.write_text(json.dumps(json.loads(compact), indent=2, ensure_ascii=False) + "\n", "utf-8")
        written[phase.name] = {"path": str(path), "bytes": len(compact.encode())}
        if not as_json:
            click.echo(f"{path}  {written[phase.name]['bytes']:>6,} bytes compact")
    if as_json:
        click.echo(json.dumps(written, indent=2, ensure_ascii=False))
