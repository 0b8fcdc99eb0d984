"""Which revision of this repository we are: the name of the service's image.

DeployError
└── RevisionError   there is no git, no repository, or no commit in it
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from zedi.deploy import DeployError


class RevisionError(DeployError):
    """The current revision cannot be found out."""


@dataclass(frozen=True)
class Revision:
    root: Path
    """The repository's folder."""
    commit: str
    """The commit's ID, in full."""
    time: int
    """When it was committed, in seconds since 1970."""


def current(folder: Path = Path()) -> Revision:
    """The revision that is checked out in the repository that `folder` is in. Raises RevisionError."""
    root = _git(folder, "rev-parse", "--show-toplevel").strip()
    commit, time = _git(folder, "log", "-1", "--format=%H %ct").split()
    return Revision(Path(root), commit, int(time))


def uncommitted(revision: Revision, paths: Iterable[str]) -> list[str]:
    """Which of these paths, or files below them, differ from the revision. Raises RevisionError."""
    answer = _git(
        revision.root, "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", *paths
    )
    return [entry[3:] for entry in answer.split("\0") if entry]


def origin(revision: Revision) -> str | None:
    """Where the repository was cloned from, when that is an https address; never with credentials in it."""
    try:
        url = _git(revision.root, "remote", "get-url", "origin").strip()
    except RevisionError:
        return None  # a repository need not have one
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"https://{host.rpartition('@')[2]}{slash}{path}" if scheme == "https" else None


def _git(folder: Path, *arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except FileNotFoundError as error:
        raise RevisionError(str(folder.absolute()), "git is not installed", "Install git.") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines()
        raise RevisionError(
            str(folder.absolute()),
            said[-1] if said else f"git {arguments[0]} failed",
            "Run this in a clone of Zedi's repository that has a commit.",
        ) from error
