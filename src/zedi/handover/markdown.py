"""A report as Markdown: the headings, tables and order of the platform's first work log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from zedi.diagram.text import text
from zedi.diagram.words import Language
from zedi.handover.report import Cost, CostLine, Phase, Report
from zedi.handover.words import WORDS

_COLUMNS: Final = 140
"""Of the picture."""
_WELL: Final = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")
_DOCUMENTS: Final = ("cost", "preflight", "image", "handover")


def markdown(report: Report, language: Language) -> str:
    """The whole document."""
    return "\n".join(_Document(report, WORDS[language]).lines()).rstrip() + "\n"


class _Document:
    def __init__(self, report: Report, words: Mapping[str, str]) -> None:
        self._report = report
        self._words = words

    def lines(self) -> Iterator[str]:
        report, word = self._report, self._words
        yield f"# {word['title'].format(name=f'zedi-{report.environment}')}"
        yield ""
        # Two spaces at the end break the line.
        yield f"**{word['date']}:** {_moment(report.at)}  "
        yield f"**{word['place']}:** {report.place}  "
        yield f"**{word['status']}:** {self._status()}"
        for number, (title, body) in enumerate(
            (
                ("summary", self._summary()),
                ("deployed", self._deployed()),
                ("outputs", self._outputs()),
                ("settings", self._settings()),
                ("problems", self._problems()),
                ("plan", self._plan()),
                ("handover", self._handover()),
                ("cost", self._cost()),
                ("diagram", self._diagram()),
                ("documents", self._documents()),
                ("history", self._history()),
            ),
            start=1,
        ):
            yield from ("", "---", "", f"## {number}. {word[title]}")
            sub = 0
            for line in body:
                if line.startswith("### "):
                    sub += 1
                    line = f"### {number}.{sub} {line[4:]}"
                yield line

    def _status(self) -> str:
        there = sum(phase.state is not None for phase in self._report.phases)
        everything = len(self._report.phases)
        key = "status_all" if there == everything else "status_some" if there else "status_none"
        return self._words[key].format(count=there, all=everything)

    def _summary(self) -> Iterator[str]:
        word = self._words
        rows = [
            (str(number), each.name, self._state(each), str(len(each.items)), _moment(each.changed))
            for number, each in enumerate(self._report.phases, start=1)
        ]
        yield ""
        yield from _table(
            (word["phase"], word["module"], word["state"], word["resources"], word["changed"]), rows
        )

    def _state(self, phase: Phase) -> str:
        if phase.state is None:
            return self._words["not_yet"]
        if phase.state in _WELL:
            return self._words["done"]
        return self._words["trouble"].format(state=phase.state)

    def _deployed(self) -> Iterator[str]:
        word = self._words
        for number, phase in enumerate(self._report.phases, start=1):
            yield from self._head(word["phase_resources"].format(number=number, phase=phase.name))
            if phase.state is None:
                yield word["not_deployed"]
                continue
            rows = [
                (
                    item.type.removeprefix("AWS::").replace("::", " "),
                    _code(item.physical_id or item.logical_id),
                    item.detail if item.state.endswith("_COMPLETE") else f"⚠️ {item.state} {item.detail}",
                )
                for item in phase.items
            ]
            yield from _table((word["type"], word["name"], word["detail"]), rows)

    def _outputs(self) -> Iterator[str]:
        outputs = self._report.outputs
        yield ""
        if not outputs:
            yield self._words["nothing"]
            return
        width = max(map(len, outputs))
        yield "```"
        for name, value in outputs.items():
            said = json.dumps(value, ensure_ascii=False)
            yield f"{name:<{width}} = {said}"
        yield "```"

    def _settings(self) -> Iterator[str]:
        word, report = self._words, self._report
        yield from self._head(word["changes"])
        rows = [(_code(each.key), _code(each.value), _code(each.default)) for each in report.settings]
        yield from self._or_nothing((word["key"], word["value"], word["default"]), rows)
        yield from self._head(word["protected"])
        kept = [
            (_code(each.resource), word[each.kind].format(value=each.value)) for each in report.protections
        ]
        yield from self._or_nothing((word["name"], word["protection"]), kept)

    def _problems(self) -> Iterator[str]:
        word, report = self._words, self._report
        yield from self._head(word["health"])
        health = report.health
        if health is None:
            yield f"- {word['health_unknown']}"
        else:
            yield "- " + word["health_tasks"].format(desired=health.desired, running=health.running)
            for name, (healthy, every) in health.targets.items():
                key = "health_targets" if every else "health_no_targets"
                yield "- " + word[key].format(name=name, healthy=healthy, all=every)
            yield "- " + word["health_alarms"].format(alarms=", ".join(health.alarms) or word["nothing"])
        yield f"- {word['health_scope']}"
        yield from self._head(word["findings"])
        findings = [(each.id, each.severity, each.where, each.what, each.fix) for each in report.findings]
        heads = ("ID", word["state"], word["where"], word["what"], word["fix"])
        yield from self._or_nothing(heads, findings)
        yield from self._head(word["drift"])
        drift = [
            (
                phase.name,
                word.get(f"drift_{phase.drift}", phase.drift).format(resources=", ".join(phase.drifted)),
                _moment(phase.drift_checked),
            )
            for phase in report.phases
            if phase.state is not None
        ]
        yield from self._or_nothing((word["module"], word["drift_state"], word["drift_when"]), drift)

    def _plan(self) -> Iterator[str]:
        word, report = self._words, self._report
        yield from self._head(word["overview"])
        rows = [
            (str(number), each.name, word.get(f"content_{each.name}", ""), self._state(each))
            for number, each in enumerate(report.phases, start=1)
        ]
        yield from _table((word["phase"], word["module"], word["content"], word["state"]), rows)
        yield from self._head(word["next"])
        for number, step in enumerate(report.steps, start=1):
            yield f"{number}. {_one_line(word[step.kind].format(**step.about))}"
        if not report.steps:
            yield word["nothing"]

    def _handover(self) -> Iterator[str]:
        word, name = self._words, self._report.said
        yield from self._head(word["resume"])
        yield word["resume_text"]
        yield ""
        commands = ("status", "outputs", "preflight", "deploy")
        yield from (
            "```bash",
            *(f"{f'zedi {verb} {name}':<{20 + len(name)}}# {word[f'resume_{verb}']}" for verb in commands),
        )
        yield "```"
        yield from self._head(word["credentials"])
        yield word["credentials_text"]
        yield ""
        yield from ("```bash", f"zedi credentials {name}", f"zedi credentials {name} --psql", "```")
        yield from self._head(word["frontend"])
        yield word["frontend_text"].format(environment=name)
        if self._report.frontend:
            lines = (f"{key}={value}" for key, value in self._report.frontend.items())
            yield from ("", "```env", *lines, "```")

    def _cost(self) -> Iterator[str]:
        word, report = self._words, self._report
        cost = report.cost
        yield ""
        if cost is None:
            yield word["cost_unknown"].format(why=report.cost_unknown)
            return
        yield word["cost_text"]
        if any(change.key.startswith("embedded.") for change in report.settings):
            yield word["cost_embedded"]
        for kind, lines in (("fixed", cost.fixed), ("assumed", cost.assumed), ("unknown", cost.unknown)):
            yield from self._head(word[kind])
            yield from self._cost_table(lines, summed=kind != "unknown")
        yield from self._head(word["total"])
        yield from _table((word["total"], word["monthly"]), self._totals(cost))

    def _cost_table(self, lines: Sequence[CostLine], *, summed: bool) -> Iterator[str]:
        word = self._words
        # What is free, or so little that a month does not show it, is in `zedi cost`.
        rows = [
            (each.phase, each.service, each.item, "?" if each.usd is None else f"${each.usd:,.2f}", each.how)
            for each in lines
            if each.usd is None or each.usd >= 0.005
        ]
        if summed:
            total = sum(each.usd or 0 for each in lines)
            rows.append((f"**{word['subtotal']}**", "", "", f"**${total:,.2f}**", ""))
        heads = (word["module"], word["service"], word["item"], word["monthly"], word["how"])
        yield from self._or_nothing(heads, rows)

    def _totals(self, cost: Cost) -> Iterator[tuple[str, str]]:
        word = self._words
        yield word["total_deployed"], f"${cost.deployed:,.2f}"
        yield word["total_remaining"], f"${cost.remaining:,.2f}"
        span = word["range"].format(low=f"{cost.low:,.2f}", high=f"{cost.high:,.2f}")
        yield f"**{word['total_all']}**", f"**${cost.deployed + cost.remaining:,.2f}** ({span})"

    def _diagram(self) -> Iterator[str]:
        yield from ("", "```", *text(self._report.diagram, _COLUMNS), "```", "")
        yield self._words["diagram_text"].format(environment=self._report.said)

    def _documents(self) -> Iterator[str]:
        word = self._words
        yield ""
        rows = [(word[f"documents_{name}"], _code(f"docs/{name}.md")) for name in _DOCUMENTS]
        yield from _table((word["document"], word["path"]), rows)

    def _history(self) -> Iterator[str]:
        word = self._words
        numbered = list(enumerate(self._report.phases, start=1))
        done = sorted(
            ((each.changed, number, each) for number, each in numbered if each.changed is not None),
            key=lambda entry: entry[:2],
        )
        rows = [
            (
                _moment(changed),
                word["history_line"].format(number=number, phase=each.name, state=each.state),
            )
            for changed, number, each in done
        ]
        yield ""
        yield from self._or_nothing((word["day"], word["work"]), rows)

    def _head(self, title: str) -> tuple[str, str, str]:
        return "", f"### {title}", ""

    def _or_nothing(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
        if rows:
            yield from _table(heads, rows)
        else:
            yield self._words["nothing"]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"


def _cell(value: str) -> str:
    """What stands in a table may break neither its row nor the page."""
    return _one_line(value).replace("|", "\\|").replace("<", "&lt;")


def _one_line(value: str) -> str:
    return " ".join(value.split())


def _code(value: str) -> str:
    return f"`{value.replace('`', chr(39))}`" if value else ""


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
