"""The Dockerfile carried out without a container engine, and a place to run what it makes.

`image` reads the repository's Dockerfile and does what its COPY and RUN say, in folders. `container` puts the
image's files over what its base has (this machine's Python and C library), closes everything else off, and
runs commands in there: the root is that folder, nothing can be written, the user is the image's.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from zedi.embedded import postgres, valkey
from zedi.embedded.state import State
from zedi.embedded.supervisor import Supervisor
from zedi.settings import Settings, load

ROOT = Path(__file__).parents[2]
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PASSWORD = "not-a-secret-1"


@dataclass(frozen=True)
class Instruction:
    """One line of a Dockerfile."""

    name: str
    flags: Mapping[str, str]
    words: tuple[str, ...]
    text: str


def read(text: str) -> list[Instruction]:
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text))
    found: list[Instruction] = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        name, _, rest = line.partition(" ")
        flags: dict[str, str] = {}
        while flag := re.match(r"\s*--([a-z-]+)=(\S+)\s", rest):
            flags[flag[1]], rest = flag[2], rest[flag.end() :]
        words = tuple(json.loads(rest)) if rest.lstrip().startswith("[") else tuple(shlex.split(rest))
        found.append(Instruction(name, flags, words, rest.strip()))
    return found


def allowed(path: Path) -> bool:
    """Whether .dockerignore lets a file into the build."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*" and lines[-1] == "**/__pycache__"
    assert all(line.startswith("!") for line in lines[1:-1])
    return "__pycache__" not in path.parts and any(path.is_relative_to(line[1:]) for line in lines[1:-1])


@dataclass
class Image:
    """What a Dockerfile makes: the files beside those of its base, and how it is run."""

    root: Path
    """Its files; / in the image."""
    base: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    folder: str = "/"
    command: tuple[str, ...] = ()
    health: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)


def carry_out(instructions: Sequence[Instruction], folder: Path, architecture: str) -> Image:
    """Does what a container engine would do for the last stage; commands run on this machine's Python."""
    context = folder / "context"
    for file in sorted(path for path in ROOT.joinpath("src").rglob("*") if path.is_file()):
        if allowed(relative := file.relative_to(ROOT)):
            (context / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, context / relative)
    shutil.copyfile(ROOT / "requirements-service.lock", context / "requirements-service.lock")
    arguments = {"TARGETARCH": architecture}
    stages: dict[str, Image] = {}
    image = Image(Path())
    for step in instructions:
        words = tuple(
            re.sub(r"\$\{?(\w+)\}?", lambda name: arguments.get(name[1], name[0]), word)
            for word in step.words
        )
        match step.name, words:
            case "ARG", (word,):
                name, equals, value = word.partition("=")
                assert equals or name in arguments, f"nobody gives {name}"
                arguments.setdefault(name, value)
            case "FROM", (base, *rest):
                stage = str(len(stages))
                image = stages[rest[1] if rest else stage] = Image(folder / stage, base)
                image.root.mkdir()
            case "WORKDIR", (place,):
                image.folder = place
                inside(image, place).mkdir(parents=True, exist_ok=True)
            case "COPY", (*sources, place):
                origin = stages[step.flags["from"]].root if "from" in step.flags else context
                target = inside(image, place)
                for source in sources:
                    path = origin / source.lstrip("/")
                    if path.is_dir():
                        shutil.copytree(path, target, dirs_exist_ok=True, copy_function=shutil.copy2)
                    else:
                        target.mkdir(parents=True, exist_ok=True)
                        shutil.copy2(path, target / path.name)
            case "RUN", _:
                subprocess.run(
                    ["sh", "-c", step.text],
                    check=True,
                    cwd=inside(image, "."),
                    env={
                        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
                        **arguments,
                        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                    },
                )
            case "ENV" | "LABEL", _:
                pairs = dict(word.split("=", 1) for word in words)
                (image.environment if step.name == "ENV" else image.labels).update(pairs)
            case "USER", (user,):
                image.user = user
            case "CMD", _:
                image.command = words
            case "HEALTHCHECK", _:
                _, _, check = step.text.partition("CMD ")
                image.health = tuple(json.loads(check))
            case "EXPOSE", _:
                pass
            case _:
                raise AssertionError(f"a Dockerfile with {step.name} {step.text} cannot be tested here")
    return image


def inside(image: Image, place: str) -> Path:
    """A place in an image; relative ones are below its current folder."""
    below = place if place.startswith("/") else f"{image.folder}/{place}"
    return image.root / below.lstrip("/")


@pytest.fixture(scope="session")
def dockerfile() -> list[Instruction]:
    return read((ROOT / "Dockerfile").read_text("utf-8"))


@pytest.fixture(scope="session")
def make_image(
    dockerfile: list[Instruction], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Image]:
    """Makes the image of an architecture (amd64, arm64)."""

    def make(architecture: str) -> Image:
        return carry_out(dockerfile, tmp_path_factory.mktemp(architecture), architecture)

    return make


@pytest.fixture(scope="session")
def image(make_image: Callable[[str], Image]) -> Image:
    """The image for this machine's architecture."""
    return make_image(ARCHITECTURES[platform.machine()])


# Run as the root of a mount namespace: $1 is the container's root, $2 the user, the rest the command. What
# the base has is bound in; then nothing can be written, and nothing outside can be seen.
_ENTER = r"""
set -eu
root=$1 user=$2; shift 2
mount --rbind "$root" "$root"
while read -r place; do mount --rbind "$place" "$root$place"; done <"$root.binds"
mount --rbind "$root.library" "$root$LIBRARY"
for place in "" $(cat "$root.binds") "$LIBRARY"; do
    case $place in /proc | /dev/*) ;; *) mount -o remount,bind,ro "$root$place" ;; esac
done
unset LIBRARY
if [ "$(id -u)" = 0 ]; then
    exec chroot --userspec="$user" --groups= "$root" \
        setpriv --pdeathsig=KILL --no-new-privs --bounding-set=-all -- "$@"
fi
exec chroot "$root" setpriv --pdeathsig=KILL --no-new-privs --inh-caps=-all --ambient-caps=-all -- "$@"
"""
_NAMESPACES = (
    ("unshare", "--mount"),  # root's way: the user is really another one
    ("unshare", "--user", "--map-user={user}", "--map-group={group}", "--keep-caps", "--mount"),
)


@dataclass
class Container:
    """A place where an image's commands run."""

    image: Image
    root: Path
    namespace: tuple[str, ...]

    def popen(
        self, command: Sequence[str], environment: Mapping[str, str], output: int | None = None
    ) -> subprocess.Popen[str]:
        """Starts a command with this environment and the image's; the process is the command's own."""
        user, group = self.image.user.split(":")
        return subprocess.Popen(
            [
                *(word.format(user=user, group=group) for word in self.namespace),
                *("sh", "-c", _ENTER, "sh", str(self.root), self.image.user, *command),
            ],
            env={
                "PATH": "/base/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "LANG": "C.UTF-8",
                "LIBRARY": sysconfig.get_path("stdlib"),
                **self.image.environment,
                **environment,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, **environment: str) -> tuple[int, str]:
        """Runs a command to its end: (status, what it printed)."""
        process = self.popen(command, environment, subprocess.PIPE)
        printed, _ = process.communicate(timeout=60)
        return process.returncode, printed


@pytest.fixture(scope="session")
def container(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Container:
    """The image on a base like its own: a Python without compiled code, without packages."""
    folder = tmp_path_factory.mktemp("container")
    for parent in (folder, *folder.parents):
        if parent.owner() == "root" and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o711)
    root = folder / "root"
    shutil.copytree(image.root, root, copy_function=os.link)
    library = Path(sysconfig.get_path("stdlib"))
    merged = folder / "root.library"
    shutil.copytree(
        library, merged, ignore=shutil.ignore_patterns("__pycache__", "site-packages", "test", "config-*")
    )
    shutil.copytree(root / library.relative_to("/"), merged, dirs_exist_ok=True, copy_function=os.link)
    binds = ["/usr", "/proc", "/dev/null", "/dev/urandom"]
    prefix = Path(sys.base_prefix)
    if not prefix.is_relative_to("/usr"):
        binds.append(str(prefix))
    for bind in binds:
        place = root / bind.lstrip("/")
        if bind.startswith("/dev/"):
            place.parent.mkdir(exist_ok=True)
            place.touch()
        else:
            place.mkdir(parents=True, exist_ok=True)
    (folder / "root.binds").write_text("".join(f"{bind}\n" for bind in binds))
    for name in ("bin", "sbin", "lib", "lib64"):
        link = Path("/", name)
        if link.is_symlink():
            (root / name).symlink_to(os.readlink(link))
    (root / "tmp").mkdir()
    (root / "base" / "bin").mkdir(parents=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (root / "base" / "bin" / "python").symlink_to(prefix / "bin" / version)
    failures: list[str] = []
    for namespace in _NAMESPACES:
        if namespace == _NAMESPACES[0] and os.geteuid() != 0:
            continue
        made = Container(image, root, namespace)
        status, printed = made.run("python", "-c", "import os; print(os.getuid())")
        if (status, printed) == (0, image.user.partition(":")[0] + "\n"):
            return made
        failures.append(f"{' '.join(namespace)}: {printed.strip()}")
    pytest.skip(f"this machine permits no namespaces, so no container: {'; '.join(failures)}")


@dataclass(frozen=True)
class Servers:
    """A PostgreSQL that is reached encrypted, as Aurora is, and a Valkey; both empty."""

    settings: Settings
    """Those of dev, on free ports."""
    credentials: str
    """What the secret of the database phase says."""
    redis_url: str


@pytest.fixture
async def servers(tmp_path: Path, free_ports: Callable[[int], list[int]]) -> AsyncIterator[Servers]:
    database, cache, realtime, api = free_ports(4)
    dev = load(str(ROOT / "environments" / "dev.toml"))
    dev = dev.model_copy(
        update={
            "database": dev.database.model_copy(update={"port": database}),
            "cache": dev.cache.model_copy(update={"port": cache}),
            "realtime": dev.realtime.model_copy(update={"port": realtime, "api_port": api}),
        }
    )
    state = State(tmp_path / "servers")
    children = Supervisor(state.logs, print)
    try:
        installation = await postgres.prepared(state, children)
        encrypted = {name: str(path) for name, path in _certificate(state.postgres).items()}
        words = [word for name, path in encrypted.items() for word in ("-c", f"{name}={path}")]
        program = postgres.program(dev, state, installation)
        await asyncio.gather(
            children.start(replace(program, command=(*program.command, "-c", "ssl=on", *words))),
            children.start(valkey.program(dev, state)),
        )
        await postgres.provide(dev, state, PASSWORD, statistics=False)
        credentials = {
            "username": dev.database.master_username,
            "password": PASSWORD,
            "engine": "postgres",
            "host": "127.0.0.1",
            "port": database,
            "dbname": dev.database.name,
        }
        yield Servers(dev, json.dumps(credentials), f"redis://127.0.0.1:{cache}")
    finally:
        await children.stop_all()
        state.close()


def _certificate(folder: Path) -> dict[str, Path]:
    """A key and a certificate that it signed itself, readable by whoever owns the folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    files = {"ssl_cert_file": folder / "server.crt", "ssl_key_file": folder / "server.key"}
    files["ssl_cert_file"].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files["ssl_key_file"].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    owner = folder.stat()
    for path in files.values():
        path.chmod(0o600)
        os.chown(path, owner.st_uid, owner.st_gid)
    return files


@pytest.fixture
def ended() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are killed when the test is done, if they run then."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait(30)
