"""`zedi destroy`: the name must be said, and what goes and stays is shown."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from zedi.cli import destroy as verb
from zedi.cli.destroy import NotConfirmedError, destroy, last_words, survey_lines
from zedi.deploy.destroy import Destroyed, Resource, Survey
from zedi.deploy.stacks import Stack

ENVIRONMENTS = Path(__file__).parents[2] / "environments"
CLUSTER = Resource("database", "Cluster", "AWS::RDS::DBCluster", "zedi-prod-cluster", "Snapshot", {})
SECRET = Resource("database", "Secret", "AWS::SecretsManager::Secret", "arn:secret", "Retain", {})


def stack(phase: str, status: str = "CREATE_COMPLETE") -> tuple[str, Stack]:
    return phase, Stack(f"zedi-prod-{phase}", "arn", status, "", {}, {})


def test_another_name_is_refused_before_anybody_is_asked() -> None:
    """A name that is not the environment's deletes nothing, and AWS is not even asked."""
    done = CliRunner().invoke(destroy, [str(ENVIRONMENTS / "prod.toml"), "--confirm", "dev"])
    assert isinstance(done.exception, NotConfirmedError)
    assert "“dev” is not its name" in done.exception.what


def test_shows_what_goes_and_what_stays() -> None:
    """Phases in the order in which they go; a snapshot counts as going and is listed as staying."""
    survey = Survey((stack("networking"), stack("database", "DELETE_FAILED")), (CLUSTER, SECRET))
    assert survey_lines(survey) == [
        "  - database: 1 resources (DELETE_FAILED)",
        "  - networking: 0 resources",
        "Stays:",
        "  a last snapshot of zedi-prod-cluster (AWS::RDS::DBCluster), for database.final_snapshot",
        "  arn:secret (AWS::SecretsManager::Secret), for database.secret_recovery_days",
    ]


def test_the_last_words() -> None:
    """They say what is left, what was scheduled, and that names stay taken."""
    lines = last_words(Destroyed(("database",), (SECRET,), (("zedi-prod-db-credentials", 30),), 2.0))
    assert lines[0] == "Deleted database in 2.0 s."
    assert "Scheduled for deletion in 30 days: zedi-prod-db-credentials" in lines
    assert "keeps its name" in lines[-1]
    assert verb.last_words(Destroyed((), (), (), 0.1)) == ["Deleted nothing in 0.1 s."]
