"""The import change sets: one a phase, in order, each followed to its end.

A phase whose stack has everything already is passed over, so the same call goes on after an interruption. An
import changes no tags: the stack's come with the next deploy.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from zedi.deploy import DeployError, execute, stacks
from zedi.deploy.adopt.plan import Adopted, Adoption, PhaseAdoption
from zedi.deploy.events import Listener, PhaseDone, PhaseFailed, PhaseNote, PhasePlanned, PhaseStarted
from zedi.deploy.execute import Pace, Request
from zedi.deploy.plan import PhasePlan
from zedi.deploy.stacks import Stack, describe
from zedi.deploy.target import Target, asking
from zedi.errors import ZediError
from zedi.phases import stack_name
from zedi.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import ResourceToImportTypeDef

Standing = Literal["nothing", "import", "busy", "done"]
"""Of a phase: nothing of it is there, it is to be imported, its stack is at work, or it was imported."""

_SECRET: Final = "AWS::SecretsManager::Secret"
_CLOCKS: Final = timedelta(seconds=1)
"""What the clocks of two services may differ by."""
_NEVER_WAS: Final = frozenset({"ROLLBACK_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"})
"""Of a stack that holds nothing: its first operation failed."""


class AdoptionBlockedError(DeployError):
    """Something stands in the way of taking the platform over; nothing was done."""


def refuse_embedded(settings: Settings) -> None:
    """Raises AdoptionBlockedError for an environment of this machine: there is nothing of Terraform's."""
    if settings.embedded is not None:
        raise AdoptionBlockedError(
            settings.name,
            "this environment runs on this machine, and the embedded AWS imports nothing",
            "Name the environment that Terraform made.",
        )


def standings(settings: Settings, target: Target, adoption: Adoption) -> Mapping[str, Standing]:
    """How far each phase is. Changes nothing.

    Raises AdoptionBlockedError when a stack of that name is there and is of something else.
    """
    return {phase.phase: _standing(settings, target, phase) for phase in adoption.phases}


def adopt(settings: Settings, target: Target, adoption: Adoption, *, listener: Listener) -> tuple[str, ...]:
    """Imports what there is to import, phase after phase; returns the phases that were imported now.

    Raises:
        AdoptionBlockedError: something stands in the way; nothing was done.
        DeployError: AWS refused; what was imported before stays so, and the same call goes on from there.
    """
    refuse_embedded(settings)
    if adoption.blocked:
        raise AdoptionBlockedError(
            adoption.environment,
            "\n".join(
                ["some of it cannot be taken over:"]
                + [f"    {each.phase}/{each.logical_id}: {each.reason}" for each in adoption.blocked]
            ),
            "Correct the settings, or what is there, as named above. Nothing was done.",
        )
    if not adoption.adopted:
        raise AdoptionBlockedError(
            adoption.environment,
            "nothing in that state is of this environment",
            "See that it is the right state, account and region. Nothing was done.",
        )
    standings(settings, target, adoption)
    stop = threading.Event()
    return tuple(phase.phase for phase in adoption.phases if _phase(settings, target, phase, listener, stop))


def _phase(
    settings: Settings, target: Target, phase: PhaseAdoption, tell: Listener, stop: threading.Event
) -> bool:
    """Whether the phase was imported now."""
    try:
        with asking(target, phase.phase):
            pace = Pace(stop)
            while (standing := _standing(settings, target, phase)) == "busy":
                stack = describe(target, stack_name(settings, phase.phase))
                if stack is not None and stack.status.endswith("_IN_PROGRESS"):
                    execute.join(target, phase.phase, stack, tell, stop)
                pace.wait(phase.phase)
            if standing == "import":
                _import(settings, target, phase, tell, stop)
            elif standing == "done":
                _put_secrets_back(settings, target, phase, tell)
                tell(PhaseNote(phase.phase, "was taken over already"))
            return standing == "import"
    except ZediError as error:
        tell(PhaseFailed(phase.phase, error))
        raise


def _import(
    settings: Settings, target: Target, phase: PhaseAdoption, tell: Listener, stop: threading.Event
) -> None:
    began = time.monotonic()
    name = stack_name(settings, phase.phase)
    tell(PhaseStarted(phase.phase, name))
    stack = describe(target, name)
    if stack is not None and stack.status == "IMPORT_ROLLBACK_COMPLETE":
        _put_secrets_back(settings, target, phase, tell)  # it goes, and with it when it ran
        # It holds nothing (see _standing), and what it was to hold is retained in any case.
        execute.delete(target, phase.phase, stack, tell, stop)
    request = Request(
        phase=phase.phase,
        stack=name,
        template=phase.template,
        parameters=phase.parameters,
        tags={},  # CloudFormation would put them on everything that it imports
        imports=[_import_of(each) for each in phase.adopted],
    )
    planned = execute.propose(target, request, tell, stop)
    _refuse_more(target, phase, planned)
    tell(PhasePlanned(phase.phase, planned))
    try:
        execute.carry_out(target, planned, tell, stop)
    finally:
        _put_secrets_back(settings, target, phase, tell)
    tell(PhaseDone(phase.phase, planned, time.monotonic() - began))


def _import_of(adopted: Adopted) -> ResourceToImportTypeDef:
    return {
        "ResourceType": adopted.type,
        "LogicalResourceId": adopted.logical_id,
        "ResourceIdentifier": dict(adopted.identifier),
    }


def _refuse_more(target: Target, phase: PhaseAdoption, planned: PhasePlan) -> None:
    """A change set that would do anything but import what was shown is not carried out."""
    shown = {each.logical_id for each in phase.adopted}
    more = [each for each in planned.changes if each.action != "import" or each.logical_id not in shown]
    missing = shown - {each.logical_id for each in planned.changes}
    if more or missing:
        execute.discard(target, planned)
        what = [f"{each.action} {each.logical_id}" for each in more]
        what += [f"no import of {name}" for name in sorted(missing)]
        raise DeployError(
            phase.phase,
            f"AWS would do something else than import: {', '.join(what)}",
            "Nothing of this phase was changed. Look at what its stack holds, then run the same again.",
        )


def _put_secrets_back(settings: Settings, target: Target, phase: PhaseAdoption, tell: Listener) -> None:
    """What a secret held before the import is current, whatever the import made of a template that generates.

    A new version of the database's credentials that the database knows nothing of would lock everybody out.
    Whether there is one is read off AWS: the current version was made while the import ran. So it does not
    matter which call began that import. After a deploy of the stack nothing is touched: the database may have
    learnt another password by then.

    Raises DeployError when there is one, and what was current before it cannot be told.
    """
    secrets = [each.physical_id for each in phase.adopted if each.type == _SECRET]
    stack = describe(target, stack_name(settings, phase.phase)) if secrets else None
    if stack is None or not stack.status.startswith("IMPORT_"):
        return
    began, ended = _import_time(target, stack)
    client = target.client("secretsmanager")
    for secret in secrets:
        versions = client.list_secret_version_ids(SecretId=secret)["Versions"]
        by_stage = {stage: each for each in versions for stage in each.get("VersionStages", ())}
        now, before = by_stage.get("AWSCURRENT"), by_stage.get("AWSPREVIOUS")
        if now is None or not began <= now["CreatedDate"] <= ended:
            continue
        if before is None or before["CreatedDate"] >= began:
            raise DeployError(
                phase.phase,
                f"the import made a new value of {secret}, and AWS no longer says which was current before",
                "Find the version that the database knows, and make it AWSCURRENT:"
                f" aws secretsmanager list-secret-version-ids --include-deprecated --secret-id {secret}",
            )
        client.update_secret_version_stage(
            SecretId=secret,
            VersionStage="AWSCURRENT",
            MoveToVersionId=before["VersionId"],
            RemoveFromVersionId=now["VersionId"],
        )
        tell(PhaseNote(phase.phase, f"{secret}: the import made a new value; the old one is back"))


def _import_time(target: Target, stack: Stack) -> tuple[datetime, datetime]:
    """When the stack's last import began and ended; the far future where there was none, or it goes on."""
    began = ended = datetime.max.replace(tzinfo=UTC)
    pages = (
        target.client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=stack.id)
    )
    for event in (event for page in pages for event in page["StackEvents"]):  # newest first
        if event.get("PhysicalResourceId") != stack.id:
            continue
        if event.get("ResourceStatus") == "IMPORT_IN_PROGRESS":
            began = event["Timestamp"] - _CLOCKS
            break
        if not event.get("ResourceStatus", "").endswith("_IN_PROGRESS"):
            ended = event["Timestamp"] + _CLOCKS
    return began, ended


def _standing(settings: Settings, target: Target, phase: PhaseAdoption) -> Standing:
    if not phase.adopted:
        return "nothing"
    with asking(target, phase.phase):
        stack = describe(target, stack_name(settings, phase.phase))
        if stack is None or stack.status == "REVIEW_IN_PROGRESS":
            return "import"
        if stack.status.endswith("_IN_PROGRESS"):
            return "busy"
        held = {each.logical_id: each.physical_id for each in stacks.resources(target, stack)}
    if not held and stack.status in _NEVER_WAS:
        return "import"
    _refuse_another(settings, phase, stack, held)
    return "done"


def _refuse_another(settings: Settings, phase: PhaseAdoption, stack: Stack, held: Mapping[str, str]) -> None:
    wrong: list[str] = []
    for each in phase.adopted:
        found = held.get(each.logical_id)
        names = {each.physical_id, "|".join(each.identifier.values()), *each.identifier.values()}
        if found is None:
            wrong.append(f"    {each.logical_id}: the state has {each.physical_id}, the stack has none")
        elif found not in names:
            wrong.append(f"    {each.logical_id}: the state has {each.physical_id}, the stack has {found}")
    if wrong:
        raise AdoptionBlockedError(
            phase.phase,
            "\n".join([f"there is a stack {stack.name} already ({stack.status}), of other things:", *wrong]),
            f"See what that stack holds: zedi status {settings.name}. Nothing was done.",
        )
