"""`zedi deploy`: every phase, or a saved plan, carried out; asks before what holds data is let go of."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from zedi.deploy.rollout import DataLossError, DeployResult
    from zedi.deploy.target import Target
    from zedi.settings import Settings

REALTIME: Final = "realtime"
INTERRUPTED: Final = 130


@click.command()
@click.argument("environment")
@click.option("--through", metavar="PHASE", help="Deploy that phase and everything that it needs.")
@click.option("--only", metavar="PHASE", help="Deploy that phase alone, on what is deployed already.")
@click.option(
    "--allow-replace",
    metavar="NAME",
    multiple=True,
    help="A resource that holds data and may be removed or replaced. May be given several times.",
)
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Carry out exactly that plan (zedi plan --save), or nothing where it is stale.",
)
@click.option(
    "--image", "with_image", is_flag=True, help="Build and push this revision's image, unless it is there."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line: each event, the result.")
def deploy(
    environment: str,
    through: str | None,
    only: str | None,
    allow_replace: tuple[str, ...],
    plan_file: Path | None,
    with_image: bool,
    as_json: bool,
) -> None:
    """Bring what is deployed in ENVIRONMENT in line with its settings.

    ENVIRONMENT is a name (dev) or the path of a .toml file. What each phase will change is shown before it
    is done; a change that would lose data stops the phase until the resource's name is typed, or given with
    --allow-replace. It may be interrupted: AWS finishes what it has
    begun, and the same command goes on from there. `zedi plan` shows all of it without doing it.

    With --image an empty account gets a running service in one go: the image is built first, the service is
    deployed without a task, which makes the repository, the image is pushed, the service deployed once more.
    """
    from rich.console import Console

    from zedi import settings
    from zedi.cli.board import display, tell
    from zedi.deploy import saved
    from zedi.deploy.rollout import DataLossError, chosen
    from zedi.deploy.rollout import deploy as roll_out
    from zedi.deploy.target import target_of
    from zedi.image import release
    from zedi.phases import PHASES

    if through is not None and only is not None:
        raise click.UsageError("Say --through or --only, not both.")
    if plan_file is not None and (through is not None or only is not None or with_image):
        raise click.UsageError(
            "--plan says what is deployed: neither --through nor --only nor --image beside it."
        )
    phases = chosen(PHASES, through, only)  # a wrong name is said before anybody is asked
    plan = saved.read(plan_file) if plan_file is not None else None
    wanted = settings.load(environment)
    if with_image:
        if REALTIME not in [phase.name for phase in phases]:
            raise click.UsageError("--image is for a deploy of the realtime phase.")
        release.refuse_embedded(wanted)
    target = target_of(wanted)
    push = _image(wanted, target) if with_image else None
    if push is not None and release.repository(wanted, target) is not None:
        push()
        push = None
    place = target.endpoint_url or f"account {target.account}, {target.region}"
    names = tuple(phase.name for phase in phases)
    if plan is not None:
        names = tuple(planned.phase for planned in plan.phases)
    if as_json:
        tell("deploy_started", environment=wanted.name, place=place, phases=names)
    else:
        click.echo(f"{wanted.prefix} → {place}")
        if plan is not None:
            click.echo(f"As planned at {plan.made} in {plan_file}.")

    console = Console(highlight=False)
    try:
        allowed = set(allow_replace)
        while True:
            try:
                with display(console, names, as_json=as_json) as listener:
                    result = roll_out(
                        wanted,
                        target,
                        listener=listener,
                        through=through,
                        only=only,
                        allow_replace=allowed,
                        plan=plan,
                    )
                break
            except DataLossError as loss:
                # What ran beside that phase has ended, and what is done already is not done again.
                if as_json:  # a program reads along, and a question would be a line of it
                    raise
                allowed |= _typed(loss)
        if push is not None:
            if not as_json:
                click.echo(summary(result))
            push()
            with display(console, (REALTIME,), as_json=as_json) as listener:
                result = roll_out(wanted, target, listener=listener, only=REALTIME)
    except KeyboardInterrupt:
        again = "the same command" if plan is None else f"without --plan, zedi deploy {environment}"
        click.echo(f"Stopped watching. AWS finishes what it has begun; {again} goes on from there.", err=True)
        raise SystemExit(INTERRUPTED) from None
    if as_json:
        tell("result", **document(result))
    else:
        click.echo(summary(result))


def document(result: DeployResult) -> dict[str, Any]:
    """What the last line of --json has: what was done, what is deployed."""
    published = result.published
    return {
        "changed": result.changed,
        "seconds": result.seconds,
        "phases": [
            {"phase": done.plan.phase, "action": done.plan.action, "seconds": done.seconds}
            for done in result.phases
        ],
        "published": None
        if published is None
        else {"uploaded": published.uploaded, "deleted": published.deleted},
        "outputs": dict(result.outputs),
    }


def _typed(loss: DataLossError) -> set[str]:
    """Asks for the name of each resource that would be lost. Raises the error where one is not typed."""
    if not sys.stdin.isatty():
        raise loss
    click.echo(f"{loss.where}: {loss.what}", err=True)
    for change in loss.changes:
        if click.prompt(f"Type its name to let go of it ({change.name})", default="", show_default=False) != (
            change.name
        ):
            raise loss
    return {change.name for change in loss.changes}


def _image(settings: Settings, target: Target) -> Callable[[], object] | None:
    """Builds the image of what is checked out; returns what pushes it, or None: it was pushed before.

    Raises ImageError, before anything is deployed, where it cannot be built or would not be run.
    """
    from zedi.deploy import facts, revision
    from zedi.deploy.target import asking
    from zedi.image import ImageError, engine, release

    now = revision.current()
    tag = settings.realtime.image_tag
    if tag not in (None, now.commit):
        raise ImageError(
            "realtime.image_tag",
            f"names the image {tag}, so that of this revision would not be run",
            "Remove that setting, or deploy without --image.",
        )
    with asking(target, "image"):
        if facts.image_digest(settings, target, tag=now.commit) is not None:
            return None
    found = engine.find()
    release.build(settings, now, found)
    return lambda: release.push(settings, target, now, found)


def summary(result: DeployResult) -> str:
    """The last words of a deploy that succeeded."""
    if not result.changed:
        return f"Nothing to change ({result.seconds:.1f} s)."
    changed = [done.plan.phase for done in result.phases if done.plan.action != "none"]
    parts = [", ".join(dict.fromkeys(changed))] if changed else []
    if result.published is not None and result.published.uploaded:
        parts.append(f"{len(result.published.uploaded)} files of the front end")
    lines = [f"Deployed {' and '.join(parts)} in {result.seconds:.1f} s."]
    url = result.outputs.get("frontend_url")
    if url:
        lines.append(f"The front end is at {url}")
    return "\n".join(lines)
