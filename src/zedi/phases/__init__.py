"""What is deployed: seven phases, one file each, one CloudFormation template each.

A phase is a function from settings to a template (`build`). What it needs from earlier phases are the
template's parameters: a parameter is filled with the output of the same name of an earlier phase, or, when
it stands in `FACTS`, with what the deployer finds out when it comes to it. Names are PascalCase in
templates and snake_case to people: the output AuroraClusterEndpoint is shown as aurora_cluster_endpoint.

May import: settings, contract, errors. Knows nothing of how or where it is deployed.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from zedi.errors import ZediError
from zedi.settings import Settings

if TYPE_CHECKING:
    from troposphere import Template

MAX_TEMPLATE_BYTES: Final = 51_200
"""What CloudFormation takes inline; a larger template would have to go through S3."""


class TemplateTooLargeError(ZediError):
    """The settings make a template that CloudFormation does not take inline."""


@dataclass(frozen=True)
class Phase:
    """One template and where it stands among the others.

    Args:
        name: of the phase and its module; ends the stack's name.
        after: the phases that must be deployed before this one; their outputs may be its parameters.
        build: makes the template. Its module, and troposphere with it, is imported at the first call.
    """

    name: str
    after: tuple[str, ...]
    build: Callable[[Settings], Template]


def _phase(name: str, *after: str) -> Phase:
    def build(settings: Settings) -> Template:
        template: Template = importlib.import_module(f"{__name__}.{name}").build(settings)
        return template

    return Phase(name, after, build)


PHASES: Final[tuple[Phase, ...]] = (
    _phase("networking"),
    _phase("security"),
    _phase("database", "networking", "security"),
    _phase("cache", "networking"),
    _phase("realtime", "networking", "security", "database", "cache"),
    _phase("cdn", "security", "realtime"),
    _phase("monitoring", "database", "cache", "realtime", "cdn"),
)
"""In an order in which they can be deployed one by one."""

FACTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "DatabaseVersion": "exact Aurora PostgreSQL version, resolved from database.engine_version",
        "FrontendUrl": "where CloudFront serves the front end; empty before its first deploy",
        "ImageUri": "the service's image: repository URI with a tag or digest",
        "TaskCount": "tasks to run: 0 while the image is not in ECR, else realtime.min_tasks or more",
        "TokenKeys": "the user pool's public keys as JSON; at most 4096 characters; empty: fetch them",
        "TokenKeysUrl": "where the user pool's public keys can be fetched; may be empty beside TokenKeys",
    }
)
"""The parameters that no earlier phase outputs and the deployer finds out, with what each one is."""

DEPLOYED_TAG: Final = "deployed"
"""The tag of the image that is deployed: its repository never expires it, and each deploy moves it."""


def stack_name(settings: Settings, phase: str) -> str:
    """The name of the stack of `phase` (a Phase's name), e.g. `zedi-dev-networking`."""
    return f"{settings.prefix}-{phase}"


def output_name(name: str) -> str:
    """What people call the output `name` of a template: VpcId is vpc_id."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def template_name(name: str) -> str:
    """What templates call the output that people call `name`: vpc_id is VpcId."""
    return "".join(part.capitalize() for part in name.split("_"))


def render(template: Template) -> str:
    """The template as compact JSON; equal settings give equal text.

    Raises TemplateTooLargeError above MAX_TEMPLATE_BYTES.
    """
    text = json.dumps(template.to_dict(), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    size = len(text.encode())
    if size > MAX_TEMPLATE_BYTES:
        raise TemplateTooLargeError(
            template.description or "template",
            f"has {size} bytes; CloudFormation takes {MAX_TEMPLATE_BYTES}",
            "Shorten the lists in the settings: callback URLs, availability zones.",
        )
    return text
