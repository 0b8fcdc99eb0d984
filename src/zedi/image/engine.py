"""docker or podman: whichever is there and works.

Both are asked in words that both understand; where they differ is said here. Their own output goes to
standard error, so that what we print stands alone on standard output.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from zedi.image import ImageError

Name = Literal["docker", "podman"]

NAMES: Final[tuple[Name, ...]] = ("docker", "podman")
_ANSWER_SECONDS: Final = 30.0
_STANDARD_ERROR: Final = 2
# Asks the engine, not the command: a docker without its daemon has no server's version.
_ALIVE: Final[Mapping[Name, tuple[str, ...]]] = {
    "docker": ("version", "--format", "{{.Server.Version}}"),
    "podman": ("info", "--format", "{{.Version.Version}}"),
}
_START: Final[Mapping[Name, str]] = {
    "docker": "start Docker (systemctl start docker, or Docker Desktop)",
    "podman": "see what `podman info` says",
}
_BUILDKIT: Final = {
    # The old builder knows nothing of BUILDPLATFORM; without BuildKit it shall say so, not fail later.
    "DOCKER_BUILDKIT": "1",
    # An attestation would be a second image in the repository, and the last ten are kept.
    "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
}


@dataclass(frozen=True)
class Engine:
    name: Name
    program: str
    """Its path."""

    def build(self, folder: Path, image: str, platform: str, labels: Mapping[str, str], created: int) -> None:
        """Builds the Dockerfile in `folder`.

        Args:
            image: name and tag.
            platform: such as linux/arm64.
            created: what the image says of when it was made, in seconds since 1970.

        Raises ImageError when it fails; the engine has said why by then.
        """
        words = ["build", "--platform", platform, "--tag", image]
        for key, value in labels.items():
            words += ["--label", f"{key}={value}"]
        if self.name == "docker":
            words += ["--build-arg", f"SOURCE_DATE_EPOCH={created}"]
        else:
            # OCI's own format has no health checks.
            words += ["--timestamp", str(created), "--format", "docker"]
        words += ["--file", str(folder / "Dockerfile"), str(folder)]
        self._show(words, "Correct what the engine says above, and run the same command again.")

    def architecture(self, image: str) -> str | None:
        """Of an image of this machine (amd64, arm64); None when there is no image of that name."""
        answer = subprocess.run(
            [self.program, "image", "inspect", "--format", "{{.Architecture}}", image],
            capture_output=True,
            text=True,
        )
        return answer.stdout.strip() if answer.returncode == 0 else None

    def login(self, registry: str, user: str, password: str) -> None:
        """Signs in to a registry. The password goes through standard input: command lines can be seen."""
        answer = subprocess.run(
            [self.program, "login", "--username", user, "--password-stdin", registry],
            input=password,
            capture_output=True,
            text=True,
        )
        if answer.returncode != 0:
            raise ImageError(
                self.name,
                f"cannot sign in to {registry}: {_last_line(answer.stderr)}",
                "Check the network to that address, then run the same command again.",
            )

    def logout(self, registry: str) -> None:
        """Forgets what `login` left on this machine."""
        self._show(["logout", registry], f"Do it by hand: {self.name} logout {registry}")

    def push(self, image: str, name: str) -> None:
        """Pushes a local image under the name of a repository that this machine is signed in to."""
        self._show(["tag", image, name], "Build it again.")
        words = ["push", name] if self.name == "docker" else ["push", "--format", "v2s2", name]
        self._show(words, "Run the same command again: what was pushed already is not sent twice.")

    def _show(self, words: Sequence[str], fix: str) -> None:
        status = subprocess.run(
            [self.program, *words], env={**os.environ, **_BUILDKIT}, stdout=_STANDARD_ERROR
        ).returncode
        if status != 0:
            raise ImageError(self.name, f"{self.name} {words[0]} failed with status {status}", fix)


def find(names: Iterable[Name] = NAMES) -> Engine:
    """The first of these engines that answers. Raises ImageError, which says of each why it is not used."""
    reasons: list[str] = []
    fixes: list[str] = []
    for name in names:
        program = shutil.which(name)
        if program is None:
            reasons.append(f"{name} is not installed")
            fixes.append(f"install {name}")
            continue
        reason = _silent(name, program)
        if reason is None:
            return Engine(name, program)
        reasons.append(f"{name} is installed, but its engine does not answer: {reason}")
        fixes.append(_START[name])
    either = ", or ".join(fixes)
    raise ImageError("container engine", "; ".join(reasons), f"{either[0].upper()}{either[1:]}.")


def _silent(name: Name, program: str) -> str | None:
    """Why an engine does not answer, or None: it does."""
    try:
        answer = subprocess.run(
            [program, *_ALIVE[name]], capture_output=True, text=True, timeout=_ANSWER_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {_ANSWER_SECONDS:g} s"
    except OSError as error:
        return str(error)
    return None if answer.returncode == 0 else _last_line(answer.stderr)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it does not say why"
