"""Snapshots: written and read back, refused when damaged, taken over by another store."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from ossmount.metadata import snapshot
from ossmount.metadata.exporter import IncompleteError, open_export
from ossmount.metadata.loader import LocalSnapshot
from ossmount.metadata.namespace import TreeNamespace
from ossmount.metadata.snapshot import File, Header, SnapshotError
from ossmount.model import Found, ObjectInfo
from tests.unit.metadata.fake_lister import EPOCH, FakeLister, running, soon, walk

HEADER = Header("bucket", b"", "https://oss.example.com", EPOCH)
TREE = [b"a", b"a-x", b"a/b", b"empty/", b"train-0", b"train/1", b"train/2/x", b"\xc3\xa4/\xe4\xb8\xad", b"zoo"]


def info(key: bytes, number: int = 0) -> ObjectInfo:
    return ObjectInfo(key, number, number * 10**9, f"{number:032X}")


def store_of(namespace: TreeNamespace) -> Path:
    store = namespace.facts()["store"]
    assert isinstance(store, dict)
    return Path(store["path"])


@settings(deadline=None, max_examples=50)
@given(st.sets(st.text(min_size=1, max_size=30).map(lambda text: text.encode("utf-8", "ignore")), max_size=50))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, keys: set[bytes]) -> None:
    path = tmp_path_factory.mktemp("snapshot") / "file"
    objects = [info(key, number) for number, key in enumerate(sorted(keys - {b""}))]
    objects = [o._replace(object_type="Symlink", storage_class="IA") if o.size % 3 == 1 else o for o in objects]
    header = snapshot.write(path, HEADER, objects)
    assert header == HEADER._replace(keys=len(objects))
    assert snapshot.check(File(path)) == header
    assert [found for batch in snapshot.read(File(path), 7) for found in batch] == objects
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_every_damage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    snapshot.write(path, HEADER, [info(b"key%d" % i, i) for i in range(1000, 3000)])
    whole = path.read_bytes()
    chance = random.Random(5)
    damaged = [whole[:cut] for cut in (0, 5, 11, 100, len(whole) // 2, len(whole) - 1)]
    for at in [*range(0, 200, 7), *(chance.randrange(len(whole)) for _ in range(50))]:
        damaged.append(whole[:at] + bytes([whole[at] ^ (1 << chance.randrange(8))]) + whole[at + 1 :])
    damaged.append(whole + b"x")
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(SnapshotError, match=r"file (is|cannot)"):
            snapshot.check(File(path))
    path.unlink()
    with pytest.raises(SnapshotError, match="cannot be read: No such file"):
        snapshot.check(File(path))


def test_entries_that_cannot_be_are_refused_although_the_checksum_is_right(tmp_path: Path) -> None:
    for keys in ([b"b", b"a"], [b"a", b"a"], [b"a" * 1024]):
        snapshot.write(tmp_path / "file", HEADER, [info(key) for key in keys])
        with pytest.raises(SnapshotError, match="cannot be"):
            list(snapshot.read(File(tmp_path / "file"), 10))


def test_a_failure_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def objects() -> object:
        yield info(b"a")
        raise ValueError("a test")

    with pytest.raises(ValueError, match="a test"):
        snapshot.write(tmp_path / "file", HEADER, objects())  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


async def export(lister: FakeLister, folder: Path, path: Path, *, now: float = EPOCH) -> Header:
    """Builds a store, and a snapshot from it."""
    async with running(lister, folder, now=lambda: now) as namespace:
        await namespace.build()
        store = store_of(namespace)
    with open_export(store, b"") as view:
        header = HEADER._replace(time=view.check())
        return snapshot.write(path, header, view.objects())


def test_the_deepest_key_is_exported(tmp_path: Path) -> None:
    path, deepest = tmp_path / "file", b"a/" * 511 + b"x"

    async def main() -> None:
        lister = FakeLister([b"a-", deepest, b"b"])
        await export(lister, tmp_path / "store", path)
        assert [o.key for batch in snapshot.read(File(path), 10) for o in batch] == lister.order

    trio.run(main)


def test_another_store_takes_it_over_and_asks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        lister = FakeLister([*TREE, *(b"large/%06d" % i for i in range(12_345))])
        header = await export(lister, tmp_path / "one", path)
        assert header.keys == len(lister.objects)
        assert header.time == pytest.approx(EPOCH, abs=60)
        assert [o.key for batch in snapshot.read(File(path), 10**6) for o in batch] == lister.order
        async with running(FakeLister(lister.order), tmp_path / "three") as namespace:
            wanted = {name: (f.node.key, f.node.size, f.node.etag) for name, f in (await walk(namespace)).items()}

        nobody = FakeLister()
        for _ in range(2):  # the second time the store has it already
            async with running(
                nobody,
                tmp_path / "two",
                snapshot=LocalSnapshot(File(path)),
                attr_ttl=math.inf,
                entry_ttl=math.inf,
                negative_ttl=math.inf,
            ) as namespace:
                found = await walk(namespace)
                assert {name: (f.node.key, f.node.size, f.node.etag) for name, f in found.items()} == wanted
                await soon(namespace.lookup(1, b"missing"))
        assert nobody.requests == []

    trio.run(main)


def test_a_part_of_a_snapshot_can_be_mounted(tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        lister = FakeLister([*TREE, *(b"train/3/%06d" % i for i in range(6_000))])
        await export(lister, tmp_path / "one", path)
        nobody = FakeLister()
        async with running(
            nobody, tmp_path / "two", prefix=b"train/", snapshot=LocalSnapshot(File(path)), entry_ttl=math.inf
        ) as namespace:
            assert len(await walk(namespace)) == 6_000 + 4
        assert nobody.requests == []

    trio.run(main)


def test_what_was_listed_later_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        await export(FakeLister([b"a", b"b"]), tmp_path / "one", path, now=EPOCH - 1000)
        lister = FakeLister([b"b", b"c"])
        async with running(lister, tmp_path / "two") as namespace:
            assert list(await walk(namespace)) == [b"b", b"c"]
            old = await soon(namespace.lookup(1, b"b"))
            assert await namespace.load(LocalSnapshot(File(path))) == 2
            assert list(await walk(namespace)) == [b"b", b"c"]
            new: object = await soon(namespace.lookup(1, b"b"))
            assert isinstance(new, Found)
            assert isinstance(old, Found)
            assert new.node == old.node

    trio.run(main)


def test_a_store_that_knows_a_part_is_not_exported(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"d/%05d" % i for i in range(3_000)])
        async with running(lister, tmp_path) as namespace:
            await soon(namespace.lookup(1, b"d"))
            store = store_of(namespace)
        with open_export(store, b"") as view, pytest.raises(IncompleteError, match="below / were"):
            view.check()

    trio.run(main)
