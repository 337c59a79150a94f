"""The memory of a mount in a container of little memory."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.mount.cgroups import MemoryCgroup, memory_cgroup
from tests.mount.support import BUCKET, Mount, Workshop, eventually

MIB = 1 << 20
SMALL = 1500
SMALL_SIZE = 110_000
BIG = 4
BIG_SIZE = 96 * MIB

#: Reads everything with 64 threads: small files whole, large ones sequentially and here and there; prints digests.
READERS = """
import hashlib, json, os, random, sys
from concurrent.futures import ThreadPoolExecutor

def small(path):
    with open(path, "rb") as file:
        return hashlib.md5(file.read()).hexdigest()

def big(path):
    digest = hashlib.md5()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()

def here_and_there(path):
    descriptor = os.open(path, os.O_RDONLY)
    size = os.fstat(descriptor).st_size
    rng = random.Random(path)
    for _ in range(40):
        at = rng.randrange(size - (1 << 20))
        assert len(os.pread(descriptor, 1 << 20, at)) == 1 << 20
    os.close(descriptor)
    return ""

os.chdir(sys.argv[1])
work = [(big, f"big/{number}") for number in range(int(sys.argv[2]))] * 4
work += [(here_and_there, f"big/{number}") for number in range(int(sys.argv[2]))] * 4
work += [(small, f"small/{number}") for number in range(int(sys.argv[3]))]
random.Random(1).shuffle(work)
with ThreadPoolExecutor(64) as readers:
    found = list(readers.map(lambda item: item[0](item[1]), work))
json.dump({path: digest for (_, path), digest in zip(work, found) if digest}, sys.stdout)
"""


def content(path: str, size: int) -> bytes:
    seed = hashlib.sha256(path.encode()).digest()
    return (seed * (size // len(seed) + 1))[:size]


@pytest.fixture
def cgroup() -> Iterator[MemoryCgroup]:
    with memory_cgroup(512 * MIB) as made:
        yield made


class InCgroup(Workshop):
    """A workshop whose commands run in a cgroup, and with them the daemon and all its processes."""

    cgroup: MemoryCgroup

    def words(self, arguments: Any) -> list[str]:
        return self.cgroup.command(super().words(arguments))


@pytest.fixture
def contained(plain_shop: Workshop, cgroup: MemoryCgroup) -> InCgroup:
    shop = InCgroup(plain_shop.folder, plain_shop.server)
    shop.cgroup = cgroup
    return shop


def facts(mount: Mount) -> dict[str, Any]:
    found: dict[str, Any] = mount.status()["facts"]["memory"]
    return found


@pytest.mark.stress
@pytest.mark.parametrize("limit", ["", "1G"])
def test_64_readers_in_a_container_of_512_mib(contained: InCgroup, limit: str) -> None:
    """With the defaults, and with a limit that is more than the container has. The readers are in it too, as in training."""
    sizes = {f"small/{number}": SMALL_SIZE for number in range(SMALL)} | {f"big/{number}": BIG_SIZE for number in range(BIG)}
    digests = {}
    for path, size in sizes.items():
        contained.server.store.put(BUCKET, path.encode(), content(path, size))
        digests[path] = hashlib.md5(content(path, size)).hexdigest()
    del contained.environment["OSSMOUNT_MEMORY_LIMIT"], contained.environment["OSSMOUNT_FETCH_WORKERS"]
    with contained.mounted(*(["--memory-limit", limit] if limit else [])) as mount:
        assert facts(mount)["total"] == 512 * MIB
        assert facts(mount)["limit"] == (1024 * MIB if limit else 128 * MIB)
        words = [sys.executable, "-c", READERS, str(mount.path), str(BIG), str(SMALL)]
        done = subprocess.run(contained.cgroup.command(words), capture_output=True, text=True, timeout=1200, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        assert json.loads(done.stdout) == digests
        status = mount.status()
        print({name: status["facts"]["memory"][name] for name in ("slab", "shrunk", "used_slab", "used_beside", "available")})
        assert status["facts"]["fetch"]["restarts"] == 0
    assert contained.cgroup.killed == 0


def test_the_budget_follows_a_limit_that_changes(contained: InCgroup) -> None:
    paths = [f"big/{number}" for number in range(3)]
    for path in paths:
        contained.server.store.put(BUCKET, path.encode(), content(path, 32 * MIB))
    with contained.mounted("--memory-limit", "128M") as mount:
        assert (mount.path / paths[0]).read_bytes() == content(paths[0], 32 * MIB)
        assert facts(mount)["reason"] == ""
        contained.cgroup.set_limit(160 * MIB)
        eventually(lambda: facts(mount)["slab"] < 128 * MIB, "the budget falls")
        low = facts(mount)
        assert low["reason"] == "machine or container are short of memory"
        assert "instead of 128 MiB" in contained.run("status", str(mount.path)).stdout
        assert (mount.path / paths[1]).read_bytes() == content(paths[1], 32 * MIB)
        contained.cgroup.set_limit(512 * MIB)
        eventually(lambda: facts(mount)["slab"] > low["slab"], "the budget grows")
        assert (mount.path / paths[2]).read_bytes() == content(paths[2], 32 * MIB)
    assert contained.cgroup.killed == 0


def test_processes_are_counted(plain_shop: Workshop) -> None:
    """What status says of the processes' own memory is of their order: an interpreter each, and no slab."""
    with plain_shop.mounted("--memory-limit", "64M") as mount:
        eventually(lambda: facts(mount)["used_beside"] > 0, "it has looked")
        assert 10 * MIB < facts(mount)["used_beside"] < 250 * MIB
        assert 0 < facts(mount)["available"] <= facts(mount)["total"]
