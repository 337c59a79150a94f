"""A cgroup of its own with a limit of memory or CPU, version 1 or 2, for the processes of one test."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

_TOP = Path("/sys/fs/cgroup")


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


@contextlib.contextmanager
def memory_cgroup(limit: int) -> Iterator[MemoryCgroup]:
    """Skips the test where no cgroup can be made: in most containers without privileges."""
    name = f"ossmount-test-{os.getpid()}-{time.monotonic_ns()}"
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
        pytest.skip(f"no cgroup can be made here: {error.strerror}")
    try:
        if not made.limit.exists():
            pytest.skip("the memory controller is not there")
        made.set_limit(limit)
        if not _is_found(made):
            pytest.skip("in this container cgroups have other names than where they are mounted")
        yield made
    finally:
        _remove(path)


@contextlib.contextmanager
def cpu_cgroup(cpus: float) -> Iterator[Path]:
    """The folder of a cgroup that may use so many CPUs. Skips the test where none can be made, as memory_cgroup()."""
    name = f"ossmount-test-{os.getpid()}-{time.monotonic_ns()}"
    first = _TOP / "cpu"
    path = first / name if first.is_dir() else _TOP / name
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error.strerror}")
    try:
        quota = int(cpus * 100_000)
        if (path / "cpu.cfs_quota_us").exists():
            (path / "cpu.cfs_quota_us").write_text(str(quota))
        elif (path / "cpu.max").exists():
            (path / "cpu.max").write_text(f"{quota} 100000")
        else:
            pytest.skip("the cpu controller is not there")
        yield path
    finally:
        _remove(path)


def _is_found(made: MemoryCgroup) -> bool:
    """A process inside finds its own limit by what /proc says. Docker without a cgroup namespace shows the host's names."""
    shown = subprocess.run(made.command(["cat", "/proc/self/cgroup"]), capture_output=True, text=True, timeout=60, check=True)
    names = [line.split(":", 2)[2] for line in shown.stdout.splitlines()]
    return f"/{made.path.name}" in names


def _remove(path: Path) -> None:
    """The kernel lets go of a cgroup a moment after its last process."""
    end = time.monotonic() + 30
    while True:
        try:
            path.rmdir()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
