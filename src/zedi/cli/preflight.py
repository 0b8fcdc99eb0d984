"""`zedi preflight`: what AWS would refuse, said before it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from zedi.deploy.target import Target
    from zedi.preflight.subject import Subject


@click.command()
@click.argument("environment", required=False)
@click.option(
    "--templates",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Look at a folder of {phase}.json instead of an environment.",
)
@click.option("--live/--offline", default=None, help="Ask AWS too, or not; asked unless it is a folder.")
@click.option("--ignore", metavar="ID", multiple=True, help="Leave a finding out; may be repeated.")
@click.option("--linters/--no-linters", default=True, help="Listen to cfn-lint and cloudformation-validate.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "github"]), default="text", show_default=True
)
def preflight(
    environment: str | None,
    templates: Path | None,
    live: bool | None,
    ignore: tuple[str, ...],
    linters: bool,
    form: str,
) -> None:
    """Say what AWS would refuse, before it is asked.

    ENVIRONMENT is a name (dev) or the path of a .toml file. Nothing is changed anywhere. Each finding has
    an ID; docs/preflight.md has them all. Exit status: 0 nothing worse than a warning, 1 errors, 2 not
    understood.
    """
    from zedi.preflight import subject
    from zedi.preflight.report import FORMATS, styled
    from zedi.preflight.run import Options, check, errors

    if (environment is None) == (templates is None):
        raise click.UsageError("Name an environment, or a folder with --templates.")
    if templates is not None and live:
        raise click.UsageError("Templates alone do not say which account: --live needs an environment.")
    if templates is not None:
        looked_at = subject.of_folder(templates)
    else:
        assert environment is not None
        looked_at = subject.of_environment(environment)
    findings = check(
        looked_at,
        _connect(looked_at) if live is not False else None,
        Options(frozenset(id.upper() for id in ignore), linters),
    )
    said = FORMATS[form](findings)
    if said:
        click.echo(styled(said) if form == "text" else said)
    if errors(findings):
        raise SystemExit(1)


def _connect(looked_at: Subject) -> Callable[[], Target] | None:
    settings = looked_at.settings
    if settings is None:
        return None

    def connect() -> Target:
        from zedi.deploy.target import target_of

        return target_of(settings)

    return connect
