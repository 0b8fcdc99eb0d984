"""One embedded AWS for all tests that deploy something, and an environment of each test's own in it.

A plugin (tests/conftest.py names it), so that its fixtures are there for every folder. What keeps tests apart
is the environment's name: everything that is deployed starts with it. Only what tests its start, its end or
its memory starts another one (tests/embedded).
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import zlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from zedi.deploy.target import Target, target_of
from zedi.embedded import aws
from zedi.embedded.state import State
from zedi.embedded.task import role
from zedi.settings import Cdn, Embedded, Settings

_SECONDS = 30.0


@pytest.fixture(scope="session")
def embedded(
    tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[int], list[int]]
) -> Iterator[Settings]:
    """An environment whose embedded AWS runs; nothing is deployed in it."""
    port, database, cache = free_ports(3)
    settings = Settings(name="test", cdn=Cdn(url="http://localhost:30000"), embedded=Embedded(port=port))
    settings = settings.model_copy(
        update={
            "database": settings.database.model_copy(update={"port": database}),
            "cache": settings.cache.model_copy(update={"port": cache}),
        }
    )
    state = State(tmp_path_factory.mktemp("embedded"))
    program = aws.program(settings, state)
    log = state.logs / "aws.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            program.command,
            # Nobody comes back to it, and writing all of it down after each change is half of its work.
            env={**program.environment, "PERSIST_STATE": "0"},
            stdout=output,
            stderr=output,
        )
    try:
        try:
            asyncio.run(_until_ready(program.ready, process))
        except TimeoutError:
            raise AssertionError(log.read_text("utf-8", "replace")) from None
        yield settings
    finally:
        process.terminate()
        process.wait(timeout=_SECONDS)
        state.close()


async def _until_ready(ready: Callable[[], Awaitable[bool]], process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(_SECONDS):
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
def history_bucket(settings: Settings, target: Target, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket, and what a task finds in its environment to reach it."""
    name = f"{settings.prefix}-history"
    target.client("s3").create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": "ap-northeast-1"}
    )
    for variable, value in role(settings).items():
        monkeypatch.setenv(variable, value)
    return name


@pytest.fixture(scope="session")
def write_settings() -> Callable[[Settings, Path], Path]:
    """Writes settings into a folder, as the command line takes them."""

    def write(settings: Settings, folder: Path) -> Path:
        lines = [f"{key} = {json.dumps(value)}" for key, value in _plain(settings).items()]
        file = folder / f"{settings.name}.toml"
        file.write_text("\n".join(lines) + "\n", "utf-8")
        return file

    return write


def _plain(settings: Settings) -> dict[str, object]:
    """What differs from the defaults, by dotted keys. Lists of tables (example users) are left out."""
    found: dict[str, object] = {}
    for key, value in settings.model_dump(mode="json", exclude_defaults=True).items():
        if isinstance(value, dict):
            found |= {f"{key}.{name}": each for name, each in value.items() if each is not None}
        elif value is not None:
            found[key] = value
    if settings.embedded is not None:
        found["embedded.port"] = settings.embedded.port
        found.pop("embedded.users", None)
    return found


@pytest.fixture
def file(settings: Settings, tmp_path: Path, write_settings: Callable[[Settings, Path], Path]) -> Path:
    """This test's own environment as the command line takes it: nothing is deployed in it."""
    return write_settings(settings, tmp_path)
