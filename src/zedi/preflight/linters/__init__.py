"""cfn-lint and cloudformation-validate: what they find becomes findings of ours, under their own IDs.

Both know CloudFormation's schemas, and share rule IDs. cfn-lint takes seconds to start, so it runs in a
process of its own beside everything else, once for all templates, and what it said about a text is
remembered: a template that did not change is not looked at twice.

What a linter says is left out where a rule of ours says it (Rule.covers, `SCHEMA`), or where it stands in
`MUTED`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Remark:
    """What a linter said about one template.

    Args:
        linter: the distribution's name.
        rule: its rule's ID, e.g. `E3012`.
        error: whether it says that it will fail, or only that it may be better otherwise.
        section: of the template, e.g. `Resources`.
        title: the logical ID there.
        property: path in the resource's properties, or None.
    """

    linter: str
    rule: str
    error: bool
    section: str | None
    title: str | None
    property: str | None
    message: str
    fix: str | None
    source: str | None
    line: int | None

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Mute:
    """A remark that does not become a finding, and why."""

    rule: str
    pattern: str
    because: str


SCHEMA: Final = frozenset({"E3030", "W3030", "E3031", "E3033", "E3034", "E3048"})
"""Rules that say "not one of" or "longer than" of any property whatever: left out where a rule of ours has
said it of that very property."""

MUTED: Final = (
    Mute(
        "W3010", "", "An environment names its zones itself, so that a new zone of the region moves nothing."
    ),
    Mute(
        "W1030",
        "FrontendUrl",
        "The parameter's empty default never reaches the property: a condition stands before it.",
    ),
    Mute("W2509", "SecretArn'", "The address of a secret is no secret."),
)


def heard(remarks: Iterable[Remark]) -> list[Remark]:
    """The remarks that are not muted, each once: the linters share rules."""
    kept: dict[tuple[str, str | None, str | None], Remark] = {}
    for remark in remarks:
        if not any(mute.rule == remark.rule and re.search(mute.pattern, remark.message) for mute in MUTED):
            kept.setdefault((remark.rule, remark.title, remark.property), remark)
    return list(kept.values())
