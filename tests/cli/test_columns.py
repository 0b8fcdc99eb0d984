"""Columns that stay straight."""

from __future__ import annotations

from zedi.cli.columns import aligned


def test_a_wide_character_takes_two_columns() -> None:
    """Japanese and Latin cells end at the same column on a terminal; nothing trails."""
    assert list(aligned([("名前", "x"), ("abc", ""), ("abcde", "y")])) == ["名前   x", "abc", "abcde  y"]


def test_nothing_makes_no_line() -> None:
    """No rows, no lines."""
    assert list(aligned([])) == []
