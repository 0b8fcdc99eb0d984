"""What AWS would refuse, or bill for no use, said before it is asked: rules in, findings out.

    finding     Finding and Place: frozen data, what the rest of the program sees
    rule        Rule: an ID, a severity, why, the fix, the source, and the function that looks
    subject     what is looked at: settings (or none) and the templates, with references followed
    origin      which key of which line in the settings a template's value came from
    rules/      the rules that look at settings and templates only, one file a matter
    live/       the rules that ask AWS, read-only
    linters/    cfn-lint and cloudformation-validate, whose findings become ours
    run         all of it in order: `check`
    report      findings as text, JSON, or GitHub annotations
    catalogue   the rules as a page (docs/preflight.md), and `explain`: a fix for AWS's own words

May import: settings, contract, phases, errors. Who asks AWS gives the account in (`live.Account`), so that
nothing here imports deploy. A rule judges; it never raises for what it judges and never prints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zedi.preflight.finding import Finding, Place, Severity

if TYPE_CHECKING:
    from zedi.preflight.rule import Rule

__all__ = ["Finding", "Place", "Severity", "explain"]


def explain(reason: str) -> Rule | None:
    """The rule that stands for what AWS said, e.g. in a stack event's reason; its `why` and `fix` explain it.

    None when no rule knows those words.
    """
    # Loading every rule is not worth it to whoever only wants the type of a finding.
    from zedi.preflight.catalogue import explain as known

    return known(reason)
