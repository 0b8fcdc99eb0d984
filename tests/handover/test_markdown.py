"""The document: both languages, whatever stands in the data."""

from __future__ import annotations

import re
from pathlib import Path

from zedi.handover import markdown, report
from zedi.handover.words import WORDS


def test_both_languages_have_the_same_words() -> None:
    """Keys, none empty, and what is to be filled in."""
    assert set(WORDS["en"]) == set(WORDS["ja"])
    for key, english in WORDS["en"].items():
        japanese = WORDS["ja"][key]
        assert english and japanese, key
        assert set(re.findall(r"{(\w+)}", english)) == set(re.findall(r"{(\w+)}", japanese)), key


def test_every_step_and_protection_has_its_words() -> None:
    """What the report may say can be said."""
    source = Path(report.__file__).read_text("utf-8")
    steps = set(re.findall(r'Step\(\s*"(\w+)"', source))
    assert len(steps) > 10 and steps == {key for key in WORDS["en"] if key.startswith("step_")}
    kinds = set(re.findall(r'Protection\([^"]*"(\w+)"', source)) | {"retained", "last_snapshot"}
    assert len(kinds) > 5 and kinds <= set(WORDS["en"])


def test_a_cell_cannot_break_its_table() -> None:
    """Bars, line ends and markup in a name are text."""
    (_, _, row) = markdown._table(("a", "b"), [("x|y\nz", "<img src=x>")])
    assert row == "| x\\|y z | &lt;img src=x> |"
    assert markdown._code("a`b") == "`a'b`" and markdown._code("") == ""
