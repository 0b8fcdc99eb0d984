"""The picture as SVG: well formed, nothing fetched, nothing outside of it, names in full for who asks."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from zedi.deploy.inventory import Inventory
from zedi.diagram.model import diagram
from zedi.diagram.svg import _fit, svg
from zedi.phases import PHASES

ALL = tuple(phase.name for phase in PHASES)
SVG = "{http://www.w3.org/2000/svg}"
Make = Callable[..., Inventory]


@pytest.mark.parametrize("egress", ["endpoints", "nat", "public"])
@pytest.mark.parametrize("deployed", [ALL, ALL[:4], ()])
def test_everything_stands_inside(inventory_of: Make, egress: str, deployed: tuple[str, ...]) -> None:
    """No box reaches beyond the picture, no two boxes lie upon each other, every arrow begins at one."""
    zones = '["ap-northeast-1a", "ap-northeast-1c", "ap-northeast-1d"]'
    found = inventory_of("prod", *deployed, networking__egress=egress, networking__availability_zones=zones)
    root = ElementTree.fromstring(svg(diagram(found, "ja")))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    boxes = []
    for rect in root.iter(f"{SVG}rect"):
        x, y = float(rect.get("x", 0)), float(rect.get("y", 0))
        right, bottom = x + float(rect.attrib["width"]), y + float(rect.attrib["height"])
        assert 0 <= x < right <= width and 0 <= y < bottom <= height
        if rect.attrib["class"].startswith("box"):
            boxes.append((x, y, right, bottom))
    assert len(boxes) == len(diagram(found).nodes)
    for number, (x, y, right, bottom) in enumerate(boxes):
        for other in boxes[number + 1 :]:
            assert right <= other[0] or other[2] <= x or bottom <= other[1] or other[3] <= y
    for line in root.iter(f"{SVG}polyline"):
        (start_x, start_y), *_, (end_x, end_y) = (
            tuple(map(float, point.split(","))) for point in line.attrib["points"].split()
        )
        assert any(b[0] <= start_x <= b[2] and b[1] <= start_y <= b[3] for b in boxes)
        assert 0 < end_x < width and 0 < end_y < height


def test_it_says_what_it_is_and_fetches_nothing(inventory_of: Make) -> None:
    """Title and description for who cannot see it, both grounds, no address but the namespace's."""
    text = svg(diagram(inventory_of("dev", *ALL)))
    root = ElementTree.fromstring(text)
    assert root.attrib["role"] == "img" and root.attrib["aria-labelledby"] == "title desc"
    assert root.findtext(f"{SVG}title") == "zedi-dev"
    assert "Aurora PostgreSQL 15.18" in (root.findtext(f"{SVG}desc") or "")
    assert "prefers-color-scheme: dark" in text
    fetched = re.findall(r"(?:href|src|url)\s*[=(]\s*['\"]?([^'\")\s]+)", text)
    assert set(fetched) <= {"#tip"} and "@import" not in text and "@font-face" not in text


def test_what_is_not_deployed_is_dashed(inventory_of: Make) -> None:
    """Boxes and arrows of phases that are not there, and only those."""
    whole, part = (svg(diagram(inventory_of("dev", *deployed))) for deployed in (ALL, ALL[:3]))
    assert 'class="box absent"' not in whole and "stroke-dasharray=" not in whole
    assert part.count('class="box absent"') > 3 and "stroke-dasharray=" in part
    assert "not deployed" in part


def test_names_are_text(inventory_of: Make) -> None:
    """What a name holds cannot become markup, and a long one is there in full for who points at it."""
    found = diagram(inventory_of("dev", *ALL))
    name = "<script>alert('x')</script>&" + "長い名前" * 20
    nodes = tuple(replace(node, lines=(name,)) if node.id == "cache" else node for node in found.nodes)
    root = ElementTree.fromstring(svg(replace(found, nodes=nodes)))
    assert not list(root.iter(f"{SVG}script"))
    assert any(name in (title.text or "") for title in root.iter(f"{SVG}title"))


@pytest.mark.parametrize("name", ["", "a", "zedi-dev-frontend-123456789012", "長い名前" * 9])
def test_a_long_name_keeps_both_ends(name: str) -> None:
    """It is cut in its middle, and never longer than what there is room for."""
    short = _fit(name, 100, 11.5)
    assert len(short) <= len(name)
    head, dots, tail = short.partition("…")
    assert name.startswith(head) and name.endswith(tail)
    assert bool(dots) == (short != name)
