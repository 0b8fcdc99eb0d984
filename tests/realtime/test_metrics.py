"""What is counted, as CloudWatch and as Prometheus read it."""

from __future__ import annotations

import urllib.error
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from zedi.realtime.metrics import BOUNDS, Durations, Metrics, Sample, exposition

if TYPE_CHECKING:
    from tests.realtime.conftest import NodeClients, StartService
    from tests.servers import Database, Issuer

seconds = st.lists(st.floats(0.0, 1000.0), min_size=1, max_size=500)


def durations(values: list[float]) -> Durations:
    found = Durations()
    for value in values:
        found.add(value)
    return found


@given(seconds)
def test_a_distribution_stays_within_its_bounds(values: list[float]) -> None:
    """At most 100 values, as many counted as there were, the largest within 5 % of the truth."""
    found = durations(values).fresh()
    assert len(found["Values"]) == len(found["Counts"]) <= 100
    assert sum(found["Counts"]) == len(values)
    assert abs(max(found["Values"]) - 1000 * max(values)) <= 50 * max(values) + 0.011


@given(st.lists(seconds, max_size=4))
def test_each_duration_is_told_once(batches: list[list[float]]) -> None:
    """A line has those since the line before; buckets have all from the start."""
    found = Durations()
    for batch in batches:
        for value in batch:
            found.add(value)
        assert sum(found.fresh()["Counts"]) == len(batch)
        assert found.fresh() == {}
    assert found.buckets()[-1] == ("+Inf", sum(map(len, batches)))


@given(seconds)
def test_buckets_count_upwards_to_all(values: list[float]) -> None:
    """Each is counted in every bucket that it fits into, within a step of the truth."""
    counts = [count for _, count in durations(values).buckets()]
    assert counts == sorted(counts) and counts[-1] == len(values)
    for bound, count in zip(BOUNDS, counts, strict=False):
        assert sum(v <= bound / 1.06 for v in values) <= count <= sum(v <= bound * 1.06 for v in values)


def test_counts_are_differences() -> None:
    """What one line has told the next one does not tell again."""
    metrics = Metrics()
    assert metrics.fresh({"Edits": 3, "Errors": 0}) == {"Edits": 3, "Errors": 0}
    assert metrics.fresh({"Edits": 5, "Errors": 1}) == {"Edits": 2, "Errors": 1}


def test_the_exposition_is_what_prometheus_reads() -> None:
    """Its own parser finds every figure, the histogram, and the process's memory."""
    samples = [Sample("connections", "Open", 3), Sample("edits", "Stored", 7, counter=True)]
    text = exposition(samples, durations([0.002, 0.2])).decode()
    found = {family.name: family for family in text_string_to_metric_families(text)}
    assert found["zedi_connections"].samples[0].value == 3
    assert [(s.name, s.value) for s in found["zedi_edits"].samples] == [("zedi_edits_total", 7)]
    histogram = {(s.name, s.labels.get("le")): s.value for s in found["zedi_acknowledgement_seconds"].samples}
    assert histogram["zedi_acknowledgement_seconds_bucket", "0.005"] == 1
    assert histogram["zedi_acknowledgement_seconds_count", None] == 2
    assert found["process_resident_memory_bytes"].samples[0].value > 0


@pytest.mark.server
async def test_a_task_tells_its_figures(
    database: Database, start_service: StartService, clients: NodeClients, issuer: Issuer
) -> None:
    """What happened is counted; nobody reads it through the load balancer."""
    service = await start_service(database)
    before = service.metrics()
    assert (before["zedi_connections"], before["zedi_edits_total"], before["zedi_database_up"]) == (0, 0, 1)
    page = await database.page()
    await clients.open("a", service, page, issuer.token())
    await clients.wait("a", synced=True)
    await clients.command("insert", "a", text="x")
    await clients.wait("a", unsynced=0)
    after = service.metrics()
    assert (after["zedi_connections"], after["zedi_documents"], after["zedi_edits_total"]) == (1, 1, 1)
    assert after["zedi_acknowledgement_seconds_count"] == 1
    assert after["zedi_journal_commits_total"] == 1
    assert after["zedi_redis_up"] == 0
    with pytest.raises(urllib.error.HTTPError) as refused:
        service.metrics(**{"X-Forwarded-For": "192.0.2.1"})
    refused.value.close()
