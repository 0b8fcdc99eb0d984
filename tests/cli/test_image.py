"""`zedi image` as a person runs it: real git, the embedded AWS, and engines that note what they are asked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from zedi.cli.deploy import deploy
from zedi.deploy import facts, rollout
from zedi.deploy import target as targets
from zedi.deploy.target import Target, target_of
from zedi.image import release
from zedi.settings import Settings

ROOT = Path(__file__).parents[2]
ENGINE = """#!{python}
# docker or podman, as far as `zedi image` can tell.
import json, os, sys
from pathlib import Path
here, name, words = Path(__file__).parent, Path(__file__).name, sys.argv[1:]
stdin = sys.stdin.read() if "--password-stdin" in words else ""
variables = {{key: value for key, value in os.environ.items() if "BUILD" in key}}
with open(here / "asked.jsonl", "a") as asked:
    asked.write(json.dumps([name, words, stdin, variables]) + "\\n")
images = here / f"{{name}}.images.json"
known = json.loads(images.read_text()) if images.exists() else {{}}
if (here / f"{{name}}.down").exists():
    sys.exit("Cannot connect to the engine.\\nIs it running?")
if (here / f"{{name}}.fails").exists() and (here / f"{{name}}.fails").read_text() == words[0]:
    sys.exit(f"denied: {{words[0]}}")
match words[0]:
    case "build":
        print("STEP 1/2")
        architecture = words[words.index("--platform") + 1].partition("/")[2]
        images.write_text(json.dumps(known | {{words[words.index("--tag") + 1]: architecture}}))
    case "image":
        sys.exit("no such image") if words[-1] not in known else print(known[words[-1]])
    case "tag":
        images.write_text(json.dumps(known | {{words[2]: known[words[1]]}}))
    case "push":
        import boto3
        repository, _, tag = words[-1].partition("/")[2].partition(":")
        manifest = json.dumps({{"schemaVersion": 2, "layers": [], "tag": tag}})
        boto3.client("ecr").put_image(repositoryName=repository, imageTag=tag, imageManifest=manifest)
"""


@dataclass
class Workplace:
    """A clone with one commit, and the programs that are on the PATH."""

    folder: Path
    programs: Path
    variables: dict[str, str]

    def zedi(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "zedi.cli", "image", *words],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.variables,
            timeout=60,
        )

    def install(self, name: str) -> None:
        program = self.programs / name
        program.write_text(ENGINE.format(python=sys.executable))
        program.chmod(0o755)

    def mark(self, name: str, text: str = "") -> None:
        """Tells an engine how to behave: docker.down, docker.fails with the verb that fails."""
        (self.programs / name).write_text(text)

    def git(self, *words: str) -> str:
        who = ["-c", "user.name=Hanako", "-c", "user.email=hanako@example.com"]
        return subprocess.run(
            ["git", *who, *words], cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout.strip()

    @property
    def commit(self) -> str:
        return self.git("rev-parse", "HEAD")

    def asked(self, verb: str) -> list[tuple[str, list[str], str, dict[str, str]]]:
        """What engines were asked with this verb: (engine, words, standard input, variables)."""
        file = self.programs / "asked.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(*entry,) for line in lines if (entry := json.loads(line))[1][0] == verb]


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    folder, programs = tmp_path / "clone", tmp_path / "programs"
    programs.mkdir()
    git = shutil.which("git")
    assert git
    (programs / "git").symlink_to(git)
    for path in ("Dockerfile", ".dockerignore", "README.md", *release.CONTEXT):
        file = folder / path / "code.py" if (ROOT / path).is_dir() else folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# {path}\n")
    (folder / "environments").mkdir()
    (folder / "environments" / "dev.toml").write_text('name = "dev"\n')
    (folder / "environments" / "arm.toml").write_text('name = "arm"\n[realtime]\narchitecture = "ARM64"\n')
    made = Workplace(folder, programs, {"PATH": str(programs), "HOME": str(tmp_path), "LANG": "C.UTF-8"})
    made.git("init", "--quiet")
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message", "All of it")
    return made


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done
    assert done.stdout == "" and "Traceback" not in done.stderr
    return done.stderr


def test_builds_the_revision(workplace: Workplace) -> None:
    """The tag is the commit, the platform the environment's, and the labels say where it comes from."""
    workplace.install("docker")
    workplace.git("remote", "add", "origin", "https://someone:secret@example.com/zedi.git")
    done = workplace.zedi("build", "arm")
    name = f"zedi-arm-realtime:{workplace.commit}"
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{name}\n"
    assert "STEP 1/2" in done.stderr and "zedi image push arm" in done.stderr
    ((engine, words, _, variables),) = workplace.asked("build")
    assert engine == "docker"
    assert words == [
        *("build", "--platform", "linux/arm64", "--tag", name),
        *("--label", f"org.opencontainers.image.revision={workplace.commit}"),
        *("--label", "org.opencontainers.image.source=https://example.com/zedi.git"),
        *("--build-arg", f"SOURCE_DATE_EPOCH={workplace.git('log', '-1', '--format=%ct')}"),
        *("--file", str(workplace.folder / "Dockerfile"), str(workplace.folder)),
    ]
    assert variables == {"DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}


def test_takes_the_engine_that_answers(workplace: Workplace) -> None:
    """A docker without its daemon is passed over for a podman that works."""
    workplace.install("docker")
    workplace.install("podman")
    workplace.mark("docker.down")
    done = workplace.zedi("build", "dev")
    assert done.returncode == 0, done.stderr
    ((engine, words, _, _),) = workplace.asked("build")
    assert engine == "podman"
    assert words[words.index("--format") + 1] == "docker"
    assert words[words.index("--timestamp") + 1] == workplace.git("log", "-1", "--format=%ct")
    assert words[words.index("--platform") + 1] == "linux/amd64"
    assert not any("secret" in word or "image.source" in word for word in words)


def test_takes_the_engine_that_is_named(workplace: Workplace) -> None:
    """With --engine no other one is asked, also where it would work."""
    workplace.install("docker")
    workplace.install("podman")
    assert workplace.zedi("build", "dev", "--engine", "podman").returncode == 0
    assert {engine for engine, *_ in workplace.asked("build")} == {"podman"}
    workplace.mark("podman.down")
    error = said(workplace.zedi("build", "dev", "--engine", "podman"))
    assert "podman is installed" in error and "docker" not in error


def test_says_why_no_engine_is_used(workplace: Workplace) -> None:
    """Of each engine it is said why not, and what to do."""
    workplace.install("docker")
    workplace.mark("docker.down")
    error = said(workplace.zedi("build", "dev"))
    assert "docker is installed, but its engine does not answer: Is it running?" in error
    assert "podman is not installed" in error
    assert "systemctl start docker" in error and "install podman" in error


def test_what_is_not_committed_is_refused(workplace: Workplace) -> None:
    """A tag never lies: changed and new files that go into the image are named, and nothing is built."""
    workplace.install("docker")
    (workplace.folder / "src/zedi/contract.py").write_text("# changed\n")
    (workplace.folder / "src/zedi/realtime/new.py").write_text("# new\n")
    error = said(workplace.zedi("build", "dev"))
    assert "src/zedi/contract.py, src/zedi/realtime/new.py" in error and "--allow-dirty" in error
    assert workplace.asked("build") == []
    done = workplace.zedi("build", "dev", "--allow-dirty")
    assert done.stdout == f"zedi-dev-realtime:{workplace.commit}-dirty\n"
    assert "zedi image push dev --allow-dirty" in done.stderr


def test_what_is_not_in_the_image_may_be_uncommitted(workplace: Workplace) -> None:
    """Settings and words can be worked on without making the image another one."""
    workplace.install("docker")
    (workplace.folder / "README.md").write_text("changed\n")
    with (workplace.folder / "environments" / "dev.toml").open("a") as file:
        file.write("# changed\n")
    done = workplace.zedi("build", "dev")
    assert done.stdout == f"zedi-dev-realtime:{workplace.commit}\n", done.stderr


def test_a_build_that_fails_is_an_error(workplace: Workplace) -> None:
    """The engine's own words stand there, then ours, with status 1."""
    workplace.install("docker")
    workplace.mark("docker.fails", "build")
    error = said(workplace.zedi("build", "dev"))
    assert "denied: build" in error and "docker build failed with status 1" in error


def test_needs_a_clone(workplace: Workplace, tmp_path: Path) -> None:
    """Outside a repository there is no revision, and in another one no Dockerfile."""
    workplace.install("docker")
    shutil.copytree(workplace.folder / "environments", tmp_path / "elsewhere" / "environments")
    elsewhere = Workplace(tmp_path / "elsewhere", workplace.programs, workplace.variables)
    assert "not a git repository" in said(elsewhere.zedi("build", "dev"))
    workplace.git("rm", "--quiet", "Dockerfile")
    workplace.git("commit", "--quiet", "--message", "Another project")
    assert "there is no Dockerfile" in said(workplace.zedi("build", "dev"))


def test_the_embedded_aws_needs_no_image(workplace: Workplace) -> None:
    """An environment that runs here has no use for an image, and no password leaves this machine for it."""
    workplace.install("docker")
    (workplace.folder / "environments" / "local.toml").write_text(
        'name = "local"\n[cdn]\nurl = "http://localhost:30000"\n[embedded]\n'
    )
    for verb in ("build", "push"):
        assert "has no use for an image" in said(workplace.zedi(verb, "local"))
    assert workplace.asked("version") == []


@pytest.fixture
def account(embedded: Settings) -> Target:
    """An account in which nothing of dev is deployed."""
    return target_of(embedded)


@pytest.fixture
def on_aws(workplace: Workplace, account: Target) -> Workplace:
    """The same, and AWS, which these settings name, is the embedded one."""
    workplace.install("docker")
    workplace.variables |= {
        "AWS_ENDPOINT_URL": account.endpoint_url or "",
        "AWS_DEFAULT_REGION": account.region,
        "AWS_ACCESS_KEY_ID": "embedded",
        "AWS_SECRET_ACCESS_KEY": "embedded",
        "NO_PROXY": "127.0.0.1",
    }
    return workplace


@pytest.fixture
def repository(account: Target) -> Iterator[str]:
    """The repository of dev: its address."""
    ecr = account.client("ecr")
    made = ecr.create_repository(repositoryName="zedi-dev-realtime")["repository"]
    yield made["repositoryUri"]
    ecr.delete_repository(repositoryName="zedi-dev-realtime", force=True)


@pytest.mark.server
def test_pushes_what_was_built(on_aws: Workplace, account: Target, repository: str) -> None:
    """It signs in by standard input, pushes under the commit, signs out, prints the repository's digest."""
    assert on_aws.zedi("build", "dev").returncode == 0
    done = on_aws.zedi("push", "dev")
    assert done.returncode == 0, done.stderr
    dev = Settings(name="dev")
    assert done.stdout == f"{facts.image_digest(dev, account, tag=on_aws.commit)}\n"
    assert done.stdout.startswith("sha256:")
    assert "zedi deploy dev" in done.stderr
    registry = repository.partition("/")[0]
    ((_, words, password, _),) = on_aws.asked("login")
    assert words == ["login", "--username", "AWS", "--password-stdin", registry]
    assert password
    for program in ("login", "tag", "push", "logout"):
        assert all(password not in " ".join(words) for _, words, _, _ in on_aws.asked(program))
    assert password not in done.stdout + done.stderr
    assert [words for _, words, _, _ in on_aws.asked("push")] == [["push", f"{repository}:{on_aws.commit}"]]
    assert [words for _, words, _, _ in on_aws.asked("logout")] == [["logout", registry]]


@pytest.mark.server
def test_json_is_what_was_built_and_pushed(on_aws: Workplace, repository: str) -> None:
    """Name and digest, for programs."""
    built = json.loads(on_aws.zedi("build", "dev", "--json").stdout)
    assert built["name"].endswith(f":{on_aws.commit}")
    pushed = json.loads(on_aws.zedi("push", "dev", "--json").stdout)
    assert pushed["name"] == f"{repository}:{on_aws.commit}" and pushed["digest"].startswith("sha256:")


@pytest.mark.server
def test_pushes_a_commit_whatever_was_changed_since(
    on_aws: Workplace, account: Target, repository: str
) -> None:
    """What was built from the commit is what its name says; changed files have an image of their own."""
    assert on_aws.zedi("build", "dev").returncode == 0
    (on_aws.folder / "src/zedi/contract.py").write_text("# changed\n")
    assert on_aws.zedi("push", "dev").returncode == 0
    error = said(on_aws.zedi("push", "dev", "--allow-dirty"))
    assert "zedi image build dev --allow-dirty" in error
    assert on_aws.zedi("build", "dev", "--allow-dirty").returncode == 0
    done = on_aws.zedi("push", "dev", "--allow-dirty")
    assert f'realtime.image_tag = "{on_aws.commit}-dirty"' in done.stderr
    dev = Settings(name="dev")
    assert facts.image_digest(dev, account, tag=f"{on_aws.commit}-dirty") == done.stdout.strip()


@pytest.mark.server
def test_says_that_deploys_run_another_one(on_aws: Workplace, repository: str) -> None:
    """Where the settings name a tag, pushing something else changes nothing, and that is said."""
    (on_aws.folder / "environments" / "dev.toml").write_text('name = "dev"\n[realtime]\nimage_tag = "v1"\n')
    assert on_aws.zedi("build", "dev").returncode == 0
    assert 'realtime.image_tag = "v1"' in on_aws.zedi("push", "dev").stderr


@pytest.mark.server
def test_without_a_repository_nothing_is_pushed(on_aws: Workplace) -> None:
    """Before the first deploy the error names the command that makes the repository."""
    assert on_aws.zedi("build", "dev").returncode == 0
    error = said(on_aws.zedi("push", "dev"))
    assert "there is no such repository yet" in error and "zedi deploy dev" in error
    assert on_aws.asked("login") == []


@pytest.mark.server
def test_only_a_fitting_image_is_pushed(on_aws: Workplace, repository: str) -> None:
    """One that was not built, or was built for another architecture, is told before anything is sent."""
    assert "Build it: zedi image build dev --engine docker" in said(on_aws.zedi("push", "dev"))
    images = on_aws.programs / "docker.images.json"
    images.write_text(json.dumps({f"zedi-dev-realtime:{on_aws.commit}": "arm64"}))
    assert "is for arm64, and dev runs on amd64" in said(on_aws.zedi("push", "dev"))
    assert on_aws.asked("login") == [] and on_aws.asked("push") == []


@pytest.mark.server
@pytest.mark.parametrize("verb", ["login", "push"])
def test_a_push_that_fails_is_an_error(on_aws: Workplace, repository: str, verb: str) -> None:
    """It is told, and where this machine was signed in it is signed out again."""
    assert on_aws.zedi("build", "dev").returncode == 0
    on_aws.mark("docker.fails", verb)
    error = said(on_aws.zedi("push", "dev"))
    assert f"denied: {verb}" in error
    assert len(on_aws.asked("logout")) == (verb == "push")


@pytest.fixture
def deploys(
    on_aws: Workplace, account: Target, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str | None]]:
    """What `zedi deploy` has deployed; the realtime phase makes its repository, as on AWS."""
    done: list[str | None] = []
    ecr = account.client("ecr")

    def deploy(settings: Any, target: Target, *, only: str | None = None, **_: Any) -> rollout.DeployResult:
        if release.repository(settings, target) is None:
            ecr.create_repository(repositoryName=facts.repository(settings))
        done.append(only)
        return rollout.DeployResult({}, (), None, 1.0)

    monkeypatch.setattr(rollout, "deploy", deploy)
    monkeypatch.setattr(targets, "target_of", lambda settings: account)
    monkeypatch.chdir(on_aws.folder)
    for name, value in on_aws.variables.items():
        monkeypatch.setenv(name, value)
    yield done
    if done:
        ecr.delete_repository(repositoryName="zedi-dev-realtime", force=True)


@pytest.mark.server
def test_deploys_an_image_into_an_empty_account(on_aws: Workplace, deploys: list[str | None]) -> None:
    """In one go: built, deployed for its repository, pushed, its service deployed; then not again."""
    done = CliRunner().invoke(deploy, ["dev", "--image"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert deploys == [None, "realtime"]
    assert len(on_aws.asked("build")) == len(on_aws.asked("push")) == 1
    assert CliRunner().invoke(deploy, ["dev", "--image"]).exit_code == 0
    assert deploys == [None, "realtime", None]
    on_aws.git("commit", "--quiet", "--allow-empty", "--message", "Another")
    assert CliRunner().invoke(deploy, ["dev", "--image"]).exit_code == 0
    assert deploys == [None, "realtime", None, None], "the repository is there, so the image goes before"
    assert len(on_aws.asked("build")) == len(on_aws.asked("push")) == 2


@pytest.mark.server
def test_an_image_that_cannot_be_had_deploys_nothing(on_aws: Workplace, deploys: list[str | None]) -> None:
    """Without an engine, with uncommitted files, or for another tag, nothing is begun."""
    file = on_aws.folder / "environments" / "dev.toml"
    file.write_text('name = "dev"\n[realtime]\nimage_tag = "v1"\n')
    assert "names the image v1" in str(CliRunner().invoke(deploy, ["dev", "--image"]).exception)
    file.write_text('name = "dev"\n')
    (on_aws.folder / "src/zedi/contract.py").write_text("# changed\n")
    assert "not committed" in str(CliRunner().invoke(deploy, ["dev", "--image"]).exception)
    on_aws.mark("docker.down")
    assert "does not answer" in str(CliRunner().invoke(deploy, ["dev", "--image"]).exception)
    assert CliRunner().invoke(deploy, ["dev", "--image", "--only", "cdn"]).exit_code == 2
    assert deploys == []
