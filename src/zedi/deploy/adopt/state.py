"""What `terraform show -json` prints of a state, as frozen data.

The form is documented: https://developer.hashicorp.com/terraform/internals/json-format (format_version 1.x).
Values may be secrets: nothing here puts one into an error, and no representation shows one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from zedi.deploy import DeployError

RIGHT_COMMAND: Final = "In Terraform's folder: terraform show -json > state.json"


class StateError(DeployError):
    """A file is not what `terraform show -json` prints of a state."""


@dataclass(frozen=True)
class Resource:
    """One resource that Terraform manages."""

    address: str
    """As Terraform names it, modules and index included: module.database.aws_rds_cluster.main[0]"""
    type: str
    values: Mapping[str, Any] = field(repr=False)
    sensitive: frozenset[str] = frozenset()
    """The attributes (of the first level) that are secret, or hold something that is."""
    tainted: bool = False
    """Terraform means to replace it."""
    deposed: bool = False
    """What is left of a replacement: Terraform means to delete it."""

    def get(self, path: str) -> Any:
        """The attribute at `a.0.b`, or None where there is none."""
        found: Any = self.values
        for part in path.split("."):
            if isinstance(found, Mapping):
                found = found.get(part)
            elif isinstance(found, list) and part.isdecimal():
                found = found[int(part)] if int(part) < len(found) else None
            else:
                return None
        return found

    def text(self, path: str) -> str:
        """The attribute as text; empty where there is none."""
        found = self.get(path)
        return "" if found is None else str(found)

    @property
    def tags(self) -> dict[str, str]:
        """All tags, those of the provider's default_tags included."""
        found = self.get("tags_all") or self.get("tags") or {}
        return {str(key): str(value) for key, value in found.items()} if isinstance(found, Mapping) else {}

    @property
    def account(self) -> str:
        """The account's twelve digits, as its ARN says; empty where it has none."""
        return self._arn(4)

    @property
    def region(self) -> str:
        """Empty where neither an ARN nor an attribute says it, and for what has no region."""
        return self._arn(3) or self.text("region")

    def _arn(self, part: int) -> str:
        parts = self.text("arn").split(":", 5)
        return parts[part] if len(parts) == 6 else ""


@dataclass(frozen=True)
class State:
    path: str
    terraform_version: str
    resources: tuple[Resource, ...]
    """Managed ones, in the state's order; data sources are none."""

    def of(self, *types: str) -> Iterator[Resource]:
        return (resource for resource in self.resources if resource.type in types)


def load(path: Path) -> State:
    """Reads a file. Raises StateError, which says what the file is instead."""
    where = str(path)
    if path.is_dir():
        raise StateError(where, "is a folder, not a state", RIGHT_COMMAND)
    try:
        # PowerShell's > writes UTF-16, and a byte order mark before UTF-8.
        raw = path.read_bytes()
        encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        text = raw.decode(encoding)
    except FileNotFoundError:
        raise StateError(where, "there is no such file", RIGHT_COMMAND) from None
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(where, f"cannot be read: {type(error).__name__}", RIGHT_COMMAND) from error
    return parse(text, where)


def parse(text: str, where: str) -> State:
    """Reads what `terraform show -json` printed. Raises StateError."""
    if not text.strip():
        raise StateError(where, "is empty", RIGHT_COMMAND)
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        # The error's own text may quote what stands there.
        begun = text.lstrip().startswith("{")
        what = "is cut off, or damaged" if begun else "is not JSON; was -json left out?"
        raise StateError(where, what, RIGHT_COMMAND) from None
    other = _what_else(data)
    if other is not None:
        raise StateError(where, other, RIGHT_COMMAND)
    values = data.get("values")
    if values is None:
        raise StateError(
            where, "is an empty state: Terraform manages nothing there", f"Is it that folder? {RIGHT_COMMAND}"
        )
    try:
        resources = tuple(_module(values.get("root_module", {})))
    except (AttributeError, KeyError, TypeError) as error:
        raise StateError(where, "is not a state: its resources have another form", RIGHT_COMMAND) from error
    return State(where, str(data.get("terraform_version", "")), resources)


def _what_else(data: Any) -> str | None:
    """What a JSON file is where it is not what it should be."""
    if not isinstance(data, Mapping):
        return "is JSON, but no state"
    if "planned_values" in data or "resource_changes" in data:
        return "is a plan, not a state"
    if "lineage" in data or ("version" in data and "resources" in data):
        return "is Terraform's own state file (terraform.tfstate), whose form may change"
    version = data.get("format_version")
    if version is None:
        return "is JSON, but no state: it has no format_version"
    if str(version).partition(".")[0] != "1":
        return f"has format_version {version}, and only 1.x is known"
    if "values" in data and not isinstance(data["values"], Mapping):
        return "is not a state: its values have another form"
    return None


def _module(module: Mapping[str, Any]) -> Iterator[Resource]:
    """The managed resources of a module, and of the modules in it."""
    for entry in module.get("resources", ()):
        if entry["mode"] != "managed":
            continue
        sensitive = entry.get("sensitive_values") or {}
        yield Resource(
            address=str(entry["address"]),
            type=str(entry["type"]),
            values=dict(entry.get("values") or {}),
            sensitive=frozenset(name for name, marks in sensitive.items() if _marked(marks)),
            tainted=bool(entry.get("tainted", False)),
            deposed=bool(entry.get("deposed_key")),
        )
    for child in module.get("child_modules", ()):
        yield from _module(child)


def _marked(marks: Any) -> bool:
    """Whether anything in a value is marked: true, or a form of the same shape with a true in it."""
    if isinstance(marks, Mapping):
        return any(_marked(each) for each in marks.values())
    if isinstance(marks, list):
        return any(_marked(each) for each in marks)
    return marks is True
