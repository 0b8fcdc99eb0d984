"""`zedi adopt`: say what of Terraform's is taken over and what differs; ask for the name; do it."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from zedi.deploy.adopt.execute import Standing
    from zedi.deploy.adopt.plan import Adoption, PhaseAdoption

INTERRUPTED = 130
_VALUE_CHARACTERS = 200


@click.command()
@click.argument("environment")
@click.option(
    "--terraform",
    "file",
    required=True,
    metavar="STATE.json",
    type=click.Path(path_type=Path),
    help="What `terraform show -json` printed.",
)
@click.option("--execute", is_flag=True, help="Take it over, once the environment's name has been typed.")
@click.option("--confirm", metavar="NAME", help="The environment's name, instead of typing it when asked.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def adopt(environment: str, file: Path, execute: bool, confirm: str | None, as_json: bool) -> None:
    """Take what Terraform made for ENVIRONMENT under the templates, untouched.

    ENVIRONMENT is a name (dev) or the path of a .toml file. Shows what would be taken over, what the next
    deploy would change of it and what stands in the way; changes nothing without --execute. An import that
    was interrupted goes on with the same command. Exit status: 1 when something stands in the way.
    """
    from zedi import settings
    from zedi.deploy.adopt import execute as room
    from zedi.deploy.adopt.plan import survey
    from zedi.deploy.adopt.state import load
    from zedi.deploy.target import target_of

    if as_json and execute:
        raise click.UsageError("Say --json or --execute, not both.")
    if confirm is not None and not execute:
        raise click.UsageError("--confirm is for --execute.")
    chosen = settings.load(environment)
    if confirm is not None:
        _same(confirm, chosen.name)
    room.refuse_embedded(chosen)
    state = load(file)
    target = target_of(chosen)
    found = survey(chosen, state, target.account)
    standings = room.standings(chosen, target, found)
    if as_json:
        click.echo(json.dumps(document(found, standings), indent=2, ensure_ascii=False))
    else:
        click.echo(f"{file} → {chosen.prefix} in account {target.account}, {target.region}")
        click.echo("\n".join(lines(found, standings)))
    if found.blocked or not found.adopted:
        if execute:
            room.adopt(chosen, target, found, listener=lambda event: None)  # says why not
        raise SystemExit(1)
    if not execute:
        if not as_json:
            click.echo(f"\nNothing was changed. To take it over: {_command(environment, file)}")
        return
    if confirm is None:
        if not sys.stdin.isatty():
            from zedi.cli.destroy import NotConfirmedError

            raise NotConfirmedError(
                chosen.name,
                "there is no terminal to type the environment's name on; nothing was taken over",
                f"If it shall be: {_command(environment, file)} --confirm {chosen.name}",
            )
        _same(click.prompt("Type the environment's name to take it over"), chosen.name)
    _carry_out(chosen, target, found)
    click.echo("\n".join(last_words(found, environment)))


def _carry_out(chosen: Any, target: Any, found: Adoption) -> None:
    from rich.console import Console

    from zedi.cli.board import display
    from zedi.deploy.adopt import execute as room

    phases = tuple(phase.phase for phase in found.phases if phase.adopted)
    try:
        with display(Console(highlight=False), phases) as listener:
            room.adopt(chosen, target, found, listener=listener)
    except KeyboardInterrupt:
        click.echo(
            "Stopped watching. AWS finishes what it has begun; the same command goes on from there.", err=True
        )
        raise SystemExit(INTERRUPTED) from None


def _command(environment: str, file: Path) -> str:
    return shlex.join(["zedi", "adopt", environment, "--terraform", str(file), "--execute"])


def _same(typed: str, name: str) -> None:
    from zedi.cli.destroy import NotConfirmedError

    if typed != name:
        raise NotConfirmedError(
            name,
            f"“{typed}” is not its name; nothing was taken over",
            "Look at which environment you mean, then run the same command again.",
        )


def document(found: Adoption, standings: Mapping[str, Standing]) -> dict[str, Any]:
    """What `--json` prints: everything that is shown, and no template."""
    data = dataclasses.asdict(found)
    for phase in data["phases"]:
        del phase["template"], phase["parameters"]
        phase["standing"] = standings[phase["phase"]]
    return {**data, "terraform_state_rm": list(found.addresses)}


def lines(found: Adoption, standings: Mapping[str, Standing]) -> Iterator[str]:
    """A survey for people: what is taken over, what differs, what is made, what is left."""
    from zedi.deploy.adopt.settings import toml

    for phase in found.phases:
        yield from _phase(phase, standings[phase.phase])
    if found.left:
        yield "Left to Terraform, or a part of what is taken over:"
        yield from (f"  {each.address}: {each.reason}" for each in found.left)
    if found.warnings:
        yield "Look at:"
        yield from (f"  {each}" for each in found.warnings)
    if found.suggestions:
        yield "With these settings less would differ:"
        yield from (f"  {line}".rstrip() for line in toml(found.suggestions).splitlines())


def _phase(phase: PhaseAdoption, standing: Standing) -> Iterator[str]:
    state = {
        "nothing": "nothing of it is in the state",
        "import": f"{len(phase.adopted)} resources to take over",
        "busy": f"{len(phase.adopted)} resources; AWS is at work on its stack",
        "done": f"{len(phase.adopted)} resources, taken over already",
    }[standing]
    yield f"{phase.phase}: {state}"
    for each in phase.adopted:
        yield f"  ← {each.logical_id} ({each.type}) = {each.physical_id}"
        tags = [one for one in each.differences if one.path.startswith(("Tags.", "UserPoolTags."))]
        for one in each.differences:
            if one in tags:
                continue
            verb = "stays" if one.stays else "next deploy"
            key = f"  [{one.key}]" if one.key else ""
            yield f"      {verb}: {one.path}: {_short(one.actual)} → {_short(one.template)}{key}"
        if tags:
            names = ", ".join(one.path.partition(".")[2] for one in tags)
            yield f"      next deploy: tags {names}"
    for stop in phase.blocked:
        yield f"  ✗ {stop.logical_id} ({stop.type}) = {stop.address}: {stop.reason}"
    for new in phase.created:
        empty = ", NEW AND EMPTY" if new.empty else ""
        yield f"  + {new.logical_id} ({new.type}): the next deploy makes it{empty}"


def _short(value: str) -> str:
    line = " ".join(value.split())
    return line if len(line) <= _VALUE_CHARACTERS else f"{line[: _VALUE_CHARACTERS - 1]}…"


def last_words(found: Adoption, environment: str) -> list[str]:
    """What to do next, with Terraform's addresses as its command takes them."""
    kinds = Counter(each.phase for each in found.adopted)
    counts = ", ".join(f"{phase} {count}" for phase, count in kinds.items())
    return [
        f"Taken over: {counts}. Terraform still believes that it owns them: never `terraform destroy` now.",
        "1. Make it forget them (this deletes nothing):",
        *(f"     terraform state rm {shlex.quote(address)}" for address in found.addresses),
        f"2. See that nothing differs but what was listed: zedi drift {environment}",
        f"3. Bring in the rest, looking after each: zedi deploy {environment} --only networking, then"
        " security, database, cache; then all.",
    ]
