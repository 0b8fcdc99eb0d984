"""Findings for people and programs: one function a format, all with the same face."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Final

import click

from zedi.preflight.finding import Finding, Severity

Format = Callable[[Sequence[Finding]], str]

_MARKS: Final = {Severity.ERROR: "error  ", Severity.WARNING: "warning", Severity.INFO: "info   "}


def text(findings: Sequence[Finding]) -> str:
    """Three lines a finding (what, where, what to do), and the count."""
    blocks = [
        f"{_MARKS[finding.severity]} {finding.id}  {finding.what}\n"
        f"        at {finding.where}\n"
        f"        → {finding.fix}" + (f"\n          {finding.source}" if finding.source else "")
        for finding in findings
    ]
    return "\n\n".join([*blocks, summary(findings)])


def styled(report: str) -> str:
    """A text report with its colours; who prints it takes them away where there is no terminal."""
    colours = {"error": "red", "warning": "yellow", "info": "cyan"}
    lines = []
    for line in report.split("\n"):
        word = line.split(" ", 1)[0]
        if word in colours:
            line = click.style(word, fg=colours[word], bold=True) + line[len(word) :]
        lines.append(line)
    return "\n".join(lines)


def summary(findings: Sequence[Finding]) -> str:
    """How many there are of each severity."""
    counts = Counter(finding.severity for finding in findings)
    if not counts:
        return "Nothing found."
    words = [
        f"{counts[severity]} {severity}{_plural(severity, counts[severity])}"
        for severity in sorted(counts, reverse=True)
    ]
    return f"{', '.join(words)}."


def _plural(severity: Severity, count: int) -> str:
    return "s" if count > 1 and severity is not Severity.INFO else ""


def as_json(findings: Sequence[Finding]) -> str:
    """A JSON list of objects: id, severity, what, fix, source, and where: file, line, key, phase, resource,
    property, each null where there is none."""
    return json.dumps(
        [{**asdict(finding), "severity": str(finding.severity)} for finding in findings],
        indent=2,
        ensure_ascii=False,
    )


def github(findings: Sequence[Finding]) -> str:
    """Workflow commands, which GitHub shows beside the line.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    lines = []
    for finding in findings:
        command = {Severity.ERROR: "error", Severity.WARNING: "warning"}.get(finding.severity, "notice")
        where = finding.where
        properties = {"file": where.file, "line": where.line, "title": f"{finding.id} {where}"}
        said = f"{finding.what}\n{finding.fix}"
        given = ",".join(
            f"{name}={_property(str(value))}" for name, value in properties.items() if value is not None
        )
        lines.append(f"::{command} {given}::{_data(said)}")
    return "\n".join(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


FORMATS: Final[Mapping[str, Format]] = MappingProxyType({"text": text, "json": as_json, "github": github})
