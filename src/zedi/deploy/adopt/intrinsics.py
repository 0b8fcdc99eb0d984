"""What a template's expressions come to, as far as that is known before anything is there.

What is not known yet is `UNKNOWN`: a resource that the next deploy makes has no identifier.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from zedi.deploy import DeployError


class _Unknown:
    def __repr__(self) -> str:
        return "(known after the next deploy)"


UNKNOWN: Final = _Unknown()


@dataclass(frozen=True)
class Scope:
    """What expressions may refer to.

    Args:
        parameters: their values; a list's elements stand in a list. One that is not there is unknown.
        references: what Ref gives, by a resource's logical ID; so with `attributes` and GetAtt.
    """

    account: str
    region: str
    parameters: Mapping[str, Any]
    conditions: Mapping[str, Any]
    references: Mapping[str, str]
    attributes: Mapping[str, Mapping[str, str]]
    declared: frozenset[str]
    """The names of the template's parameters."""


def unknown(value: Any) -> bool:
    """Whether something in a value is not known."""
    if isinstance(value, Mapping):
        return any(unknown(each) for each in value.values())
    if isinstance(value, list):
        return any(unknown(each) for each in value)
    return value is UNKNOWN


def evaluate(value: Any, scope: Scope) -> Any:
    """The value with every expression in it worked out. Raises DeployError for a function of another kind."""
    if isinstance(value, list):
        return [evaluate(each, scope) for each in value]
    if not isinstance(value, Mapping):
        return value
    if len(value) == 1:
        (name, argument), *_ = value.items()
        if name == "Ref":
            return _reference(argument, scope)
        if name.startswith("Fn::"):
            return _function(name, argument, scope)
    return {key: evaluate(each, scope) for key, each in value.items()}


def referred(value: Any) -> set[str]:
    """The names of the resources, parameters and conditions that a value's expressions name."""
    if isinstance(value, list):
        return set().union(*(referred(each) for each in value))
    if not isinstance(value, Mapping):
        return set()
    names: set[str] = set()
    for key, argument in value.items():
        if key == "Ref" or key == "Condition":
            names.add(str(argument))
        elif key == "Fn::GetAtt":
            names.add(str(argument[0]))
        elif key == "Fn::If":
            names.add(str(argument[0]))
            names |= referred(argument[1:])
        elif key == "Fn::Sub":
            names |= {name.partition(".")[0] for name in _PLACE.findall(str(argument))}
        else:
            names |= referred(argument)
    return names


_PLACE: Final = re.compile(r"\$\{([A-Za-z0-9:.]+)\}")


def _reference(name: str, scope: Scope) -> Any:
    if name == "AWS::AccountId":
        return scope.account
    if name == "AWS::Region":
        return scope.region
    if name in scope.declared:
        return scope.parameters.get(name, UNKNOWN)
    return scope.references.get(name, UNKNOWN)


def _attribute(name: str, attribute: str, scope: Scope) -> Any:
    return scope.attributes.get(name, {}).get(attribute, UNKNOWN)


def _function(name: str, argument: Any, scope: Scope) -> Any:
    if name == "Fn::GetAtt":
        return _attribute(argument[0], argument[1], scope)
    if name == "Fn::Join":
        parts = evaluate(argument[1], scope)
        return UNKNOWN if unknown(parts) else str(argument[0]).join(map(str, parts))
    if name == "Fn::Sub":
        return _substituted(str(argument), scope)
    if name == "Fn::If":
        chosen = evaluate(scope.conditions[argument[0]], scope)
        return UNKNOWN if chosen is UNKNOWN else evaluate(argument[1 if chosen else 2], scope)
    if name in ("Fn::Equals", "Fn::Not"):
        given = evaluate(argument, scope)
        if unknown(given):
            return UNKNOWN
        return given[0] == given[1] if name == "Fn::Equals" else not given[0]
    raise DeployError(name, "adopt does not know this function", "This version of Zedi is at fault.")


def _substituted(text: str, scope: Scope) -> Any:
    values: dict[str, Any] = {}
    for place in _PLACE.findall(text):
        name, _, attribute = place.partition(".")
        values[place] = _attribute(name, attribute, scope) if attribute else _reference(place, scope)
    if unknown(values):
        return UNKNOWN
    return _PLACE.sub(lambda found: str(values[found[1]]), text)
