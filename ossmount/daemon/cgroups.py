"""What control groups allow, of version 1 and 2: https://docs.kernel.org/admin-guide/cgroup-v2.html."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def usable_cpus(root: Path = Path("/")) -> float:
    """CPUs that this process may use: those of its affinity, or less where a quota of its cgroups says so. root: of /proc and
    /sys.
    """
    quotas = [float(len(os.sched_getaffinity(0)))]
    for line in lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            quotas += _quotas(root / "sys/fs/cgroup", path)
        elif "cpu" in controllers.split(","):
            quotas += _old_quotas(root / "sys/fs/cgroup/cpu", path)
    return min(quotas)


def _quotas(top: Path, path: str) -> Iterator[float]:
    """Of a cgroup and its parents: cpu.max is "QUOTA PERIOD" in microseconds, or "max PERIOD"."""
    for directory in upwards(top, path):
        words = "".join(lines(directory / "cpu.max")[:1]).split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
            yield int(words[0]) / int(words[1])


def _old_quotas(top: Path, path: str) -> Iterator[float]:
    for directory in upwards(top, path):
        quota, period = ("".join(lines(directory / f"cpu.cfs_{name}_us")[:1]).strip() for name in ("quota", "period"))
        if quota.isdigit() and period.isdigit():  # -1: none
            yield int(quota) / int(period)


def upwards(top: Path, path: str) -> list[Path]:
    """The directories of a cgroup and its parents."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return [top.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def lines(path: Path) -> list[str]:
    """Of a file of the kernel; none where it is not there."""
    try:
        return path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
