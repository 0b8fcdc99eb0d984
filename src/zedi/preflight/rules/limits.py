"""What one template may hold, and whether its parameters can be filled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from zedi.phases import FACTS, MAX_TEMPLATE_BYTES, PHASES
from zedi.preflight.rule import ERROR, Problem, offline
from zedi.preflight.subject import Subject

_QUOTAS: Final = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html"
_COUNTS: Final = {"Resources": 500, "Parameters": 200, "Outputs": 200, "Mappings": 200}


@offline(
    "Z001",
    "template too large",
    ERROR,
    why="CloudFormation takes 51,200 bytes with a request; a deploy sends its templates with the request.",
    fix="Shorten the lists in the settings (callback URLs, zones), or move resources to another phase.",
    source=_QUOTAS,
    covers=("E1002",),
    says=(r"templateBody' failed to satisfy constraint.*51200", r"length less than or equal to 51200"),
)
def template_size(subject: Subject) -> Iterator[Problem]:
    from zedi.preflight.run import compact

    for phase, template in subject.templates.items():
        size = len(compact(template).encode())
        if size > MAX_TEMPLATE_BYTES:
            yield Problem(f"the template has {size:,} bytes; {MAX_TEMPLATE_BYTES:,} are taken", phase=phase)


@offline(
    "Z006",
    "settings that make no template",
    ERROR,
    why="The template of a phase could not be made: a value is none that its property can have. The other"
    " phases are looked at all the same.",
    fix="Correct the setting that the message speaks of.",
    source="https://github.com/cloudtools/troposphere",
)
def unbuilt(subject: Subject) -> Iterator[Problem]:
    for phase, message in subject.unbuilt.items():
        yield Problem(message, phase=phase)


@offline(
    "Z002",
    "too many of something in a template",
    ERROR,
    why="CloudFormation refuses a template with more than 500 resources, 200 parameters, outputs or"
    " mappings.",
    fix="Move some of them to another phase.",
    source=_QUOTAS,
    covers=("E3010", "E2010", "E6010", "E7010"),
)
def template_counts(subject: Subject) -> Iterator[Problem]:
    for phase, template in subject.templates.items():
        for section, most in _COUNTS.items():
            count = len(template.get(section, {}))
            if count > most:
                yield Problem(f"the template has {count} {section}; {most} are taken", phase=phase)


@offline(
    "Z003",
    "parameter that nothing fills",
    ERROR,
    why="A deploy fills a parameter with the output of the same name of an earlier phase, or with a"
    " fact that it knows to find out. With anything else the change set is refused.",
    fix="Give it a default, name it like the output that is meant, or add the output to an earlier phase.",
    source="https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html",
    says=(r"Parameters: \[.*\] must have values",),
)
def unfilled_parameters(subject: Subject) -> Iterator[Problem]:
    after = {phase.name: phase.after for phase in PHASES}
    for phase, template in subject.templates.items():
        # Of a phase that is missing (a folder of some, or it could not be made) no output is known.
        if not set(_before(after, phase)) <= set(subject.templates):
            continue
        given = {
            name for before in _before(after, phase) for name in subject.templates[before].get("Outputs", {})
        }
        for name, parameter in template.get("Parameters", {}).items():
            if name not in given and name not in FACTS and "Default" not in parameter:
                yield Problem(f"nothing fills the parameter {name}", phase=phase)


def _before(after: dict[str, tuple[str, ...]], phase: str) -> list[str]:
    direct = after.get(phase, ())
    return [*direct, *(name for each in direct for name in _before(after, each))]
