from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ossmount.data.disk import inventory, store
from ossmount.data.disk.keeper import Keeper, Limits, Untrusted, check_owner, prepare, root_of
from ossmount.data.disk.layout import SUFFIXES, name_of, path_of
from ossmount.data.disk.pieces import Pieces
from ossmount.model import Version

MIB = 1 << 20


class Folder:
    """A cache folder with objects whose last use the test says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        prepare(str(path))
        self.root = root_of(str(path))
        self.reports: list[dict[str, Any]] = []
        self.now = 1.0  # stands still: a scan takes no time, and the next one may follow at once

    def save(self, number: int, size: int = MIB, length: int = MIB) -> int:
        """Object `number`, used `number` seconds after the beginning; the bytes written."""
        name = name_of("store", Version(b"%d" % number, "etag", size))
        slab = memoryview(bytearray(length))
        written = store.save(self.root, name, b"label", size, 0, Pieces(slab, [(0, length)]))
        for suffix in SUFFIXES:
            path = path_of(self.root, name, suffix)
            if os.path.exists(path):
                os.utime(path, (0, 1_000_000 + number))
        return written

    def keeper(self, size: int = 0) -> Keeper:
        return Keeper(str(self.path), Limits(size, 0), self.reports.append, lambda: self.now)

    @property
    def ages(self) -> list[int]:
        """The objects that are there."""
        return sorted(entry.used // 10**9 - 1_000_000 for entry in inventory.entries(self.root))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "cache")


def test_the_least_recently_used_go_first(folder: Folder) -> None:
    for number in (5, 3, 8, 1, 9, 2, 7, 4, 6, 0):
        folder.save(number)
    census = inventory.evict(folder.root, lambda used: 3 * MIB)
    assert folder.ages == [3, 4, 5, 6, 7, 8, 9]
    assert (census.entries, census.dropped) == (7, 3)
    assert 3 * MIB <= census.freed <= 3 * MIB + 3 * 8192
    assert census.size == sum(entry.size for entry in inventory.entries(folder.root))


def test_no_more_candidates_than_memory_allows(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "MOST", 3)
    for number in (5, 3, 8, 1, 9, 2, 7, 4, 6, 0):
        folder.save(number, 5000, 5000)
    assert inventory.evict(folder.root, lambda used: used).dropped == 3
    assert folder.ages == [3, 4, 5, 6, 7, 8, 9]


def test_both_files_of_a_large_object_go_together(folder: Folder) -> None:
    folder.save(1, 8 * MIB, 2 * MIB)
    folder.save(2, 8 * MIB, 2 * MIB)
    (first, _) = sorted(inventory.entries(folder.root))
    assert 2 * MIB <= first.size < 3 * MIB, "holes take no room"
    assert inventory.evict(folder.root, lambda used: 1).dropped == 1
    assert folder.ages == [2]
    assert len(list(Path(folder.root).glob("??/*"))) == 2


def test_what_was_used_since_it_was_counted_stays(folder: Folder) -> None:
    folder.save(1)
    (entry,) = inventory.entries(folder.root)
    folder.save(2000)
    os.utime(entry.stem + ".whole")
    assert not inventory.drop(entry)
    assert len(folder.ages) == 2


def test_a_full_folder_is_brought_to_nine_tenths(folder: Folder) -> None:
    for number in range(20):
        folder.save(number)
    keeper = folder.keeper(16 * MIB)
    keeper.turn()
    assert folder.ages == list(range(6, 20))
    assert folder.reports[-1]["evicted"] == 6
    assert keeper.allows(MIB) and not keeper.allows(3 * MIB)


def test_what_is_written_counts_at_once(folder: Folder) -> None:
    keeper = folder.keeper(16 * MIB)
    keeper.turn()
    for number in range(16):
        assert keeper.allows(MIB)
        keeper.wrote(MIB)
        folder.save(number)
    assert not keeper.allows(MIB)
    keeper.turn()
    assert folder.ages == list(range(3, 16)), "nine tenths, with what there was no room for"


def test_a_write_that_is_larger_than_what_is_left_makes_room(folder: Folder) -> None:
    for number in range(14):
        folder.save(number)
    keeper = folder.keeper(16 * MIB)
    keeper.turn()
    assert len(folder.ages) == 14
    assert not keeper.allows(3 * MIB)
    keeper.turn()
    assert keeper.allows(3 * MIB)


def test_one_of_several_processes_evicts_and_all_know_what_is_there(folder: Folder) -> None:
    first, second = folder.keeper(16 * MIB), folder.keeper(16 * MIB)
    first.turn()
    for number in range(10):
        second.wrote(folder.save(number))
    second.turn()
    first.turn()
    assert folder.reports[-1]["used"] == folder.reports[-2]["used"] == 10 * MIB
    assert first.allows(6 * MIB)
    for number in range(10, 18):
        second.wrote(folder.save(number))
    assert not second.allows(MIB)
    second.turn()
    assert len(folder.ages) == 18, "the first one has the lock"
    first.turn()
    assert len(folder.ages) == 14
    second.turn()
    assert second.allows(MIB)


def test_the_lock_goes_to_another_when_its_holder_ends(folder: Folder) -> None:
    child = os.fork()
    if child == 0:
        keeper = folder.keeper(16 * MIB)
        keeper.turn()
        os._exit(0)
    os.waitpid(child, 0)
    keeper = folder.keeper(16 * MIB)
    for number in range(20):
        folder.save(number)
    keeper.turn()
    assert len(folder.ages) == 14


def test_rests_do_not_put_off_the_next_scan(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a rest of 1 ms takes 20, and a scan has 256 of them."""

    def sleep(seconds: float) -> None:
        folder.now += 1.0

    keeper = folder.keeper(20 * MIB)
    for number in range(20):
        keeper.wrote(folder.save(number))
    monkeypatch.setattr(time, "sleep", sleep)
    keeper.turn()
    rested = folder.now
    assert rested > 5.0
    for number in range(20, 24):
        keeper.wrote(folder.save(number))
    before = len(folder.ages)
    keeper.turn()
    assert len(folder.ages) < before


def test_free_space_is_kept(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        folder.save(number)

    def disk(free: int) -> Callable[[str], os.statvfs_result]:
        return lambda _: os.statvfs_result((4096, 4096, 100 * 256, free * 256, free * 256, 1, 1, 1, 0, 255))

    limits = Limits(0, 10)
    monkeypatch.setattr(os, "statvfs", disk(11))
    assert limits.excess(folder.root, 10 * MIB) == 0
    assert limits.allow(folder.root, 0, MIB) and not limits.allow(folder.root, 0, 2 * MIB)
    monkeypatch.setattr(os, "statvfs", disk(8))
    assert limits.excess(folder.root, 10 * MIB) == 4 * MIB
    assert limits.excess(folder.root, MIB) == MIB, "others fill the disk: no more than we have"
    assert not limits.allow(folder.root, 0, 1)
    Keeper(str(folder.path), limits, folder.reports.append).turn()
    assert folder.ages == [4, 5, 6, 7, 8, 9]


def test_a_torn_count_is_made_anew(folder: Folder) -> None:
    folder.save(1)
    Path(folder.root, "usage").write_text('{"bytes": 1')
    folder.keeper().turn()
    assert folder.reports[-1]["used"] >= MIB


def test_strange_files_are_left_alone(folder: Folder) -> None:
    folder.save(1)
    Path(folder.root, "ab").mkdir(exist_ok=True)
    for strange in ("README", "ab/notes.txt", "zz"):
        Path(folder.root, strange).touch()
    assert inventory.evict(folder.root, lambda used: used).dropped == 1
    assert Path(folder.root, "ab/notes.txt").exists() and Path(folder.root, "zz").exists()


def test_whose_folder_is_believed(tmp_path: Path) -> None:
    (tmp_path / "above").mkdir()
    (tmp_path / "above/root").mkdir(0o700)
    os.chmod(tmp_path / "above", 0o777)
    with pytest.raises(Untrusted, match="above may be written by everybody"):
        check_owner(str(tmp_path / "above/root"))
    os.chmod(tmp_path / "above", 0o1777)
    check_owner(str(tmp_path / "above/root"))
    os.chmod(tmp_path, 0o700)
    check_owner(str(tmp_path))
    for mode in (0o770, 0o702):
        os.chmod(tmp_path, mode)
        with pytest.raises(Untrusted, match="may be written by other users"):
            check_owner(str(tmp_path))
    os.chmod(tmp_path, 0o755)
    check_owner(str(tmp_path))
    os.chown(tmp_path, 4711, 4711)
    with pytest.raises(Untrusted, match="belongs to user 4711"):
        check_owner(str(tmp_path))
    (tmp_path / "link").symlink_to("/tmp")
    with pytest.raises(Untrusted, match="is not a directory"):
        check_owner(str(tmp_path / "link"))
