"""The namespace against an in-memory lister, on a virtual clock."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from ossmount.errors import NameTooLong, NotDirectory, OssMountError, StaleNode, Unavailable
from ossmount.metadata.builder import MOST_WORKERS, WORKERS
from ossmount.metadata.keys import SUFFIX
from ossmount.metadata.namespace import TreeNamespace
from ossmount.model import Absent, Found, Kind, ListPage, ObjectInfo
from tests.unit.metadata.fake_lister import EPOCH, FakeLister, list_all, running, soon, walk


def run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=trio.testing.MockClock())


def jump(seconds: float) -> None:
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    clock.jump(seconds)


async def found(namespace: TreeNamespace, path: bytes) -> Found:
    entry: Found | Absent = await soon(namespace.getattr(1))
    for name in path.split(b"/"):
        assert isinstance(entry, Found)
        entry = await soon(namespace.lookup(entry.node.id, name))
    assert isinstance(entry, Found), path
    return entry


@pytest.mark.parametrize(
    "ttls",
    [
        {"entry_ttl": 3.0, "attr_ttl": 3.0, "negative_ttl": 0.0},
        {"entry_ttl": 60.0, "attr_ttl": 60.0, "negative_ttl": 0.0},
        {"entry_ttl": 60.0, "attr_ttl": 0.0, "negative_ttl": 0.0},
        {"entry_ttl": 60.0, "attr_ttl": 0.0, "negative_ttl": 60.0},
        {"entry_ttl": 60.0, "attr_ttl": 60.0, "negative_ttl": 0.2},
        {"entry_ttl": 0.0, "attr_ttl": 60.0, "negative_ttl": 60.0},
    ],
)
def test_what_is_not_believed_is_told_right_behind_a_listing_that_is(tmp_path: Path, ttls: dict[str, float]) -> None:
    async def main() -> None:
        lister = FakeLister([b"a/b", b"a/d/e"])
        async with running(lister, tmp_path, **ttls) as namespace:  # type: ignore[arg-type]
            directory = (await found(namespace, b"a")).node.id
            await list_all(namespace, directory)
            for _ in range(3):
                jump(0.1)
                assert isinstance(await soon(namespace.lookup(directory, b"none")), Absent)
                for name in (b"b", b"d"):
                    entry = await soon(namespace.lookup(directory, name))
                    assert isinstance(entry, Found)
                    assert (await soon(namespace.getattr(entry.node.id))).node == entry.node

    run(main)


def test_looks_up_files_and_directories(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"a/b/c", b"f"])
        lister.put(b"a/b/d", b"data")
        async with running(lister, tmp_path) as namespace:
            entry = await found(namespace, b"a/b/d")
            assert entry.node.kind is Kind.FILE
            assert (entry.node.key, entry.node.size) == (b"a/b/d", 4)
            assert entry.fresh_for == 60.0
            assert (await found(namespace, b"a/b")).node.key == b"a/b/"
            assert await soon(namespace.lookup(1, b"none")) == Absent(5.0)
            assert lister.lists == 1  # the first page told everything
            assert namespace.resolve(entry.node.id) == entry.node
            assert namespace.name_of(entry.node.id) == b"d"
            assert await soon(namespace.getattr(entry.node.id)) == entry
            with pytest.raises(NotDirectory):
                namespace.lookup(entry.node.id, b"x")
            with pytest.raises(StaleNode):
                namespace.resolve(12345)
            with pytest.raises(NameTooLong):
                namespace.lookup(1, b"x" * 256)
            assert namespace.lookup(1, b"\xff") == Absent(math.inf)

    run(main)


def test_lists_in_order_of_names_although_keys_sort_differently(tmp_path: Path) -> None:
    names = [b"train-%05d" % i for i in range(2500)]

    async def main() -> None:
        lister = FakeLister([*names, b"train/x", b"train.txt", b"zoo"])
        async with running(lister, tmp_path) as namespace:
            listed = [name for name, _ in await list_all(namespace, 1)]
            assert listed == sorted([*names, b"train", b"train.txt", b"zoo"])
            assert lister.lists <= 8
            before = len(lister.requests)
            assert [name for name, _ in await list_all(namespace, 1)] == listed
            assert len(lister.requests) == before

    run(main)


def test_a_directory_behind_many_siblings_is_found(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([*(b"train-%05d" % i for i in range(1500)), b"train/x"])
        async with running(lister, tmp_path) as namespace:
            assert (await found(namespace, b"train")).node.kind is Kind.DIRECTORY
            assert lister.lists == 2

    run(main)


def test_a_directory_shadows_the_object_beside_it(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"a", b"a-x", b"a/b", b"b" + SUFFIX, b"c" + SUFFIX + b"/x"])
        async with running(lister, tmp_path) as namespace:
            paths = await walk(namespace)
            assert list(paths) == [
                b"a",
                b"a/b",
                b"a" + SUFFIX,
                b"a-x",
                b"b" + SUFFIX * 3,
                b"c" + SUFFIX * 2,
                b"c" + SUFFIX * 2 + b"/x",
            ]
            for path, entry in paths.items():
                assert (await found(namespace, path)).node == entry.node
            assert paths[b"a" + SUFFIX].node.key == b"a"
            for name in (b"b", b"a-x" + SUFFIX, b"b" + SUFFIX, b"a" + SUFFIX * 2):
                assert isinstance(await soon(namespace.lookup(1, name)), Absent)

    run(main)


def test_hidden_keys_are_reported(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"a//b", b"./c", b"d/../e", b"x" * 256, b"ok", b"d/"])
        async with running(lister, tmp_path) as namespace:
            assert list(await walk(namespace)) == [b"a", b"d", b"ok"]
            assert namespace.facts()["hidden_keys"] == 4

    run(main)


def test_a_replaced_object_gets_a_new_id(tmp_path: Path) -> None:
    news: list[tuple[int, list[tuple[int, bytes]]]] = []

    async def main() -> None:
        lister = FakeLister([b"d/x", b"d/y"])
        async with running(lister, tmp_path, on_change=lambda n, names: news.append((n, list(names)))) as namespace:
            directory = (await found(namespace, b"d")).node
            old = (await found(namespace, b"d/x")).node
            kept = (await found(namespace, b"d/y")).node
            assert not news
            lister.put(b"d/x", b"new")
            assert (await found(namespace, b"d/x")).node == old  # still believed
            jump(61)
            new = (await found(namespace, b"d/x")).node
            assert new.id > old.id and new.size == 3
            assert (await found(namespace, b"d/y")).node == kept
            assert (await found(namespace, b"d")).node == directory
            assert namespace.resolve(old.id) == old
            with pytest.raises(StaleNode):
                namespace.getattr(old.id)
            assert (old.id, [(directory.id, b"x"), (directory.id, b"x" + SUFFIX)]) in news
            assert directory.id in [node for node, _ in news]

    run(main)


def test_attributes_expire_and_removed_objects_go_stale(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"d/x", b"d/y"])
        async with running(lister, tmp_path, attr_ttl=10.0) as namespace:
            node = (await found(namespace, b"d/x")).node
            directory = (await found(namespace, b"d")).node
            jump(9)
            assert (await soon(namespace.getattr(node.id))).fresh_for == pytest.approx(1)
            assert lister.lists == 1
            jump(2)
            assert (await soon(namespace.getattr(node.id))).fresh_for == 10
            assert lister.lists == 2
            lister.delete(b"d/x")
            lister.delete(b"d/y")
            jump(100)
            with pytest.raises(StaleNode):
                await soon(namespace.getattr(node.id))
            with pytest.raises(StaleNode):
                await soon(namespace.getattr(directory.id))
            assert isinstance(await soon(namespace.lookup(1, b"d")), Absent)
            assert await list_all(namespace, 1) == []
            with pytest.raises(StaleNode):
                namespace.list(directory.id, b"")

    run(main)


def test_a_ttl_of_zero_asks_at_every_use(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"d/x"])
        async with running(lister, tmp_path, attr_ttl=0.0, entry_ttl=0.0, negative_ttl=0.0) as namespace:
            node = (await found(namespace, b"d/x")).node
            assert (await soon(namespace.getattr(node.id))) == Found(node, 0.0)
            heads = lister.heads
            await soon(namespace.getattr(node.id))
            assert lister.heads == heads + 1
            lister.put(b"d/x", b"new")
            with pytest.raises(StaleNode):
                await soon(namespace.getattr(node.id))
            assert (await found(namespace, b"d/x")).node.size == 3
            lister.put(b"e")
            assert (await found(namespace, b"e")).node.key == b"e"
            lister.delete(b"e")
            assert await soon(namespace.lookup(1, b"e")) == Absent(0.0)
            assert [name for name, _ in await list_all(namespace, 1)] == [b"d"]
            lister.put(b"f")
            assert [name for name, _ in await list_all(namespace, 1)] == [b"d", b"f"]

    run(main)


def test_a_listing_is_as_old_as_its_oldest_page_until_its_ttl_has_run_out(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"d/x", b"e"])
        async with running(lister, tmp_path, entry_ttl=10.0) as namespace:
            assert namespace.listed(1) == (0, math.inf)
            await list_all(namespace, 1)
            listed = namespace.listed(1)
            assert listed == (EPOCH * 10**9, 10.0)
            jump(4)
            assert namespace.listed(1).time_ns == listed.time_ns
            assert namespace.listed(1).fresh_for == pytest.approx(6)
            jump(6)
            assert namespace.listed(1) == ((EPOCH + 10) * 10**9, math.inf)
            jump(1)
            assert namespace.listed(1) == ((EPOCH + 11) * 10**9, math.inf)
            await list_all(namespace, 1)
            assert namespace.listed(1) == ((EPOCH + 11) * 10**9, 10.0)

    run(main)


def test_infinite_ttls_never_ask_again(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"d/x"])
        ttl = math.inf
        async with running(lister, tmp_path, attr_ttl=ttl, entry_ttl=ttl, negative_ttl=ttl) as namespace:
            assert (await found(namespace, b"d/x")).fresh_for == math.inf
            jump(1e9)
            await found(namespace, b"d/x")
            assert namespace.lookup(1, b"none") == Absent(math.inf)
            assert lister.lists == 1

    run(main)


def test_ids_survive_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"d/x", b"d/y"])
        async with running(lister, tmp_path) as namespace:
            node = (await found(namespace, b"d/x")).node
            assert node.id >> 24 == int(EPOCH)
        async with running(lister, tmp_path) as namespace:
            assert namespace.resolve(node.id) == node
            assert (await found(namespace, b"d/x")).node == node
            assert lister.lists == 1
            lister.put(b"d/z")
            jump(61)
            assert (await found(namespace, b"d/z")).node.id > node.id
        async with running(lister, tmp_path / "other") as namespace:
            with pytest.raises(StaleNode):
                namespace.resolve(node.id)

    run(main)


def test_a_version_that_is_gone_is_asked_for_again(tmp_path: Path) -> None:
    news: list[int] = []

    async def main() -> None:
        lister = FakeLister([b"d/x", b"d/y"])
        async with running(lister, tmp_path, on_change=lambda n, names: news.append(n)) as namespace:
            node = (await found(namespace, b"d/x")).node
            lister.put(b"d/x", b"new")
            namespace.version_gone(node.id)
            assert news == [node.id]  # at once: whoever reads the node is told only after the kernel was
            with pytest.raises(StaleNode):
                namespace.getattr(node.id)
            new = (await found(namespace, b"d/x")).node
            assert new.size == 3 and new.id > node.id
            assert namespace.resolve(node.id) == node
            assert namespace.name_of(node.id) == b"x"
            assert node.id in news

    run(main)


def test_concurrent_misses_share_one_request_and_survive_a_cancelled_waiter(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"d/x"])
        async with running(lister, tmp_path) as namespace:
            await found(namespace, b"d")
            jump(61)
            entries: list[Found | Absent] = []
            release = trio.Event()
            listing = lister.list_page

            async def held(*args: object, **more: object) -> object:
                await release.wait()
                return await listing(*args, **more)  # type: ignore[arg-type]

            lister.list_page = held  # type: ignore[method-assign,assignment]

            async def look() -> None:
                entries.append(await soon(namespace.lookup(1, b"d")))

            async with trio.open_nursery() as nursery:
                first = trio.CancelScope()

                async def cancelled() -> None:
                    with first:
                        await look()

                nursery.start_soon(cancelled)
                await trio.testing.wait_all_tasks_blocked()
                for _ in range(10):
                    nursery.start_soon(look)
                await trio.testing.wait_all_tasks_blocked()
                first.cancel()
                await trio.testing.wait_all_tasks_blocked()
                release.set()
            assert len(entries) == 10
            assert lister.lists == 2

    run(main)


def test_a_failure_reaches_every_waiter_and_is_not_remembered(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"d/x"])
        lister.failure = Unavailable("down")
        async with running(lister, tmp_path) as namespace:
            with pytest.raises(Unavailable):
                await soon(namespace.lookup(1, b"d"))
            with pytest.raises(Unavailable):
                await soon(namespace.list(1, b""))
            lister.failure = None
            assert (await found(namespace, b"d/x")).node.key == b"d/x"

    run(main)


def test_a_prefix_is_mounted_as_the_root(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"a", b"pre/", b"pre/x/y", b"pre/z", b"q"])
        async with running(lister, tmp_path, prefix=b"pre/") as namespace:
            assert list(await walk(namespace)) == [b"x", b"x/y", b"z"]
            assert (await found(namespace, b"x/y")).node.key == b"pre/x/y"

    run(main)


@pytest.mark.parametrize("ttl", [0.0, 60.0])
def test_symlinks(tmp_path: Path, ttl: float) -> None:
    async def main() -> None:
        lister = FakeLister([b"l"])
        lister.put(b"x", b"data")
        lister.put(b"l", b"link", object_type="Symlink")
        lister.targets[b"l"] = b"x"
        async with running(lister, tmp_path, attr_ttl=ttl) as namespace:
            entry = await found(namespace, b"l")
            assert entry.node.kind is Kind.SYMLINK
            assert await soon(namespace.getattr(entry.node.id)) == entry
            assert (await list_all(namespace, 1))[0].found.node == entry.node
            assert await namespace.readlink(entry.node.id) == b"x"

    run(main)


@pytest.mark.parametrize("ttl", [0.0, 60.0])
@pytest.mark.parametrize("listed", [False, True])
def test_without_symlinks_a_link_is_what_it_points_to(tmp_path: Path, ttl: float, listed: bool) -> None:
    async def main() -> None:
        lister = FakeLister()
        lister.put(b"dangling", b"a", object_type="Symlink")
        lister.put(b"l", b"link", object_type="Symlink")
        lister.put(b"x", b"data...")
        lister.targets[b"l"] = b"x"
        async with running(lister, tmp_path, symlinks=False, attr_ttl=ttl) as namespace:
            if listed:
                rows = await list_all(namespace, 1)
                assert [row.name for row in rows] == [b"l", b"x"]
                node = rows[0].found.node
                assert (await found(namespace, b"l")).node == node
            else:
                node = (await found(namespace, b"l")).node
            assert (node.kind, node.size, node.etag) == (Kind.FILE, 7, lister.objects[b"x"].etag)
            assert (await soon(namespace.getattr(node.id))).node == node
            assert isinstance(await soon(namespace.lookup(1, b"dangling")), Absent)
            jump(61)
            assert (await found(namespace, b"l")).node == node
            lister.put(b"x", b"changed")
            jump(61)
            new = (await found(namespace, b"l")).node
            assert new.id > node.id and new.etag == lister.objects[b"x"].etag
            with pytest.raises(StaleNode):
                await soon(namespace.getattr(node.id))

    run(main)


def test_a_listing_that_ends_at_a_directory_marker_goes_on_behind_it(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"a", b"a/a.b/", b"a/a.b/x", b"a0/x"], page_limit=1)
        async with running(lister, tmp_path) as namespace:
            paths = await walk(namespace)
            assert list(paths) == [b"a", b"a/a.b", b"a/a.b/x", b"a" + SUFFIX, b"a0", b"a0/x"]

    run(main)


def test_what_lay_in_a_removed_directory_is_gone_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"d/e/x", b"f"])
        async with running(lister, tmp_path) as namespace:
            inside = [(await found(namespace, path)).node for path in (b"d/e", b"d/e/x")]
            jump(61)
            lister.delete(b"d/e/x")
            assert isinstance(await soon(namespace.lookup(1, b"d")), Absent)
            for node in inside:
                with pytest.raises(StaleNode):
                    namespace.getattr(node.id)
                assert namespace.resolve(node.id) == node
            assert namespace.facts()["store"]["names"] == 1  # type: ignore[index]

    run(main)


@pytest.mark.parametrize(("path", "count"), [(b"", 4), (b"d", 2), (b"/d/", 2), (b"d/e/x", 1), (b"none", 0), (b"f/x", 0)])
def test_refresh(tmp_path: Path, path: bytes, count: int) -> None:
    news: list[tuple[int, bytes]] = []

    async def main() -> None:
        lister = FakeLister([b"d/e/x", b"f"])
        ttl = math.inf

        def note(_: int, names: Sequence[tuple[int, bytes]]) -> None:
            news.extend(names)

        async with running(lister, tmp_path, on_change=note, attr_ttl=ttl, entry_ttl=ttl, negative_ttl=ttl) as namespace:
            before = await walk(namespace)
            for key in (b"d/e/x", b"f"):
                lister.put(key, b"new")
            lister.put(b"d/new")
            assert await walk(namespace) == before
            assert await namespace.refresh(path) == count
            after = await walk(namespace)
            assert (after[b"d/e/x"].node != before[b"d/e/x"].node) == (path not in (b"none", b"f/x"))
            assert (after[b"f"].node != before[b"f"].node) == (path in (b"", b"d", b"/d/"))  # the LIST for "d" shows it too
            assert (b"d/new" in after) == (path in (b"", b"d", b"/d/"))
            assert after[b"d"].node == before[b"d"].node
            if count:
                assert b"x" in [name for _, name in news]

    run(main)


@pytest.mark.parametrize("path", [b"", b"d"])
def test_a_directory_that_is_gone_is_so_after_a_refresh_whatever_its_ttl(tmp_path: Path, path: bytes) -> None:
    news: list[tuple[int, bytes]] = []

    def note(_: int, names: Sequence[tuple[int, bytes]]) -> None:
        news.extend(names)

    async def main() -> None:
        lister = FakeLister([b"d/e/x", b"f"])
        ttl = math.inf
        async with running(lister, tmp_path, on_change=note, attr_ttl=ttl, entry_ttl=ttl, negative_ttl=ttl) as namespace:
            await walk(namespace)
            lister.delete(b"d/e/x")
            assert isinstance(await soon(namespace.lookup(1, b"d")), Found)
            await namespace.refresh(path)
            assert (1, b"d") in news
            assert await soon(namespace.lookup(1, b"d")) == Absent(math.inf)

    run(main)


def test_refresh_of_a_large_directory_goes_no_faster_than_the_kernel_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ossmount.metadata.namespace._NAMES", 3)
    keys = [b"a", b"b", b"c", b"c/x", b"d", b"e", b"f", b"f/y"]
    told: list[set[bytes]] = [set()]  # between one wait and the next

    def note(_: int, names: Sequence[tuple[int, bytes]]) -> None:
        told[-1].update(name for _, name in names)

    async def caught_up() -> None:
        await trio.lowlevel.checkpoint()
        told.append(set())

    async def main() -> None:
        lister = FakeLister(keys)
        ttl = math.inf
        timeouts: dict[str, Any] = {"attr_ttl": ttl, "entry_ttl": ttl, "negative_ttl": ttl}
        async with running(lister, tmp_path, on_change=note, caught_up=caught_up, **timeouts) as namespace:
            before = await walk(namespace)
            for key in keys:
                lister.put(key, b"new")
            assert await namespace.refresh() == len(keys) + 2
            # "c" and "f" stand for a folder and an object, each told of by both its names
            assert [len(names & {b"a", b"b", b"c", b"d", b"e", b"f"}) for names in told] == [3, 3, 1, 0, 0]
            after = await walk(namespace)
            assert all(after[path].node != node.node for path, node in before.items() if node.node.kind is Kind.FILE)

    run(main)


def test_hostile_listings_are_errors_and_nothing_hangs(tmp_path: Path) -> None:
    keys = [b"d/x", b"d/y", b"e"]
    pages = [
        ListPage([], [], "more"),
        ListPage([ObjectInfo(b"z", 1, 1, ""), ObjectInfo(b"a", 1, 1, "")], [], ""),
        ListPage([], [b"d"], ""),
        ListPage([], [b"/", b"d/"], "more"),
        ListPage([ObjectInfo(b"\xff/\xff", 1, 1, "")], [], "more"),
        ListPage([ObjectInfo(b"/" * 1023, -1, -(2**62), "\u20ac")], [], "more"),
        ListPage([ObjectInfo(b"d/x", 2**62, 2**62, "e" * 5000, "Odd\u20ac", "Odd")], [b"d/"], "more"),
    ]

    async def main() -> None:
        for number, hostile in enumerate(pages):
            lister = FakeLister(keys)

            async def list_page(*_: object, lister: FakeLister = lister, page: ListPage = hostile, **__: object) -> ListPage:
                lister.requests.append(("LIST", b"", b"", b""))
                return page

            lister.list_page = list_page  # type: ignore[method-assign]
            async with running(lister, tmp_path / str(number)) as namespace:
                for name in (b"d", b"e"):
                    with contextlib.suppress(OssMountError):
                        await soon(namespace.lookup(1, name))
                with contextlib.suppress(OssMountError):
                    await soon(namespace.list(1, b""))
                assert len(lister.requests) < 60

    run(main)


def test_a_walk_takes_few_listings(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"folder%02d/file%04d.jpg" % (i % 100, i) for i in range(5_000)])
        async with running(lister, tmp_path) as namespace:
            paths = await walk(namespace)
            assert len(paths) == 5_100
            assert lister.lists <= 13
            before = len(lister.requests)
            assert await walk(namespace) == paths
            assert len(lister.requests) == before

    run(main)


def test_random_lookups_list_the_rest_ahead(tmp_path: Path) -> None:
    names = [b"file%06d.jpg" % i for i in range(5_000)]

    async def main() -> None:
        lister = FakeLister([b"one/" + name for name in names])
        async with running(lister, tmp_path) as namespace:
            parent = (await found(namespace, b"one")).node.id
            for name in random.Random(1).sample(names, len(names)):
                assert isinstance(await soon(namespace.lookup(parent, name)), Found)
            assert lister.lists <= 40

    run(main)


@pytest.mark.parametrize("pattern", [b"img-%08d.jpg", b"%d.txt", b"%016x", b"part-%05d-of-20000"])
def test_a_large_directory_is_listed_by_several_requests_at_once(tmp_path: Path, pattern: bytes) -> None:
    hashed = pattern == b"%016x"
    names = [pattern % (i * 2654435761 % 2**64 * 40503 % 2**64 if hashed else i) for i in range(12_000)]

    async def main() -> None:
        lister = FakeLister(names, latency=0.03)
        async with running(lister, tmp_path) as namespace:
            assert [row.name for row in await list_all(namespace, 1)] == sorted(names)
            assert lister.most_under_way > 3
            assert lister.lists <= 45

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.001))


def test_a_build_lists_everything_at_once_and_a_walk_asks_nothing_more(tmp_path: Path) -> None:
    nested = [b"train/%03d/img-%05d.jpg" % (i // 50, i) for i in range(5_000)]

    async def main() -> None:
        lister = FakeLister([*nested, b"a", b"a/b", b"a-x", b"train-0", b"zoo/x/y"], latency=0.03, page_limit=100)
        async with running(lister, tmp_path) as namespace:
            assert await namespace.build() == lister.lists
            assert WORKERS // 2 < lister.most_under_way <= WORKERS
            assert lister.lists < 200
            assert namespace.progress() == (len(lister.objects), lister.lists, 1.0)
            built = lister.lists
            paths = await walk(namespace)
            assert lister.lists == built
            assert {entry.node.key for entry in paths.values() if entry.node.kind is Kind.FILE} == set(lister.objects)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.001))


def test_a_build_keeps_as_many_pages_under_way_as_their_latency_wants(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"train/%03d/%05d" % (i // 100, i) for i in range(20_000)], latency=0.3, page_limit=100)
        async with running(lister, tmp_path) as namespace:
            await namespace.build()
            assert WORKERS < lister.most_under_way <= MOST_WORKERS

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.001))


def test_a_head_that_overlaps_the_end_of_a_version_does_not_make_its_name_absent(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"a"])
        async with running(lister, tmp_path) as namespace:
            node = (await found(namespace, b"a")).node
            namespace.version_gone(node.id)
            # Answered while the version is being retired, with what OSS said before it was replaced.
            await namespace._refresher.head(1, b"a")
            lister.put(b"a", b"new")
            while (latest := (await found(namespace, b"a")).node).size == 0:
                namespace.version_gone(latest.id)
            assert latest.size == 3

    run(main)


def test_a_listing_that_comes_late_makes_no_version_stale_that_was_just_opened(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"a"])
        async with running(lister, tmp_path) as namespace, trio.open_nursery() as nursery:
            old = (await found(namespace, b"a")).node
            lister.latency = 2.0
            nursery.start_soon(partial(namespace._refresher.page, 1, b"", b"", share=False))
            await trio.sleep(1.5)  # OSS has made its answer
            lister.put(b"a", b"new")
            lister.latency = 0.1
            with pytest.raises(StaleNode):
                await namespace.revalidate(old.id)
            new = (await found(namespace, b"a")).node
            assert new.size == 3
            await trio.sleep(1.0)
            assert (await namespace.revalidate(new.id)).node == (await found(namespace, b"a")).node == new

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.001))


def test_requests_and_uses_are_counted_by_cause(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(FakeLister([b"d/x", b"e"]), tmp_path, negative_ttl=60.0) as namespace:
            facts = namespace.facts()
            assert facts["cache"] == {"hits": {}, "misses": {}}
            entry = await found(namespace, b"e")  # a miss: nothing is known yet
            await soon(namespace.lookup(1, b"none"))
            await list_all(namespace, 1)  # what stands before "e" is not known
            await soon(namespace.getattr(entry.node.id))
            jump(61)
            await found(namespace, b"e")
            jump(61)
            await list_all(namespace, 1)
            jump(61)
            await soon(namespace.getattr(entry.node.id))
            facts = namespace.facts()
            assert facts["cache"] == {
                "hits": {"lookup": 1, "list": 2, "getattr": 1},
                "misses": {
                    "lookup": {"unknown": 1, "expired": 1},
                    "list": {"unknown": 1, "expired": 1},
                    "getattr": {"expired": 1},
                },
            }
            assert facts["requests"] == {"list": {"lookup": 3, "listing": 2}, "head": {}}
            assert facts["lists"] == 5

    run(main)


def test_missing_names_in_a_listed_folder_cost_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"folder/%06d" % i for i in range(0, 6_000, 2)])
        async with running(lister, tmp_path) as namespace:
            folder = (await found(namespace, b"folder")).node.id
            await list_all(namespace, folder)
            before = len(lister.requests)
            for i in range(1, 6_000, 6):
                assert isinstance(await soon(namespace.lookup(folder, b"%06d" % i)), Absent)
            assert len(lister.requests) == before

    run(main)


def test_ten_thousand_random_lookups_over_many_folders_take_few_requests(tmp_path: Path) -> None:
    keys = [b"train/%03d/img-%06d.jpg" % (i % 100, i) for i in range(10_000)]

    async def main() -> None:
        lister = FakeLister(keys)
        async with running(lister, tmp_path) as namespace:
            for key in random.Random(3).sample(keys, len(keys)):
                await found(namespace, key)
            assert len(lister.requests) <= 60

    run(main)
