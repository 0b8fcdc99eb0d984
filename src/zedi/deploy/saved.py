"""A plan in a file, and what has changed since it was written.

A plan that was saved is carried out as it is or not at all. AWS itself refuses a change set whose stack has
changed; here everything is compared before the first phase is touched, and each difference is named. A phase
that could have no change set when the plan was made gets one at its turn, which must be what the plan says.

DeployError
└── StalePlanError      something has changed since; all of it is listed
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zedi.deploy import DeployError, execute, stacks
from zedi.deploy import plan as plans
from zedi.deploy.execute import Request
from zedi.deploy.plan import PhasePlan, Plan, settings_digests
from zedi.deploy.stacks import Stack
from zedi.deploy.target import Target
from zedi.settings import Settings

_NEW: Final = "Nothing was changed. Make a new plan: zedi plan {} --save FILE"
_MOST_BYTES: Final = 16 * 1024 * 1024
"""More than any plan has."""
_CHARACTERS: Final = 60


class StalePlanError(DeployError):
    """A saved plan is not what would be done now."""

    def __init__(self, environment: str, where: str, reasons: Sequence[str], fix: str = _NEW) -> None:
        what = "\n".join(["the plan is stale:", *(f"    {reason}" for reason in reasons)])
        super().__init__(where, what, fix.format(environment))
        self.reasons = tuple(reasons)


def refuse_unwritable(file: Path) -> None:
    """Raises DeployError when no plan can be written there, before one is made for nothing."""
    if file.is_dir():
        raise DeployError(str(file), "is a folder", "Name a file to write the plan to.")
    if not os.access(file.parent, os.W_OK):
        raise DeployError(
            str(file), f"nothing can be written into {file.parent}", "Name a file in a folder that there is."
        )


def write(plan: Plan, file: Path) -> None:
    """Writes the whole of it or nothing; nobody else on this machine can read it."""
    name = None
    try:
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        with open(handle, "w", encoding="utf-8") as stream:
            stream.write(f"{plan.to_json()}\n")
        os.replace(name, file)
    except OSError as error:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        raise DeployError(str(file), f"cannot be written: {error}", "Name another file.") from error


def read(file: Path) -> Plan:
    """Raises DeployError when there is no plan in the file that this version can read."""
    fix = "Name the file of a plan: zedi plan ENV --save FILE"
    try:
        with open(file, "rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
        if not data.strip() or len(data) > _MOST_BYTES:
            raise DeployError(
                str(file), "is empty" if not data.strip() else "is no plan: it is too large", fix
            )
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DeployError(str(file), f"cannot be read: {error}", fix) from error
    return Plan.from_json(text, str(file))


def refuse_other_place(plan: Plan, settings: Settings, target: Target) -> None:
    """Raises StalePlanError when the plan is of another environment, account or region, or other settings."""
    reasons = list(_other_place(plan, settings, target)) or list(_other_settings(plan, settings))
    if reasons:
        raise StalePlanError(settings.name, "plan", reasons)


def _other_place(plan: Plan, settings: Settings, target: Target) -> Iterator[str]:
    for what, then, now in (
        ("environment", plan.environment, settings.name),
        ("region", plan.region, target.region),
        ("place", plan.place or "AWS", target.endpoint_url or "AWS"),
        ("account", plan.account or "no account: it was made offline", target.account),
    ):
        if then != now:
            yield f"it is for another {what}: {then}, and this is {now}"


def _other_settings(plan: Plan, settings: Settings) -> Iterator[str]:
    then, now = dict(plan.settings), dict(settings_digests(settings))
    for key in sorted(then.keys() | now.keys()):
        if then.get(key) != now.get(key):
            yield f"the settings differ: {key}"


@dataclass(frozen=True)
class Present:
    """What a phase's plan is compared with."""

    request: Request
    """What would be asked for now; values that nobody can know yet are missing."""
    by_name: Stack | None
    """The stack that has the name now."""
    change_set: str = ""
    """The execution status of the plan's change set: AVAILABLE, OBSOLETE ...; empty: it is gone."""


def present(target: Target, planned: PhasePlan, request: Request) -> Present:
    """Asks AWS."""
    cloudformation = target.client("cloudformation")
    status = ""
    if planned.change_set is not None:
        from botocore.exceptions import ClientError

        try:
            answer = cloudformation.describe_change_set(ChangeSetName=planned.change_set)
            status = answer.get("ExecutionStatus", "")
        except ClientError as error:
            code, message = error.response["Error"].get("Code"), error.response["Error"].get("Message", "")
            if code not in ("ChangeSetNotFound", "ChangeSetNotFoundException") and "exist" not in message:
                raise
    return Present(request, stacks.describe(target, planned.stack), status)


def differences(planned: PhasePlan, now: Present) -> list[str]:
    """Why a phase's plan is stale, in words; empty: it is not."""
    reasons = list(_other_stack(planned, now.by_name))
    if planned.template_sha256 != plans.template_hash(now.request.template):
        reasons.append("its template is another one: the settings or this version of Zedi differ")
    reasons += _other_parameters(planned, now.request)
    if planned.change_set is None and planned.action != "none" and not planned.outlined:
        reasons.append("its change set was not kept: only zedi plan --save keeps it")
    if planned.change_set is not None and now.change_set != "AVAILABLE" and not reasons:
        said = f"AWS calls it {now.change_set}" if now.change_set else "it was deleted, or carried out"
        reasons.append(f"its change set cannot be carried out any more: {said}")
    return reasons


def _other_stack(planned: PhasePlan, stack: Stack | None) -> Iterator[str]:
    there = stack is not None and stack.status != "REVIEW_IN_PROGRESS"
    new = planned.action == "create" and not planned.stack_changed
    if new:
        if there and stack is not None:
            yield f"its stack {stack.name} has been created since"
        return
    if stack is None:
        yield f"its stack {planned.stack} was deleted since"
    elif stack.id != planned.stack_id:
        yield f"its stack {stack.name} was deleted and made anew since"
    elif execute.iso(stack.changed) != planned.stack_changed:
        yield f"its stack {stack.name} was updated since, at {execute.iso(stack.changed)}"


def _other_parameters(planned: PhasePlan, request: Request) -> Iterator[str]:
    then, secrets = dict(planned.parameters), dict(planned.secrets)
    for name in sorted(then.keys() | request.parameters.keys()):
        value = request.parameters.get(name)
        if name not in then:
            # What nobody could know then is no difference now: its phase has been deployed meanwhile.
            if name not in {source.parameter for source in planned.sources}:
                yield f"its parameter {name} is new"
        elif value is None:
            yield f"its parameter {name} has no value any more"
        elif name in secrets:
            if not plans.same_secret(value, secrets[name]):
                yield f"its parameter {name} is another one (a secret)"
        elif value != then[name]:
            yield f"its parameter {name} was {_short(then[name])} and is {_short(value)}"


def _short(value: str) -> str:
    return value if len(value) <= _CHARACTERS else f"{value[: _CHARACTERS - 1]}…"


def unlike_outline(outlined: PhasePlan, made: PhasePlan, template: Mapping[str, Any]) -> list[str]:
    """Why a change set that was made at its phase's turn is not what the plan says; empty: it is."""
    then = {(each.action, each.logical_id, each.type) for each in outlined.changes}
    now = {(each.action, each.logical_id, each.type) for each in made.changes}
    declared = template.get("Resources", {})
    reasons = [f"{action} {name} ({kind}) is not in the plan" for action, name, kind in sorted(now - then)]
    reasons += [
        f"{action} {name} ({kind}) is in the plan, and not in what AWS would do"
        for action, name, kind in sorted(then - now)
        if "Condition" not in declared.get(name, {})
    ]
    return reasons
