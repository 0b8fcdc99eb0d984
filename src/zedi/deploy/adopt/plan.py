"""What would be taken over, what stands in the way, and what the next deploy would change. Pure.

`survey` reads settings and a state; nothing here asks AWS. Each resource of ours ends up as one of

    Adopted     it is in the state, and can be imported; its differences are listed
    Blocked     it is in the state, and cannot be taken over as things are: nothing is carried out
    Created     the state has none: the next deploy makes it

and each of Terraform's that is not adopted as `Left`, with the reason.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from zedi.deploy.adopt import known
from zedi.deploy.adopt.intrinsics import UNKNOWN, Scope, evaluate, referred, unknown
from zedi.deploy.adopt.known import KINDS, NOT_IN_AWS, PARTS, Kind, Wanted, same
from zedi.deploy.adopt.settings import suggested
from zedi.deploy.adopt.state import Resource, State
from zedi.deploy.plan import HOLDS_DATA
from zedi.phases import PHASES, Phase
from zedi.settings import Settings

ADOPTABLE: Final = ("networking", "security", "database", "cache")
"""The phases that this is about, in an order in which they can be imported."""

SECRET: Final = "(secret)"
UNSET: Final = "(not set)"

_CLUSTER: Final = "AWS::RDS::DBCluster"
_SECRET: Final = "AWS::SecretsManager::Secret"
_POOL: Final = "AWS::Cognito::UserPool"
_REPLICATION: Final = "AWS::ElastiCache::ReplicationGroup"


@dataclass(frozen=True)
class Difference:
    """One property that is there otherwise than our template has it."""

    path: str
    actual: str
    """For people; `SECRET` where Terraform calls it one."""
    template: str
    stays: bool = False
    """AWS cannot change it: it stays as it is. Otherwise the next deploy changes it."""
    key: str = ""
    """The setting that would make the template say what is there; empty: none does."""


@dataclass(frozen=True)
class Adopted:
    phase: str
    logical_id: str
    type: str
    address: str
    """Terraform's."""
    physical_id: str
    identifier: Mapping[str, str]
    """What the import names it by."""
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Blocked:
    phase: str
    logical_id: str
    type: str
    address: str
    reason: str


@dataclass(frozen=True)
class Created:
    phase: str
    logical_id: str
    type: str

    @property
    def empty(self) -> bool:
        """Whether it will be a new, empty one of what holds data."""
        return self.type in HOLDS_DATA


@dataclass(frozen=True)
class Left:
    address: str
    type: str
    reason: str
    part_of: str = ""
    """The address of the adopted resource that it is a part of; empty: of none."""


@dataclass(frozen=True)
class PhaseAdoption:
    phase: str
    adopted: tuple[Adopted, ...]
    blocked: tuple[Blocked, ...]
    created: tuple[Created, ...]
    template: str = field(repr=False)
    """The import's, as compact JSON; empty where nothing is adopted."""
    parameters: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Adoption:
    environment: str
    account: str
    region: str
    phases: tuple[PhaseAdoption, ...]
    left: tuple[Left, ...]
    warnings: tuple[str, ...]
    suggestions: Mapping[str, Any]
    """Settings, by their dotted keys, under which fewer things would differ."""

    @property
    def blocked(self) -> tuple[Blocked, ...]:
        return tuple(each for phase in self.phases for each in phase.blocked)

    @property
    def adopted(self) -> tuple[Adopted, ...]:
        return tuple(each for phase in self.phases for each in phase.adopted)

    @property
    def addresses(self) -> tuple[str, ...]:
        """What Terraform has to forget afterwards: everything adopted, and the parts of it."""
        parts = [each.address for each in self.left if each.part_of]
        # A route that stands inside of its table has no address of its own.
        own = [each.address for each in self.adopted if not each.address.endswith(_INLINE)]
        return tuple(dict.fromkeys([*own, *parts]))


_INLINE: Final = " (inline)"


def survey(settings: Settings, state: State, account: str) -> Adoption:
    """Holds a state against the templates of an environment.

    Args:
        account: the account's twelve digits: what belongs to another is not taken for ours.
    """
    return _Survey(settings, _with_inline_routes(state), account).run()


class _Survey:
    def __init__(self, settings: Settings, state: State, account: str) -> None:
        self._settings = settings
        self._state = state
        self._account = account
        self._outputs: dict[str, Any] = {}
        """Of the phases so far, as far as they are known."""
        self._vpc = ""
        self._suggestions: dict[str, Any] = {}
        self._refused: set[str] = set()
        """Addresses that are in the way of something, and so are not `Left`."""

    def run(self) -> Adoption:
        by_name = {phase.name: phase for phase in PHASES}
        phases = tuple(self._phase(by_name[name]) for name in ADOPTABLE)
        adopted = {each.address: each for phase in phases for each in phase.adopted}
        return Adoption(
            environment=self._settings.name,
            account=self._account,
            region=self._settings.region,
            phases=phases,
            left=tuple(self._left(adopted)),
            warnings=tuple(self._warnings(adopted)),
            suggestions=self._suggestions,
        )

    def _phase(self, phase: Phase) -> PhaseAdoption:
        template = phase.build(self._settings).to_dict()
        declared: dict[str, Any] = template["Resources"]
        found: dict[str, Resource] = {}
        blocked: dict[str, Blocked] = {}
        rank = {kind: number for number, kind in enumerate(KINDS)}
        for logical_id in sorted(declared, key=lambda each: rank.get(declared[each]["Type"], len(rank))):
            kind = KINDS.get(declared[logical_id]["Type"])
            if kind is None:
                continue
            scope = self._scope(template, found)
            wanted = Wanted(
                logical_id,
                declared[logical_id]["Type"],
                evaluate(declared[logical_id].get("Properties", {}), scope),
                self._vpc,
                self._tables_of(logical_id, declared, found),
            )
            match self._match(phase.name, wanted, kind, found):
                case Resource() as resource:
                    found[logical_id] = resource
                    if wanted.type == "AWS::EC2::VPC":
                        self._vpc = resource.text("id")
                case Blocked() as reason:
                    blocked[logical_id] = reason
                case None:
                    pass
        self._refuse(phase.name, template, found, blocked)
        adopted, resources = [], {}
        scope = self._scope(template, found)
        for logical_id, resource in found.items():
            kind = KINDS[declared[logical_id]["Type"]]
            properties, differences = self._properties(declared[logical_id], kind, resource, scope)
            resources[logical_id] = _imported(declared[logical_id], properties, found)
            adopted.append(
                Adopted(
                    phase.name,
                    logical_id,
                    declared[logical_id]["Type"],
                    resource.address,
                    _physical_id(declared[logical_id]["Type"], kind, resource),
                    kind.identifier(resource),
                    differences,
                )
            )
        for name, output in template.get("Outputs", {}).items():
            self._outputs[name] = evaluate(output["Value"], scope)
        self._refused |= {each.address for each in blocked.values()}
        missing = [each for each in declared if each not in found and each not in blocked]
        text, parameters = _template(template, resources, scope)
        return PhaseAdoption(
            phase.name,
            tuple(sorted(adopted, key=lambda each: list(declared).index(each.logical_id))),
            tuple(blocked.values()),
            tuple(Created(phase.name, each, declared[each]["Type"]) for each in missing),
            text,
            parameters,
        )

    # ------------------------------------------------------------------------------------------ finding

    def _match(
        self, phase: str, wanted: Wanted, kind: Kind, found: Mapping[str, Resource]
    ) -> Resource | Blocked | None:
        scored = [
            (kind.fits(wanted, each), -kind.terraform.index(each.type), each)
            for each in self._state.of(*kind.terraform)
            if not each.deposed and self._elsewhere(each) is None
        ]
        best = max(((score, rank) for score, rank, _ in scored if score), default=None)
        if best is None:
            return None
        fitting = [each for score, rank, each in scored if (score, rank) == best]

        def blocked(reason: str) -> Blocked:
            addresses = ", ".join(each.address for each in fitting)
            return Blocked(phase, wanted.logical_id, wanted.type, addresses, reason)

        if len(fitting) > 1:
            self._refused |= {each.address for each in fitting}
            return blocked(f"ambiguous: {len(fitting)} resources of the state fit")
        (resource,) = fitting
        taken = [name for name, other in found.items() if other is resource and wanted.type not in _SHARED]
        if taken:
            return blocked(f"ambiguous: it is {taken[0]} as well")
        if resource.tainted:
            return blocked(
                "Terraform has it marked as tainted and means to replace it. Where it is as it should be:"
                f" terraform untaint '{resource.address}', then make the state's file anew"
            )
        if not all(kind.identifier(resource).values()):
            return blocked("the state does not say what identifies it")
        return resource

    def _elsewhere(self, resource: Resource) -> str | None:
        """Where a resource is when it is not where this environment is."""
        if resource.account.isdecimal() and resource.account != self._account:
            return f"it is in account {resource.account}"
        if resource.region and resource.region != self._settings.region:
            return f"it is in {resource.region}"
        return None

    def _tables_of(
        self, logical_id: str, declared: Mapping[str, Any], found: Mapping[str, Resource]
    ) -> frozenset[str]:
        """The route tables that the state ties the subnets to that this one of ours is for."""
        subnets = {
            found[each["Properties"]["SubnetId"]["Ref"]].text("id")
            for each in declared.values()
            if each["Type"] == "AWS::EC2::SubnetRouteTableAssociation"
            and each["Properties"]["RouteTableId"] == {"Ref": logical_id}
            and each["Properties"]["SubnetId"]["Ref"] in found
        }
        return frozenset(
            each.text("route_table_id")
            for each in self._state.of("aws_route_table_association")
            if each.get("subnet_id") in subnets
        )

    def _scope(self, template: Mapping[str, Any], found: Mapping[str, Resource]) -> Scope:
        declared = template.get("Parameters", {})
        parameters: dict[str, Any] = {}
        for name, declaration in declared.items():
            value = self._outputs.get(name, UNKNOWN)
            if name == "DatabaseVersion":
                value = self._database_version()
            elif value is UNKNOWN and "Default" in declaration:
                value = declaration["Default"]
            if declaration["Type"].startswith("List<") and isinstance(value, str):
                value = value.split(",")
            parameters[name] = value
        resources = template["Resources"]
        kinds = {name: KINDS[resources[name]["Type"]] for name in found}
        return Scope(
            account=self._account,
            region=self._settings.region,
            parameters=parameters,
            conditions=template.get("Conditions", {}),
            references={name: found[name].text(kind.reference) for name, kind in kinds.items()},
            attributes={
                name: {
                    attribute: found[name].text(path)
                    for attribute, path in kind.attributes.items()
                    if found[name].get(path) is not None
                }
                for name, kind in kinds.items()
            },
            declared=frozenset(declared),
        )

    def _database_version(self) -> Any:
        """What the next deploy would take: see deploy.facts.database_version."""
        asked = self._settings.database.engine_version
        if "." in asked:
            return asked
        name = f"{self._settings.prefix}-cluster"
        for cluster in self._state.of("aws_rds_cluster"):
            version = str(known.read(KINDS[_CLUSTER].properties["EngineVersion"], cluster, self._state))
            here = cluster.get("cluster_identifier") == name and self._elsewhere(cluster) is None
            if here and version.partition(".")[0] == asked:
                return version
        return UNKNOWN

    # ---------------------------------------------------------------------------------------- comparing

    def _refuse(
        self,
        phase: str,
        template: Mapping[str, Any],
        found: dict[str, Resource],
        blocked: dict[str, Blocked],
    ) -> None:
        """Takes out of `found` what cannot be taken over, and what cannot be without that."""
        declared = template["Resources"]
        again = True
        while again:
            again = False
            scope = self._scope(template, found)
            for logical_id, resource in list(found.items()):
                kind = KINDS[declared[logical_id]["Type"]]
                reasons = [*self._fixed(declared[logical_id], kind, resource, scope)]
                if declared[logical_id]["Type"] == _CLUSTER:
                    reasons += self._master(resource)
                if reasons:
                    del found[logical_id]
                    kind_name = declared[logical_id]["Type"]
                    blocked[logical_id] = Blocked(
                        phase, logical_id, kind_name, resource.address, "; ".join(reasons)
                    )
                    again = True

    def _fixed(
        self, declaration: Mapping[str, Any], kind: Kind, resource: Resource, scope: Scope
    ) -> Iterator[str]:
        """The differences that could only be mended with a new resource."""
        for name in sorted((kind.fixed - kind.stays) | kind.unread):
            ours = declaration.get("Properties", {}).get(name)
            if ours is None:
                continue
            wanted = evaluate(ours, scope)
            if unknown(wanted):
                others = ", ".join(sorted(referred(ours)))
                yield f"{name} cannot be changed later and refers to what is not taken over ({others})"
            if unknown(wanted) or name in kind.unread:
                continue
            actual = known.read(kind.properties[name], resource, self._state)
            if not same(wanted, actual):
                shown = self._shown(kind.properties[name], resource, actual)
                yield f"{name} is {shown}, the template says {_text(wanted)}, and it cannot be changed later"
                self._suggest(declaration["Type"], name, actual, resource, kind.properties[name])

    def _master(self, cluster: Resource) -> Iterator[str]:
        """Whether the secret is the cluster's: our template signs the master user in with what it holds."""
        if cluster.get("manage_master_user_password") or cluster.get("master_user_secret"):
            yield "RDS keeps its master password in a secret of its own; the templates keep one themselves"
            return
        wanted = self._settings.database.master_username
        if cluster.get("master_username") != wanted:
            shown = self._shown("master_username", cluster, cluster.get("master_username"))
            yield f"its master user is {shown}, the settings say {wanted}, and it cannot be changed later"
            self._suggest(
                _CLUSTER, "MasterUsername", cluster.get("master_username"), cluster, "master_username"
            )
        held = self._held()
        if held is None:
            return
        if not all(isinstance(held.get(key), str) for key in ("username", "password")):
            yield "its secret does not hold a username and a password as JSON"
        elif held["username"] != cluster.get("master_username"):
            yield "its secret names another master user"
        elif cluster.get("master_password") not in (None, "", held["password"]):
            yield "its secret holds another password than the cluster has: put the right one into it first"

    def _held(self) -> Mapping[str, Any] | None:
        """What the secret holds, where the state says it."""
        name = f"{self._settings.prefix}-db-credentials"
        for secret in self._state.of("aws_secretsmanager_secret"):
            if secret.get("name") != name or self._elsewhere(secret) is not None:
                continue
            for version in self._state.of("aws_secretsmanager_secret_version"):
                stages = version.get("version_stages") or ["AWSCURRENT"]
                text = version.get("secret_string")
                if version.get("secret_id") == secret.get("id") and text and "AWSCURRENT" in stages:
                    try:
                        held = json.loads(text)
                    except ValueError:
                        return {}
                    return held if isinstance(held, Mapping) else {}
        return None

    def _properties(
        self, declaration: Mapping[str, Any], kind: Kind, resource: Resource, scope: Scope
    ) -> tuple[dict[str, Any], tuple[Difference, ...]]:
        """The properties that the import's template gives a resource, and what is different in ours."""
        properties: dict[str, Any] = {}
        differences: list[Difference] = []
        for name, ours in declaration.get("Properties", {}).items():
            if name in kind.later:
                differences.append(Difference(name, SECRET, "what the secret holds"))
                continue
            if name in kind.unread:
                properties[name] = ours
                continue
            spec = kind.properties[name]
            wanted = evaluate(ours, scope)
            actual = known.read(spec, resource, self._state)
            if name in kind.stays and _within(wanted, actual):
                properties[name] = ours
            elif name in kind.stays:
                properties[name] = ours
                differences += self._differences(
                    declaration, name, spec, resource, wanted, actual, stays=True
                )
            elif not unknown(wanted) and same(wanted, actual):
                properties[name] = ours
            else:
                if actual not in (None, [], {}, ""):
                    properties[name] = _without_nothing(actual)
                differences += self._differences(declaration, name, spec, resource, wanted, actual)
        return properties, tuple(differences)

    def _differences(
        self,
        declaration: Mapping[str, Any],
        name: str,
        spec: known.Spec,
        resource: Resource,
        wanted: Any,
        actual: Any,
        stays: bool = False,
    ) -> Iterator[Difference]:
        kind = declaration["Type"]
        if name in ("Tags", "UserPoolTags"):
            wanted, actual = _tag_map(wanted), _tag_map(actual)
        whole = name in ("Tags", "UserPoolTags", "Parameters", "Properties")
        maps = isinstance(wanted, Mapping) and isinstance(actual, Mapping)
        if maps and (whole or isinstance(spec, Mapping)):
            for key in sorted({*wanted, *actual} if whole else wanted):
                if not same(wanted.get(key), actual.get(key)):
                    inner = spec[key] if isinstance(spec, Mapping) else spec
                    path = f"{name}.{key}"
                    yield from self._differences(
                        declaration, path, inner, resource, wanted.get(key), actual.get(key), stays
                    )
            return
        key = "" if stays else self._suggest(kind, name, actual, resource, spec)
        yield Difference(name, self._shown(spec, resource, actual), _text(wanted), stays, key)

    def _suggest(self, kind: str, path: str, actual: Any, resource: Resource, spec: known.Spec) -> str:
        if known.roots(spec) & resource.sensitive:
            return ""
        if path == "AvailabilityZone":
            return self._suggest_zone(resource)
        found = suggested(self._settings, kind, path, actual)
        if found is None:
            return ""
        self._suggestions[found[0]] = found[1]
        return found[0]

    def _suggest_zone(self, subnet: Resource) -> str:
        """The zones as they are: which one, the subnet's address says."""
        networking = self._settings.networking
        key = "networking.availability_zones"
        zones = list(self._suggestions.get(key, networking.availability_zones))
        third = int(subnet.text("cidr_block").split(".")[2]) - networking.vpc_cidr.network_address.packed[2]
        zones[third % 100] = subnet.text("availability_zone")
        self._suggestions[key] = zones
        return key

    def _shown(self, spec: known.Spec, resource: Resource, actual: Any) -> str:
        return SECRET if known.roots(spec) & resource.sensitive else _text(actual)

    # -------------------------------------------------------------------------------------- what is left

    def _left(self, adopted: Mapping[str, Adopted]) -> Iterator[Left]:
        kinds = {name for kind in KINDS.values() for name in kind.terraform}
        ours = [each for each in self._state.resources if each.address in adopted and not each.deposed]
        for resource in self._state.resources:
            ours_too = resource.address in adopted or resource.address in self._refused
            if (ours_too and not resource.deposed) or resource.address.endswith(_INLINE):
                continue
            elsewhere = self._elsewhere(resource)
            whole = next((each for each in ours if _is_part(resource, each)), None)
            if resource.deposed:
                reason = "deposed: what is left of a replacement; Terraform means to delete it"
            elif elsewhere is not None:
                reason = elsewhere
            elif whole is not None:
                yield Left(
                    resource.address,
                    resource.type,
                    f"a part of {adopted[whole.address].logical_id}",
                    whole.address,
                )
                continue
            elif resource.type in PARTS:
                reason = "a part of what is not taken over"
            elif resource.type.startswith(NOT_IN_AWS):
                reason = "exists in Terraform's state alone"
            elif resource.type in kinds:
                reason = "none of the templates' resources is this one"
            else:
                reason = "these phases have nothing of its kind"
            yield Left(resource.address, resource.type, reason)

    def _warnings(self, adopted: Mapping[str, Adopted]) -> Iterator[str]:
        for resource in self._state.resources:
            taken = adopted.get(resource.address)
            if taken is None or resource.deposed:
                continue
            if taken.type == _POOL:
                reset = [name for name, usual in _POOL_EXTRAS.items() if not usual(resource.get(name))]
                if reset:
                    yield (
                        f"{taken.logical_id} has {', '.join(reset)}, which no template says: Cognito may put"
                        " it back to nothing when the next deploy changes the pool"
                    )
            if taken.type == _REPLICATION and resource.get("auth_token"):
                yield f"{taken.logical_id} has an auth token, and the service has none to show"
        if any(each.type == _CLUSTER for each in adopted.values()) and self._held() is None:
            yield (
                "The state does not say what the database's secret holds: see to it that it is JSON with the"
                " master user's username and password, and the right ones"
            )


_POOL_EXTRAS: Final[Mapping[str, Any]] = {
    "lambda_config": lambda value: not value or not any(value[0].values()),
    "email_configuration": lambda value: (
        not value or value[0].get("email_sending_account") in (None, "COGNITO_DEFAULT")
    ),
    "sms_configuration": lambda value: not value,
    "device_configuration": lambda value: not value,
    "user_pool_add_ons": lambda value: not value or value[0].get("advanced_security_mode") in (None, "OFF"),
}
"""What a user pool may have and our template does not say, with what counts as nothing."""

_SHARED: Final = frozenset({"AWS::EC2::VPCGatewayAttachment"})
"""Types of ours that Terraform writes inside of another one of ours."""


def _with_inline_routes(state: State) -> State:
    """The routes that stand inside of their table, as resources: they are such in our templates."""
    own = {(each.get("route_table_id"), each.get("destination_cidr_block")) for each in state.of("aws_route")}
    routes = [
        Resource(
            address=f"{table.address}.route[{number}]{_INLINE}",
            type="aws_route",
            values={
                "route_table_id": table.get("id"),
                "destination_cidr_block": entry.get("cidr_block"),
                "gateway_id": entry.get("gateway_id"),
                "nat_gateway_id": entry.get("nat_gateway_id"),
            },
            deposed=table.deposed,
        )
        for table in state.of("aws_route_table")
        for number, entry in enumerate(table.get("route") or ())
        if (table.get("id"), entry.get("cidr_block")) not in own
    ]
    return dataclasses.replace(state, resources=(*state.resources, *routes))


def _is_part(part: Resource, whole: Resource) -> bool:
    attribute = PARTS.get(part.type)
    if attribute is None:
        return False
    whole_type = {
        "security_group_id": "aws_security_group",
        "role": "aws_iam_role",
        "secret_id": "aws_secretsmanager_secret",
    }[attribute]
    return whole.type == whole_type and part.get(attribute) == whole.get("id")


def _physical_id(kind_name: str, kind: Kind, resource: Resource) -> str:
    """What CloudFormation calls it once it is in a stack: for types with several, joined as it does."""
    identifier = kind.identifier(resource)
    if kind_name in ("AWS::EC2::VPCGatewayAttachment", "AWS::EC2::Route"):
        return "|".join(identifier.values())
    return resource.text(kind.reference)


def _imported(
    declaration: Mapping[str, Any], properties: Mapping[str, Any], found: Mapping[str, Resource]
) -> dict[str, Any]:
    imported: dict[str, Any] = {
        "Type": declaration["Type"],
        # Whatever becomes of the stack before the next deploy, what is in it stays.
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": properties,
    }
    after = declaration.get("DependsOn", [])
    waits = [each for each in ([after] if isinstance(after, str) else after) if each in found]
    return {**imported, "DependsOn": waits} if waits else imported


def _template(
    template: Mapping[str, Any], resources: Mapping[str, Any], scope: Scope
) -> tuple[str, dict[str, str]]:
    """The import's template and the values of its parameters. It has no outputs: an import may add none."""
    if not resources:
        return "", {}
    names = set().union(*(referred(each["Properties"]) for each in resources.values()))
    conditions = {key: each for key, each in template.get("Conditions", {}).items() if key in names}
    names |= referred(conditions)
    declared = {key: each for key, each in template.get("Parameters", {}).items() if key in names}
    # Only what is known is referred to: see _properties.
    parameters = {
        key: ",".join(scope.parameters[key])
        if isinstance(scope.parameters[key], list)
        else str(scope.parameters[key])
        for key in declared
    }
    reduced = {
        "Description": template["Description"],
        **({"Parameters": declared} if declared else {}),
        **({"Conditions": conditions} if conditions else {}),
        "Resources": resources,
    }
    return json.dumps(reduced, ensure_ascii=False, separators=(",", ":"), sort_keys=True), parameters


def _within(wanted: Any, actual: Any) -> bool:
    """Whether all that the template says is there, among other things."""
    if isinstance(wanted, list) and isinstance(actual, list):
        return all(any(same(each, other) for other in actual) for each in wanted)
    return same(wanted, actual)


def _tag_map(tags: Any) -> Any:
    return {tag["Key"]: tag["Value"] for tag in tags} if isinstance(tags, list) else tags


def _without_nothing(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nothing(each) for key, each in value.items() if each is not None}
    return [_without_nothing(each) for each in value] if isinstance(value, list) else value


def _text(value: Any) -> str:
    if value is None or value == [] or value == "":
        return UNSET
    if isinstance(value, str):
        return value
    if value is UNKNOWN:
        return repr(UNKNOWN)
    return json.dumps(value, ensure_ascii=False, default=repr)
