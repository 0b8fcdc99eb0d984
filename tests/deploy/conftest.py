"""The embedded AWS, phases small enough to see through, and a listener that remembers."""

from __future__ import annotations

import asyncio
import subprocess
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from troposphere import Output, Parameter, Ref, Template
from troposphere.sns import Topic

from zedi.deploy.rollout import deploy
from zedi.deploy.target import Target, target_of
from zedi.embedded import aws as embedded_aws
from zedi.embedded.state import State
from zedi.phases import Phase
from zedi.settings import Cdn, Embedded, Settings

_START_SECONDS = 30.0


@pytest.fixture(scope="session")
def embedded(
    tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[int], list[int]]
) -> Iterator[Settings]:
    """An environment whose embedded AWS runs; nothing is deployed in it."""
    port, database, cache = free_ports(3)
    settings = Settings(
        name="test", cdn=Cdn(url="http://localhost:30000"), embedded=Embedded(port=port)
    ).model_copy(deep=True)
    settings = settings.model_copy(
        update={
            "database": settings.database.model_copy(update={"port": database}),
            "cache": settings.cache.model_copy(update={"port": cache}),
        }
    )
    state = State(tmp_path_factory.mktemp("embedded"))
    program = embedded_aws.program(settings, state)
    with open(state.logs / "aws.log", "wb") as log:
        process = subprocess.Popen(program.command, env=dict(program.environment), stdout=log, stderr=log)
    try:
        try:
            asyncio.run(_until_ready(program.ready, process))
        except TimeoutError:
            raise AssertionError((state.logs / "aws.log").read_text("utf-8", "replace")) from None
        yield settings
    finally:
        process.terminate()
        process.wait(timeout=_START_SECONDS)
        state.close()


async def _until_ready(ready: Callable[[], Awaitable[bool]], process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(_START_SECONDS):
        while not await ready():
            if process.poll() is not None:
                raise TimeoutError
            await asyncio.sleep(0.02)


@pytest.fixture
def settings(embedded: Settings, request: pytest.FixtureRequest) -> Settings:
    """The same AWS, and an environment of this test's own in it."""
    return embedded.model_copy(update={"name": f"t{zlib.crc32(request.node.nodeid.encode()):x}"})


@pytest.fixture
def target(settings: Settings) -> Target:
    return target_of(settings)


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


def _file(settings: Settings, folder: Path) -> Path:
    assert settings.embedded is not None
    file = folder / f"{settings.name}.toml"
    file.write_text(
        f"""
name = "{settings.name}"
[database]
port = {settings.database.port}
[cache]
port = {settings.cache.port}
[cdn]
url = "{settings.cdn.url}"
[embedded]
port = {settings.embedded.port}
""",
        "utf-8",
    )
    return file


@pytest.fixture
def file(settings: Settings, tmp_path: Path) -> Path:
    """This test's own environment as the command line takes it: nothing is deployed in it."""
    return _file(settings, tmp_path)


@pytest.fixture(scope="session")
def whole(embedded: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path]:
    """An environment with all phases deployed, and its file; who changes it puts it back."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "index.html").write_text("<!doctype html>", "utf-8")
    settings = embedded.model_copy(update={"name": "whole"})
    deploy(settings, target_of(settings), listener=lambda event: None, web=folder)
    return settings, _file(settings, folder)


class Heard(list[Any]):
    """A listener that keeps every event."""

    def __call__(self, event: Any) -> None:
        self.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]


@pytest.fixture
def heard() -> Heard:
    return Heard()
