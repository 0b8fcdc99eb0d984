"""cloudformation-validate: AWS's own checker, some milliseconds a template.

https://github.com/aws-cloudformation/cloudformation-validate
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import util
from typing import Any, Final

from zedi.preflight.linters import Remark

NAME: Final = "cloudformation-validate"


def installed() -> bool:
    return util.find_spec("cloudformation_validate") is not None


def look(texts: Mapping[str, str], region: str) -> dict[str, list[Remark]]:
    """What it says about templates (JSON by phase), by phase."""
    import cloudformation_validate as checker

    engine = checker.CompositeEngine()
    config = checker.ValidateConfig(
        severity_level=checker.Severity.WARN,
        pseudo_parameter_overrides=checker.PseudoParameterOverrides(region=region),
    )
    return {
        phase: [
            _remark(said, phase)
            for said in engine.validate_template(checker.TemplateContent(text, phase), config).diagnostics
        ]
        for phase, text in texts.items()
    }


def _remark(said: Any, phase: str) -> Remark:
    resource = said.entity is not None and said.entity.entity_type.name == "RESOURCE"
    path = (said.property_path or "").replace("/", ".")
    inside = path.removeprefix("Properties.") if resource and path.startswith("Properties.") else None
    return Remark(
        linter=NAME,
        rule=said.rule_id,
        error=said.severity.name in ("ERROR", "FATAL"),
        section="Resources" if resource else None,
        title=said.entity.logical_id if said.entity is not None else None,
        property=inside,
        message=said.message,
        fix=said.suggested_fix,
        source=said.documentation_url,
        line=None,
    )
