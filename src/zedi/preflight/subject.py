"""What preflight looks at: templates by phase, with references followed, and the settings they came from.

A template says `{"Ref": ...}`, `Fn::GetAtt`, `Fn::If` and parameters where a rule wants a port or a subnet.
`literals` gives the values that a property can have (both branches of a condition; none when nobody can
know), `targets` the resources that it leads to, through the outputs of earlier phases where it is a
parameter. What cannot be known is nothing: a rule stays silent about it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from zedi import settings as settings_
from zedi.errors import ZediError
from zedi.phases import PHASES
from zedi.settings import Settings

_ACCOUNT: Final = "0" * 12
"""Stands for the account's number where only its length matters."""
_AZ_OF: Final = re.compile(r"([a-z]{2}(?:-[a-z]+)+-\d)[a-z]")
_ENDPOINT_OF: Final = re.compile(r"com\.amazonaws\.([a-z]{2}(?:-[a-z]+)+-\d)\.")


class TemplatesError(ZediError):
    """A folder of templates cannot be read as such."""


@dataclass(frozen=True)
class Resource:
    """One resource of one template."""

    subject: Subject = field(repr=False, compare=False)
    phase: str
    title: str
    type: str
    body: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def properties(self) -> Mapping[str, Any]:
        found = self.body.get("Properties", {})
        return found if isinstance(found, Mapping) else {}

    def get(self, path: str) -> Any:
        """What stands at `path` (dots; numbers count in lists), as the template has it; None: nothing."""
        value: Any = self.properties
        for part in path.split("."):
            if isinstance(value, Mapping) and part in value:
                value = value[part]
            elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                return None
        return value

    def literals(self, path: str) -> list[Any]:
        """The scalars that can stand at `path`."""
        return self.subject.literals(self.phase, self.get(path))

    def numbers(self, path: str) -> list[float]:
        """The numbers that can stand at `path`; CloudFormation takes them as text as well."""
        return list(numbers(self.literals(path)))

    def targets(self, path: str) -> list[Resource]:
        """The resources that stand at `path`."""
        return self.subject.targets(self.phase, self.get(path))

    def name(self, path: str) -> str | None:
        """The text at `path`, account numbers filled in, or None."""
        found = [value for value in self.literals(path) if isinstance(value, str)]
        return found[0] if found else None


@dataclass(frozen=True)
class Subject:
    """Args:
    templates: by phase, as JSON objects.
    settings: what they were made from, or None.
    file: of those settings.
    text: of that file.
    folder: that the templates were read from, where there are no settings.
    texts: of the templates' files there, by phase.
    unbuilt: why a phase could not be made of the settings, by phase; it is not among the templates.
    """

    templates: Mapping[str, Mapping[str, Any]]
    settings: Settings | None = None
    file: str | None = None
    text: str = ""
    folder: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    unbuilt: Mapping[str, str] = field(default_factory=dict)

    @property
    def on_aws(self) -> bool:
        """False for the embedded AWS, where loopback needs no encryption and ports are one machine's."""
        return self.settings is None or self.settings.embedded is None

    @cached_property
    def region(self) -> str:
        """That of the settings, else what the templates speak of most, else the default."""
        if self.settings:
            return self.settings.region
        text = json.dumps(self.templates)
        for pattern in (_ENDPOINT_OF, _AZ_OF):
            found = pattern.findall(text)
            if found:
                return str(max(set(found), key=found.count))
        return str(Settings.model_fields["region"].default)

    @cached_property
    def resources(self) -> tuple[Resource, ...]:
        return tuple(
            Resource(self, phase, title, str(body.get("Type", "")), body)
            for phase, template in self.templates.items()
            for title, body in _table(template, "Resources").items()
            if isinstance(body, Mapping)
        )

    @cached_property
    def _by_title(self) -> Mapping[tuple[str, str], Resource]:
        return {(found.phase, found.title): found for found in self.resources}

    def of_type(self, *types: str) -> Iterator[Resource]:
        """The resources of these types, e.g. `AWS::EC2::Subnet`."""
        return (found for found in self.resources if found.type in types)

    def literals(self, phase: str, value: Any) -> list[Any]:
        """The scalars that `value` can be; a list gives those of its items. Empty: nobody can know."""
        return list(self._literals(phase, value, 0))

    def _literals(self, phase: str, value: Any, depth: int) -> Iterator[Any]:
        if depth > 8 or value is None:
            return
        if isinstance(value, list):
            for item in value:
                yield from self._literals(phase, item, depth + 1)
        elif not isinstance(value, Mapping):
            yield value
        elif "Fn::If" in value:
            for branch in value["Fn::If"][1:]:
                yield from self._literals(phase, branch, depth + 1)
        elif "Fn::Sub" in value:
            text = value["Fn::Sub"]
            if isinstance(text, str):
                filled = self._pseudo(text)
                if "${" not in filled.replace("${!", ""):
                    yield filled
        elif "Fn::Join" in value:
            delimiter, parts = value["Fn::Join"]
            texts = (
                [list(self._literals(phase, part, depth + 1)) for part in parts]
                if isinstance(parts, list)
                else []
            )
            if texts and all(len(text) == 1 for text in texts):
                yield delimiter.join(str(text[0]) for text in texts)
        elif "Ref" in value:
            yield from self._parameter(phase, value["Ref"], depth)

    def _pseudo(self, text: str) -> str:
        return (
            text.replace("${AWS::AccountId}", _ACCOUNT)
            .replace("${AWS::Region}", self.region)
            .replace("${AWS::Partition}", "aws")
        )

    def _parameter(self, phase: str, name: str, depth: int) -> Iterator[Any]:
        parameter = _table(self.templates.get(phase, {}), "Parameters").get(name)
        if name in ("AWS::Region", "AWS::AccountId", "AWS::Partition"):
            yield self._pseudo(f"${{{name}}}")
        elif isinstance(parameter, Mapping):
            if name == "DatabaseVersion" and self.settings:
                yield self.settings.database.engine_version
                return
            found = self.output(name)
            if found is not None:
                yield from self._literals(*found, depth + 1)
            elif "Default" in parameter and parameter["Default"] != "":
                yield parameter["Default"]

    def output(self, name: str) -> tuple[str, Any] | None:
        """The phase that has the output `name`, and its value as that template has it."""
        for phase, template in self.templates.items():
            output = _table(template, "Outputs").get(name)
            if isinstance(output, Mapping):
                return phase, output.get("Value")
        return None

    def targets(self, phase: str, value: Any) -> list[Resource]:
        """The resources that `value` leads to, in order, each once."""
        return list(dict.fromkeys(self._targets(phase, value, 0)))

    def _targets(self, phase: str, value: Any, depth: int) -> Iterator[Resource]:
        if depth > 8:
            return
        if isinstance(value, list):
            for item in value:
                yield from self._targets(phase, item, depth + 1)
        elif isinstance(value, Mapping):
            for function, argument in value.items():
                match function:
                    case "Ref":
                        yield from self._named(phase, argument, depth)
                    case "Fn::GetAtt":
                        title = argument.split(".")[0] if isinstance(argument, str) else argument[0]
                        yield from self._named(phase, title, depth)
                    case "Fn::If" | "Fn::Join" | "Fn::Select" | "Fn::Split":
                        yield from self._targets(phase, argument[1:], depth + 1)
                    case "Fn::Sub":
                        text = argument if isinstance(argument, str) else argument[0]
                        for name in re.findall(r"\$\{([A-Za-z0-9]+)[.}]", text):
                            yield from self._named(phase, name, depth)

    def _named(self, phase: str, name: Any, depth: int) -> Iterator[Resource]:
        found = self._by_title.get((phase, str(name)))
        if found:
            yield found
        elif name in _table(self.templates.get(phase, {}), "Parameters"):
            output = self.output(str(name))
            if output is not None:
                yield from self._targets(*output, depth + 1)


def numbers(values: Iterable[Any]) -> Iterator[float]:
    """Those of `values` that are numbers, also as text."""
    for value in values:
        if isinstance(value, bool):
            continue
        try:
            yield float(value)
        except (TypeError, ValueError):
            continue


def flag(value: Any) -> bool | None:
    """A CloudFormation boolean, which may be text; None: it is neither."""
    return {"true": True, "false": False}.get(str(value).lower())


def _table(template: Any, section: str) -> Mapping[str, Any]:
    found = template.get(section) if isinstance(template, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _of_settings(chosen: Settings, file: str, text: str) -> Subject:
    templates, unbuilt = {}, {}
    for phase in PHASES:
        try:
            # Through text: tuples become lists and numbers what AWS will read. Size is judged, not enforced.
            templates[phase.name] = json.loads(json.dumps(phase.build(chosen).to_dict()))
        except (ValueError, TypeError) as error:  # troposphere has opinions of its own
            unbuilt[phase.name] = " ".join(str(error).split())
    return Subject(templates, chosen, file, text, unbuilt=unbuilt)


def of_environment(environment: str, directory: Path = settings_.ENVIRONMENTS_DIRECTORY) -> Subject:
    """The subject that is an environment: a name, or the path of a .toml file. Raises SettingsError."""
    chosen = settings_.load(environment, directory)
    path = Path(environment) if environment.endswith(".toml") else directory / f"{environment}.toml"
    return _of_settings(chosen, str(path), path.read_text("utf-8"))


def of_text(text: str, where: str) -> Subject:
    """The subject that is the settings in TOML `text`. Raises SettingsError."""
    chosen = settings_.parse(text, where)
    return _of_settings(chosen, where, text)


def of_folder(folder: Path) -> Subject:
    """The subject that is a folder of `{phase}.json`, wherever they came from.

    Raises TemplatesError when it has none, or one is not JSON.
    """
    known = [phase.name for phase in PHASES]
    files = sorted(
        folder.glob("*.json"),
        key=lambda file: (known.index(file.stem) if file.stem in known else 99, file.stem),
    )
    if not files:
        raise TemplatesError(
            str(folder),
            "there is no template here",
            "Name a folder with networking.json and so on: zedi synth.",
        )
    texts = {}
    templates = {}
    for file in files:
        try:
            texts[file.stem] = file.read_text("utf-8")
            template = json.loads(texts[file.stem])
        except (OSError, ValueError) as error:
            raise TemplatesError(
                str(file), f"is not JSON: {error}", "Correct it, or write it anew: zedi synth."
            ) from error
        if not isinstance(template, dict) or not isinstance(template.get("Resources"), dict):
            raise TemplatesError(str(file), "has no Resources", "Leave only templates in this folder.")
        templates[file.stem] = template
    return Subject(templates, folder=str(folder), texts=texts)
