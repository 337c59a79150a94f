"""The processes of a mount."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ossmount.daemon.cgroups import usable_cpus

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; 0 for one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def cpu_by_part(parts: Mapping[str, Iterable[int]]) -> dict[str, object]:
    """CPU seconds of the processes of each part of the mount, and how many CPUs they may use."""
    spent: dict[str, object] = {name: round(sum(map(cpu_seconds, pids)), 2) for name, pids in parts.items()}
    return {**spent, "cpus": usable_cpus()}


def descendants(pid: int) -> list[int]:
    """The children of a process, their children and so on, from /proc; without those that end meanwhile."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                children = Path(f"/proc/{pid}/task/{task}/children").read_text("ascii").split()
                found += [int(child) for child in children]
    return found + [one for child in found for one in descendants(child)]
