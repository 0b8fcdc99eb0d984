"""Text in columns that stay straight where some of it is Japanese."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

_GAP: Final = "  "


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as lines: each column is as wide as its widest cell, a wide character counting two."""
    from rich.cells import cell_len

    widths = [0] * max(map(len, rows), default=0)
    for row in rows:
        for column, cell in enumerate(row):
            widths[column] = max(widths[column], cell_len(cell))
    for row in rows:
        line = _GAP.join(
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=False)
        )
        yield line.rstrip()
