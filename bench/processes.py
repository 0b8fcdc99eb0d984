"""Processor time and memory of process trees, read off /proc (proc(5))."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Memory:
    """Bytes of a process tree."""

    rss: int
    """Resident, pages that are shared counted for each process."""
    pss: int
    """Resident, a page that n processes share counted as 1/n."""
    peak: int
    """The most that was resident since `forget_peak`, summed over the processes."""


def tree(root: int) -> list[int]:
    """`root` and everything that descends from it and is alive."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended since
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found, ahead = [], [root]
    while ahead:
        process = ahead.pop()
        found.append(process)
        ahead += children.get(process, [])
    return found


def cpu(roots: Iterable[int]) -> float:
    """Seconds of processor time, user and system, of these processes and all that descend from them.

    Of descendants that have ended too, once they were waited for. Precise to a tick (10 ms) a process. A root
    that has ended counts nothing.
    """
    seconds = 0.0
    for root in roots:
        for process in tree(root):
            with contextlib.suppress(OSError):
                seconds += sum(map(int, _stat(process)[11:15])) * _TICK
    return seconds


def memory(root: int) -> Memory:
    """What `root` and its descendants hold."""
    rss = pss = peak = 0
    for process in tree(root):
        with contextlib.suppress(OSError):
            rss += int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE
            pss += _kilobytes(Path(f"/proc/{process}/smaps_rollup"), "Pss:")
            peak += _kilobytes(Path(f"/proc/{process}/status"), "VmHWM:")
    return Memory(rss, pss, peak)


def forget_peak(root: int) -> None:
    """Makes the peak of `root` and its descendants what they hold now."""
    for process in tree(root):
        with contextlib.suppress(OSError):
            Path(f"/proc/{process}/clear_refs").write_text("5")


def _stat(process: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold blanks: [0] is the state."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _kilobytes(file: Path, name: str) -> int:
    line = next(line for line in file.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
