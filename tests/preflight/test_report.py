"""The three formats, and the page of the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from zedi.preflight import Finding, Place, Severity, explain
from zedi.preflight.catalogue import page
from zedi.preflight.report import FORMATS, styled
from zedi.preflight.rule import rules

DOCS = Path(__file__).parents[2] / "docs"
FINDINGS = (
    Finding(
        "Z302",
        Severity.ERROR,
        Place("dev.toml", 4, "database.min_acu", "database", "Cluster", "Scaling.MinCapacity"),
        "50% is, above",
        "Lower it.\nOr not.",
        "https://example.com",
    ),
    Finding("Z701", Severity.INFO, Place(key="monitoring.email"), "nobody", "Set it.", ""),
)


def test_text() -> None:
    """What, where, the fix, the source; then the count."""
    assert FORMATS["text"](FINDINGS) == (
        "error   Z302  50% is, above\n"
        "        at dev.toml:4 database.min_acu → database/Cluster.Scaling.MinCapacity\n"
        "        → Lower it.\nOr not.\n"
        "          https://example.com\n"
        "\n"
        "info    Z701  nobody\n"
        "        at default of monitoring.email\n"
        "        → Set it.\n"
        "\n"
        "1 error, 1 info."
    )
    assert FORMATS["text"](()) == "Nothing found."


def test_colours_change_no_word() -> None:
    """Styling adds escape codes and nothing else."""
    text = FORMATS["text"](FINDINGS)
    assert re.sub(r"\x1b\[[0-9;]*m", "", styled(text)) == text
    assert styled(text) != text


def test_json() -> None:
    """Every field, with words for severities and null for what is not there."""
    first, second = json.loads(FORMATS["json"](FINDINGS))
    assert first["severity"] == "error"
    assert first["where"] == {
        "file": "dev.toml",
        "line": 4,
        "key": "database.min_acu",
        "phase": "database",
        "resource": "Cluster",
        "property": "Scaling.MinCapacity",
    }
    assert second["where"]["line"] is None
    assert json.loads(FORMATS["json"](())) == []


def test_github() -> None:
    """One command a finding; what would end it early is escaped."""
    assert FORMATS["github"](FINDINGS).splitlines() == [
        "::error file=dev.toml,line=4,title=Z302 dev.toml%3A4 database.min_acu → "
        "database/Cluster.Scaling.MinCapacity::50%25 is, above%0ALower it.%0AOr not.",
        "::notice title=Z701 default of monitoring.email::nobody%0ASet it.",
    ]


def test_the_page_is_up_to_date() -> None:
    """docs/preflight.md is what the rules say; if not: python -m zedi.preflight > docs/preflight.md."""
    assert (DOCS / "preflight.md").read_text("utf-8") == page()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.id)
def test_every_rule_says_what_it_must(rule: object) -> None:
    """A short title, sentences for why and fix, a source, an ID of its phase, patterns that compile."""
    from zedi.preflight.rule import Rule

    assert isinstance(rule, Rule)
    assert re.fullmatch(r"Z[0-7]\d\d", rule.id)
    assert len(rule.title) < 60 and rule.title[-1] != "."
    assert rule.why.endswith((".", ")")) and rule.fix
    assert rule.source.startswith("https://")
    for pattern in rule.says:
        re.compile(pattern)
    if rule.settled_by:
        assert next(each for each in rules() if each.id == rule.settled_by).live


@pytest.mark.parametrize(
    ("said", "id"),
    [
        ("Maximum capacity cannot be less than minimum capacity", "Z512"),
        ("No Fargate configuration exists for given values: 300 CPU", "Z501"),
        ("zedi-dev-frontend-1 already exists (BucketAlreadyExists)", "Z055"),
        (
            "You can't create this secret because a secret with this name is already scheduled for deletion.",
            "Z352",
        ),
        ("The maximum number of VPCs has been reached. (VpcLimitExceeded)", "Z151"),
        ("A load balancer cannot be attached to multiple subnets in the same Availability Zone", "Z102"),
        ("Domain already associated with another user pool.", "Z250"),
    ],
)
def test_explains_what_aws_says(said: str, id: str) -> None:
    """AWS's words lead to the rule that has the fix."""
    rule = explain(f"Resource handler returned message: {said}")
    assert rule is not None and rule.id == id


def test_does_not_explain_what_it_does_not_know() -> None:
    """No rule claims words that say nothing."""
    assert explain("Resource creation cancelled") is None
    assert explain("") is None
