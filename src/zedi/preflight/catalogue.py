"""The rules as a page of the documentation, and as an answer to AWS's own words."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from zedi.preflight.linters import MUTED
from zedi.preflight.rule import Rule, rules
from zedi.preflight.run import NOTES

_PARTS: Final = (
    "Any phase", "Networking", "Security", "Database", "Cache", "Realtime", "CDN", "Monitoring",
)  # fmt: skip

_HEAD: Final = """\
# Preflight: what it looks for

`zedi preflight ENV` says what AWS would refuse, and what would cost money for nothing, before anything is
created. This page is made from the rules (`python -m zedi.preflight > docs/preflight.md`).

    zedi preflight dev                       settings and templates, and the account when it can be asked
    zedi preflight dev --offline             without asking AWS
    zedi preflight --templates DIR           any folder of {phase}.json
    zedi preflight prod --ignore Z606        leave a rule out; may be repeated
    zedi preflight dev --format github       annotations; json for programs

Exit status: 0 nothing, or nothing worse than a warning; 1 errors stand (or the settings cannot be read);
2 the command was not understood.

An **error** is refused by AWS, or does not work there. A **warning** works, and costs money, safety or
availability. An **info** is worth knowing. A place is the key that made the value, with its line in the file,
or `default of` the key where the file does not say it, and the resource and property that it became.
"""


def page() -> str:
    """docs/preflight.md."""
    parts = [_HEAD]
    for number, title in enumerate(_PARTS):
        parts.append(f"## {title}\n")
        if number == 0:
            for id, words in NOTES.items():
                parts.append(f"### {id} {words}\n\ninfo\n\nPreflight says this about itself, once.\n")
        parts += (_entry(rule) for rule in rules() if rule.id[1] == str(number))
    parts.append(_linters())
    return "\n".join(parts)


def _entry(rule: Rule) -> str:
    kind = f"{rule.severity}, asks AWS" if rule.live else str(rule.severity)
    lines = [f"### {rule.id} {rule.title}\n", f"{kind}\n", f"{rule.why}\n", f"**Fix:** {rule.fix}\n"]
    if rule.settled_by:
        lines.append(f"Silent where {rule.settled_by} could ask AWS.\n")
    if rule.covers:
        lines.append(f"Shown in place of the linters' {', '.join(rule.covers)} on the same resource.\n")
    lines.append(f"<{rule.source}>\n")
    return "\n".join(lines)


def _linters() -> str:
    lines = [
        "## The linters\n",
        "cfn-lint and cloudformation-validate look at the same templates; what they find keeps its own ID"
        " (they share their numbers: E error, W warning, F fatal) and can be left out with `--ignore` too."
        " Their purely informational rules are left out. Never shown:\n",
    ]
    lines += [
        f"- {mute.rule}{f' about {mute.pattern.strip(chr(39))}' if mute.pattern else ''}: {mute.because}"
        for mute in MUTED
    ]
    return "\n".join([*lines, ""])


@cache
def _said() -> tuple[tuple[re.Pattern[str], Rule], ...]:
    return tuple(
        (re.compile(pattern, re.IGNORECASE | re.DOTALL), rule) for rule in rules() for pattern in rule.says
    )


def explain(reason: str) -> Rule | None:
    """The rule that stands for what AWS said, e.g. in a stack event's reason; its `why` and `fix` explain it.

    None when no rule knows those words.
    """
    plain = " ".join(reason.split())
    return next((rule for pattern, rule in _said() if pattern.search(plain)), None)
