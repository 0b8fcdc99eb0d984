"""All of preflight, in order: rules, linters and the account's answers in; findings out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from zedi.errors import ZediError
from zedi.phases import PHASES
from zedi.preflight.finding import Finding, Place, Severity
from zedi.preflight.linters import SCHEMA, Remark, cfn_lint, cloudformation_validate, heard
from zedi.preflight.rule import Problem, Rule, rules
from zedi.preflight.subject import Subject

if TYPE_CHECKING:
    from zedi.preflight.live import Account
    from zedi.preflight.origin import Origin

NOT_ASKED: Final = "Z050"
NOT_ALLOWED: Final = "Z051"
NO_LINTER: Final = "Z052"
NOTES: Final[Mapping[str, str]] = {
    NOT_ASKED: "AWS could not be asked: no credentials, or no network",
    NOT_ALLOWED: "some questions to AWS were refused",
    NO_LINTER: "cfn-lint or cloudformation-validate is not installed",
}
"""What preflight says about itself, always as information."""

_AT_ONCE: Final = 8
"""Questions to AWS."""


@dataclass(frozen=True)
class Options:
    """What to do of it.

    Args:
        ignored: IDs that are left out.
        linters: whether the linters are run.
        remembered: whether what cfn-lint said about a text before is good enough.
    """

    ignored: frozenset[str] = frozenset()
    linters: bool = True
    remembered: bool = True


def check(
    subject: Subject, connect: Callable[[], Account] | None = None, options: Options | None = None
) -> tuple[Finding, ...]:
    """Everything that is wrong with `subject`, the worst first, then in the order of the phases.

    `connect` gives the account to ask, or raises a ZediError; None: nobody is asked. Raises LinterError
    when a linter breaks down.
    """
    options = options or Options()
    texts = {phase: compact(template) for phase, template in subject.templates.items()}
    run = None
    if options.linters and cfn_lint.installed():
        run = cfn_lint.Run(texts, subject.region, remembered=options.remembered)
    try:
        places = _Places(subject)
        findings: list[Finding] = []
        settled: set[str] = set()
        if connect is not None and subject.on_aws:
            asked, settled = _ask(subject, connect, places)
            findings += asked
        found = list(_look(subject, places, settled))
        findings += (finding for _, finding in found)
        if options.linters:
            remarks = (
                cloudformation_validate.look(texts, subject.region)
                if cloudformation_validate.installed()
                else {}
            )
            said = run.result() if run else {}
            findings += _foreign(subject, places, said, remarks, found)
            findings += _missing_linters()
    finally:
        if run is not None:
            run.close()
    kept = {finding for finding in findings if finding.id not in options.ignored}
    return tuple(sorted(kept, key=_order))


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those that stand in the way of a deploy."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def compact(template: Mapping[str, Any]) -> str:
    """A template as the text that CloudFormation would be given."""
    return json.dumps(template, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


_PHASES: Final = [phase.name for phase in PHASES]


def _order(finding: Finding) -> tuple[Any, ...]:
    where = finding.where
    phase = _PHASES.index(where.phase) if where.phase in _PHASES else -1
    return (
        -finding.severity,
        phase,
        finding.id,
        where.resource or "",
        where.property or "",
        where.key or "",
        finding.what,
    )


def _look(subject: Subject, places: _Places, settled: set[str]) -> Iterator[tuple[Rule, Finding]]:
    for rule in rules():
        if not rule.live and rule.settled_by not in settled:
            for problem in rule.check(subject):
                yield rule, places.finding(rule, problem)


def _ask(subject: Subject, connect: Callable[[], Account], places: _Places) -> tuple[list[Finding], set[str]]:
    """What the account says, and the IDs of the rules that it answered."""
    try:
        account = connect()
    except ZediError as error:
        return [
            _note(NOT_ASKED, f"{error.what}; only what can be known without AWS was looked at", error.fix)
        ], set()
    from botocore.exceptions import BotoCoreError, ClientError

    findings: list[Finding] = []
    answered: set[str] = set()
    refused: dict[str, str] = {}

    def ask(rule: Rule) -> tuple[Rule, list[Problem] | Exception]:
        try:
            return rule, list(rule.check(subject, account))
        except (BotoCoreError, ClientError, ZediError) as error:
            return rule, error

    live = [rule for rule in rules() if rule.live]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for rule, answer in pool.map(ask, live):
            if isinstance(answer, Exception):
                refused[rule.id] = _short(answer)
            else:
                answered.add(rule.id)
                findings += (places.finding(rule, problem) for problem in answer)
    if refused:
        said = "; ".join(f"{id} ({why})" for id, why in refused.items())
        findings.append(
            _note(
                NOT_ALLOWED,
                f"not looked at: {said}",
                "Allow whom you are signed in as to read these, or --offline.",
            )
        )
    return findings, answered


def _short(error: Exception) -> str:
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        return f"{getattr(error, 'operation_name', '')}: {response.get('Error', {}).get('Code', '')}"
    return type(error).__name__


def _note(id: str, what: str, fix: str) -> Finding:
    return Finding(id, Severity.INFO, Place(), what, fix, "")


def _missing_linters() -> Iterator[Finding]:
    missing = [linter.NAME for linter in (cfn_lint, cloudformation_validate) if not linter.installed()]
    if missing:
        yield _note(
            NO_LINTER, f"{' and '.join(missing)} did not look", "Install them: pip install 'zedi[preflight]'."
        )


class _Places:
    """Makes findings of problems: finds the key, the file and the line of each place."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    @cached_property
    def _origin(self) -> Origin | None:
        from zedi.preflight.origin import Origin

        return Origin(self._subject.settings, self._subject.text) if self._subject.settings else None

    def finding(self, rule: Rule, problem: Problem) -> Finding:
        resource = problem.resource
        where = self.place(
            problem.phase or (resource.phase if resource else None),
            resource.title if resource else None,
            problem.property,
            problem.key,
        )
        for rival, path in problem.rivals if where.key and where.line is None else ():
            other = self.place(rival.phase, rival.title, path)
            if other.line is not None:
                where = other
                break
        return Finding(rule.id, rule.severity, where, problem.what, problem.fix or rule.fix, rule.source)

    def place(
        self, phase: str | None, resource: str | None, property: str | None, key: str | None = None
    ) -> Place:
        file, line = None, None
        if self._origin is not None:
            if key is None and phase and resource:
                key = self._origin.key(phase, resource, property) or self._origin.key(phase, resource, None)
            file = self._subject.file
            line = self._origin.line(key) if key else None
        elif self._subject.folder and phase:
            file = f"{self._subject.folder}/{phase}.json"
            line = _line_of(self._subject.texts.get(phase, ""), resource)
        return Place(file, line, key, phase, resource, property)


def _line_of(text: str, title: str | None) -> int | None:
    """The line of a template's text on which the resource `title` begins."""
    if title is None:
        return None
    start = text.find('"Resources"')
    found = re.compile(rf'"{re.escape(title)}"\s*:').search(text, max(start, 0))
    return text.count("\n", 0, found.start()) + 1 if found else None


def _foreign(
    subject: Subject,
    places: _Places,
    said: Mapping[str, list[Remark]],
    remarks: Mapping[str, list[Remark]],
    found: Iterable[tuple[Rule, Finding]],
) -> Iterator[Finding]:
    """The linters' remarks as findings; not those that a rule of ours has made already."""
    found = list(found)
    ours = {(id, each.where.phase, each.where.resource) for rule, each in found for id in rule.covers}
    said_of = {(each.where.phase, each.where.resource, each.where.property) for _, each in found}
    for phase in subject.templates:
        for remark in heard([*said.get(phase, ()), *remarks.get(phase, ())]):
            resource = remark.title if remark.section == "Resources" else None
            if (remark.rule, phase, resource) in ours or (remark.rule, phase, None) in ours:
                continue
            if remark.rule in SCHEMA and (phase, resource, remark.property) in said_of:
                continue
            where = places.place(phase, resource or remark.title, remark.property)
            yield Finding(
                remark.rule,
                Severity.ERROR if remark.error else Severity.WARNING,
                where,
                remark.message,
                remark.fix or f"See what {remark.linter} says about {remark.rule}.",
                remark.source
                or f"https://github.com/aws-cloudformation/cfn-lint/blob/main/docs/rules.md#{remark.rule}",
            )
