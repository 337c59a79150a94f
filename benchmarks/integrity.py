"""What comparing checksums costs: CPU of a fetch process and of the daemon's side, by --verify, in turns.

    python -m benchmarks.integrity [--rounds N]

The server is a process of its own (`ossmount serve`) and is not measured: only CPU seconds of one round are to be compared.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import trio

from ossmount.config import Credentials, FetchConfig, SourceConfig
from ossmount.data.integrity import SAMPLE, Integrity
from ossmount.data.slab import Slab
from ossmount.emulator.store import Store
from ossmount.errors import OssMountError
from ossmount.model import Version
from ossmount.oss.buckets import Bucket
from ossmount.oss.fetch.pool import FetchPool
from ossmount.oss.interface import FetchRequest

KIB, MIB = 1 << 10, 1 << 20
SMALL, FILES = 110_000, 2_000
LARGE, RANGE = 64 * MIB, 4 * MIB
OBJECTS = 8  # large ones
OUTSTANDING = 16
TICK = os.sysconf("SC_CLK_TCK")
MODES = {"off": 0, "sampled": SAMPLE, "full": 1}

Piece = tuple[Version, int, int]  # version, start, length


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


async def fetch_all(source: SourceConfig, mode: str, pieces: list[Piece]) -> tuple[float, float]:
    """CPU seconds of the fetch process and of this one."""
    slab = Slab(OUTSTANDING * RANGE)
    pool = FetchPool(source, FetchConfig(1, OUTSTANDING, verify=mode != "off"), slab.fd, slab.size)
    fetcher = Integrity(pool, MODES[mode]) if MODES[mode] else pool
    waiting, free, finished = list(reversed(pieces)), list(range(OUTSTANDING)), trio.Event()

    def begin() -> None:
        while waiting and free:
            place = free.pop()
            version, start, length = waiting.pop()
            fetcher.fetch(FetchRequest(version, start, length, ((place * RANGE, length),)), done_at(place))
        if not waiting and len(free) == OUTSTANDING:
            finished.set()

    def done_at(place: int) -> Callable[[OssMountError | None], None]:
        def done(failure: OssMountError | None) -> None:
            if failure is not None:
                raise failure
            free.append(place)
            begin()

        return done

    async with trio.open_nursery() as nursery:
        running = trio.Event()
        nursery.start_soon(pool.run, running.set)
        await running.wait()
        (pid,) = pool.pids()
        theirs, ours = cpu_of(pid), time.process_time()
        begin()
        await finished.wait()
        spent = cpu_of(pid) - theirs, time.process_time() - ours
        nursery.cancel_scope.cancel()
    slab.close()
    return spent


async def versions_of(source: SourceConfig) -> list[Version]:
    found: list[Version] = []
    while True:
        page = await Bucket(source).list_page(b"", start_after=found[-1].key if found else b"")
        found += [Version(info.key, info.etag, info.size) for info in page.objects]
        if not page.next_token:
            return found


def fill(folder: Path) -> None:
    store = Store(folder)
    store.create_bucket("bench")
    chance = random.Random(1)
    for number in range(FILES):
        store.put("bench", b"small/%05d" % number, chance.randbytes(SMALL))
    for number in range(OBJECTS):
        store.put("bench", b"large/%d" % number, chance.randbytes(LARGE))
    store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds: int = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as scratch:
        fill(Path(scratch))
        words = [sys.executable, "-m", "ossmount", "serve", scratch, "--port", "0"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            url = re.search(r"http://\S+", server.stdout.readline())
            assert url is not None
            source = SourceConfig(
                "bench", endpoint=url[0], path_style=True, credentials=lambda: Credentials("test-id", "test-secret")
            )
            try:
                measure(source, rounds)
            finally:
                server.terminate()


def measure(source: SourceConfig, rounds: int) -> None:
    versions = trio.run(versions_of, source)
    whole = [(version, 0, version.size) for version in versions if version.size == SMALL]
    parts = [(version, at, RANGE) for version in versions if version.size == LARGE for at in range(0, LARGE, RANGE)]
    for title, pieces, unit, count in (
        (f"whole objects of {SMALL:,} bytes, µs each", whole, 1e-6, len(whole)),
        (f"ranges of {RANGE // MIB} MiB, ms for each GiB", parts, 1e-3, OBJECTS * LARGE / (1 << 30)),
    ):
        spent: dict[str, list[tuple[float, float]]] = {mode: [] for mode in MODES}
        for _ in range(rounds):
            for mode in MODES:
                spent[mode].append(trio.run(fetch_all, source, mode, pieces))
        print(f"{title} (median, least of {rounds})")
        for mode, values in spent.items():
            for who, at in (("fetch process", 0), ("daemon", 1)):
                seconds = [value[at] / count / unit for value in values]
                print(f"  {mode:8} {who:14} {statistics.median(seconds):8.1f} {min(seconds):8.1f}")


if __name__ == "__main__":
    main()
