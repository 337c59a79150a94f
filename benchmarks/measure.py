"""What a system costs while it is read: CPU seconds and memory of all its processes, requests made to the store."""

from __future__ import annotations

import array
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import descendants, stat_fields
from benchmarks.store import Requests, Store

INTERVAL = 0.25  # seconds between two samples of memory: each costs some ms where a GiB is mapped
_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of the processes and of the children they have waited for (proc(5): fields 14 to 17)."""
    ticks = 0
    for pid in pids:
        fields = stat_fields(pid)
        ticks += sum(map(int, fields[11:15])) if fields else 0
    return ticks / _TICK


def pss_bytes(pids: list[int]) -> int:
    """Proportional set size: shared pages count once over all the processes together."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # ended meanwhile, or another user's
            continue
        for line in text.splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


@dataclass
class Cost:
    """Filled when the meter ends."""

    cpu: float = 0.0  # seconds
    peak_pss: int = 0  # bytes
    requests: Requests = field(default_factory=Requests)


@contextmanager
def meter(roots: Callable[[], list[int]], store: Store, mark: int) -> Iterator[Cost]:
    """Measures the processes named by roots(), with all their descendants, until the context ends; requests since the mark."""
    cost = Cost()
    stop = threading.Event()

    def sample() -> None:
        # Once more at the end: a short phase has its peak there.
        while True:
            cost.peak_pss = max(cost.peak_pss, pss_bytes(descendants(roots())))
            if stop.is_set():
                return
            stop.wait(INTERVAL)

    before = cpu_seconds(descendants(roots()))
    sampler = threading.Thread(target=sample, name="memory sampler", daemon=True)
    sampler.start()
    try:
        yield cost
    finally:
        cost.cpu = max(0.0, cpu_seconds(descendants(roots())) - before)
        stop.set()
        sampler.join()
        cost.requests = store.requests(mark)


def percentile(latencies: array.array[int], share: float) -> float:
    """The nearest-rank percentile in seconds; 0.0 of nothing."""
    if not latencies:
        return 0.0
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1e9
