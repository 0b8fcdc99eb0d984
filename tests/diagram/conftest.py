"""Inventories without an AWS: what the settings make, said to be deployed, in whole or in part."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from zedi import settings
from zedi.deploy.inventory import Inventory, PhaseInventory
from zedi.deploy.stacks import Resource, Stack
from zedi.deploy.status import Service
from zedi.phases import PHASES, render
from zedi.settings import Settings

ENVIRONMENTS = Path(__file__).parents[2] / "environments"


def _phase(chosen: Settings, name: str, template: str, *, deployed: bool) -> PhaseInventory:
    body = json.loads(template)
    if not deployed:
        return PhaseInventory(name, None, (), body)
    stack = Stack(
        f"{chosen.prefix}-{name}",
        "arn",
        "CREATE_COMPLETE",
        "",
        {"DatabaseVersion": "15.18", "TaskCount": "1"},
        {"FrontendUrl": "https://d1.cloudfront.net"},
        changed=datetime(2026, 1, 31, tzinfo=UTC),
    )
    resources = tuple(
        Resource(title, f"{title.lower()}-0123456789abcdef0", each["Type"], "CREATE_COMPLETE", "", "IN_SYNC")
        for title, each in body["Resources"].items()
    )
    return PhaseInventory(name, stack, resources, body)


@pytest.fixture
def inventory_of() -> Callable[..., Inventory]:
    """An environment of which the phases named are deployed, with other settings where `changes` says so."""

    def make(environment: str, *deployed: str, **changes: str) -> Inventory:
        chosen = settings.load(environment, ENVIRONMENTS)
        if changes:
            keys = {key.replace("__", "."): value for key, value in changes.items()}
            chosen = settings.changed(chosen, keys, "test")
        found = tuple(
            _phase(chosen, phase.name, render(phase.build(chosen)), deployed=phase.name in deployed)
            for phase in PHASES
        )
        service = None
        if "realtime" in deployed:
            service = Service(f"{chosen.prefix}-realtime", 2, 1, 0, ("image",), "COMPLETED", "", None)
        return Inventory(chosen, "account 123456789012, ap-northeast-1", found, service)

    return make
