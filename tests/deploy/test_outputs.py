"""What is deployed, by the names people use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from troposphere import Output, Template

from zedi.deploy import execute
from zedi.deploy.execute import Request
from zedi.deploy.outputs import named, outputs
from zedi.deploy.rollout import deploy
from zedi.deploy.target import Target
from zedi.phases import Phase, render
from zedi.settings import Settings


def test_names_are_peoples() -> None:
    """Names are snake_case, and lists of IDs are lists, even of one."""
    assert named({"VpcId": "vpc-1", "PublicSubnetIds": "a,b", "PrivateSubnetIds": "c"}) == {
        "vpc_id": "vpc-1",
        "public_subnet_ids": ["a", "b"],
        "private_subnet_ids": ["c"],
    }


@pytest.mark.server
def test_outputs_of_what_is_deployed(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any
) -> None:
    """Deployed stacks' outputs come in the order of the phases; what was only planned has none."""

    def subnets(template: Template) -> None:
        template.add_output(Output("PublicSubnetIds", Value="a,b"))

    phases = [phase("one", resources=subnets), phase("two", "one"), phase("three")]
    assert outputs(settings, target, phases) == {}
    result = deploy(settings, target, listener=heard, through="two", phases=phases)
    execute.propose(
        target,
        Request("three", f"{settings.prefix}-three", render(phases[2].build(settings)), {}, {}),
        heard,
        threading.Event(),
    )
    found = outputs(settings, target, phases)
    assert set(found) == {"one_topic_arn", "public_subnet_ids", "two_topic_arn"}
    assert list(found)[-1] == "two_topic_arn"
    assert found["public_subnet_ids"] == ["a", "b"]
    assert found == result.outputs
