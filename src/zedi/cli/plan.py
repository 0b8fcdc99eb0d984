"""`zedi plan`: what a deploy would do, and nothing done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from zedi.deploy.plan import Plan
    from zedi.deploy.target import Target
    from zedi.settings import Settings

INTERRUPTED: Final = 130
CHANGES: Final = 2


@click.command()
@click.argument("environment")
@click.option("--through", metavar="PHASE", help="That phase and everything that it needs.")
@click.option("--only", metavar="PHASE", help="That phase alone.")
@click.option("--offline", is_flag=True, help="From settings and templates alone; nobody is asked.")
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the plan, for zedi deploy --plan; its change sets stay in AWS.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--exit-code", is_flag=True, help=f"Exit with status {CHANGES} where there is something to change."
)
def plan(
    environment: str,
    through: str | None,
    only: str | None,
    offline: bool,
    save: Path | None,
    as_json: bool,
    exit_code: bool,
) -> None:
    """Print what a deploy of ENVIRONMENT would do, phase by phase.

    ENVIRONMENT is a name (dev) or the path of a .toml file. Nothing is changed: the change sets by which AWS
    is asked are deleted again, unless the plan is saved. Of every property that changes both values stand
    there, and of what is replaced or deleted what goes with it. Where AWS cannot be asked, or with --offline,
    it is what each phase would have, and where its parameters come from.
    """
    from zedi import settings
    from zedi.deploy import planning, saved
    from zedi.deploy.rollout import chosen
    from zedi.deploy.target import TargetError, target_of
    from zedi.phases import PHASES

    if through is not None and only is not None:
        raise click.UsageError("Say --through or --only, not both.")
    if offline and (save is not None or exit_code):
        raise click.UsageError("Offline nobody knows what would change: neither --save nor --exit-code.")
    phases = chosen(PHASES, through, only)
    wanted = settings.load(environment)
    if save is not None:
        saved.refuse_unwritable(save)
    target = None
    if not offline:
        try:
            target = target_of(wanted)
        except TargetError as error:
            if save is not None or exit_code:
                raise
            click.echo(f"Not asked: {error.what}\n  {error.fix}", err=True)
    if target is None:
        _print(planning.outline(wanted, chosen=phases), wanted, as_json=as_json)
        return
    try:
        found = planning.plan(wanted, target, listener=_waits, chosen=phases, keep=save is not None)
        if save is not None:
            _save(found, target, save)
    except KeyboardInterrupt:
        click.echo("Stopped. Nothing was changed.", err=True)
        raise SystemExit(INTERRUPTED) from None
    _print(found, wanted, as_json=as_json)
    if save is not None:
        click.echo(f"Saved. To do exactly this: zedi deploy {environment} --plan {save}", err=as_json)
    if exit_code and found.changes:
        raise SystemExit(CHANGES)


def _save(found: Plan, target: Target, file: Path) -> None:
    """Writes the plan; one that could not be written leaves nothing in AWS."""
    from zedi.deploy import planning, saved

    written = False
    try:
        saved.write(found, file)
        written = True
    finally:
        if not written:
            planning.discard(target, found.phases)


def _waits(event: object) -> None:
    """A plan takes a moment, but for what it has to wait for."""
    from zedi.deploy.events import PhaseNote

    if isinstance(event, PhaseNote):
        click.echo(f"{event.phase}: {event.text}", err=True)


def _print(found: Plan, wanted: Settings, *, as_json: bool) -> None:
    from zedi.cli.plan_text import lines
    from zedi.phases import PHASES

    if as_json:
        click.echo(found.to_json())
        return
    place = found.place or (f"account {found.account}, {found.region}" if found.account else found.region)
    click.echo(
        f"{wanted.prefix} → {place}" if found.account else f"{wanted.prefix}, as the templates have it"
    )
    for line in lines(found, {phase.name: phase.after for phase in PHASES}):
        click.echo(line)
