"""Every environment's whole life in the embedded AWS: from nothing, changed, changed by hand, and gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zedi.deploy import DeployError
from zedi.deploy.destroy import destroy
from zedi.deploy.drift import drift
from zedi.deploy.outputs import outputs
from zedi.deploy.rollout import deploy
from zedi.deploy.status import status
from zedi.deploy.target import Target
from zedi.phases import PHASES
from zedi.settings import Settings, changed, load

ENVIRONMENTS = Path(__file__).parents[2] / "environments"
NAMES = sorted(file.stem for file in ENVIRONMENTS.glob("*.toml"))
CHANGES = {
    "security.password_minimum_length": "12",
    "database.backup_retention_days": "21",
    "cache.snapshot_retention_days": "9",
    "realtime.log_retention_days": "3",
    "monitoring.utilisation_percent": "70",
}
"""At least one resource of each phase that they name."""

pytestmark = pytest.mark.server

Moves = Callable[[Settings], Settings]
Account = Callable[[Target], Counter[tuple[str, str]]]


@pytest.mark.parametrize("name", NAMES)
def test_from_nothing_to_nothing(
    name: str, here: Moves, target: Target, heard: Any, web: Path, there_is: Account
) -> None:
    """Deployed, changed, altered by hand and found out, destroyed; only what it must keep is left."""
    file = load(name, ENVIRONMENTS)
    settings = here(file)
    before = there_is(target)

    first = deploy(settings, target, listener=heard, web=web)
    made = {done.plan.phase for done in first.phases if done.plan.action == "create"}
    assert made == {phase.name for phase in PHASES}
    assert first.published is not None and "index.html" in first.published.uploaded
    assert outputs(settings, target) == first.outputs
    assert all(each.way_on is None and not each.unsettled for each in status(settings, target).phases)
    assert not deploy(settings, target, listener=heard, web=web).changed

    settings = here(changed(file, CHANGES, "test"))
    second = deploy(settings, target, listener=heard, web=web)
    updated = {done.plan.phase for done in second.phases if done.plan.action == "update"}
    assert updated >= {key.partition(".")[0] for key in CHANGES}
    assert second.outputs == first.outputs
    assert not deploy(settings, target, listener=heard, web=web).changed

    assert [each.drifted for each in drift(settings, target)] == [()] * len(PHASES)
    secret = str(second.outputs["db_credentials_secret_arn"])
    target.client("secretsmanager").update_secret(SecretId=secret, Description="by hand")
    log = f"/aws/elasticache/{settings.prefix}/slow-log"
    target.client("logs").put_retention_policy(logGroupName=log, retentionInDays=1)
    found = {
        (phase.phase, each.type, difference.path, difference.actual)
        for phase in drift(settings, target)
        for each in phase.drifted
        for difference in each.differences
    }
    assert found == {
        ("database", "AWS::SecretsManager::Secret", "/Description", "by hand"),
        ("cache", "AWS::Logs::LogGroup", "/RetentionInDays", "1"),
    }

    if file.database.deletion_protection:
        with pytest.raises(DeployError, match="protected against deletion"):
            destroy(settings, target, listener=heard)
        settings = here(changed(file, {**CHANGES, "database.deletion_protection": "false"}, "test"))
        deploy(settings, target, listener=heard, only="database")
    gone = destroy(settings, target, listener=heard)
    assert set(gone.phases) == {phase.name for phase in PHASES}
    left = there_is(target)
    assert left - before == Counter(_kept(gone.kept, left - before)) and before - left == Counter()
    assert bool(gone.kept) == (name == "prod")
    again = destroy(settings, target, listener=heard)
    assert again.phases == () and _names(again.kept) == _names(gone.kept)


def _names(resources: Any) -> list[tuple[str, str, str]]:
    return sorted((each.type, each.physical_id, each.kept) for each in resources)


def _kept(resources: Any, left: Counter[tuple[str, str]]) -> list[tuple[str, str]]:
    """What there must be of resources that were kept, as `there_is` names it."""
    operations = {
        "AWS::Cognito::UserPool": "list_user_pools",
        "AWS::S3::Bucket": "list_buckets",
        "AWS::SecretsManager::Secret": "list_secrets",
    }
    kept = [(operations[each.type], each.physical_id) for each in resources if each.kept == "retained"]
    # A snapshot's name is made up when it is taken; that it is of this cluster is what counts.
    clusters = [each.physical_id for each in resources if each.kept == "snapshot"]
    for operation, name in left:
        if operation == "describe_db_cluster_snapshots" and clusters:
            clusters.pop()
            kept.append((operation, name))
    return kept
