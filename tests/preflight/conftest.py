"""What the corpus says, and an account that answers in the shapes of botocore's models."""

from __future__ import annotations

import copy
import json
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import validate_parameters

from zedi.preflight import subject
from zedi.preflight.finding import Finding
from zedi.preflight.subject import Subject

ENVIRONMENTS = Path(__file__).parents[2] / "environments"
CORPUS = Path(__file__).parent / "corpus"


@cache
def _made(text: str) -> Subject:
    return subject.of_text(text, "case.toml")


@dataclass(frozen=True)
class Case:
    """One entry of the corpus; corpus/README.md has the form."""

    name: str
    of: str | None
    near: str | None
    settings: str
    change: tuple[Mapping[str, Any], ...]
    expect: tuple[str, ...]

    def subject(self) -> Subject:
        """What it is about: settings, or templates that somebody changed."""
        alone = self.settings.startswith("name =")
        made = _made(self.settings if alone else f'name = "dev"\n{self.settings}')
        if not self.change:
            return made
        templates = copy.deepcopy(dict(made.templates))
        for change in self.change:
            _apply(templates, change)
        return Subject(templates)


def _apply(templates: Any, change: Mapping[str, Any]) -> None:
    where, _, path = change["at"].partition("/")
    if where.endswith(":"):  # networking:/Parameters.New
        parts = [where[:-1], *path.split(".")]
    else:
        title, *inside = path.split(".")
        parts = [where, "Resources", title, *(["Properties", *inside] if inside else [])]
    parts = [int(part) if part.isdigit() else part for part in parts]
    node = templates
    for part in parts[:-1]:
        node = node[part]
    if change.get("gone"):
        del node[parts[-1]]
        return
    value, times = change["to"], change.get("times")
    if times is not None:
        value = value * times if isinstance(value, str) else {f"P{n}": value for n in range(times)}
    if isinstance(node, list) and parts[-1] == len(node):
        node.append(value)
    else:
        node[parts[-1]] = value


@cache
def _cases() -> tuple[Case, ...]:
    found = []
    for file in sorted(CORPUS.glob("*.toml")):
        for number, case in enumerate(tomllib.loads(file.read_text("utf-8"))["case"], 1):
            found.append(
                Case(
                    f"{file.stem}-{number}-{case.get('of') or 'near-' + case['near']}",
                    case.get("of"),
                    case.get("near"),
                    case.get("settings", ""),
                    tuple(case.get("change", ())),
                    tuple(case.get("expect", ())),
                )
            )
    return tuple(found)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", _cases(), ids=lambda case: case.name)


@pytest.fixture(scope="session")
def cases() -> tuple[Case, ...]:
    """The whole corpus."""
    return _cases()


def line(finding: Finding) -> str:
    """A finding as the corpus writes it: ID, key, place in the template."""
    where = finding.where
    inside = ".".join(filter(None, (where.resource, where.property)))
    place = f"{where.phase}/{inside}" if inside else where.phase
    return " ".join(filter(None, (finding.id, where.key, place)))


@pytest.fixture(scope="session")
def as_line() -> Callable[[Finding], str]:
    return line


_playing: dict[str, Playback] = {}
"""Who answers, by service: boto3 clients take long to make, so all playbacks share them."""


@cache
def _session() -> Any:
    session = botocore.session.Session()
    session.set_credentials("playback", "playback")
    return session


@cache
def _client(service: str, region: str) -> Any:
    client = _session().create_client(service, region_name=region)
    asked = threading.local()  # rules ask from several threads

    def remember(params: Mapping[str, Any], **_: Any) -> None:
        asked.params = dict(params)

    def answer(model: Any, **_: Any) -> tuple[Any, Any]:
        return _playing[service]._answer(service, model, asked.params)

    client.meta.events.register(f"provide-client-params.{service}.*", remember)
    client.meta.events.register(f"before-call.{service}.*", answer)
    return client


_making = threading.Lock()


@dataclass
class Playback:
    """An account that answers from a script.

    `answers` holds, by "service.Operation", the answer, an error code, or a function of the parameters that
    gives either. The boto3 clients are real: parameters are checked by them, and answers by the same model,
    so that a wrong shape fails here and not on AWS. A question without an answer fails the test.
    """

    answers: dict[str, Any]
    region: str = "ap-northeast-1"
    account: str = "123456789012"
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def client(self, service: str) -> Any:
        with _making:
            client = _client(service, self.region)
        _playing[service] = self
        return client

    def _answer(self, service: str, model: Any, params: Mapping[str, Any]) -> tuple[Any, Any]:
        name = f"{service}.{model.name}"
        self.asked.append((name, params))
        assert name in self.answers, f"nobody expected {name} {json.dumps(params)}"
        answer = self.answers[name]
        if callable(answer):
            answer = answer(params)
        if isinstance(answer, str):
            code, _, message = answer.partition(": ")
            known = {shape.metadata.get("error", {}).get("code", shape.name) for shape in model.error_shapes}
            known |= {shape.name for shape in model.error_shapes}
            plain = {"AccessDenied", "ValidationError", "404", "403", "UnauthorizedOperation"}
            assert code in known | plain, f"{name} has no error {code}: {sorted(known)}"
            status = int(code) if code.isdigit() else 400
            return _Http(status), {
                "Error": {"Code": code, "Message": message},
                "ResponseMetadata": {"HTTPStatusCode": status},
            }
        if model.output_shape is not None:
            validate_parameters(answer, model.output_shape)
        return _Http(200), {**answer, "ResponseMetadata": {"HTTPStatusCode": 200}}


@dataclass
class _Http:
    status_code: int


@pytest.fixture(scope="session")
def playback() -> Callable[[dict[str, Any]], Playback]:
    return Playback


@pytest.fixture
def own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """cfn-lint's memory, empty and this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "memory"))
    yield tmp_path / "memory" / "zedi" / "cfn-lint"
