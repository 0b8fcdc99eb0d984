"""A run's results as a table in Markdown, a plot in SVG, and one line for programs. No measuring here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.figures import Spread, ratio, spread
from bench.scenarios import Capacity, Kills, Measurement
from bench.stage import KINDS, Kind

MB: Final = 1e6
Figure = Callable[[Measurement], float]

# What is read off a measurement; the smaller the better, all of them.
CPU: Final[Figure] = lambda each: each.cpu_per_edit * 1e6  # noqa: E731
P99: Final[Figure] = lambda each: each.result.p99 * 1e3  # noqa: E731
PEAK: Final[Figure] = lambda each: each.result.peak / MB  # noqa: E731
RSS: Final[Figure] = lambda each: each.result.rss / MB  # noqa: E731


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    unit: str
    peer: Spread
    ours: Spread
    ratio: Spread
    """Ours / peer of each round, so what slowed the machine in one has slowed both."""
    reach: str
    aim: str


def row(
    measured: Sequence[Measurement], load: float, figure: Figure, what: str, unit: str, reach: str, aim: str
) -> Row:
    """The row of the measurements with this load. Raises ValueError where a side has none."""
    of: Mapping[Kind, list[float]] = {
        kind: [figure(each) for each in measured if each.kind == kind and each.load == load] for kind in KINDS
    }
    ratios = [ratio(ours, peer) for ours, peer in zip(of["ours"], of["peer"], strict=True)]
    return Row(what, unit, spread(of["peer"]), spread(of["ours"]), spread(ratios), reach, aim)


@dataclass(frozen=True)
class Run:
    """What a run has measured; a scenario that was left out is empty."""

    fan_out: Sequence[Measurement] = ()
    capacity: Sequence[Capacity] = ()
    idle: Sequence[Measurement] = ()
    join: Sequence[Measurement] = ()
    kill: Sequence[Kills] = ()
    task_to_task: Sequence[Measurement] = ()


def rows(run: Run) -> list[Row]:
    """The table's rows, in the order of docs/performance.md."""
    found: list[Row] = []
    for figure, what, unit in ((CPU, "CPU an edit", "µs"), (P99, "p99 author to reader", "ms")):
        for load in _loads(run.fan_out):
            found.append(
                row(run.fan_out, load, figure, f"{what}, {load:g} edits/s a client", unit, "0.5", "0.33")
            )
    for load in _loads(run.fan_out):
        found.append(row(run.fan_out, load, PEAK, f"peak memory, {load:g} edits/s a client", "MB", "", ""))
    if run.capacity:
        borne = {
            kind: [each.edits_per_second for each in run.capacity if each.kind == kind] for kind in KINDS
        }
        found.append(
            Row(
                "edits accepted a second, p99 ≤ 100 ms (more is better)",
                "/s",
                spread(borne["peer"]),
                spread(borne["ours"]),
                spread([ratio(ours, peer) for ours, peer in zip(borne["ours"], borne["peer"], strict=True)]),
                "1.5",
                "3",
            )
        )
    for load in _loads(run.idle):
        found.append(row(run.idle, load, RSS, f"memory, {load:g} idle sockets", "MB", "0.6", "0.4"))
    for load in _loads(run.join):
        what = f"{load:g} clients join a 6 MB document"
        found.append(row(run.join, load, P99, f"{what}: p99", "ms", "0.2", "0.1"))
        found.append(row(run.join, load, PEAK, f"{what}: peak memory", "MB", "0.2", "0.1"))
    if run.kill:
        lost = {each.kind: spread([each.lost]) for each in run.kill}
        of = {each.kind: each.lost for each in run.kill}
        share = spread([ratio(of["ours"], of["peer"])])
        told = ", ".join(f"{each.kind} {each.acknowledged}" for each in run.kill)
        kills = run.kill[0].kills
        found.append(
            Row(
                f"edits lost in {kills} kills, of acknowledged: {told}",
                "",
                lost["peer"],
                lost["ours"],
                share,
                "0",
                "0",
            )
        )
    for load in _loads(run.task_to_task):
        found.append(row(run.task_to_task, load, P99, "p99 task to task through Redis", "ms", "0.7", "0.4"))
    return found


def markdown(found: Iterable[Row]) -> str:
    """Medians, with the least and the greatest where there were several rounds."""
    lines = ["| what | peer | ours | ours / peer | reach | aim |", "|---|---|---|---|---|---|"]
    for each in found:
        cells = (
            each.what,
            f"{_spread(each.peer)} {each.unit}".strip(),
            f"{_spread(each.ours)} {each.unit}".strip(),
            _spread(each.ratio),
            each.reach,
            each.aim,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def worst(run: Run) -> dict[str, float | int]:
    """Of the fan-out, the greatest ratios (ours / peer) among the loads, and how many measurements it had."""
    figures = {"cpu_per_edit_ratio": CPU, "p99_ratio": P99, "rss_ratio": PEAK}
    line: dict[str, float | int] = {
        name: round(
            max(row(run.fan_out, load, figure, "", "", "", "").ratio.median for load in _loads(run.fan_out)),
            3,
        )
        for name, figure in figures.items()
    }
    return {**line, "runs": len(run.fan_out)}


def svg(found: Sequence[Row]) -> str:
    """The ratios as bars; the line is the peer. Bars end at 1.5; kills and capacity are not in it."""
    shown = [each for each in found if each.unit in ("µs", "ms", "MB")]
    height, left, unit = 24, 330, 300
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + unit * 1.5 + 90:.0f}"'
        f' height="{height * len(shown) + 40}" font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for place, each in enumerate(shown):
        top = 10 + place * height
        width = min(each.ratio.median, 1.5) * unit
        parts.append(f'<text x="{left - 8}" y="{top + 15}" text-anchor="end">{each.what}</text>')
        parts.append(f'<rect x="{left}" y="{top + 2}" width="{width:.1f}" height="18" fill="#2a7f62"/>')
        parts.append(f'<text x="{left + width + 6:.1f}" y="{top + 15}">{each.ratio.median:.2f}</text>')
    bottom = 10 + len(shown) * height
    for value, dash, words in ((1.0, "", "peer"), (0.5, "4 3", "0.5"), (0.33, "2 3", "0.33")):
        x = left + value * unit
        parts.append(
            f'<line x1="{x}" x2="{x}" y1="6" y2="{bottom}" stroke="#444" stroke-dasharray="{dash}"/>'
            f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{words}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _loads(measured: Sequence[Measurement]) -> list[float]:
    return list(dict.fromkeys(each.load for each in measured))


def _spread(each: Spread) -> str:
    if each.count == 1:
        return _number(each.median)
    return f"{_number(each.median)} ({_number(each.least)} to {_number(each.greatest)})"


def _number(value: float) -> str:
    """Three digits that count."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"
