"""Retired versions leave the store once nobody can name them, and not before."""

from __future__ import annotations

import fcntl
import math
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from ossmount.errors import StaleNode
from ossmount.metadata import pruner
from ossmount.metadata.interface import ROOT
from ossmount.metadata.locks import others, take_part
from ossmount.metadata.namespace import TreeNamespace
from ossmount.model import Found, Kind
from tests.unit.metadata.fake_lister import EPOCH, FakeLister, running, soon, walk

_OTHER = """
import os, sys
from ossmount.metadata.locks import take_part
descriptor = os.open(sys.argv[1], os.O_RDWR)
take_part(descriptor)
print("there", flush=True)
sys.stdin.read()
"""


class Kernel:
    """Knows what a test says, and was asked this."""

    def __init__(self) -> None:
        self.names: set[int] = set()
        self.asked: list[int] = []

    async def known(self, nodes: Sequence[int]) -> set[int]:
        self.asked += nodes
        return self.names.intersection(nodes)


def store_of(namespace: TreeNamespace) -> dict[str, int]:
    store = namespace.facts()["store"]
    assert isinstance(store, dict)
    return store


async def id_of(namespace: TreeNamespace, path: bytes) -> int:
    node = ROOT
    for name in path.split(b"/"):
        found = await soon(namespace.lookup(node, name))
        assert isinstance(found, Found)
        node = found.node.id
    return node


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> trio.testing.MockClock:
    """Time goes on where a test says so. Passes are made by hand."""
    monkeypatch.setattr(pruner, "PERIOD", math.inf)
    return trio.testing.MockClock(autojump_threshold=0)


@asynccontextmanager
async def mounted(lister: FakeLister, folder: Path, kernel: Kernel) -> AsyncIterator[TreeNamespace]:
    def now() -> float:
        return EPOCH + trio.current_time()

    async with running(lister, folder, known=kernel.known, now=now, attr_ttl=1.0, entry_ttl=1.0, negative_ttl=1.0) as namespace:
        yield namespace


async def prune(namespace: TreeNamespace) -> None:
    await trio.sleep(pruner.GRACE)
    await namespace.prune()


def test_two_hundred_versions_of_each_file_leave_no_more_than_one(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    keys = [b"%s/%03d" % (folder, i) for folder in (b"a", b"b") for i in range(25)]
    sizes: list[int] = []

    async def main() -> None:
        lister = FakeLister(keys)
        kernel = Kernel()
        async with mounted(lister, tmp_path, kernel) as namespace:
            await walk(namespace)
            fresh = store_of(namespace)["node_ids"]
            greatest = 0
            for version in range(200):
                for key in keys:
                    lister.put(key, b"%d" % version)
                await trio.sleep(2)
                found = await walk(namespace)
                ids = [entry.node.id for entry in found.values() if entry.node.kind is Kind.FILE]
                assert min(ids) > greatest, "an id was given out again"
                greatest = max(ids)
                if version % 50 == 49:
                    await prune(namespace)
                    assert store_of(namespace)["node_ids"] == fresh
                    assert store_of(namespace)["retired"] == 0
                    sizes.append(store_of(namespace)["bytes"])
            assert namespace.facts()["pruned"] == 200 * len(keys)
        assert sizes[-1] <= sizes[0] * 1.25, sizes

    trio.run(main, clock=clock)


def test_what_the_kernel_names_stays_with_the_directories_above_it(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async def main() -> None:
        lister = FakeLister([b"gone/deep/file", b"gone/deep/other", b"gone/empty/x", b"stays"])
        kernel = Kernel()
        async with mounted(lister, tmp_path, kernel) as namespace:
            paths = [b"gone", b"gone/deep", b"gone/deep/file", b"gone/deep/other", b"gone/empty", b"gone/empty/x"]
            ids = {path: await id_of(namespace, path) for path in paths}
            kernel.names = {ids[b"gone/deep/file"]}
            for key in list(lister.order):
                if key != b"stays":
                    lister.delete(key)
            await trio.sleep(2)
            assert list(await walk(namespace)) == [b"stays"]
            assert store_of(namespace)["retired"] == 6
            await prune(namespace)
            assert store_of(namespace)["retired"] == 3
            assert namespace.resolve(ids[b"gone/deep/file"]).key == b"gone/deep/file"
            for path in (b"gone/deep/other", b"gone/empty", b"gone/empty/x"):
                with pytest.raises(StaleNode, match="dropped when nobody could name it"):
                    namespace.resolve(ids[path])
            kernel.names = set()
            await prune(namespace)
            assert store_of(namespace)["retired"] == 0
            lister.put(b"gone/deep/file")
            await trio.sleep(6)
            again = {path: await id_of(namespace, path) for path in paths[:3]}
            assert min(again.values()) > max(ids.values())

    trio.run(main, clock=clock)


def test_nothing_is_pruned_that_was_retired_a_moment_ago(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async def main() -> None:
        lister = FakeLister([b"a"])
        kernel = Kernel()
        async with mounted(lister, tmp_path, kernel) as namespace:
            first = await id_of(namespace, b"a")
            lister.put(b"a", b"new")
            await trio.sleep(2)
            second = await id_of(namespace, b"a")
            await namespace.prune()
            assert (kernel.asked, store_of(namespace)["retired"]) == ([], 1)
            await prune(namespace)
            assert (kernel.asked, store_of(namespace)["retired"]) == ([first], 0)
            assert namespace.resolve(second).size == 3

    trio.run(main, clock=clock)


@pytest.mark.parametrize("shared", [True, False])
def test_only_who_is_alone_prunes(tmp_path: Path, clock: trio.testing.MockClock, shared: bool) -> None:
    async def main() -> None:
        lister = FakeLister([b"a"])
        kernel = Kernel()
        async with mounted(lister, tmp_path, kernel) as namespace:
            number = await id_of(namespace, b"a")
            lock = Path(str(store_of(namespace)["path"]), "users.lock")
            words = [sys.executable, "-c", _OTHER, str(lock)]
            with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
                assert other.stdout is not None and other.stdout.readline() == b"there\n"
                if not shared:
                    other.communicate()
                lister.put(b"a", b"new")
                await trio.sleep(2)
                await id_of(namespace, b"a")
                await prune(namespace)
                await prune(namespace)
                assert kernel.asked == ([] if shared else [number])
                assert store_of(namespace)["retired"] == shared
                other.communicate()
            await namespace.prune()
            assert store_of(namespace)["retired"] == shared, "who was there a moment ago may come again"
            await prune(namespace)
            await prune(namespace)
            assert store_of(namespace)["retired"] == 0

    trio.run(main, clock=clock)


def test_who_takes_part_is_seen_by_the_others_only(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = (os.open(path, os.O_RDWR | os.O_CREAT) for _ in range(2))
    try:
        take_part(first)
        fcntl.flock(first, fcntl.LOCK_SH)
        assert not others(first)
        assert others(second)
        take_part(second)
        assert others(first)
        os.close(second)
        second = -1
        assert not others(first)
    finally:
        os.close(first)
        if second >= 0:
            os.close(second)
