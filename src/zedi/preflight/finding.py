"""A finding: what is wrong, where, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Severity(IntEnum):
    """How bad; the greater the worse."""

    INFO = 1
    """Worth knowing."""
    WARNING = 2
    """AWS takes it, and it costs money, safety or availability."""
    ERROR = 3
    """AWS refuses it, or what runs there does not work."""

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Place:
    """Where something is wrong: a key of the settings, a property of a resource, or both.

    Args:
        file: of settings, or of a template; None when there is none (settings were not read from a file).
        line: in `file`, from 1; None where the key stands in no file: it has its default.
        key: of the settings, e.g. `database.min_acu`.
        phase: whose template it is, e.g. `database`.
        resource: its logical ID there.
        property: path in the resource's properties, e.g. `ServerlessV2ScalingConfiguration.MinCapacity`.
    """

    file: str | None = None
    line: int | None = None
    key: str | None = None
    phase: str | None = None
    resource: str | None = None
    property: str | None = None

    def __str__(self) -> str:
        parts = []
        if self.key:
            at = (
                f"{self.file}:{self.line} {self.key}" if self.file and self.line else f"default of {self.key}"
            )
            parts.append(at)
        elif self.file:
            parts.append(f"{self.file}:{self.line}" if self.line else self.file)
        if self.phase:
            inside = ".".join(filter(None, (self.resource, self.property)))
            parts.append(f"{self.phase}/{inside}" if inside else self.phase)
        return " → ".join(parts) or "everywhere"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Args:
        id: of the rule, e.g. `Z302`; those of the linters keep their own, e.g. `E3012`.
        what: is wrong here, with the offending value.
        fix: what to do about it.
        source: the address of the page that says so.
    """

    id: str
    severity: Severity
    where: Place
    what: str
    fix: str
    source: str
