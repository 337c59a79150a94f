"""How much memory this process may use: that of the machine, or less where its cgroup says so."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ossmount.daemon.cgroups import lines, upwards

DEFAULT_LIMIT = 1 << 30  # bytes; a staging area, the kernel's page cache is the large one
LEAST_LIMIT = 16 << 20


def default_limit(root: Path = Path("/")) -> int:
    """A quarter of what may be used, between 16 MiB and 1 GiB. root: where /proc and /sys lie."""
    return max(LEAST_LIMIT, min(DEFAULT_LIMIT, usable_memory(root) // 4))


def usable_memory(root: Path = Path("/")) -> int:
    """Bytes of memory: the smallest of the machine's and of the limits of our cgroups (v1 and v2) and their parents."""
    limits = [_machine(root / "proc/meminfo")]
    for line in lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            limits += _limits_upwards(root / "sys/fs/cgroup", path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits_upwards(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
    return min(limits)


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that can be had now without swapping, the page cache that can be dropped included, in our cgroups too."""
    available = [_field(root / "proc/meminfo", "MemAvailable:", 1024)]
    for line in lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            names = ("memory.max", "memory.current", "inactive_file", "active_file")
            available += _headroom(root / "sys/fs/cgroup", path, *names)
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file")
            available += _headroom(root / "sys/fs/cgroup/memory", path, *names)
    return max(0, min(available))


def _headroom(top: Path, path: str, limit_name: str, usage_name: str, *file_names: str) -> list[int]:
    """What the limit of a cgroup and those of its parents leave, file pages not counted as used."""
    found = []
    for directory in upwards(top, path):
        limit = "".join(lines(directory / limit_name)[:1]).strip()
        usage = "".join(lines(directory / usage_name)[:1]).strip()
        if limit.isdigit() and usage.isdigit():
            files = sum(_field(directory / "memory.stat", name, 1) for name in file_names)
            found.append(int(limit) - max(0, int(usage) - files))
    return found


def _field(path: Path, name: str, unit: int) -> int:
    """A number of a file of the form "name number"; 0 when it is not there."""
    for line in lines(path):
        if line.startswith(name + " "):
            return int(line.split()[1]) * unit
    return 0


def _limits_upwards(top: Path, path: str, name: str) -> list[int]:
    """The limits of a cgroup and its parents.

    In a container the path may be the host's while only our own part is mounted: what is missing says nothing, and the
    mounted top is always looked at.
    """
    texts = [line.strip() for directory in upwards(top, path) for line in lines(directory / name)[:1]]
    return [int(text) for text in texts if text.isdigit()]  # v2 writes "max" for no limit


def _machine(meminfo: Path) -> int:
    for line in lines(meminfo):
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return int(value.split()[0]) * 1024
    return 4 * DEFAULT_LIMIT


def private_memory(pids: Iterable[int], root: Path = Path("/")) -> int:
    """Bytes that only these processes use, each for itself; what they share, the slab above all, is not counted."""
    pages = 0
    for pid in pids:
        for line in lines(root / f"proc/{pid}/statm"):  # none when it has ended
            _, resident, shared, *_ = line.split()
            pages += int(resident) - int(shared)
    return pages * os.sysconf("SC_PAGE_SIZE")
