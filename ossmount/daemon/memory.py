"""How much memory this process may use: that of the machine, or less where its cgroup says so."""

from __future__ import annotations

from pathlib import Path

DEFAULT_LIMIT = 1 << 30  # bytes; a staging area, the kernel's page cache is the large one
LEAST_LIMIT = 16 << 20


def default_limit(root: Path = Path("/")) -> int:
    """A quarter of what may be used, between 16 MiB and 1 GiB. root: where /proc and /sys lie."""
    return max(LEAST_LIMIT, min(DEFAULT_LIMIT, usable_memory(root) // 4))


def usable_memory(root: Path = Path("/")) -> int:
    """Bytes of memory: the smallest of the machine's and of the limits of our cgroups (v1 and v2) and their parents."""
    limits = [_machine(root / "proc/meminfo")]
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            limits += _limits_upwards(root / "sys/fs/cgroup", path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits_upwards(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
    return min(limits)


def _limits_upwards(top: Path, path: str, name: str) -> list[int]:
    """The limits of a cgroup and its parents.

    In a container the path may be the host's while only our own part is mounted: what is missing says nothing, and the
    mounted top is always looked at.
    """
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    directories = [top.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]
    texts = [line.strip() for directory in directories for line in _lines(directory / name)[:1]]
    return [int(text) for text in texts if text.isdigit()]  # v2 writes "max" for no limit


def _machine(meminfo: Path) -> int:
    for line in _lines(meminfo):
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return int(value.split()[0]) * 1024
    return 4 * DEFAULT_LIMIT


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
