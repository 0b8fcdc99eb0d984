"""`zedi synth`: the templates as files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from zedi import phases, settings
from zedi.cli.synth import synth
from zedi.settings import SettingsError

ENVIRONMENTS = Path(__file__).parents[2] / "environments"


def test_writes_one_file_a_phase(tmp_path: Path) -> None:
    """Every phase's file holds its template, and is told of."""
    folder = tmp_path / "deep" / "out"
    result = CliRunner().invoke(
        synth, [str(ENVIRONMENTS / "dev.toml"), "--output", str(folder)], catch_exceptions=False
    )
    assert result.exit_code == 0
    chosen = settings.load("dev", ENVIRONMENTS)
    assert sorted(file.name for file in folder.iterdir()) == sorted(f"{p.name}.json" for p in phases.PHASES)
    for phase, line in zip(phases.PHASES, result.output.splitlines(), strict=True):
        path = folder / f"{phase.name}.json"
        text = path.read_text("utf-8")
        assert json.loads(text) == json.loads(phases.render(phase.build(chosen)))
        assert text.endswith("}\n") and "\n  " in text
        assert line.startswith(f"{path} ")


def test_json_says_what_was_written(tmp_path: Path) -> None:
    """One object: each phase's file and the size of what CloudFormation is given."""
    arguments = [str(ENVIRONMENTS / "dev.toml"), "--output", str(tmp_path), "--json"]
    said = json.loads(CliRunner().invoke(synth, arguments, catch_exceptions=False).output)
    assert list(said) == [phase.name for phase in phases.PHASES]
    for each in said.values():
        template = json.loads(Path(each["path"]).read_text("utf-8"))
        compact = json.dumps(template, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        assert each["bytes"] == len(compact.encode())


def test_takes_a_file_of_settings(tmp_path: Path) -> None:
    """An environment can be a .toml file, and writing twice changes nothing."""
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\n', "utf-8")
    texts = []
    for _ in range(2):
        arguments = [str(file), "--output", str(tmp_path / "out")]
        assert CliRunner().invoke(synth, arguments, catch_exceptions=False).exit_code == 0
        texts.append((tmp_path / "out" / "networking.json").read_bytes())
    assert texts[0] == texts[1]
    assert b"zedi-mine-vpc" in texts[0]


def test_unknown_environment_writes_nothing(tmp_path: Path) -> None:
    """A name that is not there is a SettingsError, and no folder appears."""
    out = tmp_path / "out"
    with pytest.raises(SettingsError, match=r"deve\.toml: there is no such file\n  Did you mean dev\?"):
        CliRunner().invoke(
            synth,
            ["deve", "--output", str(out)],
            catch_exceptions=False,
        )
    assert not out.exists()
