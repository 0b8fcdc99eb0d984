"""The picture in a terminal: straight, no wider than it, and in ASCII where it must be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rich.cells import cell_len

from zedi.deploy.inventory import Inventory
from zedi.diagram.model import diagram
from zedi.diagram.text import text
from zedi.diagram.words import Language
from zedi.phases import PHASES

ALL = tuple(phase.name for phase in PHASES)
Make = Callable[..., Inventory]


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("width", [40, 57, 80, 100, 120, 160, 300])
@pytest.mark.parametrize("egress", ["endpoints", "nat", "public"])
@pytest.mark.parametrize("deployed", [ALL, ALL[:3], ()])
def test_no_line_is_wider_than_the_terminal(
    inventory_of: Make, language: Language, width: int, egress: str, deployed: tuple[str, ...]
) -> None:
    """And every box is closed: its corners stand above each other, Japanese counting two."""
    lines = text(diagram(inventory_of("dev", *deployed, networking__egress=egress), language), width)
    assert max(map(cell_len, lines)) <= width
    for char, partner in (("┌", "└"), ("┐", "┘")):
        columns = [
            sorted(cell_len(line[:at]) for line in lines for at, found in enumerate(line) if found == corner)
            for corner in (char, partner)
        ]
        assert columns[0] == columns[1] and columns[0]
    words = " ".join(lines)
    assert "Aurora PostgreSQL" in words and "CloudFront" in words


def test_arrows_point_from_who_calls(inventory_of: Make) -> None:
    """The tasks call the database, which stands on their left, and the endpoints on their right."""
    lines = text(diagram(inventory_of("dev", *ALL)), 160)
    (calls,) = (line for line in lines if ":443" in line)
    ports = next(line for line in lines if ":5432" in line)
    below = lines[lines.index(ports) + 1]
    assert below.index("◄") < below.index("wanted")
    assert lines[lines.index(calls) + 1].index("►") > lines[lines.index(calls) + 1].index("realtime")


def test_narrow_lists_the_arrows(inventory_of: Make) -> None:
    """Where boxes stand one below the other the arrows are a list."""
    lines = text(diagram(inventory_of("dev", *ALL)), 60)
    assert "Load balancer → ECS · Fargate Spot  :1234, :8080" in lines


def test_ascii_is_ascii(inventory_of: Make) -> None:
    """Boxes of plus and minus, also for what is not deployed."""
    lines = text(diagram(inventory_of("dev", *ALL[:3])), 120, ascii_only=True)
    assert all(line.isascii() for line in lines)
    assert any(line.startswith("+-") for line in lines) and not any("?" in line for line in lines)
