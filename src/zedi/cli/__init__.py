"""The command line: one file a verb. A verb parses words, calls the rooms that do the work, and prints.

A verb's module imports nothing heavy at its top, so that `zedi --help` stays quick: what a verb needs it
imports when it runs. `main` turns every ZediError into three lines on standard error and exit status 1.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final

import click

from zedi.errors import ZediError

VERBS: Final = (
    "up",
    "synth",
    "preflight",
    "cost",
    "plan",
    "deploy",
    "image",
    "status",
    "outputs",
    "env",
    "credentials",
    "drift",
    "logs",
    "diagram",
    "handover",
    "adopt",
    "destroy",
)
"""In the order of the help page. Each is a module here with a click command of the same name."""


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"zedi.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="zedi")
def zedi() -> None:
    """The platform behind a collaborative notebook: described once, run here or on AWS."""


def main() -> None:
    try:
        zedi(prog_name="zedi")
    except ZediError as error:
        click.echo(f"{click.style('error', fg='red', bold=True)} {error.where}", err=True)
        click.echo(f"  {error.what}", err=True)
        click.echo(f"  {click.style('→', fg='green')} {error.fix}", err=True)
        sys.exit(1)
