"""`zedi drift` against a real embedded AWS: what somebody changed by hand, and what cannot be seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner

from zedi.cli.drift import drift as verb
from zedi.cli.drift import lines
from zedi.cli.status import status as status_verb
from zedi.deploy.drift import PhaseDrift, drift
from zedi.deploy.rollout import deploy
from zedi.deploy.target import EMBEDDED_ACCESS_KEY, Target
from zedi.phases import PHASES, Phase
from zedi.settings import Settings


@pytest.fixture
def sns(target: Target) -> Any:
    return boto3.client(
        "sns",
        region_name=target.region,
        endpoint_url=target.endpoint_url,
        aws_access_key_id=EMBEDDED_ACCESS_KEY,
        aws_secret_access_key=EMBEDDED_ACCESS_KEY,
    )


@pytest.mark.server
def test_a_property_changed_by_hand(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any, sns: Any
) -> None:
    """It is named with what the template says and what is there; put back, nothing differs any more."""
    phases = [phase("one"), phase("two")]
    topic = str(deploy(settings, target, listener=heard, phases=phases[:1]).outputs["one_topic_arn"])
    clean, missing = drift(settings, target, phases)
    assert (clean.compared, clean.drifted, clean.not_checked, clean.reason) == (1, (), {}, "")
    assert missing.state is None

    sns.set_topic_attributes(TopicArn=topic, AttributeName="DisplayName", AttributeValue="by hand")
    found = drift(settings, target, phases)
    (drifted,) = found[0].drifted
    (difference,) = drifted.differences
    assert (drifted.logical_id, drifted.physical_id, drifted.deleted) == ("Topic", topic, False)
    assert (difference.path, difference.expected, difference.actual) == ("/DisplayName", "first", "by hand")
    assert "      /DisplayName: first → by hand" in list(lines(found))

    sns.set_topic_attributes(TopicArn=topic, AttributeName="DisplayName", AttributeValue="first")
    assert drift(settings, target, phases)[0].drifted == ()


@pytest.mark.server
def test_a_resource_deleted_by_hand(
    settings: Settings, target: Target, phase: Callable[..., Phase], heard: Any, sns: Any
) -> None:
    """What is gone counts as drift."""
    topic = str(deploy(settings, target, listener=heard, phases=[phase("one")]).outputs["one_topic_arn"])
    sns.delete_topic(TopicArn=topic)
    (found,) = drift(settings, target, [phase("one")])
    assert [each.deleted for each in found.drifted] == [True]
    assert any("was deleted" in line for line in lines([found]))


@pytest.mark.server
def test_the_whole_platform(whole: tuple[Settings, Path], target: Target) -> None:
    """Each resource is compared or listed; a secret changed by hand makes it end with 1; status knows."""
    settings, file = whole
    clean = CliRunner().invoke(verb, [str(file), "--json"])
    assert clean.exit_code == 0, clean.output
    found = json.loads(clean.stdout)
    assert found["drifted"] is False
    for phase, each in zip(PHASES, found["phases"], strict=True):
        resources = phase.build(settings).to_dict()["Resources"]
        assert each["compared"] + sum(each["not_checked"].values()) == len(resources)
    assert "AWS::RDS::DBCluster" in found["phases"][2]["not_checked"]

    secrets = target.client("secretsmanager")
    name = f"{settings.prefix}-db-credentials"
    secrets.update_secret(SecretId=name, Description="by hand")
    try:
        dirty = CliRunner().invoke(verb, [str(file)])
        known = json.loads(CliRunner().invoke(status_verb, [str(file), "--json"]).stdout)
    finally:
        secrets.update_secret(SecretId=name, Description="Master user of the Aurora cluster")
        drift(settings, target)
    assert dirty.exit_code == 1
    assert "      /Description: Master user of the Aurora cluster → by hand" in dirty.stdout.splitlines()
    assert "AWS::RDS::DBCluster" in dirty.stdout.split("Not checked:")[1]
    assert known["phases"][2]["drift"] == "DRIFTED"
    assert not any("never looked for" in note for note in known["not_checked"])


def test_a_stack_that_cannot_be_compared_is_not_clean() -> None:
    """A stack in a state that takes no detection says so, and lists all its resources."""
    found = PhaseDrift("cache", "ROLLBACK_COMPLETE", 0, (), {"A::B::C": 2}, "the stack is ROLLBACK_COMPLETE")
    assert list(lines([found])) == [
        "cache: nothing was compared",
        "  the stack is ROLLBACK_COMPLETE",
        "",
        "Not checked:",
        "  cache: A::B::C (2)",
    ]
