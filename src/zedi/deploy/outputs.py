"""What is deployed, by the names people use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from zedi.deploy.stacks import Stack, describe
from zedi.deploy.target import Target, asking
from zedi.phases import PHASES, Phase, output_name, stack_name
from zedi.settings import Settings


def outputs(
    settings: Settings, target: Target, phases: Iterable[Phase] = PHASES
) -> dict[str, str | list[str]]:
    """The outputs of every deployed stack, in the phases' order; empty when nothing is deployed.

    Names are snake_case; those that end in `_ids` are lists. Raises TargetError.
    """
    found: dict[str, str | list[str]] = {}
    for stack in deployed_stacks(settings, target, phases).values():
        found |= named(stack.outputs)
    return found


def named(outputs: Mapping[str, str]) -> dict[str, str | list[str]]:
    """A template's outputs by the names people use."""
    pairs = ((output_name(key), value) for key, value in outputs.items())
    return {name: value.split(",") if name.endswith("_ids") else value for name, value in pairs}


def deployed_stacks(settings: Settings, target: Target, phases: Iterable[Phase] = PHASES) -> dict[str, Stack]:
    """The stacks that are there, by phase, in the phases' order."""
    found: dict[str, Stack] = {}
    for phase in phases:
        with asking(target, phase.name):
            stack = describe(target, stack_name(settings, phase.name))
        if stack is not None and stack.deployed:
            found[phase.name] = stack
    return found
