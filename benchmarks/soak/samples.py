"""What the processes of a mount use at one moment, and whether a row of such moments grows."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.processes import descendants


@dataclass
class Sample:
    """By process (its name, numbered where there are several): memory in bytes, descriptors and threads."""

    at: float  # seconds since the beginning
    settling: bool = False
    rss: dict[str, int] = field(default_factory=dict)
    pss: dict[str, int] = field(default_factory=dict)
    own: dict[str, int] = field(default_factory=dict)  # anonymous: neither the slab nor files
    mapped: dict[str, int] = field(default_factory=dict)  # of files: libraries, and of the daemon the metadata store
    descriptors: dict[str, int] = field(default_factory=dict)
    threads: dict[str, int] = field(default_factory=dict)
    tasks: int = 0  # of the daemon's event loop
    metadata: int = 0  # bytes on disk, as are the following
    cache: int = 0
    log: int = 0


def take(at: float, status: dict[str, Any], metadata: Path, cache: Path, *, settling: bool = False) -> Sample:
    """Processes that end meanwhile are left out."""
    sample = Sample(at, settling, tasks=status["tasks"])
    sample.metadata, sample.cache, sample.log = on_disk(metadata), on_disk(cache), on_disk(Path(status["log"]))
    names: dict[str, int] = {}
    for pid in sorted(descendants([status["keeper_pid"]])):
        try:
            name = _name(pid)
            memory = _fields(Path(f"/proc/{pid}/smaps_rollup"))
            descriptors = len(os.listdir(f"/proc/{pid}/fd"))
            threads = int(_fields(Path(f"/proc/{pid}/status"))["Threads"])
        except (FileNotFoundError, ProcessLookupError):
            continue
        names[name] = names.get(name, 0) + 1
        name = name if names[name] == 1 else f"{name} {names[name]}"
        sample.rss[name], sample.pss[name] = int(memory["Rss"]) << 10, int(memory["Pss"]) << 10
        sample.own[name], sample.mapped[name] = int(memory["Pss_Anon"]) << 10, int(memory["Pss_File"]) << 10
        sample.descriptors[name], sample.threads[name] = descriptors, threads
    return sample


def _name(pid: int) -> str:
    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    if b"ossmount.daemon" in command:
        return "daemon"
    if any(part.endswith(b"notify_process.py") for part in command):
        return "notify"
    return Path(f"/proc/{pid}/comm").read_text().strip().removeprefix("ossmount-")


def _fields(path: Path) -> dict[str, str]:
    """NAME: VALUE [kB] lines of a file of proc(5)."""
    found = (line.partition(":") for line in path.read_text().splitlines())
    return {name: value.split()[0] for name, _, value in found if value.split()}


def on_disk(path: Path) -> int:
    """Bytes that a file, or all files of a folder, take on the disk."""
    total = 0
    for file in [path] if path.is_file() else path.rglob("*"):
        try:
            total += file.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


@dataclass(frozen=True)
class Course:
    """One quantity from when the mount had settled to the end."""

    name: str
    early: float  # median of the first quarter
    late: float  # median of the last quarter
    slack: float  # what is allowed to be more, beside a twentieth

    @property
    def grows(self) -> bool:
        return self.late > self.early * 1.05 + self.slack


def courses(samples: Sequence[Sample]) -> list[Course]:
    """Of all that must not grow. The cache on disk has a limit of its own; the log has one that a day does not reach."""
    samples = [sample for sample in samples if not sample.settling]
    quarter = len(samples) // 4
    names = sorted({name for sample in samples for name in sample.pss})

    def course(name: str, values: Sequence[float], slack: float) -> Course:
        return Course(name, statistics.median(values[:quarter]), statistics.median(values[-quarter:]), slack)

    found = [course(f"own memory of {name}", [each.own.get(name, 0) for each in samples], 2 << 20) for name in names]
    found += [course(f"mapped files of {name}", [each.mapped.get(name, 0) for each in samples], 4 << 20) for name in names]
    found.append(course("PSS of all", [sum(each.pss.values()) for each in samples], 12 << 20))
    found += [course(f"descriptors of {name}", [each.descriptors.get(name, 0) for each in samples], 8) for name in names]
    found += [course(f"threads of {name}", [each.threads.get(name, 0) for each in samples], 4) for name in names]
    found.append(course("tasks", [each.tasks for each in samples], 16))
    found.append(course("metadata on disk", [each.metadata for each in samples], 4 << 20))
    return found
