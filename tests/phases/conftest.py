"""The templates of the environments, as the JSON that AWS is given."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from zedi import settings
from zedi.phases import PHASES, render

ENVIRONMENTS = Path(__file__).parents[2] / "environments"

Templates = Mapping[str, dict[str, Any]]


@cache
def _synthesized(environment: str) -> Templates:
    chosen = settings.load(environment, ENVIRONMENTS)
    return {phase.name: json.loads(render(phase.build(chosen))) for phase in PHASES}


@pytest.fixture(scope="session")
def templates() -> Callable[[str], Templates]:
    """The templates of an environment in the repository, by the name of their phase."""
    return _synthesized


@pytest.fixture(scope="session")
def templates_of() -> Callable[[str], Templates]:
    """The templates of an environment `dev` that the given TOML changes."""

    def synthesize(toml: str) -> Templates:
        chosen = settings.parse(f'name = "dev"\n{toml}', "test.toml")
        return {phase.name: json.loads(render(phase.build(chosen))) for phase in PHASES}

    return synthesize
