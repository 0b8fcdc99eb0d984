"""What is built and shipped."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_the_front_end_and_the_tables(tmp_path: Path) -> None:
    """What is not Python, and what is not in git, is in the wheel all the same; tests are not."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("zedi-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "zedi/web/index.html" in names
    assert any(re.fullmatch(r"zedi/web/assets/.+\.js", name) for name in names)
    assert {f"zedi/schema/{file.name}" for file in (ROOT / "src/zedi/schema").glob("*.sql")} <= names
    assert not any(name.startswith(("tests/", "web/")) for name in names)


def test_no_lock_file_names_a_registry() -> None:
    """Where packages come from is the machine's own configuration."""
    locks = [*ROOT.glob("requirements*.lock"), *ROOT.glob("*/package-lock.json")]
    locks += ROOT.glob("tests/*/*/package-lock.json")
    assert len(locks) >= 4
    for lock in locks:
        assert not re.search(r"https?://", re.sub(r'"url": "[^"]*"', "", lock.read_text("utf-8"))), lock


def test_every_dependency_is_pinned() -> None:
    """pyproject.toml names exact versions, of everything that somebody installs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    groups += project["dependency-groups"].values()
    for requirement in (each for group in groups for each in group):
        assert re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==[\w.]+", requirement), requirement
