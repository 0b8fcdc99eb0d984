"""Secrets in plain text, where everybody who may read a template reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from zedi.preflight.rule import ERROR, Problem, offline
from zedi.preflight.subject import Subject

_SECRET_NAME: Final = re.compile(
    r"(password|passwd|secret|token|api_?key|private_?key|credentials?(_json)?)$", re.IGNORECASE
)
_SECRET_TEXT: Final = re.compile(
    r"\bAKIA[0-9A-Z]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY-----|\b(?:postgres|postgresql|rediss?)://[^/\s:]*:[^@\s{]+@"
)
_NO_SECRETS: Final = frozenset(
    {"GenerateSecret", "ManageMasterUserPassword", "AccessToken", "IdToken", "RefreshToken"}
)
"""Switches and units: what they say is not the secret itself."""


@offline(
    "Z004",
    "secret in plain text",
    ERROR,
    why="A template is kept by CloudFormation, shown in the console and printed by `zedi synth`;"
    " whoever may read it has the secret, and it cannot be taken back.",
    fix="Let Secrets Manager generate it, and name it: {{resolve:secretsmanager:...}} in a property,"
    " `Secrets` in a container.",
    source="https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/dynamic-references-secretsmanager.html",
    covers=("W2501", "W1011", "E2501"),
)
def plain_secrets(subject: Subject) -> Iterator[Problem]:
    for resource in subject.resources:
        for path, value in _texts(resource.properties, ""):
            if "{{resolve:" in value:
                continue
            name = path.rpartition(".")[2]
            named = _SECRET_NAME.search(name) is not None and name not in _NO_SECRETS
            if path.endswith(".Value") and (pair := resource.get(path.rpartition(".")[0])):
                # {"Name": "DB_PASSWORD", "Value": "..."} of a container's environment
                named = _SECRET_NAME.search(str(pair.get("Name", pair.get("Key", "")))) is not None
            if (named and value) or _SECRET_TEXT.search(value):
                yield Problem("a secret stands here in plain text", resource, path)
    for phase, template in subject.templates.items():
        for name, parameter in template.get("Parameters", {}).items():
            default = parameter.get("Default")
            if _SECRET_NAME.search(name) and isinstance(default, str) and default:
                yield Problem(f"the parameter {name} has a secret as its default", phase=phase)


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every literal text in `value` with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not key.startswith("Fn::") and key != "Ref":
                yield from _texts(item, f"{path}.{key}" if path else key)
            elif key == "Fn::Join" and isinstance(item[1], list):
                for part in item[1]:
                    yield from ((path, text) for _, text in _texts(part, path) if _SECRET_TEXT.search(text))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}.{index}")
