"""What many open files, many readers and many folders cost the processes of a mount: descriptors and memory, both bounded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ossmount.daemon.processes import descendants
from tests.mount.cgroups import memory_cgroup
from tests.mount.support import BUCKET, Mount, Workshop

MIB = 1 << 20
OPEN = 1000
SIZE = 256 << 10  # bytes of each file where memory counts
LITTLE = 16 << 10  # where it does not
CONNECTIONS = 32

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


@pytest.fixture
def contained(plain_shop: Workshop) -> Iterator[tuple[Workshop, Any]]:
    with memory_cgroup(512 * MIB) as cgroup:
        del plain_shop.environment["OSSMOUNT_MEMORY_LIMIT"], plain_shop.environment["OSSMOUNT_FETCH_WORKERS"]

        class InCgroup(Workshop):
            def words(self, arguments: Any) -> list[str]:
                return cgroup.command(super().words(arguments))

        shop = InCgroup(plain_shop.folder, plain_shop.server)
        shop.environment = plain_shop.environment
        yield shop, cgroup


@pytest.mark.stress
def test_a_thousand_open_files_and_64_readers_in_512_mib(contained: tuple[Workshop, Any]) -> None:
    """The readers are in the container too. Nobody is killed, every byte is right, and it works on afterwards."""
    shop, cgroup = contained
    fill(shop, SIZE)
    with shop.mounted() as mount:
        words = cgroup.command([sys.executable, "-c", READERS, str(mount.path), str(OPEN), str(SIZE)])
        done = subprocess.run(words, input="\n\n", capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        status = mount.status()
        assert status["facts"]["keeper"]["deaths"] == 0 and status["facts"]["fetch"]["restarts"] == 0
        assert (mount.path / "f0007").read_bytes() == b"%08d" % 7 * (SIZE // 8)
        print({name: status["facts"]["memory"][name] >> 20 for name in ("limit", "slab", "used_slab", "used_beside")})
    assert cgroup.killed == 0


@pytest.mark.stress
def test_a_hundred_thousand_folders_are_walked_without_growth(plain_shop: Workshop) -> None:
    """The first walks fill what is kept of each folder (once more when the kernel asks for it again); then nothing is added."""
    plain_shop.server.store.put_many(BUCKET, [b"%03d/%03d/file" % divmod(number, 1000) for number in range(100_000)], b"x")
    with plain_shop.mounted("-o", "attr_timeout=1,entry_timeout=1,metadata_ttl=inf") as mount:  # the kernel asks us again
        sizes = []
        for _ in range(6):
            done = subprocess.run(
                ["find", str(mount.path), "-type", "d", "-printf", "."], capture_output=True, timeout=1200, check=True
            )
            assert len(done.stdout) == 1 + 100 + 100_000
            sizes.append(own_memory(mount))
        print([f"{size / MIB:.0f} MiB" for size in sizes])
        assert sizes[5] <= sizes[3] + 8 * MIB
        assert sizes[5] <= 400 * MIB
