"""Every way out of the network, and lean as a whole, through the deployer into the embedded AWS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zedi.deploy.rollout import deploy
from zedi.deploy.stacks import describe
from zedi.deploy.target import Target
from zedi.settings import Settings, changed, load

ENVIRONMENTS = Path(__file__).parents[2] / "environments"

pytestmark = pytest.mark.server


@pytest.fixture
def lean(settings: Settings) -> Settings:
    """lean, in the embedded AWS, under this test's own name."""
    chosen = load("lean", ENVIRONMENTS)
    here = {"name": settings.name, "embedded": settings.embedded, "cdn": settings.cdn}
    ports = {
        "database": chosen.database.model_copy(update={"port": settings.database.port}),
        "cache": chosen.cache.model_copy(update={"port": settings.cache.port}),
    }
    return chosen.model_copy(update={**here, **ports})


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """The smallest front end."""
    (tmp_path / "index.html").write_text("<!doctype html>", "utf-8")
    return tmp_path


def test_lean_deploys_from_nothing(lean: Settings, target: Target, heard: Any, web: Path) -> None:
    """All seven phases; tasks have public addresses in the public subnets; once more changes nothing."""
    result = deploy(lean, target, listener=heard, web=web)
    assert [done.plan.action for done in result.phases if done.plan.phase != "security"] == ["create"] * 6
    outputs = result.outputs
    (service,) = target.client("ecs").describe_services(
        cluster=str(outputs["ecs_cluster_name"]), services=[str(outputs["ecs_service_name"])]
    )["services"]
    network = service["networkConfiguration"]["awsvpcConfiguration"]
    assert network["assignPublicIp"] == "ENABLED"
    assert network["subnets"] == outputs["public_subnet_ids"]
    (task,) = target.client("ecs").describe_task_definition(taskDefinition=service["taskDefinition"])[
        "taskDefinition"
    ]["containerDefinitions"][:1]
    given = {each["name"]: each["value"] for each in task["environment"]}
    assert '"kid"' in given["COGNITO_JWKS"]
    assert not deploy(lean, target, web=web, listener=heard).changed


def test_the_way_out_can_be_changed(settings: Settings, target: Target, heard: Any, web: Path) -> None:
    """From endpoints to public addresses: the endpoints go, the service moves, and no data is in danger."""
    first = deploy(settings, target, listener=heard, web=web)
    public = changed(settings, {"networking.egress": "public"}, "test")
    second = deploy(public, target, listener=heard, web=web)
    changes = {
        (done.plan.phase, change.action, change.logical_id)
        for done in second.phases
        for change in done.plan.changes
    }
    removed = {logical_id for _, action, logical_id in changes if action == "remove"}
    assert removed == {
        "EcrApiEndpoint",
        "EcrDkrEndpoint",
        "LogsEndpoint",
        "SecretsmanagerEndpoint",
        "EndpointSecurityGroup",
    }
    assert ("realtime", "modify", "Service") in changes
    kept = ("aurora_cluster_endpoint", "cognito_user_pool_id", "vpc_id", "redis_endpoint")
    assert [first.outputs[name] for name in kept] == [second.outputs[name] for name in kept]
    network = describe(target, f"{settings.prefix}-networking")
    assert network is not None and network.deployed
