"""`zedi drift`: what was changed behind the templates' back, and what was not checked for it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from zedi.deploy.drift import Difference, Drifted, PhaseDrift


@click.command()
@click.argument("environment")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def drift(environment: str, as_json: bool) -> None:
    """Compare what is deployed in ENVIRONMENT with its templates, property by property.

    ENVIRONMENT is a name (dev) or the path of a .toml file. Changes nothing. The types of resources that AWS
    cannot compare are listed. Exit status: 1 when something differs, 0 when nothing was found to.
    """
    from zedi import settings
    from zedi.deploy import drift as deployed
    from zedi.deploy.target import target_of

    chosen = settings.load(environment)
    found = deployed.drift(chosen, target_of(chosen))
    drifted = any(each.drifted for each in found)
    if as_json:
        phases = [dataclasses.asdict(each) for each in found]
        click.echo(json.dumps({"drifted": drifted, "phases": phases}, indent=2, ensure_ascii=False))
    else:
        for line in lines(found):
            click.echo(line)
    if drifted:
        raise SystemExit(1)


def lines(found: Sequence[PhaseDrift]) -> Iterator[str]:
    """What a drift detection found, for people."""
    for each in found:
        if each.state is None:
            yield f"{each.phase}: not deployed"
            continue
        verdict = f"{len(each.drifted)} of {each.compared} compared resources differ"
        yield f"{each.phase}: {verdict if each.compared else 'nothing was compared'}"
        if each.reason:
            yield f"  {each.reason}"
        for resource in each.drifted:
            yield from _resource(resource)
    unread = {each.phase: each.not_checked for each in found if each.not_checked}
    if unread:
        yield ""
        yield "Not checked:"
    for phase, types in unread.items():
        named = ", ".join(kind if count == 1 else f"{kind} ({count})" for kind, count in types.items())
        yield f"  {phase}: {named}"


def _resource(resource: Drifted) -> Iterator[str]:
    name = f"{resource.logical_id} ({resource.type}, {resource.physical_id})"
    yield f"  - {name} was deleted" if resource.deleted else f"  ~ {name}"
    for difference in resource.differences:
        yield f"      {_difference(difference)}"


def _difference(difference: Difference) -> str:
    expected = difference.expected if difference.kind != "ADD" else "(none)"
    actual = difference.actual if difference.kind != "REMOVE" else "(none)"
    return f"{difference.path}: {expected} → {actual}"
