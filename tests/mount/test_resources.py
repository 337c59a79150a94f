"""What many open files, many readers and many folders cost the processes of a mount: descriptors and memory, both bounded."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ossmount.daemon.processes import descendants
from ossmount.emulator.faults import Fault
from tests.mount.cgroups import memory_cgroup
from tests.mount.support import BUCKET, LIMIT, Mount, Workshop

MIB = 1 << 20
OPEN = 1000
SIZE = 256 << 10  # bytes of each file where memory counts
LITTLE = 16 << 10  # where it does not
CONNECTIONS = 32
FEW = 64  # descriptors

#: Opens all files, reads half of each by 64 threads while all stay open, then the other half; compares every byte.
READERS = """
import os, resource, sys
from concurrent.futures import ThreadPoolExecutor
root, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 500, count + 500))
held = [os.open(f"{root}/f{number:04}", os.O_RDONLY) for number in range(count)]

def read(number, start):
    found = os.pread(held[number], size // 2, start)
    assert found == (b"%08d" % number * (size // 8))[start : start + size // 2], number

with ThreadPoolExecutor(64) as readers:
    for start in (0, size // 2):
        list(readers.map(read, range(count), [start] * count))
        print(start, flush=True)
        sys.stdin.readline()
"""

#: Eight at a time, each below one folder of the root; a dot for each folder.
WALK = 'ls "$0" | xargs -P 8 -I @ find "$0/@" -type d -printf .'


def fill(shop: Workshop, size: int) -> None:
    for number in range(OPEN):
        shop.server.store.put(BUCKET, b"f%04d" % number, b"%08d" % number * (size // 8))


def pids(mount: Mount) -> list[int]:
    status = mount.status()
    return sorted({status["keeper_pid"], status["daemon_pid"], *descendants(status["daemon_pid"])})


def descriptors(mount: Mount) -> int:
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids(mount))


def own_memory(mount: Mount) -> int:
    """Bytes that the processes do not share: no slab and no files."""
    total = 0
    for pid in pids(mount):
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if ":" in line)
        total += int(fields["Pss_Anon"].split()[0]) << 10
    return total


def forgotten(mount: Mount) -> int:
    """Requests with which the kernel has told that it forgot nodes; one tells of many."""
    counters = mount.status()["counters"]["kernel"]
    return sum(counters.get(name, 0) for name in ("FORGET", "BATCH_FORGET"))


def test_a_thousand_open_files_cost_no_descriptors(plain_shop: Workshop) -> None:
    """For each file the kernel knows a node id, and we nothing; connections are as many as --connections says."""
    fill(plain_shop, LITTLE)
    with plain_shop.mounted("--connections", str(CONNECTIONS)) as mount:
        before = descriptors(mount)
        words = [sys.executable, "-c", READERS, str(mount.path), str(OPEN), str(LITTLE)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reading:
            assert reading.stdin is not None and reading.stdout is not None
            for start in (0, LITTLE // 2):
                assert int(reading.stdout.readline()) == start  # all files are open and were read up to there
                # beside the connections: what listings, the notification process and this look itself open
                assert descriptors(mount) <= before + CONNECTIONS + 64
                print(file=reading.stdin, flush=True)
            assert reading.wait(60) == 0


class Within(Workshop):
    """A workshop whose commands, and with them all processes of a mount, are started by other words."""

    prefix: Callable[[list[str]], list[str]]

    def words(self, arguments: Any) -> list[str]:
        return self.prefix(super().words(arguments))


def within(shop: Workshop, prefix: Callable[[list[str]], list[str]]) -> Within:
    made = Within(shop.folder, shop.server)
    made.prefix = prefix
    made.environment = dict(shop.environment)
    return made


def test_few_descriptors_are_enough(plain_shop: Workshop) -> None:
    """64 for each process, where --connections would take 128: what cannot be opened waits for what is open."""
    fill(plain_shop, LITTLE)
    plain_shop.server.faults.add(Fault(operations=("GET",), first_byte_delay=0.1))  # so that more are wanted at once
    shop = within(plain_shop, lambda words: ["prlimit", f"--nofile={FEW}:{FEW}", *words])
    with shop.mounted("--connections", "128") as mount:
        words = [sys.executable, "-c", READERS, str(mount.path), str(OPEN), str(LITTLE)]
        done = subprocess.run(words, input="\n\n", capture_output=True, text=True, timeout=LIMIT, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        status = mount.status()
        assert status["facts"]["fetch"]["retries"] > 0  # more were wanted
        assert status["facts"]["keeper"]["deaths"] == 0 and status["facts"]["fetch"]["restarts"] == 0
        for pid in pids(mount):
            assert len(os.listdir(f"/proc/{pid}/fd")) <= FEW


@pytest.mark.stress
@pytest.mark.parametrize("readers", ["inside", "outside"])
def test_a_thousand_open_files_and_64_readers_in_512_mib(plain_shop: Workshop, readers: str) -> None:
    """With the defaults. Nobody is killed, every byte is right, and it works on afterwards.

    inside: the readers are in the container too, as in training. outside: it is the mount's alone, as on a node where a
    container serves others; what is stored in the kernel's page cache ahead of readers counts there.
    """
    fill(plain_shop, SIZE)
    with memory_cgroup(512 * MIB) as cgroup:
        shop = within(plain_shop, cgroup.command)
        del shop.environment["OSSMOUNT_MEMORY_LIMIT"], shop.environment["OSSMOUNT_FETCH_WORKERS"]
        with shop.mounted() as mount:
            assert mount.status()["facts"]["memory"]["limit"] == 128 * MIB  # a quarter of what the container has
            words = [sys.executable, "-c", READERS, str(mount.path), str(OPEN), str(SIZE)]
            words = cgroup.command(words) if readers == "inside" else words
            done = subprocess.run(words, input="\n\n", capture_output=True, text=True, timeout=600, check=False)
            assert done.returncode == 0, done.stderr[-2000:]
            status = mount.status()
            assert status["facts"]["keeper"]["deaths"] == 0 and status["facts"]["fetch"]["restarts"] == 0
            assert (mount.path / "f0007").read_bytes() == b"%08d" % 7 * (SIZE // 8)
            print({name: status["facts"]["memory"][name] >> 20 for name in ("limit", "slab", "used_slab", "used_beside")})
        assert cgroup.killed == 0


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_folders_are_walked_without_growth(plain_shop: Workshop) -> None:
    """The kernel forgets all names after each walk. The first one fills what is kept of each folder; then nothing is added."""
    plain_shop.server.store.put_many(BUCKET, [b"%03d/%03d/" % divmod(number, 1000) for number in range(100_000)], b"")
    with (
        memory_cgroup(4096 * MIB) as cgroup,  # of the walks, so that what the kernel keeps for them can be taken back
        plain_shop.mounted("-o", "metadata_ttl=inf") as mount,
    ):
        sizes, forgets, names = [], [forgotten(mount)], []
        for _ in range(5):
            words = cgroup.command(["/bin/sh", "-c", WALK, str(mount.path)])
            done = subprocess.run(words, capture_output=True, timeout=1200, check=True)
            assert len(done.stdout) == 100 + 100_000
            cgroup.reclaim()
            sizes.append(own_memory(mount))
            forgets.append(forgotten(mount))
            names.append(mount.status()["facts"]["metadata"]["store"]["node_ids"])
        print([f"{size / MIB:.1f} MiB" for size in sizes], forgets, names)
        assert all(after > before for before, after in itertools.pairwise(forgets))
        assert len(set(names)) == 1  # no walk gives out other ids
        assert sizes[4] <= sizes[1] + 8 * MIB
        assert sizes[4] <= 400 * MIB
