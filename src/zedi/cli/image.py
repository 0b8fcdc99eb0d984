"""`zedi image`: build the service's image and push it to an environment's repository."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from zedi.image.engine import Engine
    from zedi.settings import Settings

_engine = click.option(
    "--engine", "engine_name", type=click.Choice(["docker", "podman"]), help="Default: whichever works."
)

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def image() -> None:
    """Build the service's image, and push it."""


@image.command()
@click.argument("environment")
@_engine
@click.option("--allow-dirty", is_flag=True, help="Build also what is not committed; the tag says so.")
@_json
def build(environment: str, engine_name: str | None, allow_dirty: bool, as_json: bool) -> None:
    """Build the image of what is checked out, for the architecture of ENVIRONMENT.

    ENVIRONMENT is a name (dev) or the path of a .toml file. The tag is the git revision. Prints the image's
    name; what docker or podman say goes to standard error.
    """
    from zedi.deploy import revision
    from zedi.image import release

    wanted = _settings(environment)
    name = release.build(wanted, revision.current(), _find(engine_name), allow_dirty=allow_dirty)
    click.echo(json.dumps({"name": name}) if as_json else name)
    click.echo(f"Push it: zedi image push {environment}{' --allow-dirty' * allow_dirty}", err=True)


@image.command()
@click.argument("environment")
@_engine
@click.option("--allow-dirty", is_flag=True, help="Push what `build --allow-dirty` has built.")
@_json
def push(environment: str, engine_name: str | None, allow_dirty: bool, as_json: bool) -> None:
    """Push the image of what is checked out to the repository of ENVIRONMENT.

    ENVIRONMENT is a name (dev) or the path of a .toml file. Prints the digest that the next deploy runs.
    """
    from zedi.deploy import revision
    from zedi.deploy.target import target_of
    from zedi.image import release

    wanted = _settings(environment)
    now, engine = revision.current(), _find(engine_name)
    pushed = release.push(wanted, target_of(wanted), now, engine, allow_dirty=allow_dirty)
    click.echo(json.dumps(dataclasses.asdict(pushed)) if as_json else pushed.digest)
    tag = pushed.name.rpartition(":")[2]
    named = wanted.realtime.image_tag
    if tag.endswith(release.DIRTY) and named != tag:
        click.echo(f'Only a deploy that names it runs it: realtime.image_tag = "{tag}"', err=True)
    elif named is not None and named != tag:
        click.echo(f'Deploys run another one: realtime.image_tag = "{named}"', err=True)
    else:
        click.echo(f"Run it: zedi deploy {environment}", err=True)


def _settings(environment: str) -> Settings:
    from zedi import settings
    from zedi.image import release

    wanted = settings.load(environment)
    release.refuse_embedded(wanted)
    return wanted


def _find(name: str | None) -> Engine:
    from zedi.image import engine

    return engine.find([known for known in engine.NAMES if name in (None, known)])
