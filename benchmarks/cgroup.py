"""A cgroup of its own with a limit of memory or CPU, version 1 or 2. For root, where cgroups can be made."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_TOP = Path("/sys/fs/cgroup")
_LAST = 30.0  # seconds in which the kernel lets go of a cgroup after its last process


class NoCgroup(Exception):
    """None can be made here: so it is in most containers without privileges. The message says why."""


class MemoryCgroup(NamedTuple):
    """Files of one cgroup."""

    path: Path
    limit: Path
    events: Path

    def command(self, words: list[str]) -> list[str]:
        """The same command, run inside."""
        return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.path / "cgroup.procs"), *words]

    def set_limit(self, size: int) -> None:
        self.limit.write_text(str(size))

    @property
    def killed(self) -> int:
        """Processes that the kernel killed for want of memory."""
        for line in self.events.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        raise AssertionError(f"{self.events} does not tell")

    def reclaim(self) -> None:
        """Takes back all that the kernel keeps for the processes that were inside: pages of files, names and inodes."""
        if (forced := self.path / "memory.force_empty").exists():
            forced.write_text("0")
        else:
            with contextlib.suppress(BlockingIOError):  # less could be taken back than was asked for
                (self.path / "memory.reclaim").write_text(str(1 << 40))


@contextlib.contextmanager
def memory_cgroup(limit: int, name: str) -> Iterator[MemoryCgroup]:
    """limit: in bytes. name: the beginning of its name. Raises NoCgroup."""
    name = f"{name}-{os.getpid()}-{time.monotonic_ns()}"
    first = _TOP / "memory"
    if (first / "memory.limit_in_bytes").exists():
        path = first / name
        made = MemoryCgroup(path, path / "memory.limit_in_bytes", path / "memory.oom_control")
    else:
        path = _TOP / name
        made = MemoryCgroup(path, path / "memory.max", path / "memory.events")
    try:
        path.mkdir()
    except OSError as error:
        raise NoCgroup(f"no cgroup can be made here: {error.strerror}") from None
    try:
        if not made.limit.exists():
            raise NoCgroup("the memory controller is not there")
        made.set_limit(limit)
        if not _is_found(made):
            raise NoCgroup("in this container cgroups have other names than where they are mounted")
        yield made
    finally:
        _remove(path)


@contextlib.contextmanager
def cpu_cgroup(cpus: float, name: str) -> Iterator[Path]:
    """The folder of a cgroup that may use so many CPUs. name: the beginning of its name. Raises NoCgroup."""
    first = _TOP / "cpu"
    path = (first if first.is_dir() else _TOP) / f"{name}-{os.getpid()}-{time.monotonic_ns()}"
    try:
        path.mkdir()
    except OSError as error:
        raise NoCgroup(f"no cgroup can be made here: {error.strerror}") from None
    try:
        quota = int(cpus * 100_000)  # microseconds in a period of 100 ms
        if (path / "cpu.cfs_quota_us").exists():
            (path / "cpu.cfs_quota_us").write_text(str(quota))
        elif (path / "cpu.max").exists():
            (path / "cpu.max").write_text(f"{quota} 100000")
        else:
            raise NoCgroup("the cpu controller is not there")
        yield path
    finally:
        _remove(path)


def _is_found(made: MemoryCgroup) -> bool:
    """A process inside finds its own limit by what /proc says. Docker without a cgroup namespace shows the host's names."""
    shown = subprocess.run(made.command(["cat", "/proc/self/cgroup"]), capture_output=True, text=True, timeout=60, check=True)
    names = [line.split(":", 2)[2] for line in shown.stdout.splitlines()]
    return f"/{made.path.name}" in names


def _remove(path: Path) -> None:
    end = time.monotonic() + _LAST
    while True:
        try:
            path.rmdir()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
