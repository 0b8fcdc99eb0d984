"""`zedi destroy`: say what goes and what stays, ask for the name, take it down, and show how it goes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from zedi.errors import ZediError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zedi.deploy.destroy import Destroyed, Resource, Survey

INTERRUPTED = 130


class NotConfirmedError(ZediError):
    """The environment's name was not said, or another one was."""


@click.command()
@click.argument("environment")
@click.option("--confirm", metavar="NAME", help="The environment's name, instead of typing it when asked.")
@click.option(
    "--delete-secrets",
    is_flag=True,
    help="Schedule the secrets that stay for deletion, with the recovery window of the settings.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object a line: each event, the result. With --confirm.",
)
def destroy(environment: str, confirm: str | None, delete_secrets: bool, as_json: bool) -> None:
    """Delete everything that is deployed in ENVIRONMENT, but for what its settings keep.

    ENVIRONMENT is a name (dev) or the path of a .toml file. What goes and what stays is shown first, and the
    environment's name must be typed. It may be interrupted: AWS finishes what it has begun, and the same
    command goes on from there.
    """
    from rich.console import Console

    from zedi import settings
    from zedi.cli.board import display, tell
    from zedi.deploy import destroy as room
    from zedi.deploy.target import target_of

    if as_json and confirm is None:
        raise click.UsageError("--json asks nothing: say --confirm NAME beside it.")
    chosen = settings.load(environment)
    if confirm is not None:
        _same(confirm, chosen.name, environment)
    target = target_of(chosen)
    place = target.endpoint_url or f"account {target.account}, {target.region}"
    if not as_json:
        click.echo(f"{chosen.prefix} in {place}")
    found = room.survey(chosen, target)
    phases = tuple(phase for phase, _ in reversed(found.stacks))
    if as_json:
        stays = _kept_documents(found.kept)
        tell("destroy_started", environment=chosen.name, place=place, phases=phases, stays=stays)
    elif not found.stacks and not delete_secrets:
        click.echo("\n".join(["Nothing is deployed.", *_kept_lines("Left:", found.kept)]))
        return
    else:
        click.echo("\n".join(survey_lines(found)))
    if confirm is None:
        if not sys.stdin.isatty():
            raise NotConfirmedError(
                chosen.name,
                "there is no terminal to type the environment's name on; nothing was deleted",
                f"If all of it shall go: zedi destroy {environment} --confirm {chosen.name}",
            )
        _same(click.prompt("Type the environment's name to delete it"), chosen.name, environment)

    console = Console(highlight=False)
    try:
        with display(console, phases, as_json=as_json) as listener:
            done = room.destroy(chosen, target, listener=listener, delete_secrets=delete_secrets)
    except KeyboardInterrupt:
        click.echo(
            "Stopped watching. AWS finishes what it has begun; the same command goes on from there.", err=True
        )
        raise SystemExit(INTERRUPTED) from None
    if as_json:
        tell("result", **document(done))
    else:
        click.echo("\n".join(last_words(done)))


def _same(typed: str, name: str, environment: str) -> None:
    if typed != name:
        raise NotConfirmedError(
            name,
            f"“{typed}” is not its name; nothing was deleted",
            f"Look at which environment you mean, then: zedi destroy {environment}",
        )


def survey_lines(found: Survey) -> list[str]:
    """What goes, phase by phase in the order in which it does, and what stays."""
    lines: list[str] = []
    for phase, stack in reversed(found.stacks):
        goes = sum(each.phase == phase and each.kept != "retained" for each in found.resources)
        state = "" if stack.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE") else f" ({stack.status})"
        lines.append(f"  - {phase}: {goes} resources{state}")
    return lines + _kept_lines("Stays:", found.kept)


def _kept_lines(title: str, kept: Sequence[Resource]) -> list[str]:
    if not kept:
        return []
    lines = [title]
    for each in kept:
        what = "a last snapshot of " if each.kept == "snapshot" else ""
        lines.append(f"  {what}{each.physical_id} ({each.type}), for {each.why_kept}")
    return lines


def _kept_documents(kept: Sequence[Resource]) -> list[dict[str, Any]]:
    return [
        {
            "phase": each.phase,
            "type": each.type,
            "physical_id": each.physical_id,
            "kept": each.kept,
            "why": each.why_kept,
        }
        for each in kept
    ]


def document(done: Destroyed) -> dict[str, Any]:
    """What the last line of --json has: what was deleted, what is left."""
    return {
        "changed": bool(done.phases or done.secrets),
        "seconds": done.seconds,
        "phases": done.phases,
        "left": _kept_documents(done.kept),
        "secrets": [{"name": name, "days": days} for name, days in done.secrets],
    }


def last_words(done: Destroyed) -> list[str]:
    """What was done, what is left, and what that means for a deploy of the same name."""
    phases = ", ".join(done.phases) or "nothing"
    lines = [f"Deleted {phases} in {done.seconds:.1f} s.", *_kept_lines("Left:", done.kept)]
    lines += [f"Scheduled for deletion in {days} days: {name}" for name, days in done.secrets]
    if any(each.kept == "retained" for each in done.kept):
        lines.append(
            "What is left keeps its name: a new deploy of this environment needs it gone or imported."
        )
    return lines
