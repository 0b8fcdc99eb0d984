"""The image's files, and the service run from them as its task definition says."""

from __future__ import annotations

import asyncio
import json
import platform
import signal
import stat
import subprocess
import sysconfig
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from zedi import contract
from zedi.embedded.supervisor import healthy
from zedi.image import layout
from zedi.phases import PHASES
from zedi.settings import Settings

pytestmark = pytest.mark.server

SECONDS = 60.0
"""How long a container may take until it is healthy; the task definition gives it as much."""
KEYS = json.dumps(
    {"keys": [{"kid": "a", "kty": "RSA", "alg": "RS256", "use": "sig", "n": "u" * 342, "e": "AQAB"}]}
)
PYTHON_LIBRARIES = Path(sysconfig.get_config_var("LIBDIR")).resolve()
NAMES_ITS_MACHINE = {"RECORD", "WHEEL"}
"""Files of a package that name its architecture."""


def containers(settings: Settings, parameters: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The containers of the environment's synthesized task definition, by name, as ECS would start them."""

    def value(given: Any) -> str:
        match given:
            case str():
                return given
            case {"Ref": name}:
                return parameters[name]
            case {"Fn::Join": [between, parts]}:
                return str(between).join(map(value, parts))
            case _:
                raise AssertionError(f"a value of another kind: {given}")

    template = next(phase for phase in PHASES if phase.name == "realtime").build(settings).to_dict()
    (task,) = (
        resource["Properties"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::ECS::TaskDefinition"
    )
    return {
        each["Name"]: {
            **each,
            "Environment": {
                **{entry["Name"]: value(entry["Value"]) for entry in each["Environment"]},
                **{entry["Name"]: value(entry["ValueFrom"]) for entry in each["Secrets"]},
            },
        }
        for each in task["ContainerDefinitions"]
    }


def test_everybody_may_read_and_nobody_write(image: Any) -> None:
    """No file needs an owner's rights, none is anybody's to change, and every time is the same."""
    for path in image.root.rglob("*"):
        status = path.stat()
        assert not path.is_symlink(), path
        assert stat.S_IMODE(status.st_mode) in ((0o755,) if path.is_dir() else (0o644, 0o755)), path
        if path.is_file():
            assert status.st_mtime == layout.MODIFIED, path


def test_holds_the_service_and_its_packages_only(image: Any) -> None:
    """Of Zedi there are the rooms of the service; no test, no tool, nothing that the templates need."""
    ours = {path.name for path in (image.root / "opt/zedi/zedi").iterdir()} - {"__pycache__"}
    assert ours == set(layout.SERVICE)
    packages = {path.name for path in (image.root / "opt/zedi").iterdir()}
    assert {"picows", "asyncpg", "zedi"} < packages
    assert packages.isdisjoint({"bin", "pip", "boto3", "troposphere", "pytest", "mypy", "ministack"})
    everything = {path.relative_to(image.root).parts[0] for path in image.root.rglob("*")}
    assert everything == {"opt", Path(sysconfig.get_path("stdlib")).parts[1]}


def test_is_made_for_the_other_architecture(image: Any, make_image: Callable[[str], Any]) -> None:
    """The image of the architecture that this machine does not have differs in machine code only.

    So it also shows that an image made again is what it was, to the byte: what has not changed is not pushed
    again. The machine code itself comes out of wheels, by their hashes.
    """
    other = make_image("arm64" if platform.machine() == "x86_64" else "amd64")
    machine = {"x86_64": "aarch64", "aarch64": "x86_64"}[platform.machine()]
    libraries = {path.relative_to(other.root) for path in files(other.root) if path.suffix == ".so"}
    assert len(libraries) >= 15
    for library in libraries:
        # e_machine of the ELF header: 62 is x86-64, 183 AArch64.
        header = (other.root / library).read_bytes()[:20]
        assert int.from_bytes(header[18:20], "little") == {"x86_64": 62, "aarch64": 183}[machine], library
    ours, theirs = (
        {
            path.relative_to(root): path.read_bytes()
            for path in files(root)
            if path.suffix != ".so" and path.name not in NAMES_ITS_MACHINE and "sboms" not in path.parts
        }
        for root in (image.root, other.root)
    )
    assert ours == theirs


def test_imports_nothing_from_outside(container: Any) -> None:
    """Everything that both containers import is the image's or Python's own, and was compiled before."""
    code = (
        "import json, sys, zedi.realtime.__main__, zedi.notes.__main__\n"
        "found = {n: (getattr(m, '__file__', None), getattr(m, '__cached__', None))"
        " for n, m in sys.modules.items()}\n"
        "print(json.dumps([found, sys.path, sys.flags.safe_path, sys.flags.dont_write_bytecode]))"
    )
    status, printed = container.run("python", "-c", code)
    assert status == 0, printed
    modules, path, safe_path, no_bytecode = json.loads(printed)
    library = sysconfig.get_path("stdlib")
    assert path[0] == layout.SITE and safe_path and no_bytecode
    sources = {
        name: (file, cached) for name, (file, cached) in modules.items() if file and file.endswith(".py")
    }
    assert len(sources) > 300
    merged = container.root.with_name("root.library")
    for name, (file, _) in modules.items():
        assert file is None or file.startswith((f"{layout.SITE}/", f"{library}/")), (name, file)
        assert "site-packages" not in (file or ""), (name, file)
    for name, (file, cached) in sources.items():
        if cached is None:  # Python has some of its own library inside
            assert file.startswith(library), (name, file)
        elif cached.startswith(library):
            assert (merged / Path(cached).relative_to(library)).exists(), f"{name} is compiled at every start"
        else:
            assert (container.root / cached.lstrip("/")).exists(), f"{name} is compiled at every start"


def test_nothing_can_be_written(container: Any) -> None:
    """Not the packages, not a temporary folder, not the current one: as the task definition wants it."""
    code = (
        "import os\n"
        "for place in ('/', '/tmp', '.', '/opt/zedi/zedi', os.path.dirname(os.__file__)):\n"
        "    try: open(os.path.join(place, 'x'), 'w')\n"
        "    except OSError as error: print(error.errno)\n"
        "print(os.getuid(), os.getgid(), os.getgroups() in ([], [65534]))"
    )
    status, printed = container.run("python", "-c", code)
    assert status == 0, printed
    *refused, who = printed.splitlines()
    assert refused == ["30"] * 5  # EROFS
    assert who == "65534 65534 True"


async def test_both_containers_become_healthy(
    container: Any, servers: Any, ended: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    """Both run with dev's task definition, reach PostgreSQL and Valkey, answer, and stop when asked."""
    parameters = {
        "RedisConnectionString": servers.redis_url,
        "CognitoUserPoolEndpoint": "cognito-idp.ap-northeast-1.amazonaws.com/ap-northeast-1_example",
        "CognitoClientId": "example",
        "TokenKeys": KEYS,
        "TokenKeysUrl": "",
        "DbCredentialsSecretArn": servers.credentials,
        "HistoryBucket": "zedi-dev-history-example",
        "AWS::Region": servers.settings.region,
    }
    definitions = containers(servers.settings, parameters)
    assert set(definitions) == {contract.REALTIME_CONTAINER, contract.API_CONTAINER}
    running: dict[str, subprocess.Popen[str]] = {}
    outputs = {name: tmp_path / f"{name}.log" for name in definitions}
    for name, definition in definitions.items():
        assert definition["User"] == container.image.user and definition["ReadonlyRootFilesystem"] is True
        assert definition["Environment"][contract.DB_TLS] == "require"
        with outputs[name].open("w") as output:
            running[name] = container.popen(definition["Command"], definition["Environment"], output.fileno())
        ended.append(running[name])
    for name, definition in definitions.items():
        port = int(definition["Environment"][contract.PORT])
        async with asyncio.timeout(SECONDS):
            while not await healthy(port, contract.HEALTH_PATH):
                assert running[name].poll() is None, outputs[name].read_text()
                await asyncio.sleep(0.02)
        kind, *check = definition["HealthCheck"]["Command"]
        assert kind == "CMD"
        for command in (check, container.image.health):
            status, printed = container.run(*command, PORT=str(port))
            assert (status, printed) == (0, ""), f"{name}: {command}"
        assert container.run(*container.image.health, PORT="1")[0] != 0

    port = servers.settings.realtime.port
    await until_connected(port)
    # The image's, its base's Python, and the C library.
    places = ("/opt/zedi/", str(PYTHON_LIBRARIES), "/usr/lib")
    for name, process in running.items():
        libraries = {path.removeprefix(str(container.root)) for path in loaded(process.pid)}
        assert any(library.startswith("/opt/zedi/uvloop/") for library in libraries), libraries
        assert [library for library in libraries if not library.startswith(places)] == []
        process.terminate()
        # uvicorn ends in good order and then by the signal that it was sent.
        assert process.wait(SECONDS) in (0, -signal.SIGTERM), outputs[name].read_text()


async def until_connected(port: int) -> None:
    """Waits until the realtime service has both its database and its Redis."""

    def health() -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    async with asyncio.timeout(SECONDS):
        while True:
            said = await asyncio.to_thread(health)
            assert said["database"] == "ok" and said["ready"] is True, said
            if said["redis"] == "ok":
                return
            await asyncio.sleep(0.02)


def loaded(process: int) -> set[str]:
    """The libraries that a process has loaded, by their paths."""
    lines = (line.split(None, 5) for line in Path(f"/proc/{process}/maps").read_text("utf-8").splitlines())
    return {line[5] for line in lines if len(line) == 6 and ".so" in line[5]}


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]
