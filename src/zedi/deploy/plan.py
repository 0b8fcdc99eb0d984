"""What a deploy will do, as frozen data: it can be shown, saved, compared and carried out by other hands.

A `PhasePlan` is one change set. AWS keeps the change set itself and refuses to execute one whose stack has
changed meanwhile; the plan holds its identifier, what it does in our words, and what it was made from (the
parameters and the template's hash), so that a plan can be told stale before AWS is asked.

Pure: nothing here talks to AWS. `from_change_set` reads what DescribeChangeSet answers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from zedi.deploy import DeployError

FORMAT: Final = 1
"""Of the JSON form. A reader refuses any other."""

Action = Literal["create", "update", "import", "none"]
ChangeAction = Literal["add", "modify", "remove", "import", "dynamic", "sync"]
Replacement = Literal["never", "conditional", "always"]
"""Whether a modified resource becomes a new one. Conditional: AWS knows when it does it."""

HOLDS_DATA: Final = frozenset(
    {
        "AWS::Cognito::UserPool",
        "AWS::ECR::Repository",
        "AWS::ElastiCache::ReplicationGroup",
        "AWS::Logs::LogGroup",
        "AWS::RDS::DBCluster",
        "AWS::S3::Bucket",
        "AWS::SecretsManager::Secret",
    }
)
"""Types whose removal or replacement loses what users or operators put in."""


@dataclass(frozen=True)
class Detail:
    """One property of a modified resource."""

    attribute: str
    """Properties, Tags, Metadata, DeletionPolicy ..."""
    name: str
    """The property's name or path; empty where `attribute` says all."""
    recreation: Replacement
    before: str | None = None
    after: str | None = None
    source: str = ""
    """What changes it: DirectModification, ParameterReference, ResourceReference, ResourceAttribute ..."""
    cause: str = ""
    """The parameter or resource that the new value comes from; empty for the template itself."""


@dataclass(frozen=True)
class Change:
    action: ChangeAction
    logical_id: str
    type: str
    physical_id: str | None = None
    replacement: Replacement = "never"
    policy: str = ""
    """What becomes of what goes: Delete, Retain, Snapshot, ReplaceAndDelete ... or empty: not said."""
    details: tuple[Detail, ...] = ()

    @property
    def name(self) -> str:
        """What people call the resource: its name in AWS, or in the template where it has none yet."""
        return self.physical_id or self.logical_id

    @property
    def loses_data(self) -> bool:
        """Whether something that holds data goes for good, or may."""
        goes = self.action == "remove" or self.replacement != "never"
        kept = self.policy in ("Retain", "ReplaceAndRetain")
        return goes and not kept and self.type in HOLDS_DATA


@dataclass(frozen=True)
class PhasePlan:
    phase: str
    stack: str
    action: Action
    changes: tuple[Change, ...]
    parameters: tuple[tuple[str, str], ...]
    """Sorted by name. A NoEcho parameter shows as `MASK`."""
    template_sha256: str
    stack_id: str
    """The stack's ARN; one that was deleted and made anew has another."""
    change_set: str | None = None
    """The change set's ARN. None when there is nothing to do."""

    @property
    def losses(self) -> tuple[Change, ...]:
        """The changes that lose data, or may.

        AWS says `conditional` of everything that refers to a resource that changes at all. A reference gives
        the same value as before where that resource is not replaced, so such a change loses nothing.
        """
        stays: set[str] = set()
        while True:
            found = {change.logical_id for change in self.changes if _stays(change, stays)}
            if found == stays:
                return tuple(c for c in self.changes if c.loses_data and c.logical_id not in stays)
            stays = found


@dataclass(frozen=True)
class Plan:
    environment: str
    region: str
    account: str
    phases: tuple[PhasePlan, ...]

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, ensure_ascii=False, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Raises DeployError when `text` is not a plan that this version can read."""
        try:
            data = json.loads(text)
            if data.pop("format") != FORMAT:
                raise ValueError("another format")
            data["phases"] = tuple(_phase_plan(phase) for phase in data["phases"])
            return cls(**data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DeployError(
                "plan", f"this is not a plan of this version: {error}", "Make a new plan."
            ) from error


MASK: Final = "****"

NO_CHANGES: Final = ("didn't contain changes", "No updates are to be performed")
"""AWS says that there is nothing to do as a failure, in one of two wordings."""


def says_no_changes(reason: str) -> bool:
    return any(wording in reason for wording in NO_CHANGES)


def template_hash(template: str) -> str:
    """SHA-256 of the template's text, hexadecimal."""
    return hashlib.sha256(template.encode()).hexdigest()


def from_change_set(
    phase: str,
    answers: Iterable[Mapping[str, Any]],
    *,
    creates: bool,
    template: str,
    parameters: Mapping[str, str],
) -> PhasePlan:
    """The plan that a finished change set stands for.

    Args:
        answers: the pages of DescribeChangeSet, in order; Status is CREATE_COMPLETE, or FAILED because
            nothing would change.
        creates: the change set's type is CREATE.
        parameters: as given, with NoEcho values masked.
    """
    pages = list(answers)
    first = pages[0]
    changes = tuple(
        _change(entry["ResourceChange"])
        for page in pages
        for entry in page.get("Changes", ())
        if entry.get("Type", "Resource") == "Resource" and "ResourceChange" in entry
    )
    nothing = first["Status"] == "FAILED"
    return PhasePlan(
        phase=phase,
        stack=first["StackName"],
        action="none" if nothing else "create" if creates else "update",
        changes=() if nothing else changes,
        parameters=tuple(sorted(parameters.items())),
        template_sha256=template_hash(template),
        stack_id=first["StackId"],
        change_set=None if nothing else first["ChangeSetId"],
    )


_ACTIONS: Final[Mapping[str, ChangeAction]] = {
    "Add": "add",
    "Modify": "modify",
    "Remove": "remove",
    "Import": "import",
    "Dynamic": "dynamic",
    "SyncWithActual": "sync",
}
_REPLACEMENTS: Final[Mapping[str, Replacement]] = {
    "True": "always",
    "Conditional": "conditional",
    "Always": "always",
    "Conditionally": "conditional",
}


def _change(change: Mapping[str, Any]) -> Change:
    return Change(
        action=_ACTIONS[change["Action"]],
        logical_id=change["LogicalResourceId"],
        type=change["ResourceType"],
        physical_id=change.get("PhysicalResourceId") or None,
        replacement=_REPLACEMENTS.get(change.get("Replacement", ""), "never"),
        policy=change.get("PolicyAction", ""),
        details=_details(change.get("Details", ())),
    )


def _details(details: Iterable[Mapping[str, Any]]) -> tuple[Detail, ...]:
    """What changes and why. A property that a parameter decides is reported twice; the vague one goes."""
    found: list[Detail] = []
    echoes: list[Detail] = []
    for detail in details:
        target = detail.get("Target", {})
        attribute = target.get("Attribute", "")
        name = (target.get("Path") or "").removeprefix("/Properties/") or target.get("Name") or ""
        read = Detail(
            attribute=attribute,
            name=name,
            recreation=_REPLACEMENTS.get(target.get("RequiresRecreation", ""), "never"),
            before=target.get("BeforeValue"),
            after=target.get("AfterValue"),
            source=detail.get("ChangeSource", ""),
            cause=detail.get("CausingEntity", ""),
        )
        vague = detail.get("Evaluation") == "Dynamic" and read.source == "DirectModification"
        (echoes if vague else found).append(read)
    said = {(detail.attribute, detail.name) for detail in found}
    return (*found, *(detail for detail in echoes if (detail.attribute, detail.name) not in said))


def _stays(change: Change, stays: set[str]) -> bool:
    """Whether a changed resource surely remains the one it is, given others that do."""
    if change.action != "modify" or change.replacement == "always":
        return False
    if change.replacement == "never":
        return True
    return bool(change.details) and all(
        detail.recreation == "never" or (detail.source == "ResourceReference" and detail.cause in stays)
        for detail in change.details
    )


def _phase_plan(data: Any) -> PhasePlan:
    changes = tuple(
        Change(**{**change, "details": tuple(Detail(**detail) for detail in change["details"])})
        for change in data["changes"]
    )
    parameters = tuple((str(name), str(value)) for name, value in data["parameters"])
    return PhasePlan(**cast("dict[str, Any]", {**data, "changes": changes, "parameters": parameters}))
