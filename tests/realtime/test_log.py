"""Log lines: one JSON object each, and metrics as CloudWatch wants them embedded."""

from __future__ import annotations

import io
import json

from zedi import contract
from zedi.realtime.log import Log


def test_an_event_is_one_line() -> None:
    """Fields that are None are left out, everything else is there."""
    stream = io.StringIO()
    Log("task-1", "dev", stream).event("connected", user="花子", document=None, duration=0.5)
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert (event["event"], event["task"], event["user"], event["duration"]) == (
        "connected",
        "task-1",
        "花子",
        0.5,
    )
    assert "document" not in event


def test_metrics_carry_what_the_dashboard_reads() -> None:
    """Every metric that is announced has its value, under the contract's names and its one dimension."""
    stream = io.StringIO()
    Log("task-1", "dev", stream).metrics(
        {contract.METRIC_CONNECTIONS: 3}, {contract.METRIC_EDITS: 7}, {"Values": [1.0], "Counts": [2]}
    )
    line = json.loads(stream.getvalue())
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == contract.METRIC_NAMESPACE
    assert directive["Dimensions"] == [[contract.METRIC_DIMENSION]]
    assert line[contract.METRIC_DIMENSION] == "dev"
    names = {metric["Name"] for metric in directive["Metrics"]}
    assert names == {contract.METRIC_CONNECTIONS, contract.METRIC_EDITS, contract.METRIC_LATENCY}
    assert names <= line.keys()
    assert sum(line[contract.METRIC_LATENCY]["Counts"]) == 2
