"""The table of a run, and its line for programs."""

from __future__ import annotations

import xml.etree.ElementTree

import pytest

from bench import report
from bench.load import Result
from bench.scenarios import Capacity, Kills, Measurement
from bench.stage import Kind


def measured(kind: Kind, load: float, cpu: float, p99: float, peak: int) -> Measurement:
    return Measurement(kind, load, Result(edits=1000, server_cpu=cpu, p99=p99, peak=peak))


@pytest.fixture
def run() -> report.Run:
    """Two loads in two rounds; a quiet one and one in which the machine was busy."""
    return report.Run(
        fan_out=[
            measured("ours", 5, 0.10, 0.004, 50),
            measured("peer", 5, 0.20, 0.008, 200),
            measured("ours", 5, 0.20, 0.008, 50),
            measured("peer", 5, 0.40, 0.016, 200),
            measured("ours", 40, 0.03, 0.010, 80),
            measured("peer", 40, 0.10, 0.100, 200),
            measured("ours", 40, 0.03, 0.010, 80),
            measured("peer", 40, 0.10, 0.100, 200),
        ]
    )


def test_ratios_are_within_a_round(run: report.Run) -> None:
    """A round in which everything took twice as long changes the spread of the times, not of the ratio."""
    row = report.row(run.fan_out, 5, report.CPU, "", "µs", "", "")
    assert (row.ours.least, row.ours.greatest) == (100, 200)
    assert (row.ratio.median, row.ratio.least, row.ratio.greatest) == (0.5, 0.5, 0.5)


def test_the_line_for_programs_has_the_worst_load(run: report.Run) -> None:
    """Each ratio of the last line is the greatest among the loads, whichever load that is."""
    assert report.worst(run) == {
        "cpu_per_edit_ratio": 0.5,
        "p99_ratio": 0.5,
        "rss_ratio": 0.4,
        "runs": 8,
    }


def test_a_side_that_was_not_measured_is_an_error(run: report.Run) -> None:
    """A ratio is never made of one side alone."""
    ours = [each for each in run.fan_out if each.kind == "ours"]
    with pytest.raises(ValueError):
        report.row(ours, 5, report.CPU, "", "", "", "")


def test_the_table_has_a_line_for_everything_measured(run: report.Run) -> None:
    """Every scenario that was run has its lines, with unit, ratio and figures to reach; others have none."""
    whole = report.Run(
        fan_out=run.fan_out,
        capacity=[Capacity("ours", 30000, []), Capacity("peer", 10000, [])],
        kill=[Kills("ours", 3, 4000, 0), Kills("peer", 3, 4100, 4100)],
    )
    lines = report.markdown(report.rows(whole)).splitlines()
    assert "| CPU an edit, 40 edits/s a client | 100 (100 to 100) µs | 30.0 (30.0 to 30.0) µs |" in "".join(
        lines
    )
    assert any(line.startswith("| edits accepted a second") and "| 3.00 |" in line for line in lines)
    assert any("ours 4000, peer 4100 | 4,100 | 0 | 0 |" in line for line in lines)
    assert not any("idle" in line for line in lines)
    assert {line.count("|") for line in lines} == {7}


def test_the_plot_is_well_formed(run: report.Run) -> None:
    """The plot is XML, with one bar for each ratio."""
    rows = report.rows(run)
    root = xml.etree.ElementTree.fromstring(report.svg(rows))
    bars = root.findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == len(rows) + 1
