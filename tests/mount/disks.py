"""A disk of a test's own, which stops answering for the processes that the test says."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mount.support import LIMIT

_BLKIO = Path("/sys/fs/cgroup/blkio")  # version 1
_UNIFIED = Path("/sys/fs/cgroup")  # version 2


def sh(*words: str) -> str:
    return subprocess.run(words, check=True, timeout=LIMIT, capture_output=True, text=True).stdout.strip()


@dataclass
class Disk:
    """An ext4 on a loop device."""

    path: Path
    device: str  # MAJOR:MINOR

    def forget(self) -> None:
        """The kernel has no bytes of its files in memory any more."""
        for folder, _, names in os.walk(self.path):
            for name in names:
                descriptor = os.open(os.path.join(folder, name), os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(descriptor)

    @contextlib.contextmanager
    def hanging(self, pids: Iterable[int]) -> Iterator[None]:
        """It gives these processes, and those that they start, a byte a second: the first read takes more than an hour."""
        first = (_BLKIO / "cgroup.procs").exists()
        top = _BLKIO if first else _UNIFIED
        group = top / f"ossmount-test-{os.getpid()}-{time.monotonic_ns()}"
        if not first:
            (top / "cgroup.subtree_control").write_text("+io")
        group.mkdir()
        try:
            for pid in pids:
                (group / "cgroup.procs").write_text(str(pid))
            self._limit(group, first, "1" if first else "rbps=1 wbps=1")
            try:
                yield
            finally:
                self._limit(group, first, "0" if first else "rbps=max wbps=max")
        finally:
            deadline = time.monotonic() + LIMIT
            while left := (group / "cgroup.procs").read_text().split():
                for one in left:
                    with contextlib.suppress(ProcessLookupError):
                        (top / "cgroup.procs").write_text(one)
                if time.monotonic() > deadline:
                    raise AssertionError(f"processes cannot leave {group}: {left}")
            group.rmdir()

    def _limit(self, group: Path, first: bool, what: str) -> None:
        names = ("blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device") if first else ("io.max",)
        for name in names:
            (group / name).write_text(f"{self.device} {what}")


@contextlib.contextmanager
def disk(folder: Path, size: int) -> Iterator[Disk]:
    """Mounted at folder/disk."""
    image, path = folder / "image", folder / "disk"
    path.mkdir()
    with open(image, "wb") as file:
        file.truncate(size)
    sh("mkfs.ext4", "-q", "-m", "0", str(image))
    sh("mount", "-o", "loop", str(image), str(path))
    try:
        number = os.stat(path).st_dev
        yield Disk(path, f"{os.major(number)}:{os.minor(number)}")
    finally:
        sh("umount", "--lazy", str(path))
