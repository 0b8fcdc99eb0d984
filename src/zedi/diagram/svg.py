"""The model as an SVG picture: readable on light and dark ground, text as text, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from zedi.diagram.model import WAYS_OUT, Diagram, Node, Subnet

_MARGIN: Final = 28
_PAD: Final = 22
_GAP: Final = 70
"""Between boxes that an arrow joins."""
_TITLE: Final = 14
_TEXT: Final = 11.5
_LEAD: Final = 17
_NODE: Final = 226
"""Width of a box."""
_WIDE: Final = 0.6
"""Of its size: what a Latin letter takes at most, by and large; a Japanese one takes all of it."""

_STYLE: Final = """
    text { font-family: system-ui, -apple-system, "Segoe UI", "Hiragino Sans", "Noto Sans CJK JP",
      "Yu Gothic", Meiryo, sans-serif; fill: #1f2933; }
    .ground { fill: #fbfcfd; } .cloud { fill: #f3f6f9; stroke: #c9d3dd; }
    .vpc { fill: #eaf3ee; stroke: #7fae93; } .public { fill: #dcefe3; } .private { fill: #d9e8f5; }
    .frame { fill: none; stroke: #c9d3dd; } .box { fill: #ffffff; stroke: #b6c2ce; }
    .absent { fill: none; stroke-dasharray: 5 4; }
    .public.absent { stroke: #7fae93; } .private.absent { stroke: #86aed0; }
    .head { font-size: 20px; font-weight: 650; } .title { font-size: 14px; font-weight: 600; }
    .line, .small { font-size: 11.5px; fill: #52616f; } .small { font-size: 11px; }
    .area { paint-order: stroke; stroke-width: 5px; stroke-linejoin: round; }
    .in-cloud { stroke: #f3f6f9; } .in-vpc { stroke: #eaf3ee; } .in-public { stroke: #dcefe3; }
    .in-private { stroke: #d9e8f5; }
    .label { font-size: 11.5px; font-weight: 500; fill: #33475b; stroke: #fbfcfd; stroke-width: 4px;
      stroke-linejoin: round; paint-order: stroke; }
    .arrow { fill: none; stroke: #61758a; stroke-width: 1.6; } .tip { fill: #61758a; }
    .person { fill: #6b7785; } .web { fill: #7a5bd0; } .compute { fill: #d9731a; } .data { fill: #2f6fd0; }
    .identity { fill: #c23b5e; } .network { fill: #2e8b64; } .watch { fill: #b0529a; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6ebf0; } .ground { fill: #12171d; } .cloud { fill: #181f27; stroke: #38444f; }
      .vpc { fill: #16251e; stroke: #3f6b53; } .public { fill: #1b3227; } .private { fill: #182a3b; }
      .frame { stroke: #38444f; } .box { fill: #222b35; stroke: #46535f; } .absent { fill: none; }
      .line, .small { fill: #a9b5c0; } .label { fill: #cfd8e1; stroke: #12171d; }
      .in-cloud { stroke: #181f27; } .in-vpc { stroke: #16251e; } .in-public { stroke: #1b3227; }
      .in-private { stroke: #182a3b; }
      .arrow { stroke: #8fa1b3; } .tip { fill: #8fa1b3; }
    }
"""


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def middle(self) -> float:
        return self.y + self.height / 2

    @property
    def center(self) -> float:
        return self.x + self.width / 2


def svg(diagram: Diagram) -> str:
    """The picture as one SVG document."""
    return _Picture(diagram).draw()


class _Picture:
    """Places boxes from the top down, each row as high as its highest box, then joins them with arrows."""

    def __init__(self, diagram: Diagram) -> None:
        self._diagram = diagram
        self._boxes: dict[str, _Box] = {}
        self._under: list[str] = []
        """Areas, drawn first."""
        self._over: list[str] = []
        self._top: list[str] = []
        """Labels of arrows, drawn last: nothing may cross them."""

    def draw(self) -> str:
        diagram = self._diagram
        cloud_x = _MARGIN + _NODE + _GAP
        left = cloud_x + _PAD
        vpc = self._vpc_width
        inner = vpc + (_GAP + _NODE + 28 if diagram.at("services") else 0)
        width = left + inner + _PAD + _MARGIN

        cloud_y = 92.0
        self._text(_MARGIN, 44, f"zedi-{diagram.environment}", "head")
        self._text(_MARGIN, 66, diagram.place, "line")
        top = y = cloud_y + 58
        edge = diagram.at("edge")
        height = max((_height(node) for node in edge), default=60)
        columns = dict(zip(("pool", "cdn", "bucket"), self._columns(left, vpc), strict=True))
        for node in edge:
            self._place(node, _Box(columns[node.id], y, _NODE, height))
        browser = diagram.node("browser")
        if browser is not None:
            self._place(browser, _Box(_MARGIN, top, _NODE, height))
        y += height + _GAP * 0.8
        y = self._network(left, y, vpc, left + inner - _NODE - 14)
        y = self._monitoring(left, y + 28, inner)
        cloud = _Box(cloud_x, cloud_y, inner + 2 * _PAD, y + _PAD - cloud_y)
        self._under.insert(0, _rect(cloud, "cloud", 14))
        self._text(cloud.right - 50, cloud.y + 27, "AWS", "title")
        self._join(top - 22)
        y = cloud.bottom + 26
        for note in diagram.notes:
            self._text(_MARGIN, y, note, "line")
            y += _LEAD
        return self._document(width, y + 8)

    # Rows.

    @property
    def _vpc_width(self) -> float:
        zones = len({subnet.zone for subnet in self._diagram.subnets})
        return max(3 * _NODE + 2 * _GAP + 4 * _PAD, zones * 250.0 + 2 * _PAD)

    def _network(self, x: float, y: float, width: float, beside: float) -> float:
        """The VPC, with its rows of subnets, and the services beside it; returns where it ends."""
        diagram, top = self._diagram, y
        y += 40
        for public in (True, False):
            subnets = tuple(each for each in diagram.subnets if each.public is public)
            nodes = diagram.at("public" if public else "private")
            if not subnets and not nodes:
                continue
            area_top, y = y, y + 64
            y = self._row(nodes, x + 2 * _PAD, y, width - 4 * _PAD) + 18
            self._zones(subnets, _Box(x + _PAD, area_top, width - 2 * _PAD, y - area_top), public)
            y += 34
        y -= 34 - _PAD
        vpc = _Box(x, top, width, y - top)
        # Under its subnets.
        self._under.insert(0, _rect(vpc, "vpc" if diagram.vpc_id else "vpc absent", 12))
        halo = "in-vpc" if diagram.vpc_id else "in-cloud"
        self._top.append(_text(x + 16, top + 26, diagram.vpc, f"title area {halo}"))
        # On the other side of the arrow that comes in.
        self._top.append(_text(x + width / 2 + 16, top + 26, diagram.vpc_id, f"small area {halo}"))
        services = diagram.at("services")
        if services:
            total = sum(_height(node) + 16 for node in services) - 16
            out = next((self._boxes[each].middle for each in WAYS_OUT if each in self._boxes), vpc.middle)
            start = max(top + 34, min(out - total / 2, vpc.bottom - total - 14))
            frame = _Box(beside - 14, start - 34, _NODE + 28, total + 48)
            self._under.append(_rect(frame, "frame", 12))
            self._text(frame.x + 14, frame.y + 21, diagram.words["services"], "small")
            self._boxes["services"] = frame
            for node in services:
                self._place(node, _Box(beside, start, _NODE, _height(node)))
                start += _height(node) + 16
            y = max(y, frame.bottom)
        return y

    def _columns(self, x: float, width: float) -> tuple[float, float, float]:
        """Where the boxes of the three columns of the VPC begin. The middle one is the way of a request."""
        first, last = x + 2 * _PAD, x + width - 2 * _PAD - _NODE
        return first, (first + last) / 2, last

    def _row(self, nodes: Sequence[Node], x: float, y: float, width: float) -> float:
        """The boxes of one row of subnets: data on the left, the service in the middle, its way out right."""
        first, middle, last = self._columns(x - 2 * _PAD, width + 4 * _PAD)
        by_id = {node.id: node for node in nodes}
        bottom = y
        service = [by_id[id] for id in ("balancer", "tasks") if id in by_id]
        data = [by_id[id] for id in ("database", "cache") if id in by_id]
        beside = y
        for node in service:
            height = _height(node)
            if node.id == "tasks" and data:  # as high as what it calls, so that arrows are straight
                height = max(height, sum(map(_height, data)) + _GAP / 3 * (len(data) - 1))
            beside = y
            self._place(node, _Box(middle, y, _NODE, height))
            bottom = max(bottom, y + height)
            y += height + _GAP
        y = beside
        for number, node in enumerate(data):
            if "tasks" in by_id:
                self._place(node, _Box(first, y, _NODE, _height(node)))
                y += _height(node) + _GAP / 3
            else:
                self._place(node, _Box((first, last)[number], y, _NODE, _height(node)))
            bottom = max(bottom, self._boxes[node.id].bottom)
        for out in WAYS_OUT:
            if out in by_id:
                self._place(by_id[out], _Box(last, beside, _NODE, _height(by_id[out])))
                bottom = max(bottom, self._boxes[out].bottom)
        return bottom

    def _zones(self, subnets: Sequence[Subnet], area: _Box, public: bool) -> None:
        """A column a zone, across which the boxes lie: each of them has a foot in every zone."""
        name = "public" if public else "private"
        word = self._diagram.words[f"{name}_subnet"]
        gap = 10
        width = (area.width - gap * (len(subnets) - 1)) / max(1, len(subnets))
        for number, subnet in enumerate(subnets):
            box = _Box(area.x + number * (width + gap), area.y, width, area.height)
            absent = "" if subnet.id else " absent"
            self._under.append(_rect(box, f"{name}{absent}", 8))
            detail = " · ".join(filter(None, (subnet.cidr, subnet.id)))
            short, style = _fit(detail, width - 24, 11), f"area in-{name if subnet.id else 'cloud'}"
            self._top.append(_text(box.x + 12, box.y + 22, f"{subnet.zone} · {word}", f"title {style}"))
            self._top.append(_text(box.x + 12, box.y + 40, short, f"small {style}", detail))

    def _monitoring(self, x: float, y: float, width: float) -> float:
        nodes = self._diagram.at("monitoring")
        if not nodes:
            return y - 20
        height = max(map(_height, nodes))
        frame = _Box(x, y, width, height + 34 + 16)
        self._under.append(_rect(frame, "frame", 12))
        self._text(x + 16, y + 22, self._diagram.words["monitoring"], "small")
        order = [node for id in ("alarms", "topic", "budget", "dashboard") for node in nodes if node.id == id]
        step = (width - 2 * _PAD - _NODE) / max(1, len(order) - 1)
        for number, node in enumerate(order):
            self._place(node, _Box(x + _PAD + number * step, y + 34, _NODE, height))
        return frame.bottom

    # Arrows.

    def _join(self, over: float) -> None:
        """All arrows. `over` is a height at which nothing stands, for the one that passes above."""
        for edge in self._diagram.edges:
            if edge.start in WAYS_OUT:
                continue  # one arrow for all services, below
            start, end = self._boxes[edge.start], self._boxes[edge.end]
            if (edge.start, edge.end) == ("browser", "cdn"):
                path = [
                    (start.center, start.y),
                    (start.center, over),
                    (end.center, over),
                    (end.center, end.y),
                ]
                at = ((start.right + end.x) / 2, over)
            else:
                path, at = _way(start, end)
            self._arrow(path, edge.label, at, not edge.deployed)
        self._to_services()

    def _to_services(self) -> None:
        out = next((self._boxes[each] for each in WAYS_OUT if each in self._boxes), None)
        frame = self._boxes.get("services")
        if out is None or frame is None or not any(edge.start in WAYS_OUT for edge in self._diagram.edges):
            return
        absent = not any(edge.deployed for edge in self._diagram.edges if edge.start in WAYS_OUT)
        if frame.y < out.middle < frame.bottom:
            self._arrow([(out.right, out.middle), (frame.x, out.middle)], "", None, absent)
        else:
            path = [(out.right, out.middle), (frame.center, out.middle), (frame.center, frame.y)]
            self._arrow(path, "", None, absent)

    def _arrow(
        self,
        path: Sequence[tuple[float, float]],
        label: str,
        at: tuple[float, float] | None,
        absent: bool,
    ) -> None:
        points = " ".join(f"{x:g},{y:g}" for x, y in path)
        dashes = ' stroke-dasharray="5 4"' if absent else ""
        self._over.append(f'<polyline class="arrow" points="{points}" marker-end="url(#tip)"{dashes}/>')
        if label and at is not None:
            self._top.append(
                f'<text class="label" x="{at[0]:g}" y="{at[1] - 6:g}" text-anchor="middle">'
                f"{escape(label)}</text>"
            )

    # Boxes and text.

    def _place(self, node: Node, box: _Box) -> None:
        self._boxes[node.id] = box
        kind = node.kind
        self._over.append("<g>")
        full = "\n".join((node.title, *node.lines))
        self._over.append(f"<title>{escape(full)}</title>")
        self._over.append(_rect(box, "box" if node.deployed else "box absent", 8))
        stripe = _Box(box.x, box.y + 8, 4, box.height - 16)
        self._over.append(_rect(stripe, kind, 2))
        room = box.width - 30
        y = box.y + 24
        self._over.append(_text(box.x + 16, y, _fit(node.title, room, _TITLE), "title"))
        lines = node.lines if node.deployed else (self._diagram.words["not_deployed"], *node.lines)
        for line in lines:
            y += _LEAD
            self._over.append(_text(box.x + 16, y, _fit(line, room, _TEXT), "line"))
        self._over.append("</g>")

    def _text(self, x: float, y: float, text: str, style: str, full: str = "") -> None:
        self._over.append(_text(x, y, text, style, full))

    def _document(self, width: float, height: float) -> str:
        diagram = self._diagram
        titles = ", ".join(node.title for node in diagram.nodes if node.deployed)
        said = diagram.words["describes"].format(name=f"zedi-{diagram.environment}", boxes=titles)
        described = " ".join((said, *diagram.notes))
        return "\n".join(
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}"'
                f' width="{width:g}" height="{height:g}" role="img" lang="{diagram.language}"'
                ' aria-labelledby="title desc">',
                f'<title id="title">zedi-{escape(diagram.environment)}</title>',
                f'<desc id="desc">{escape(described)}</desc>',
                f"<style>{_STYLE}</style>",
                '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
                'markerHeight="7" orient="auto"><path class="tip" d="M0 0 10 5 0 10z"/></marker></defs>',
                f'<rect class="ground" width="{width:g}" height="{height:g}"/>',
                *self._under,
                *self._over,
                *self._top,
                "</svg>",
                "",
            )
        )


def _way(start: _Box, end: _Box) -> tuple[list[tuple[float, float]], tuple[float, float]]:
    """How an arrow goes from one box to the other, and where its label stands."""
    low, high = max(start.y, end.y), min(start.bottom, end.bottom)
    if high - low > 16:  # side by side
        y = (low + high) / 2
        left, right = (start.right, end.x) if end.x > start.x else (start.x, end.right)
        return [(left, y), (right, y)], ((left + right) / 2, y)
    if start.x < end.right and end.x < start.right:  # one above the other
        x = (max(start.x, end.x) + min(start.right, end.right)) / 2
        return [(x, start.bottom), (x, end.y)], (x, start.bottom + 27)
    if end.y > start.y:  # down, and to one side
        y = start.bottom + (end.y - start.bottom) / 3
        path = [(start.center, start.bottom), (start.center, y), (end.center, y), (end.center, end.y)]
        return path, ((start.center + end.center) / 2, y)
    path = [(start.right, start.middle), (end.center, start.middle), (end.center, end.bottom)]
    return path, ((start.right + end.center) / 2, start.middle)


def _height(node: Node) -> float:
    lines = len(node.lines) + (not node.deployed)
    return 24 + lines * _LEAD + 14


def _rect(box: _Box, style: str, radius: float) -> str:
    return (
        f'<rect class="{style}" x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}"'
        f' rx="{radius:g}"/>'
    )


def _text(x: float, y: float, text: str, style: str, full: str = "") -> str:
    hint = f"<title>{escape(full)}</title>" if full and full != text else ""
    return f'<text class="{style}" x="{x:g}" y="{y:g}">{hint}{escape(text)}</text>'


def _measured(text: str, size: float) -> Iterator[float]:
    from rich.cells import cell_len

    for char in text:
        yield size * (_WIDE if cell_len(char) < 2 else 1.0)


def _fit(text: str, room: float, size: float) -> str:
    """`text`, shortened in its middle where it would not fit: both ends of a name tell it apart."""
    widths = list(_measured(text, size))
    if sum(widths) <= room:
        return text
    head, tail, left = 0, len(text), room - size
    while head < tail:
        step = widths[head] if head <= len(text) - tail else widths[tail - 1]
        if step > left:
            break
        left -= step
        if head <= len(text) - tail:
            head += 1
        else:
            tail -= 1
    return f"{text[:head]}…{text[tail:]}"
