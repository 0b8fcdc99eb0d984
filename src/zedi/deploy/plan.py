"""What a deploy will do, as frozen data: it can be shown, saved, compared and carried out by other hands.

A `PhasePlan` is one change set. AWS keeps the change set itself and refuses to execute one whose stack has
changed meanwhile; the plan holds its identifier, what it does in our words, and what it was made from (the
parameters, the template's hash, the stack as it was), so that a plan can be told stale before anything is
touched. A phase that needs what another will only give when it is deployed can have no change set yet: its
plan is read off the template (`outline`), and has parameters whose value nobody knows.

Pure: nothing here talks to AWS. `from_change_set` reads what DescribeChangeSet answers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from zedi.deploy import DeployError

if TYPE_CHECKING:
    from pydantic import BaseModel

FORMAT: Final = 2
"""Of the JSON form. A reader refuses any other."""

Action = Literal["create", "update", "import", "none"]
ChangeAction = Literal["add", "modify", "remove", "import", "dynamic", "sync"]
Replacement = Literal["never", "conditional", "always"]
"""Whether a modified resource becomes a new one. Conditional: AWS knows when it does it."""

HOLDS_DATA: Final[Mapping[str, str]] = {
    "AWS::Cognito::UserPool": "everybody's sign-in: accounts, passwords, second factors",
    "AWS::ECR::Repository": "the images that the service's tasks start from",
    "AWS::ElastiCache::ReplicationGroup": "what Redis holds now (what was saved is in the database)",
    "AWS::Logs::LogGroup": "the logs written so far",
    "AWS::RDS::DBCluster": "the database's rows: every page, its history, who may read it",
    "AWS::S3::Bucket": "the files in the bucket",
    "AWS::SecretsManager::Secret": "the secret's value, and with it whoever signs in with it",
}
"""Types whose removal or replacement loses what users or operators put in, and what that is."""


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
    """Its name in AWS; of what is not there yet, the one that its template gives it, if any."""
    replacement: Replacement = "never"
    policy: str = ""
    """What becomes of what goes: Delete, Retain, Snapshot, ReplaceAndDelete ... or empty: not said."""
    details: tuple[Detail, ...] = ()

    @property
    def name(self) -> str:
        """What people call the resource: its name in AWS, or in the template where it has none yet."""
        return self.physical_id or self.logical_id

    @property
    def goes(self) -> bool:
        """Whether the resource that is there goes, or may."""
        return self.action == "remove" or self.replacement != "never"

    @property
    def kept(self) -> Literal["retained", "snapshot"] | None:
        """What is left of what goes, by its policy: itself, outside of any stack; a snapshot; nothing."""
        if self.policy.startswith(("Retain", "ReplaceAndRetain")):
            return "retained"
        return "snapshot" if self.policy.endswith("Snapshot") else None

    @property
    def loses_data(self) -> bool:
        """Whether something that holds data goes for good, or may. A snapshot must be restored by hand."""
        return self.goes and self.kept != "retained" and self.type in HOLDS_DATA


@dataclass(frozen=True)
class Source:
    """Where a parameter's value comes from."""

    parameter: str
    phase: str
    """The phase whose output it is; empty where it is none."""
    words: str


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
    """The change set's ARN. None when there is nothing to do, there can be none yet, or it was discarded."""
    outlined: bool = False
    """Whether this was read off the template, because there can be no change set yet."""
    stack_changed: str = ""
    """When the stack was last changed, ISO 8601; empty where there is none."""
    secrets: tuple[tuple[str, str], ...] = ()
    """A salted digest of each NoEcho parameter (`same_secret`), sorted by name."""
    sources: tuple[Source, ...] = ()
    """Of every parameter that the template declares. Empty where nobody asked."""
    unchanged: int = 0
    """How many resources stay as they are. Counted by `zedi plan` only."""
    expected: float | None = None
    """Seconds that carrying it out takes by estimate (deploy/timing.py); None: nobody can say."""
    notes: tuple[str, ...] = ()
    """What else a reader must know, in words."""

    @property
    def unknown(self) -> tuple[Source, ...]:
        """The parameters that have no value before other phases are deployed."""
        known = dict(self.parameters)
        return tuple(each for each in self.sources if each.phase and each.parameter not in known)

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
    """Empty: nobody was asked, everything is read off the templates."""
    place: str
    """The embedded AWS's address; empty: AWS itself."""
    made: str
    """ISO 8601, UTC."""
    settings: tuple[tuple[str, str], ...]
    """A digest of every key of the settings, by its dotted name (`settings_digests`)."""
    phases: tuple[PhasePlan, ...]

    @property
    def changes(self) -> bool:
        """Whether carrying it out would change anything."""
        return any(phase.action != "none" for phase in self.phases)

    def to_json(self) -> str:
        body = dataclasses.asdict(self)
        return json.dumps({"format": FORMAT, "sha256": _digest(body), **body}, ensure_ascii=False, indent=2)

    @classmethod
    def from_json(cls, text: str, where: str = "plan") -> Plan:
        """Raises DeployError when `text` is no plan that this version can read, or was edited."""
        fix = "Make a new plan: zedi plan ENV --save FILE"
        try:
            data = json.loads(text)
            written = data.pop("format"), data.pop("sha256", "")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DeployError(where, f"this is not a plan, or not a whole one: {error}", fix) from error
        if written[0] != FORMAT:
            raise DeployError(
                where, f"this plan has format {written[0]}, and this version of Zedi reads {FORMAT}", fix
            )
        if written[1] != _digest(data):
            raise DeployError(where, "this plan was changed after it was written", fix)
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_json(json.dumps(data), strict=True)
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(map(str, problem["loc"]))
            raise DeployError(where, f"this is not a plan: {key}: {problem['msg']}", fix) from error


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def settings_digests(settings: BaseModel) -> tuple[tuple[str, str], ...]:
    """A digest of each key of `settings`, by its dotted name: what differs can be named, and is not told."""
    found: dict[str, str] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for name, item in value.items():
                walk(f"{prefix}.{name}" if prefix else str(name), item)
        else:
            found[prefix] = _digest(value)[:16]

    # Example users are nothing that a deploy knows of.
    walk("", settings.model_dump(mode="json", exclude={"embedded": {"users"}}))
    return tuple(sorted(found.items()))


def secret_digest(value: str) -> str:
    """What a plan keeps of a secret: enough to tell another one, too dear to guess it from."""
    salt = os.urandom(16)
    return f"{salt.hex()}:{_stretched(value, salt)}"


def same_secret(value: str, digest: str) -> bool:
    """Whether `digest` is one of `value`."""
    salt, _, kept = digest.partition(":")
    return hmac.compare_digest(_stretched(value, bytes.fromhex(salt)), kept)


def _stretched(value: str, salt: bytes) -> str:
    return hashlib.scrypt(value.encode(), salt=salt, n=2**14, r=8, p=1).hex()


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
    declared = json.loads(template).get("Resources", {})
    changes = tuple(
        _change(entry["ResourceChange"], declared)
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


def _change(change: Mapping[str, Any], declared: Mapping[str, Any]) -> Change:
    replaced = change.get("Replacement", "False") in ("True", "Conditional")
    policy = change.get("PolicyAction", "")
    if replaced and not policy:
        kept = declared.get(change["LogicalResourceId"], {}).get("UpdateReplacePolicy", "Delete")
        policy = f"ReplaceAnd{kept}"
    return Change(
        action=_ACTIONS[change["Action"]],
        logical_id=change["LogicalResourceId"],
        type=change["ResourceType"],
        physical_id=change.get("PhysicalResourceId") or None,
        replacement=_REPLACEMENTS.get(change.get("Replacement", ""), "never"),
        policy=policy,
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


_NAMED: Final = (
    "BucketName", "RepositoryName", "LogGroupName", "GroupName", "UserPoolName", "ClientName", "RoleName",
    "DBClusterIdentifier", "DBInstanceIdentifier", "DBSubnetGroupName", "DBClusterParameterGroupName",
    "DBParameterGroupName", "ReplicationGroupId", "CacheSubnetGroupName", "ServiceName", "ClusterName",
    "Family", "PolicyName", "TopicName", "AlarmName", "DashboardName", "Name",
)  # fmt: skip
"""Properties that are a resource's name, where they are words and not a reference; the first counts."""

_NAMED_AFTER_ANOTHER: Final = {
    "AWS::EC2::VPCEndpoint": ("ServiceName",),
    "AWS::RDS::DBInstance": ("DBClusterIdentifier",),
    "AWS::RDS::DBClusterParameterGroup": ("Family",),
    "AWS::RDS::DBParameterGroup": ("Family",),
}
"""Where one of those names is another thing's."""


def given_name(declaration: Mapping[str, Any], account: str) -> str | None:
    """The name that a template gives a resource, where it does in plain words."""
    properties = declaration.get("Properties", {})
    foreign = _NAMED_AFTER_ANOTHER.get(declaration.get("Type", ""), ())
    for key in _NAMED:
        value = properties.get(key)
        if isinstance(value, Mapping) and isinstance(value.get("Fn::Sub"), str):
            value = value["Fn::Sub"].replace("${AWS::AccountId}", account or "ACCOUNT")
        if isinstance(value, str) and "${" not in value and key not in foreign:
            return value
    return None


def with_names(changes: Iterable[Change], template: str, account: str) -> tuple[Change, ...]:
    """`changes` with the names that the template gives to what is added."""
    declared = json.loads(template).get("Resources", {})
    return tuple(
        dataclasses.replace(change, physical_id=given_name(declared.get(change.logical_id, {}), account))
        if change.action == "add" and change.physical_id is None
        else change
        for change in changes
    )


def outline(
    phase: str, stack: str, template: str, parameters: Mapping[str, str], account: str, *, creates: bool
) -> PhasePlan:
    """The plan of a phase that can have no change set: what the template has, were it made now.

    What an update would change cannot be known without one; then there are no changes in it.
    """
    declared = json.loads(template)["Resources"]
    added = (Change("add", name, declaration["Type"]) for name, declaration in sorted(declared.items()))
    return PhasePlan(
        phase=phase,
        stack=stack,
        action="create" if creates else "update",
        changes=with_names(added, template, account) if creates else (),
        parameters=tuple(sorted(parameters.items())),
        template_sha256=template_hash(template),
        stack_id="",
        outlined=True,
    )


@dataclass(frozen=True)
class Deployed:
    """A template (JSON text) and the parameters that it has been, or will be, given."""

    template: str
    parameters: Mapping[str, str]

    def value(self, logical_id: str, attribute: str, name: str) -> Any:
        """What stands there, parameters filled in; None: nothing."""
        body = json.loads(self.template)
        declared = body.get("Resources", {}).get(logical_id, {})
        value = declared.get(attribute) if attribute != "Tags" else declared.get("Properties", {}).get("Tags")
        if attribute == "Properties":
            for part in name.split("/"):
                value = value.get(part) if isinstance(value, Mapping) else None
        defaults = {key: each.get("Default") for key, each in body.get("Parameters", {}).items()}
        return _filled(value, {**defaults, **self.parameters})


def _filled(value: Any, parameters: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"Ref"} and value["Ref"] in parameters:
            return parameters[value["Ref"]]
        return {key: _filled(item, parameters) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, parameters) for item in value]
    return value


def lacks_values(planned: PhasePlan) -> bool:
    """Whether AWS has left out what a property was, or will be."""
    return any(
        detail.before is None and detail.after is None for c in planned.changes for detail in c.details
    )


def with_values(planned: PhasePlan, before: Deployed, after: Deployed) -> PhasePlan:
    """`planned` with the values that the two templates have, where AWS gives none.

    Nothing is said where they have the same text: what differs is then what a reference in it leads to.
    """

    def told(change: Change, detail: Detail) -> Iterator[Detail]:
        old, new = (each.value(change.logical_id, detail.attribute, detail.name) for each in (before, after))
        if detail.before is not None or detail.after is not None or old == new:
            yield detail
            return
        for path, was, becomes in _differing(detail.name, old, new):
            yield dataclasses.replace(detail, name=path, before=_text(was), after=_text(becomes))

    return dataclasses.replace(
        planned,
        changes=tuple(
            dataclasses.replace(
                change, details=tuple(each for detail in change.details for each in told(change, detail))
            )
            for change in planned.changes
        ),
    )


def _differing(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Where two values differ, as deep as both are tables."""
    functions = [key for each in (old, new) if isinstance(each, Mapping) for key in each if key[:4] == "Fn::"]
    if not isinstance(old, Mapping) or not isinstance(new, Mapping) or functions:
        yield path, old, new
        return
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            yield from _differing(f"{path}/{key}" if path else key, old.get(key), new.get(key))


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
