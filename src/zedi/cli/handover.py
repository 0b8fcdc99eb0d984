"""`zedi handover`: the log that whoever takes an environment over would want to read."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from zedi.diagram.words import Language


@click.command()
@click.argument("environment")
@click.option("--language", type=click.Choice(["ja", "en"]), default="ja", show_default=True)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write it there instead of printing it.",
)
@click.option("--json", "as_json", is_flag=True, help="The data as one JSON object, instead of Markdown.")
def handover(environment: str, language: str, output: Path | None, as_json: bool) -> None:
    """Write a hand-over log of ENVIRONMENT from what is deployed, as Markdown.

    ENVIRONMENT is a name (dev) or the path of a .toml file. Resources, outputs, settings, cost, state, what
    is to be done next, and how to get in. It holds no secret. Nothing is changed.
    """
    from zedi import settings
    from zedi.deploy.target import target_of
    from zedi.errors import ZediError
    from zedi.handover.markdown import markdown
    from zedi.handover.report import report

    chosen = settings.load(environment)
    spoken: Language = "ja" if language == "ja" else "en"
    found = report(environment, chosen, target_of(chosen), datetime.now(UTC), spoken)
    if as_json:
        written = json.dumps(dataclasses.asdict(found), indent=2, ensure_ascii=False, default=_iso) + "\n"
    else:
        written = markdown(found, spoken)
    if output is None:
        click.echo(written, nl=False)
        return
    try:
        output.write_text(written, "utf-8")
    except OSError as error:
        raise ZediError(
            str(output), f"cannot be written: {error.strerror}", "Name a file that can."
        ) from error
    click.echo(f"Written to {output}", err=True)


def _iso(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds")
    raise TypeError(f"{type(value).__name__} has no JSON form")
