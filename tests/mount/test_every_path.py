"""Every way that bytes take to a reader, at once, while objects are replaced, against a model of the bucket.

Through the kernel's page cache, memory, the cache on disk, readahead, look-ahead by a told order, and mappings: whatever a
reader is given must be of one version, at its place, and no older than what the bucket had when the file was opened.
"""

from __future__ import annotations

import collections
import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ossmount.hints import Prefetcher
from tests.mount.path_reader import Table, content
from tests.mount.support import BUCKET, LIMIT, Mount, Workshop, eventually

READERS = 3
KIB, MIB = 1 << 10, 1 << 20
SIZES = {
    "small/a": 8,
    "small/b": 4 * KIB,
    "small/c": 40_000,
    "small/d": 110_000,
    "small/e": 128 * KIB + 8,
    "small/f": MIB,
    "large/a": MIB + 8,
    "large/b": 5 * MIB + 40_000,
}
NOTHING_KEPT = "attr_timeout=0,entry_timeout=0,negative_timeout=0,metadata_ttl=0,negative_ttl=0"
WAYS = ("whole", "sequential", "at_random", "hold", "read_held", "mapped")


class Bucket:
    """The model: the version of each file that the bucket has for certain, in a table that the readers see."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self.path = shop.folder / "table"
        self.path.write_bytes(bytes(4 * (len(SIZES) + READERS)))
        self._table = Table(str(self.path))
        for name in SIZES:
            self.replace(name)

    def replace(self, name: str) -> None:
        number = list(SIZES).index(name)
        version = self._table.get(number) + 1
        self._shop.server.store.put(BUCKET, name.encode(), content(number, version, 0, SIZES[name] // 8))
        self._table.set(number, version)

    def begin(self) -> None:
        for reader in range(READERS):
            self._table.set(len(SIZES) + reader, 0)

    @property
    def operations(self) -> int:
        """That the readers have done."""
        return sum(self._table.get(len(SIZES) + reader) for reader in range(READERS))


@contextmanager
def replacing(bucket: Bucket, order: random.Random, told: Callable[[str], None]) -> Iterator[None]:
    """Replaces a file for every three operations of the readers, and tells that it will be read, while the context lasts."""
    stop = threading.Event()
    bucket.begin()

    def replace() -> None:
        replaced = 0
        while not stop.wait(0.002):
            while 3 * replaced <= bucket.operations:
                name = order.choice(list(SIZES))
                bucket.replace(name)
                told(name)
                replaced += 1

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def read(mount: Mount, bucket: Bucket, seed: int, operations: int) -> collections.Counter[str]:
    """Lets the readers read to their end; what they did, all together."""
    program = Path(__file__).with_name("path_reader.py")
    described = [f"{name}:{size}" for name, size in SIZES.items()]
    readers: list[subprocess.Popen[str]] = []
    try:
        for number in range(READERS):
            words = [str(mount.path), str(bucket.path), f"{number}", f"{seed}/{number}", f"{operations}", *described]
            command = [sys.executable, "-I", str(program), *words]
            readers.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        counts: collections.Counter[str] = collections.Counter()
        for reader in readers:
            output, errors = reader.communicate(timeout=operations + 2 * LIMIT)
            assert reader.returncode == 0, errors
            counts.update(json.loads(output))
        return counts
    finally:
        for reader in readers:
            if reader.poll() is None:
                reader.kill()
                reader.communicate()


def take_turn(mount: Mount, bucket: Bucket, seed: int, operations: int) -> tuple[collections.Counter[str], int]:
    """What the readers did, and how many of their reads the disk answered."""
    with Prefetcher(mount.path) as prefetcher:
        prefetcher.feed(SIZES)
        eventually(lambda: mount.status()["facts"]["look_ahead"]["fetched"], "something is fetched ahead")
        with replacing(bucket, random.Random(seed), lambda name: prefetcher.feed([name])):
            counts = read(mount, bucket, seed, operations)
        disk = mount.status()["facts"]["disk"]
        return counts, disk["hits"] + disk["partial_hits"]


def check(shop: Workshop, monkeypatch: pytest.MonkeyPatch, operations: int, seed: int) -> None:
    """Twice, so that the second mount finds the disk filled."""
    monkeypatch.setenv("OSSMOUNT_STATE_DIR", shop.environment["OSSMOUNT_STATE_DIR"])
    options = ["-o", NOTHING_KEPT, "--memory-limit", "16M"]
    options += ["--cache-dir", str(shop.folder / "cache"), "--cache-free-space", "0"]
    bucket = Bucket(shop)
    turns = []
    for turn in range(2):
        with shop.mounted(*options) as mount:
            turns.append(take_turn(mount, bucket, 2 * seed + turn, operations))
    for counts, _ in turns:
        assert all(counts[way] for way in WAYS), counts
    assert sum(hits for _, hits in turns) > 0


def test_every_path_gives_one_version(plain_shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    check(plain_shop, monkeypatch, operations=18, seed=1)


@pytest.mark.stress
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(2, 6))
def test_every_path_gives_one_version_for_long(shop: Workshop, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    check(shop, monkeypatch, operations=300, seed=seed)
