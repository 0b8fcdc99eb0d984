"""Phases small enough to see through, and a listener that remembers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from troposphere import Output, Parameter, Ref, Template
from troposphere.sns import Topic

from zedi.deploy.rollout import deploy
from zedi.deploy.target import target_of
from zedi.phases import Phase
from zedi.settings import Settings


@pytest.fixture
def phase() -> Callable[..., Phase]:
    """Makes a phase with one SNS topic, or with what `resources` adds to a template."""

    def make(
        name: str,
        *after: str,
        display: str = "first",
        takes: Mapping[str, str] | None = None,
        resources: Callable[[Template], None] | None = None,
    ) -> Phase:
        def build(settings: Settings) -> Template:
            template = Template(Description=f"{settings.prefix}: {name}")
            for parameter, kind in (takes or {}).items():
                template.add_parameter(Parameter(parameter, Type=kind))
            topic = template.add_resource(
                Topic("Topic", TopicName=f"{settings.prefix}-{name}", DisplayName=display)
            )
            template.add_output(Output(f"{name.capitalize()}TopicArn", Value=Ref(topic)))
            if resources is not None:
                resources(template)
            return template

        return Phase(name, after, build)

    return make


@pytest.fixture(scope="session")
def whole(
    embedded: Settings,
    tmp_path_factory: pytest.TempPathFactory,
    write_settings: Callable[[Settings, Path], Path],
) -> tuple[Settings, Path]:
    """An environment with all phases deployed, and its file; who changes it puts it back."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "index.html").write_text("<!doctype html>", "utf-8")
    settings = embedded.model_copy(update={"name": "whole"})
    deploy(settings, target_of(settings), listener=lambda event: None, web=folder)
    return settings, write_settings(settings, folder)


class Heard(list[Any]):
    """A listener that keeps every event."""

    def __call__(self, event: Any) -> None:
        self.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]


@pytest.fixture
def heard() -> Heard:
    return Heard()
