"""cfn-lint and cloudformation-validate: what they find becomes findings; a text is looked at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zedi.preflight import Severity
from zedi.preflight.linters import Remark, cfn_lint, cloudformation_validate, heard
from zedi.preflight.run import Options, check, compact, errors
from zedi.preflight.subject import Subject, of_environment, of_folder, of_text

ENVIRONMENTS = Path(__file__).parents[2] / "environments"
OURS = {
    "dev": {"Z606", "Z701"},
    "lean": {"Z606", "Z701"},
    "staging": {"Z606", "Z701"},
    "prod": {"Z606", "Z701"},
    "local": set(),
}
WRONG = {
    "Resources": {
        "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketNome": "x"}},
        "Odd": {"Type": "AWS::S3::Nothing"},
    }
}


def later() -> Subject:
    """What a later version of the database phase might make of its settings."""
    subject = of_text('name = "dev"\n[database]\nbackup_retention_days = 7\n', "dev.toml")
    subject.templates["database"]["Resources"]["Cluster"]["Properties"]["BackupRetentionPeriod"] = 36
    return subject


def small() -> Subject:
    return of_text('name = "dev"\n[realtime]\ncpu = 300\n', "dev.toml")


def nat(per_zone: bool) -> Subject:
    """The way out that no environment of ours has."""
    toml = f'name = "dev"\n[networking]\negress = "nat"\nnat_per_zone = {json.dumps(per_zone)}\n'
    return of_text(toml, "dev.toml")


@pytest.fixture(scope="module")
def remembered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A memory of everything that the tests here look at: one start of cfn-lint instead of ten."""
    subjects = [of_environment(name, ENVIRONMENTS) for name in OURS]
    subjects += [later(), small(), nat(False), nat(True), Subject({"cdn": WRONG})]
    texts = {compact(template) for subject in subjects for template in subject.templates.values()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("memory")))
        for region in {subject.region for subject in subjects}:
            cfn_lint.Run({text: text for text in texts}, region).result()
        yield


@pytest.mark.parametrize(("name", "noted"), OURS.items())
def test_the_linters_find_nothing_in_our_environments(remembered: None, name: str, noted: set[str]) -> None:
    """Both agree that the templates are right, but for what is muted with a reason."""
    findings = check(of_environment(name, ENVIRONMENTS))
    assert {each.id for each in findings} == noted
    assert not errors(findings)


@pytest.mark.parametrize("per_zone", [False, True])
def test_nor_with_a_nat_gateway(remembered: None, per_zone: bool) -> None:
    """Neither linter has a word about the template that only other people's settings make."""
    assert {each.id for each in check(nat(per_zone)) if not each.id.startswith("Z")} == set()


def test_their_findings_become_ours(remembered: None) -> None:
    """Each has its own ID, the phase, the resource, the property, and is an error."""
    findings = check(Subject({"cdn": WRONG}))
    places = {(each.id, each.where.resource) for each in findings if each.severity is Severity.ERROR}
    assert ("Z605", "Bucket") in places
    foreign = [each for each in findings if not each.id.startswith("Z")]
    assert {each.where.resource for each in foreign} >= {"Bucket", "Odd"}
    assert all(each.where.phase == "cdn" and each.source and each.fix for each in foreign)


def test_they_know_the_key_too(remembered: None) -> None:
    """What a linter says about a value that came from the settings names the key and its line."""
    found = [each for each in check(later()) if each.where.key == "database.backup_retention_days"]
    assert found and {each.where.line for each in found} == {3}
    assert not any(each.id.startswith("Z") for each in found)


def test_ours_is_shown_in_place_of_theirs(remembered: None) -> None:
    """A pair that Fargate does not take is one finding, not three."""
    assert [each.id for each in errors(check(small()))] == ["Z501"]


def test_a_text_is_looked_at_once(own_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time no process is started; another text, or no memory, starts one."""
    texts = {"cdn": compact(WRONG)}
    first = cfn_lint.Run(texts, "ap-northeast-1").result()
    assert len(list(own_memory.iterdir())) == 1

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert cfn_lint.Run(texts, "ap-northeast-1").result() == first
    for other in ({"cdn": compact({"Resources": {}})}, texts):
        with pytest.raises(AssertionError, match="started"):
            cfn_lint.Run(other, "us-east-1")
    with pytest.raises(AssertionError, match="started"):
        cfn_lint.Run(texts, "ap-northeast-1", remembered=False)


def test_what_is_half_written_is_asked_again(own_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken memory is no memory; a whole one starts no process."""
    texts = {"cdn": compact(WRONG)}
    own_memory.mkdir(parents=True)
    file = own_memory / cfn_lint._key(texts["cdn"], "ap-northeast-1")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    file.write_text("[]", "utf-8")
    assert cfn_lint.Run(texts, "ap-northeast-1").result() == {"cdn": []}
    file.write_text('[{"linter"', "utf-8")
    with pytest.raises(AssertionError, match="started"):
        cfn_lint.Run(texts, "ap-northeast-1")


def test_a_linter_that_breaks_down_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """It said neither yes nor no: that is an error with the linter's own words."""
    run = cfn_lint.Run({"cdn": "{}"}, "no-region-1", remembered=False)
    with pytest.raises(cfn_lint.LinterError, match="cfn-lint"):
        run.result()


def test_the_checker_of_aws() -> None:
    """cloudformation-validate's remarks have places and severities."""
    remarks = cloudformation_validate.look({"cdn": compact(WRONG)}, "ap-northeast-1")["cdn"]
    assert any(remark.error and remark.title == "Bucket" for remark in remarks)


def test_what_both_say_is_heard_once_and_what_is_muted_never() -> None:
    """The linters share rules; a mute needs its words."""
    remark = Remark("cfn-lint", "E1", True, "Resources", "A", "B", "words", None, None, None)
    muted = Remark(
        "cfn-lint", "W2509", False, None, "A", None, "Parameter 'SecretArn' appears", None, None, None
    )
    loud = Remark(
        "cfn-lint", "W2509", False, None, "A", None, "Parameter 'Password' appears", None, None, None
    )
    assert heard([remark, remark, muted, loud]) == [remark, loud]


def test_it_runs_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are not installed, that is said once, and the rules look all the same."""
    monkeypatch.setattr(cfn_lint, "installed", lambda: False)
    monkeypatch.setattr(cloudformation_validate, "installed", lambda: False)
    findings = check(of_text('name = "dev"\ndatabase.min_acu = 9.0', "dev.toml"))
    assert [each.id for each in findings if each.id in ("Z302", "Z052")] == ["Z302", "Z052"]


def test_templates_of_a_folder(tmp_path: Path) -> None:
    """Any folder of templates is looked at, with the line that the resource begins on."""
    (tmp_path / "cdn.json").write_text(json.dumps(WRONG, indent=2), "utf-8")
    (finding,) = check(of_folder(tmp_path), None, Options(linters=False))
    assert (finding.id, finding.where.file, finding.where.line) == ("Z605", f"{tmp_path}/cdn.json", 3)


def test_nothing_heavy_is_imported_for_a_finding() -> None:
    """Who only needs the types waits for neither rules nor linters nor troposphere."""
    program = (
        "import sys, zedi.preflight;"
        "sys.exit(any(name in sys.modules for name in ('troposphere', 'cfnlint', 'pydantic', 'boto3')))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
