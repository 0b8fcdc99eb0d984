"""The image's own lock: a part of the lock of everything."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def entries(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """A lock by package: (version and condition, hashes)."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for entry in re.split(r"(?m)^(?=[a-z0-9])", (ROOT / name).read_text("utf-8")):
        if entry.strip():
            head, *hashes = re.split(r"\\?\n? +--hash=", entry.strip())
            package, _, version = head.partition("==")
            found[package] = (version.strip(), frozenset(value.strip(" \\\n") for value in hashes))
    return found


def test_has_the_versions_that_are_tested() -> None:
    """Every package of the image has the version and the hashes of the lock that the tests run with."""
    service, everything = entries("requirements-service.lock"), entries("requirements.lock")
    assert all(hashes for _, hashes in service.values())
    for package, (version, hashes) in service.items():
        known_version, known_hashes = everything[package]
        assert version.partition(" ;")[0] == known_version.partition(" ;")[0], package
        assert hashes == known_hashes, package


def test_has_what_the_service_needs_and_nothing_else() -> None:
    """The image holds the project's dependencies, what those need themselves, and no tool of ours."""
    needed = {Requirement(line) for line in project()["dependencies"]}
    reached: set[str] = set()
    while needed:
        requirement = needed.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        extras = requirement.extras or {""}
        if name in reached or not any(
            requirement.marker is None or requirement.marker.evaluate({"extra": extra}) for extra in extras
        ):
            continue
        reached.add(name)
        for line in metadata.requires(name) or ():
            further = Requirement(line)
            if further.marker is None or any(
                further.marker.evaluate({"extra": extra}) for extra in {"", *requirement.extras}
            ):
                needed.add(further)
    locked = entries("requirements-service.lock")
    # A package for another Python than this one is in the lock with its condition.
    here = {
        package
        for package, (version, _) in locked.items()
        if ";" not in version or Requirement(f"{package}=={version}").marker.evaluate()  # type: ignore[union-attr]
    }
    assert here == reached


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-service.lock"])
def test_names_no_registry(name: str) -> None:
    """Where packages come from is for each machine to say."""
    assert "://" not in (ROOT / name).read_text("utf-8")


def project() -> dict[str, list[str]]:
    found: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return found
