"""What git says of this revision, asked of a real repository."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from zedi.deploy import revision
from zedi.deploy.revision import RevisionError

Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """Runs git in a repository with one commit of a/b and c."""

    def run(*words: str) -> str:
        who = ["-c", "user.name=Hanako", "-c", "user.email=hanako@example.com"]
        return subprocess.run(
            ["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("b")
    (tmp_path / "c").write_text("c")
    run("init", "--quiet")
    run("add", "--all")
    run("commit", "--quiet", "--message", "One")
    return run


def test_is_the_commit_that_is_checked_out(git: Git, tmp_path: Path) -> None:
    """From any folder below: the repository's, the commit in full, and when it was made."""
    now = revision.current(tmp_path / "a")
    assert now.root == tmp_path
    assert now.commit == git("rev-parse", "HEAD") and len(now.commit) == 40
    assert now.time == int(git("log", "-1", "--format=%ct"))


def test_knows_what_is_not_committed(git: Git, tmp_path: Path) -> None:
    """Changed, new, staged, deleted and moved files are named, where they are below what is asked about."""
    now = revision.current(tmp_path)
    assert revision.uncommitted(now, ["a", "c"]) == []
    (tmp_path / "a" / "b").write_text("changed")
    (tmp_path / "a" / "新しい").write_text("new")
    assert sorted(revision.uncommitted(now, ["a", "c"])) == ["a/b", "a/新しい"]
    assert revision.uncommitted(now, ["c", "none"]) == []
    git("mv", "c", "d")
    assert revision.uncommitted(now, ["c"]) == ["c"]


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        (None, None),
        ("https://example.com/zedi.git", "https://example.com/zedi.git"),
        ("https://someone:secret@example.com:8443/zedi.git", "https://example.com:8443/zedi.git"),
        ("git@example.com:zedi.git", None),
        ("/srv/zedi", None),
    ],
)
def test_tells_the_origin_without_its_secrets(
    git: Git, tmp_path: Path, url: str | None, origin: str | None
) -> None:
    """An https address is told, its credentials are not; other places mean nothing elsewhere."""
    if url is not None:
        git("remote", "add", "origin", url)
    assert revision.origin(revision.current(tmp_path)) == origin


def test_says_why_there_is_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No repository, no commit and no git are each told in their own words."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(RevisionError, match="not a git repository"):
        revision.current(tmp_path)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    with pytest.raises(RevisionError, match="does not have any commits"):
        revision.current(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RevisionError, match="git is not installed"):
        revision.current(tmp_path)
