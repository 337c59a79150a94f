"""The store: restarts, kill -9, foreign and damaged files, a full disk, a map that grows, two mounts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest
import trio

from ossmount.errors import Unavailable
from ossmount.metadata import mapped, records, store
from ossmount.metadata.pages import split_page
from ossmount.metadata.store import ROOT, Store
from ossmount.metadata.transaction import Change, Transaction
from ossmount.model import ListPage, ObjectInfo

NOW = 1_700_000_000.0
_ROOT = Path(__file__).parents[3]
_OTHER = """
import sys
from tests.unit.metadata.test_store import *

with opened(Path(sys.argv[1])) as it:
    fill(it, [b"a", b"b"], NOW + 1)
    print(names(it), flush=True)
    sys.stdin.read()
    print(names(it), flush=True)
"""


_GROWER = """
import sys
from tests.unit.metadata.test_store import *

with opened(Path(sys.argv[1]), map_size=64 << 10) as it:
    fill(it, [b"%06d" % i for i in range(3000)], NOW + 1)
    print(it._env.info()["map_size"])
"""
_READER = """
import lmdb, sys, time
env = lmdb.open(sys.argv[1], max_dbs=8)
with env.begin() as txn:
    print("reading", flush=True)
    time.sleep(600)
"""


def info(key: bytes, etag: str = "e" * 32) -> ObjectInfo:
    return ObjectInfo(key, 1, 2, etag)


def merging(keys: list[bytes], time: float = NOW, etag: str = "e" * 32) -> Callable[[Transaction], list[Change]]:
    page = ListPage([info(key, etag) for key in sorted(keys)], [], "")
    return lambda transaction: transaction.merge(ROOT, split_page(b"", b"", b"", page), time)


@contextmanager
def opened(directory: Path, **more: object) -> Iterator[Store]:
    it = Store(directory, "source", now=lambda: NOW, **more)  # type: ignore[arg-type]
    try:
        yield it
    finally:
        it.close()


def writing(it: Store, main: Callable[[], Awaitable[object]]) -> None:
    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.run)
            await main()
            nursery.cancel_scope.cancel()

    trio.run(run)


def fill(it: Store, keys: list[bytes], time: float = NOW) -> None:
    async def main() -> None:
        await it.write(merging(keys, time))

    writing(it, main)


def names(it: Store) -> list[bytes]:
    with it.scan(ROOT, b"") as (_, rows):
        return [name for name, _, _ in rows]


def test_keeps_names_and_ids_and_gives_greater_ones_after_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as it:
        fill(it, [b"a", b"b"])
        first = it.children(ROOT, b"a").file
        assert first is not None and first.id == int(NOW * (1 << 24))
        assert it.facts()["on_disk"] is True
        assert not it.warnings
    with opened(tmp_path) as it:
        assert names(it) == [b"a", b"b"]
        assert it.children(ROOT, b"a").file == first
        fill(it, [b"a", b"b", b"c"])
        third = it.children(ROOT, b"c").file
        assert third is not None and third.id > first.id + 1
        assert not it.warnings


def test_a_store_of_another_schema_is_moved_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as it:
        fill(it, [b"a"])
    monkeypatch.setattr(records, "SCHEMA", 99)
    with opened(tmp_path) as it:
        assert names(it) == []
        assert "schema" in it.warnings[0]
        aside = [p for p in tmp_path.iterdir() if ".damaged-" in p.name]
        assert len(aside) == 1 and (aside[0] / "data.mdb").exists()
        assert str(aside[0]) in it.warnings[0]


@pytest.mark.parametrize("damage", [b"not a database" * 1000, b"\0" * 8192, b"x"])
def test_a_damaged_file_is_moved_aside(tmp_path: Path, damage: bytes) -> None:
    with opened(tmp_path) as it:
        fill(it, [b"a"])
        path = it.path
    (path / "data.mdb").write_bytes(damage)
    with opened(tmp_path) as it:
        assert names(it) == []
        assert it.warnings
        fill(it, [b"b"])
        assert names(it) == [b"b"]


def test_a_store_that_was_in_use_when_the_machine_stopped_is_rebuilt(tmp_path: Path) -> None:
    with opened(tmp_path) as it:
        fill(it, [b"a"])
        path = it.path
        assert (path / "UNSYNCED").exists()
    assert not (path / "UNSYNCED").exists()
    (path / "UNSYNCED").write_text("another boot")
    with opened(tmp_path) as it:
        assert names(it) == []
        assert "machine stopped" in it.warnings[0]


def test_a_clock_that_was_set_back_makes_it_ask_again(tmp_path: Path) -> None:
    with opened(tmp_path) as it:
        fill(it, [b"a"])
        assert it.coverage(ROOT).intervals
    it = Store(tmp_path, "source", now=lambda: NOW - 3600)
    try:
        assert names(it) == [b"a"]
        assert not it.coverage(ROOT).intervals
        assert "clock" in it.warnings[0]
    finally:
        it.close()


def test_the_map_grows(tmp_path: Path) -> None:
    with opened(tmp_path, map_size=64 << 10) as it:
        fill(it, [b"%06d" % i for i in range(3000)])
        assert len(names(it)) == 3000
        assert not it.warnings


def test_a_map_that_is_full_when_the_store_is_opened_grows(tmp_path: Path) -> None:
    """Opening writes as well: here the map has room for the first of the databases only."""
    with opened(tmp_path, map_size=12 << 10) as it:
        assert not it.warnings
        assert it.facts()["on_disk"] is True
        fill(it, [b"a"])
        assert names(it) == [b"a"]


def test_two_mounts_share_a_store(tmp_path: Path) -> None:
    with opened(tmp_path) as it:
        fill(it, [b"a"])
        with subprocess.Popen(  # LMDB: one environment in a process
            [sys.executable, "-c", _OTHER, tmp_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
        ) as process:
            try:
                assert process.stdout is not None and process.stdin is not None
                assert process.stdout.readline() == b"[b'a', b'b']\n"
                assert names(it) == [b"a", b"b"]
                told: list[bool] = []
                it.on_foreign_commit = lambda: told.append(True)
                fill(it, [b"a", b"b", b"c"], NOW + 2)
                fill(it, [b"a", b"b", b"c"], NOW + 3)
                assert told == [True]
                process.stdin.close()
                assert process.stdout.readline() == b"[b'a', b'b', b'c']\n"
                assert process.wait(30) == 0
            finally:
                process.kill()
        ids = [child.id for name in (b"a", b"b", b"c") if (child := it.children(ROOT, name).file)]
        assert ids == sorted(set(ids)) and len(ids) == 3
        assert not it.warnings
        assert (it.path / "UNSYNCED").exists()
    assert not (it.path / "UNSYNCED").exists()


def test_a_map_that_another_process_has_grown(tmp_path: Path) -> None:
    """For reads, whose transactions cannot begin until this process has mapped it anew, and for writes."""
    for reads_first in (True, False):
        folder = tmp_path / str(reads_first)
        with opened(folder, map_size=64 << 10) as it:
            fill(it, [b"a"])
            done = subprocess.run(
                [sys.executable, "-c", _GROWER, folder], cwd=_ROOT, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            grown = int(done.stdout)
            assert grown > 64 << 10
            if reads_first:
                assert len(names(it)) == 3000
            fill(it, [b"%06d" % i for i in range(3000)] + [b"a"], NOW + 2)
            assert len(names(it)) == 3001
            assert it._env.info()["map_size"] >= grown
            assert not it.warnings


def test_readers_that_were_killed_are_cleared_when_the_store_is_opened(tmp_path: Path) -> None:
    """Else the pages that they saw could never be used again. (Of a store that nobody has open LMDB clears them itself.)"""
    with opened(tmp_path) as it:
        fill(it, [b"a"])
        with subprocess.Popen([sys.executable, "-c", _READER, it.path], stdout=subprocess.PIPE) as reader:
            assert reader.stdout is not None and reader.stdout.readline() == b"reading\n"
            reader.kill()
        assert str(reader.pid) in it._env.readers()
        opening = "import sys; from tests.unit.metadata.test_store import *; opened(Path(sys.argv[1])).__enter__().close()"
        subprocess.run([sys.executable, "-c", opening, tmp_path], cwd=_ROOT, check=True)
        assert str(reader.pid) not in it._env.readers()


@pytest.mark.parametrize("kind", ["file in the way", "no place at all"])
def test_an_unusable_directory_leaves_it_in_memory(tmp_path: Path, kind: str) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    fallback = tmp_path / "memory"
    if kind == "no place at all":
        with pytest.raises(Unavailable, match="no place for the metadata"):
            Store(blocked, "source", now=lambda: NOW, fallback=fallback)
        return
    fallback.mkdir()
    with opened(blocked, fallback=fallback) as it:
        fill(it, [b"a"])
        assert names(it) == [b"a"]
        assert "kept in memory" in it.warnings[0]
        assert it.facts()["on_disk"] is False
    assert list(fallback.iterdir()) == []


def test_a_full_disk_leaves_it_in_memory_with_all_it_had(tmp_path: Path) -> None:
    disk, memory = tmp_path / "disk", tmp_path / "memory"
    disk.mkdir()
    memory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk], check=True)
    try:
        with opened(disk, fallback=memory) as it:
            fill(it, [b"a"])
            kept = it.children(ROOT, b"a").file
            fill(it, [b"%06d" % i for i in range(5000)] + [b"a"], NOW + 1)
            assert len(names(it)) == 5001
            assert it.children(ROOT, b"a").file == kept
            assert "goes on in memory" in it.warnings[0]
            fresh = it.children(ROOT, b"004999").file
            assert kept is not None and fresh is not None and fresh.id > kept.id
        assert list(memory.iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_one_bad_write_does_not_fail_those_beside_it(tmp_path: Path) -> None:
    def fails(transaction: Transaction) -> None:
        transaction.merge(ROOT, split_page(b"", b"", b"", ListPage([info(b"lost")], [], "")), NOW)
        raise RuntimeError("broken")

    with opened(tmp_path) as it:

        async def main() -> None:
            good = it.queue(merging([b"a"]))
            bad = it.queue(fails)
            await good.done.wait()
            await bad.done.wait()
            assert good.failure is None
            assert isinstance(bad.failure, RuntimeError)

        writing(it, main)
        assert names(it) == [b"a"]


def test_a_newer_listing_is_not_undone_by_an_older_one(tmp_path: Path) -> None:
    with opened(tmp_path) as it:
        fill(it, [b"a", b"b"], NOW + 10)
        fill(it, [b"a", b"c"], NOW)
        assert names(it) == [b"a", b"b"]


def heading(key: bytes, etag: str | None, time: float) -> Callable[[Transaction], list[Change]]:
    """What HEAD said; etag None: no such object."""
    return lambda transaction: transaction.merge_head(ROOT, key, None if etag is None else info(key, etag), time)


OLD, NEW = "0" * 32, "1" * 32


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        (heading(b"a", NEW, NOW + 10), merging([b"a", b"b"], NOW, OLD)),
        (heading(b"a", NEW, NOW + 10), merging([b"b"], NOW, OLD)),
        (merging([b"a", b"b"], NOW + 10, NEW), heading(b"a", OLD, NOW)),
        (merging([b"a", b"b"], NOW + 10, NEW), heading(b"a", None, NOW)),
        (heading(b"a", NEW, NOW + 10), heading(b"a", OLD, NOW)),
        (heading(b"a", NEW, NOW + 10), heading(b"a", None, NOW)),
    ],
)
def test_an_answer_is_not_undone_by_one_that_was_asked_for_earlier(
    tmp_path: Path, newer: Callable[[Transaction], list[Change]], older: Callable[[Transaction], list[Change]]
) -> None:
    """Whichever of a listing and a HEAD comes late: else the version that was given out would be stale at once."""
    with opened(tmp_path) as it:

        async def main() -> None:
            await it.write(merging([b"a"], NOW - 10, OLD))
            await it.write(newer)
            before = it.children(ROOT, b"a").file
            assert before is not None and before.etag == NEW
            await it.write(older)
            assert it.children(ROOT, b"a").file == before

        writing(it, main)


def test_a_listing_that_was_asked_for_earlier_does_not_bring_a_name_back(tmp_path: Path) -> None:
    with opened(tmp_path) as it:

        async def main() -> None:
            await it.write(merging([b"b"], NOW + 10))
            await it.write(heading(b"a", OLD, NOW))
            assert it.children(ROOT, b"a").file is None

        writing(it, main)


@pytest.mark.parametrize("rounds", [20, pytest.param(200, marks=pytest.mark.stress)])
def test_survives_kill_9_at_any_moment(tmp_path: Path, rounds: int) -> None:
    """Whatever id was told is resolved by the next process to the version that it was told for, and no record is torn."""
    words = [sys.executable, "-m", "tests.unit.metadata.crashes", str(tmp_path), str(rounds), str(rounds)]
    done = subprocess.run(words, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told, pruned, keys = map(int, done.stdout.split())
    assert told > 2 * rounds and pruned > 0 and keys > 50, "too little happened"


def test_foreign_identities_have_stores_of_their_own(tmp_path: Path) -> None:
    with opened(tmp_path) as one:
        fill(one, [b"a"])
        other = Store(tmp_path, "other", now=lambda: NOW)
        try:
            assert names(other) == []
        finally:
            other.close()
        os.replace(one.path, tmp_path / "moved")
    with lmdb.open(str(tmp_path / "moved"), readonly=True, max_dbs=8) as env:
        assert env.stat()["entries"] == 5
    assert store.MAP_SIZE > 1 << 30


def mapped_of(it: Store) -> int:
    """Resident bytes of the store's file in this process."""
    total, found = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            found = line.endswith(f"{it.path}/data.mdb")
        elif found and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


def test_what_is_mapped_of_the_file_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [b"%06d" % number for number in range(50_000)]
    with opened(tmp_path) as it:
        fill(it, keys)
    with opened(tmp_path) as it:
        monkeypatch.setattr(mapped, "_EVERY", 1)
        assert names(it) == keys
        whole = mapped_of(it)
        assert whole > 1 << 20
        monkeypatch.setattr(mapped, "MOST", 0)
        assert it.children(ROOT, keys[0]).file is not None
        assert mapped_of(it) < whole / 2
        with it.scan(ROOT, b"") as (_, rows):  # a read between two rows must not take the file from under the scan
            read = [name for name, _, _ in rows if it.children(ROOT, name).file is not None]
        assert read == keys
        assert mapped_of(it) > whole / 2
        writing(it, lambda: it.write(lambda transaction: transaction.note(b"name", b"data")))
        assert mapped_of(it) < whole / 2
        assert names(it) == keys


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 64, 65, 200])
def test_children_are_taken_many_at_a_time_and_none_of_another_directory(tmp_path: Path, count: int) -> None:
    keys = [b"a/%03d" % number for number in range(50)] + [b"b/%03d" % number for number in range(count)]
    keys += [b"b-", *(b"c/%03d" % number for number in range(150)), b"d"]
    with opened(tmp_path) as it:
        fill(it, keys)
        directory = it.children(ROOT, b"b").directory
        number = ROOT if directory is None else directory.id
        expected = [b"%03d" % n for n in range(count)] if directory is not None else [b"a", b"b-", b"c", b"d"]
        for most in (1, 7, 32, 40, 1000):
            found: list[bytes] = []
            with it.scan(number, b"") as (_, rows):
                while pairs := rows.take(most):
                    found += [records.split_child_key(key)[0] for key, _ in pairs]
                    assert len(pairs) == most or len(found) == len(expected)
                assert rows.take(most) == []
            assert found == expected
        with it.scan(number, b"") as (_, rows):
            assert [name for name, _, _ in rows] == expected
