"""The model as boxes of characters, no wider than a terminal, in ASCII where it takes nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len, set_cell_size

from zedi.diagram.model import WAYS_OUT, Diagram, Node, Subnet

_SOLID: Final = "┌─┐│└┘"
_DASHED: Final = "┌╌┐┊└┘"
_ASCII: Final = str.maketrans(
    {**dict.fromkeys("┌┐└┘", "+"), **dict.fromkeys("─╌", "-"), **dict.fromkeys("│", "|"), "┊": ":"}
    | {"▼": "v", "▲": "^", "►": ">", "◄": "<", "·": "-", "…": ".", "×": "x"}
)
_LEAST: Final = 40
"""Columns; a terminal that has fewer breaks the lines."""
_MOST: Final = 30
"""Columns of a box's text, where boxes stand side by side."""
_GAP: Final = "  "

Block = list[str]
"""Lines of the same width."""


def text(diagram: Diagram, width: int, *, ascii_only: bool = False) -> list[str]:
    """The picture as lines of at most `width` columns; from 40 on none is longer.

    Args:
        ascii_only: draw with ASCII. Words in other letters become question marks: choose English for it.
    """
    room = max(width, _LEAST)
    drawing = _Drawing(diagram, _MOST)
    found = drawing.wide(services_beside=True)
    if _width(found) > room:
        found = drawing.wide(services_beside=False)
    if _width(found) > room:
        found = _Drawing(diagram, room - 8).narrow(room)
    lines = [line.rstrip() for line in (*_wrapped(_title(diagram), room), "", *found)]
    for note in diagram.notes:
        lines += ["", *_wrapped(note, room)] if note is diagram.notes[0] else _wrapped(note, room)
    if ascii_only:
        lines = [line.translate(_ASCII).encode("ascii", "replace").decode() for line in lines]
    return lines


def _title(diagram: Diagram) -> str:
    return f"zedi-{diagram.environment} · {diagram.place}"


class _Drawing:
    def __init__(self, diagram: Diagram, most: int) -> None:
        self._diagram = diagram
        self._most = most

    def wide(self, *, services_beside: bool) -> Block:
        """Side by side what is on the same level; the way of a request goes straight down its middle."""
        browser, pool = (*self._column("browser", "pool"), [])[:2]
        sign_in = self._diagram.between("browser", "pool")
        down = self._down(sign_in.label if sign_in else "", 1) if pool else []
        left = _below([browser, down, pool])
        data = _below(self._column(*self._data_ids())) if self._tasks_private else []
        calls = self._data_arrows()
        # The middle column begins where both what is left of CloudFront and of the tasks have room.
        enter = self._diagram.between("browser", "cdn")
        arrow = _arrow(enter.label if enter else "", len(browser), shown=enter is not None)
        spine = max(_width(left) + _width(arrow), 2 + _width(data) + _width(calls))
        arrow = _arrow(
            enter.label if enter else "", len(browser), shown=enter is not None, room=spine - _width(left)
        )
        cdn, bucket = self._node("cdn"), self._node("bucket")
        through = self._diagram.between("cdn", "balancer")
        middle = _below([cdn, self._down(through.label, max(1, len(left) - len(cdn))) if through else []])
        publish = self._diagram.between("cdn", "bucket")
        files = _arrow(publish.label, len(cdn)) if publish else []
        vpc = self._vpc(self._tiers(data, spine - 2))
        rows = [_beside([left, arrow, middle, files or [_GAP], bucket])]
        services = [self._box(node) for node in self._diagram.at("services")]
        out = next((edge for edge in self._diagram.edges if edge.start in WAYS_OUT), None)
        if services_beside and services:
            stacked = _below(services)
            top = [""] * max(0, len(vpc) - len(stacked) - 1)
            rows.append(
                _beside([vpc, [*top, *_arrow("", len(stacked), shown=out is not None)], [*top, *stacked]])
            )
        else:
            rows.append(vpc)
            if services:
                to = f"  {self._name(out.start)} ─► {self._diagram.words['services']}:" if out else ""
                rows += [[to], _beside([part for box in services for part in (box, [_GAP])])]
        return _below([*rows, *self._watch()])

    def _down(self, label: str, height: int) -> Block:
        """An arrow down, its label at its beginning."""
        return [f"    │ {label}".rstrip(), *["    │"] * (height - 1), "    ▼"]

    @property
    def _tasks_private(self) -> bool:
        tasks = self._diagram.node("tasks")
        return tasks is not None and tasks.where == "private"

    def narrow(self, width: int) -> Block:
        """One below the other."""
        rows: list[Block] = []
        for node in (*self._diagram.at("outside"), *self._diagram.at("edge")):
            rows.append(self._box(node))
        tiers: list[Block] = []
        for public in (True, False):
            tiers.append(self._subnet_lines(public, width - 4))
            tiers += [self._box(node) for node in self._diagram.at("public" if public else "private")]
        rows.append(self._vpc(_below([tier for tier in tiers if tier]), width))
        rows += [self._box(node) for node in self._diagram.at("services")]
        rows += [self._box(node) for node in self._diagram.at("monitoring")]
        calls = [
            f"{self._name(edge.start)} → {self._name(edge.end)}" + (f"  {edge.label}" if edge.label else "")
            for edge in self._diagram.edges
        ]
        listed = [line for call in calls for line in _wrapped(call, width)]
        return _below([*rows, [""], listed])

    def _name(self, id: str) -> str:
        node = self._diagram.node(id)
        return node.title if node is not None else id

    # Rows.

    def _tiers(self, data: Block, spine: int) -> Block:
        """What is in the VPC; the middle column begins at `spine`."""
        diagram = self._diagram
        indent = [" " * spine]
        tasks = diagram.node("tasks")
        out = next((diagram.node(each) for each in WAYS_OUT if diagram.node(each)), None)
        out_box = self._box(out) if out is not None else []
        served = diagram.between("balancer", "tasks")
        way = diagram.between("tasks", out.id) if out is not None else None
        first = [indent, self._node("balancer")]
        second: list[Block] = [indent]
        if tasks is not None:
            if self._tasks_private:
                calls = self._data_arrows(spine - _width(data))
                second = [data, calls or [" " * (spine - _width(data))]]
            box = self._box(tasks, max(len(data), len(out_box)))
            second.append(box)
            if way is not None and out is not None and out.where == tasks.where:
                second += [_arrow(way.label, len(out_box)), out_box]
            elif way is not None and out is not None:
                # It stands one row higher: its name stands for it here.
                second += [_arrow(way.label, len(box)), [*[""] * (len(box) // 2), out.title]]
        if out is not None and (tasks is None or out.where != tasks.where):
            first += [[_GAP * 3], out_box]
        down = _beside([indent, self._down(served.label, 1)]) if served else []
        public, private = self._subnet_lines(True), self._subnet_lines(False)
        if self._tasks_private:
            return _below([public, _beside(first), down, private, _beside(second)])
        apart = [self._node(id) for id in self._data_ids()]
        ports = ", ".join(
            f"{self._name(id)} {edge.label}"
            for id in self._data_ids()
            if (edge := diagram.between("tasks", id)) is not None
        )
        return _below(
            [
                public,
                _beside(first),
                down,
                _beside(second) if tasks is not None else [],
                _beside([indent, self._down(ports, 1)]) if ports else [],
                private,
                _beside([indent, *(part for box in apart for part in (box, [_GAP * 2]))]),
            ]
        )

    def _data_arrows(self, width: int = 0) -> Block:
        """Arrows to the left, from the tasks to each of the data boxes that stand one below the other."""
        if not self._tasks_private:
            return []
        return _below(
            [
                _arrow(
                    edge.label if edge else "",
                    len(self._node(id)),
                    shown=edge is not None,
                    tip="◄",
                    room=width,
                )
                for id in self._data_ids()
                for edge in (self._diagram.between("tasks", id),)
            ]
        )

    def _data_ids(self) -> list[str]:
        return [id for id in ("database", "cache") if self._diagram.node(id)]

    def _subnet_lines(self, public: bool, width: int = 0) -> Block:
        found = [subnet for subnet in self._diagram.subnets if subnet.public is public]
        word = self._diagram.words["public_subnet" if public else "private_subnet"]
        lines = [self._subnet(subnet, word) for subnet in found]
        return [_cut(line, width) if width else line for line in lines]

    def _subnet(self, subnet: Subnet, word: str) -> str:
        id = subnet.id or self._diagram.words["not_deployed"]
        return f"{'─' if subnet.id else '╌'} {word} {subnet.zone} · {subnet.cidr} · {id}"

    def _vpc(self, inside: Block, width: int = 0) -> Block:
        diagram = self._diagram
        title = " · ".join(filter(None, (diagram.vpc, diagram.vpc_id or diagram.words["not_deployed"])))
        return _framed(title, inside, solid=bool(diagram.vpc_id), width=width)

    def _watch(self) -> list[Block]:
        """Who watches; alarms and the budget write to the topic."""
        diagram = self._diagram
        row: list[Block] = []
        for start, end, tip in (("alarms", "topic", "►"), ("budget", "topic", "◄")):
            box = self._node(start)
            if not box:
                continue
            arrow = _arrow("", len(box), shown=diagram.between(start, end) is not None, tip=tip)
            row += [box, arrow, self._node("topic")] if tip == "►" else [arrow, box]
        if dashboard := self._node("dashboard"):
            row += [_arrow("", 1, shown=False), dashboard]
        return [[""], _beside(row)] if row else []

    # Boxes.

    def _node(self, id: str) -> Block:
        node = self._diagram.node(id)
        return self._box(node) if node is not None else []

    def _column(self, *ids: str) -> list[Block]:
        """Boxes of one width; those that there are."""
        nodes = [node for id in ids if (node := self._diagram.node(id)) is not None]
        room = max((_width(self._box(node)) for node in nodes), default=0)
        return [self._box(node, room=room) for node in nodes]

    def _box(self, node: Node, height: int = 0, room: int = 0) -> Block:
        lines = list(node.lines)
        if not node.deployed:
            lines.insert(0, f"({self._diagram.words['not_deployed']})")
        inside = [_cut(line, self._most) for line in (node.title, *lines)]
        inside += [""] * (height - 2 - len(inside))
        inside[0] = _padded(inside[0], max(room - 4, cell_len(inside[0])))
        return _framed("", inside, solid=node.deployed)


def _framed(title: str, inside: Block, *, solid: bool, width: int = 0) -> Block:
    """A box around lines; `width`: of the whole of it, at most."""
    if width:
        title = _cut(title, width - 6)
        inside = [_cut(line, width - 4) for line in inside]
    left, flat, right, side, low_left, low_right = _SOLID if solid else _DASHED
    room = max(_width(inside), cell_len(title) + 1)
    head = f"{left}{flat} {title} " if title else f"{left}{flat}"
    top = head + flat * (room + 3 - cell_len(head)) + right
    body = [f"{side} {_padded(line, room)} {side}" for line in inside]
    return [top, *body, low_left + flat * (room + 2) + low_right]


def _arrow(label: str, height: int, *, shown: bool = True, tip: str = "►", room: int = 0) -> Block:
    """An arrow to the right or left at half of a height, its label above it.

    Args:
        room: how wide it is at least.
    """
    width = max(cell_len(label) + 2, 5, room)
    shaft = "─" * (width - 1)
    lines = [" " * width] * height
    if shown and height:
        at = height // 2
        lines[at] = f"{shaft}►" if tip == "►" else f"◄{shaft}"
        if label and at > 0:
            lines[at - 1] = _padded(f" {label}", width)
    return lines


def _beside(blocks: Sequence[Block]) -> Block:
    """Blocks from left to right, their tops on one line."""
    kept = [block for block in blocks if block]
    height = max(map(len, kept), default=0)
    filled = [
        [_padded(line, _width(block)) for line in block] + [" " * _width(block)] * (height - len(block))
        for block in kept
    ]
    return ["".join(parts) for parts in zip(*filled, strict=True)]


def _below(blocks: Sequence[Block]) -> Block:
    lines = [line for block in blocks for line in block]
    room = _width(lines)
    return [_padded(line, room) for line in lines]


def _width(lines: Sequence[str]) -> int:
    return max(map(cell_len, lines), default=0)


def _padded(line: str, width: int) -> str:
    return line + " " * (width - cell_len(line))


def _cut(line: str, width: int) -> str:
    """A line of at most `width` columns, shortened in its middle: both ends of a name tell it apart."""
    if cell_len(line) <= width:
        return line
    tail = max(0, (width - 1) // 2)
    end = line
    while cell_len(end) > tail:
        end = end[1:]
    return f"{set_cell_size(line, width - 1 - cell_len(end)).rstrip()}…{end}"


def _wrapped(line: str, width: int) -> list[str]:
    """Lines of at most `width` columns, broken at spaces where there are any."""
    found: list[str] = []
    current = ""
    for word in line.split(" "):
        joined = f"{current} {word}" if current else word
        if cell_len(joined) <= width:
            current = joined
            continue
        if current:
            found.append(current)
        while cell_len(word) > width:
            head = set_cell_size(word, width).rstrip()
            found.append(head)
            word = word[len(head) :]
        current = word
    return [*found, current]
