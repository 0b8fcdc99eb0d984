"""`zedi diagram`: what is deployed, as a picture."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import click

_COLUMNS = 140
"""Where no terminal says how many there are."""


@click.command()
@click.argument("environment")
@click.option("--svg", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write an SVG picture.")
@click.option("--language", type=click.Choice(["en", "ja"]), default="en", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the boxes and arrows as one JSON object.")
def diagram(environment: str, file: Path | None, language: str, as_json: bool) -> None:
    """Draw what is deployed in ENVIRONMENT: who calls whom, and where it stands.

    ENVIRONMENT is a name (dev) or the path of a .toml file. It is read off the stacks that are there. What is
    not deployed is dashed. Without --svg it is drawn with characters, as wide as the terminal.
    """
    from zedi import settings
    from zedi.deploy.inventory import inventory
    from zedi.deploy.target import target_of
    from zedi.diagram import model
    from zedi.diagram.svg import svg
    from zedi.diagram.text import text

    chosen = settings.load(environment)
    plain = not as_json and file is None and not _draws_boxes()
    # A terminal that cannot draw a line has no Japanese either.
    found = model.diagram(
        inventory(chosen, target_of(chosen)), "ja" if language == "ja" and not plain else "en"
    )
    if file is not None:
        _write(file, svg(found))
        click.echo(f"Written to {file}", err=True)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=2, ensure_ascii=False))
    elif file is None:
        import shutil

        columns = shutil.get_terminal_size((_COLUMNS, 0)).columns
        click.echo("\n".join(text(found, columns, ascii_only=plain)))


def _draws_boxes() -> bool:
    """Whether standard output takes what boxes are drawn with."""
    try:
        "┌─╌┊►×".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _write(file: Path, content: str) -> None:
    from zedi.errors import ZediError

    try:
        file.write_text(content, "utf-8")
    except OSError as error:
        raise ZediError(str(file), f"cannot be written: {error.strerror}", "Name a file that can.") from error
