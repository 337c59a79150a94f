"""The machine and the versions that results belong to."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from benchmarks.processes import CHECKOUT

KDAMONDS = Path("/sys/kernel/mm/damon/admin/kdamonds")


def describe() -> dict[str, str]:
    """Processor, cores, memory, who reclaims it, kernel, interpreter, and the commit of this checkout ("" outside of git)."""
    return {
        "processor": _line("/proc/cpuinfo", "model name"),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "reclaim": reclaim(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": _commit(),
    }


def reclaim(kdamonds: Path = KDAMONDS) -> str:
    """Who takes memory back: "DAMON" drops pages that nobody used lately although memory is not short; else "when short".

    With DAMON single pages of a file that was read a moment ago may be gone: a warm phase then has some READs of 4 KiB.
    """
    states = [path.read_text().strip() for path in kdamonds.glob("*/state")]
    return "DAMON" if "on" in states else "when short"


def _line(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return ""


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=CHECKOUT, capture_output=True, text=True, timeout=10, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
