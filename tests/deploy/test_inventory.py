"""The inventory of a real embedded AWS, and what is made of it: `zedi diagram`, `zedi handover`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from zedi.cli.diagram import diagram
from zedi.cli.handover import handover
from zedi.deploy.credentials import credentials
from zedi.deploy.inventory import inventory
from zedi.deploy.target import target_of
from zedi.errors import ZediError
from zedi.phases import PHASES, output_name
from zedi.settings import Settings

pytestmark = pytest.mark.server

HEADINGS = {
    "ja": "サマリー|デプロイ済みAWSリソース|出力値|設定詳細|問題と状態|今後の実装計画"
    "|引き継ぎ事項|コスト情報",
    "en": "Summary|Deployed AWS resources|Outputs|Settings|Problems and state|What comes next|Hand-over|Cost",
}


def said(verb: Any, *words: str) -> str:
    done = CliRunner().invoke(verb, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_it_has_every_resource_and_template(whole: tuple[Settings, Path]) -> None:
    """As they were deployed: each resource with its ID, each template as it was given."""
    settings, _ = whole
    found = inventory(settings, target_of(settings))
    assert [each.phase for each in found.deployed] == [phase.name for phase in PHASES]
    for each, phase in zip(found.phases, PHASES, strict=True):
        assert set(each.template["Resources"]) == set(phase.build(settings).to_dict()["Resources"])
        assert all(each.physical_id(title) for title in each.template["Resources"])
    assert found.service is not None and found.missing == ()


def test_diagram_draws_what_is_deployed(whole: tuple[Settings, Path], tmp_path: Path) -> None:
    """As text, as SVG and as data; an ID that AWS gave stands in each."""
    settings, file = whole
    vpc = inventory(settings, target_of(settings)).phase("networking").physical_id("Vpc")
    assert vpc.startswith("vpc-") and vpc in said(diagram, str(file))
    picture = tmp_path / "picture.svg"
    assert said(diagram, str(file), "--svg", str(picture), "--language", "ja") == ""
    ElementTree.parse(picture)
    assert vpc in picture.read_text("utf-8") and "ブラウザ" in picture.read_text("utf-8")
    data = json.loads(said(diagram, str(file), "--json"))
    assert data["vpc_id"] == vpc and all(node["deployed"] for node in data["nodes"])
    with pytest.raises(ZediError, match="cannot be written"):
        said(diagram, str(file), "--svg", str(tmp_path / "no" / "folder.svg"))


def test_nothing_deployed_is_drawn_dashed_and_said(file: Path) -> None:
    """What the settings would make, and that it is not there."""
    printed = said(diagram, str(file))
    assert "Nothing is deployed: this is what the settings would make." in printed and "┌╌" in printed
    report = said(handover, str(file), "--language", "en")
    assert "**Status:** not deployed" in report and "the service is not deployed" in report
    assert report.count("Not deployed") >= len(PHASES)


@pytest.mark.parametrize("language", ["ja", "en"])
def test_handover_has_the_sections_of_the_log(whole: tuple[Settings, Path], language: str) -> None:
    """In its order; every output and every resource's ID; the commands; every table of one shape."""
    settings, file = whole
    report = said(handover, str(file), "--language", language)
    found = inventory(settings, target_of(settings))
    heads = [line.partition(". ")[2] for line in report.splitlines() if line.startswith("## ")]
    assert heads[:8] == HEADINGS[language].split("|") and len(heads) == 11
    for phase in found.phases:
        assert phase.stack is not None
        for key in phase.stack.outputs:
            assert f"\n{output_name(key)} " in report
        for resource in phase.resources:
            assert resource.physical_id.replace("|", "\\|") in report
    assert f"zedi credentials {file}" in report and "VITE_COGNITO_CLIENT_ID=" in report
    rows = [line for line in report.splitlines() if line.startswith("|")]
    tables = report.split("\n\n")
    for table in (part.splitlines() for part in tables if part.startswith("| ")):
        assert len({line.replace("\\|", "").count("|") for line in table}) == 1, table
    assert len(rows) > 100


def test_handover_never_holds_a_secret(whole: tuple[Settings, Path], tmp_path: Path) -> None:
    """Neither the database's password nor an example user's, in any form of it."""
    settings, file = whole
    password = credentials(settings, target_of(settings)).password
    mine = tmp_path / "mine.toml"
    user = '[[embedded.users]]\nemail = "hanako@example.com"\ndisplay_name = "花子"\npassword = "Zedi-ex-9"\n'
    mine.write_text(file.read_text("utf-8") + user, "utf-8")
    written = tmp_path / "log.md"
    assert said(handover, str(mine), "--output", str(written)) == ""
    for text in (
        written.read_text("utf-8"),
        said(handover, str(mine), "--language", "en"),
        said(handover, str(mine), "--json"),
        said(diagram, str(mine), "--json"),
    ):
        assert password not in text and "Zedi-ex-9" not in text
    assert "hanako@example.com" in written.read_text("utf-8")


def test_handover_as_data(whole: tuple[Settings, Path]) -> None:
    """One object; the steps are derived from what is there."""
    _, file = whole
    found = json.loads(said(handover, str(file), "--json"))
    assert [each["name"] for each in found["phases"]] == [phase.name for phase in PHASES]
    assert found["cost"]["remaining"] == 0 and found["cost"]["deployed"] > 100
    assert all(line["usd"] is None for line in found["cost"]["unknown"])
    kinds = [step["kind"] for step in found["steps"]]
    assert {"step_nobody", "step_one_instance", "step_one_node", "step_http"} <= set(kinds)
    assert "step_missing" not in kinds
