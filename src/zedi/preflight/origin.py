"""Where a value of a template came from: which key of the settings, on which line of which file.

No table says which key makes which property: it would be wrong the day a phase changes. Each key is changed
in turn and the template made again; the keys whose change shows at a property are the ones that made it.
That costs some ten milliseconds a key, and is paid only for a phase that something was found in.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from ipaddress import IPv4Network
from typing import Any, Final, get_args

from pydantic import BaseModel
from troposphere import Template

from zedi.phases import PHASES
from zedi.settings import Settings

_UNCHANGING: Final = frozenset({"embedded", "region"})
"""Tables and keys that stand in every template, or in none."""


class Origin:
    """Answers for one set of settings."""

    def __init__(self, settings: Settings, text: str) -> None:
        self._settings = settings
        self._lines: Mapping[str, int] = key_lines(text)
        self._made = cache(self._make)

    def line(self, key: str) -> int | None:
        """The line that `key` stands on; None: in no file, it has its default."""
        found = self._lines.get(key)
        # database = { port = 1 } stands on the line of its table.
        return found or (self._lines.get(key.partition(".")[0]) if self._inline(key) else None)

    def _inline(self, key: str) -> bool:
        table, _, name = key.partition(".")
        model = getattr(self._settings, table, None)
        return isinstance(model, BaseModel) and name in model.model_fields_set

    def key(self, phase: str, resource: str, path: str | None) -> str | None:
        """The key that the property at `path` came from; without a path, the resource itself.

        The nearest that shows: of two keys, the one that changes least beside it.
        """
        if phase not in {each.name for each in PHASES}:
            return None
        base = self._at(self._made(phase, None, 0), resource, path)
        best: tuple[int, str] | None = None
        for key, variant in self._variants():
            made = self._made(phase, key, variant)
            if made is not None and self._at(made, resource, path) != base:
                reach = self._reach(phase, made)
                if best is None or reach < best[0]:
                    best = (reach, key)
        return best[1] if best else None

    def _variants(self) -> Iterator[tuple[str, int]]:
        for table, model in self._settings:
            if table in _UNCHANGING:
                continue
            if not isinstance(model, BaseModel):
                yield table, 0
                continue
            for name, value in model:
                for variant in range(len(_others(model, name, value))):
                    yield f"{table}.{name}", variant

    def _make(self, phase: str, key: str | None, variant: int) -> Mapping[str, Any] | None:
        settings = self._settings
        if key is not None:
            table, _, name = key.partition(".")
            model = getattr(settings, table)
            if name:
                changed = model.model_copy(update={name: _others(model, name, getattr(model, name))[variant]})
            else:
                changed = f"{model}x"
            settings = settings.model_copy(update={table: changed})
        (chosen,) = (each for each in PHASES if each.name == phase)
        try:
            template: Template = chosen.build(settings)
            return dict(json.loads(json.dumps(template.to_dict())))
        except (ValueError, TypeError, KeyError, IndexError):
            # A value that means nothing to this phase: the changed key is then not what was asked for.
            return None

    @staticmethod
    def _at(template: Mapping[str, Any] | None, resource: str, path: str | None) -> Any:
        value: Any = (template or {}).get("Resources", {}).get(resource)
        if path is None:
            return None if value is None else True
        value = (value or {}).get("Properties", {})
        for part in path.split("."):
            if isinstance(value, Mapping):
                value = value.get(part)
            elif isinstance(value, list) and part.isdigit():
                value = value[int(part)] if int(part) < len(value) else None
            else:
                return value
        return value

    def _reach(self, phase: str, made: Mapping[str, Any]) -> int:
        """In how many resources of the phase a change shows."""
        base = self._made(phase, None, 0) or {}
        before, after = base.get("Resources", {}), made.get("Resources", {})
        return sum(before.get(name) != after.get(name) for name in {*before, *after})


def _others(model: BaseModel, name: str, value: Any) -> list[Any]:
    """Values unlike `value` that a template can be made with; whether AWS takes them does not matter."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1]
    if isinstance(value, float):
        return [value + 0.5]
    if isinstance(value, IPv4Network):
        return [IPv4Network((int(value.network_address) ^ (1 << 24), value.prefixlen))]
    if isinstance(value, tuple):
        changed = tuple(f"{item}x" for item in value)
        return [changed, (*value, "another"), *([value[:-1]] if value else [])]
    choices = get_args(type(model).model_fields[name].annotation)
    if isinstance(value, str):
        near = [choice for choice in choices if isinstance(choice, str) and choice != value]
        if near:
            return near[:1]
        if re.match(r"\d", value):  # a version or a window: the first number counts
            return [re.sub(r"\d+", lambda found: str(int(found[0]) + 1).zfill(len(found[0])), value, count=1)]
        return [f"{value}x"]
    if value is None and str in choices:
        return ["another"]
    return []


_HEADER: Final = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_.\"'\- ]+?)\s*=")


def key_lines(text: str) -> dict[str, int]:
    """The line, from 1, that each key of TOML `text` stands on, by its full name; tables have theirs too."""
    found: dict[str, int] = {}
    table = ""
    begun = ""
    for number, line in enumerate(text.splitlines(), 1):
        # Inside a value of several lines nothing is a key; a statement begins where all before it is TOML.
        fresh = not begun
        begun = f"{begun}{line}\n"
        if fresh:
            header, key = _HEADER.match(line), _KEY.match(line)
            if header and not key:
                table = _plain(header[1])
                found.setdefault(table, number)
            elif key:
                found.setdefault(".".join(filter(None, (table, _plain(key[1])))), number)
        try:
            tomllib.loads(begun)
        except tomllib.TOMLDecodeError:
            continue
        begun = ""
    return found


def _plain(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))
