"""The corpus: every broken entry is found, exactly and in its place; every near miss stays silent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zedi.preflight import Finding, Severity
from zedi.preflight.rule import rules
from zedi.preflight.run import Options, check
from zedi.preflight.subject import Subject, of_environment

ENVIRONMENTS = Path(__file__).parents[2] / "environments"
ON_PURPOSE = {"Z606", "Z701"}
RULES_ONLY = Options(linters=False)


def test_finds_what_is_broken_and_nothing_else(case: Any, as_line: Callable[[Finding], str]) -> None:
    """The findings of an entry are those that it expects, with their places."""
    ignored = frozenset(ON_PURPOSE - {case.of, case.near})
    # Of an entry about one of those two, the other is still not the matter.
    found = check(case.subject(), None, Options(ignored, linters=False))
    if case.of in ON_PURPOSE or case.near in ON_PURPOSE:
        found = tuple(finding for finding in found if finding.id in (case.of, case.near))
    assert sorted(set(map(as_line, found))) == sorted(case.expect)
    if case.of:
        assert case.of in {finding.id for finding in found}
    else:
        assert case.near not in {finding.id for finding in found}


def test_covers_every_rule(cases: tuple[Any, ...]) -> None:
    """Every rule that needs no account has a broken entry and a near miss; Z006 needs a defect."""
    offline = {rule.id for rule in rules() if not rule.live} - {"Z006"}
    assert {case.of for case in cases if case.of} == offline
    assert {case.near for case in cases if case.near} == offline
    assert sum(case.of is not None for case in cases) >= 60


@pytest.mark.parametrize(
    ("settings", "id", "aws"),
    [
        (
            'networking.availability_zones = ["ap-northeast-1a"]',
            "Z301",
            "DBSubnetGroupDoesNotCoverEnoughAZs: The DB subnet group doesn't meet \nAvailability Zone (AZ)"
            " coverage requirement. Current AZ coverage: ap-northeast-1a. \n"
            "Add subnets to cover at least 2 AZs.",
        ),
        (
            'database.engine_version = "15.4"',
            "Z307",
            "InvalidParameterCombination: Cannot find version 15.4 for aurora-postgresql",
        ),
    ],
)
def test_both_failures_of_the_first_deploy(cases: tuple[Any, ...], settings: str, id: str, aws: str) -> None:
    """The two deploys that AWS once refused half-way are refused here, and AWS's words lead to the fix."""
    from zedi.preflight import explain

    (case,) = [case for case in cases if case.settings == settings and case.of == id]
    assert any(line.startswith(id) for line in case.expect)
    rule = explain(aws)
    assert rule is not None and (rule.id == id or id == rule.settled_by or rule.id == "Z350")


@pytest.mark.parametrize(
    ("environment", "noted"),
    [("dev", ON_PURPOSE), ("staging", ON_PURPOSE), ("prod", ON_PURPOSE), ("local", set())],
)
def test_our_environments(environment: str, noted: set[str]) -> None:
    """The repository's environments have no errors, and nothing else than what they have on purpose."""
    found = check(of_environment(environment, ENVIRONMENTS), None, RULES_ONLY)
    assert {finding.id for finding in found} == noted
    assert all(finding.severity < Severity.ERROR for finding in found)


def test_a_foreign_template_is_no_reason_to_break() -> None:
    """Rules get by with resources whose properties are anything at all."""
    kinds = {
        resource.type for resource in of_environment("prod", ENVIRONMENTS).resources
    }  # every type that a rule looks at
    odds: tuple[dict[str, Any], ...] = ({}, {"Properties": {}}, {"Properties": None}, {"Properties": "text"})
    for odd in odds:
        templates = {
            "realtime": {
                "Resources": {
                    f"R{number}": {"Type": kind, **odd} for number, kind in enumerate(sorted(kinds))
                }
            }
        }
        check(Subject(templates), None, RULES_ONLY)


def test_a_phase_that_cannot_be_made_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """What troposphere will not make is said, and the other phases are looked at all the same."""
    from zedi import phases
    from zedi.preflight import subject

    def refuse(settings: Any) -> Any:
        raise ValueError("Port must be\n  a number")

    broken = tuple(
        phases.Phase(phase.name, phase.after, refuse) if phase.name == "database" else phase
        for phase in phases.PHASES
    )
    monkeypatch.setattr(subject, "PHASES", broken)
    found = check(of_environment("dev", ENVIRONMENTS), None, RULES_ONLY)
    assert [(each.id, each.where.phase, each.what) for each in found if each.severity is Severity.ERROR] == [
        ("Z006", "database", "Port must be a number")
    ]
    assert {each.where.phase for each in found} >= {"cdn", "monitoring"}
