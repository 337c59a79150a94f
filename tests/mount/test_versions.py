"""A reader sees one version of an object or an error, never a mixture, whatever happens to the bucket meanwhile."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.mount.support import BUCKET, LIMIT, Mount, Workshop, eventually

READERS = 8
PROGRESS = "rounds"  # a file with a byte for each round of each reader
#: What a user chooses between.
CONSISTENCY = {
    "immutable": "-oattr_timeout=inf,entry_timeout=inf",
    "close to open": "-oopen=ask,close_to_open",
    "ttl": "-oattr_timeout=1,entry_timeout=1",
    "no ttl": "-oattr_timeout=0,entry_timeout=0",
}
FILES = {b"small": 64 << 10, b"large": 1536 << 10}


def content(version: int, size: int) -> bytes:
    return version.to_bytes(8, "big") * (size // 8)


@contextlib.contextmanager
def readers(mount: Mount) -> Iterator[list[subprocess.Popen[str]]]:
    """Eight processes that read until their standard input is written to."""
    program = Path(__file__).with_name("version_reader.py")
    paths = [str(mount.path / os.fsdecode(name)) for name in FILES]
    started: list[subprocess.Popen[str]] = []
    try:
        for _ in range(READERS):
            words = [sys.executable, "-I", str(program), str(mount.workshop.folder / PROGRESS), *paths]
            started.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        for reader in started:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "reading\n"
        yield started
    finally:
        for reader in started:
            if reader.poll() is None:
                reader.kill()
            reader.communicate()


def verdicts(started: Sequence[subprocess.Popen[str]]) -> list[dict[str, object]]:
    """Ends the readers and returns what each of them saw."""
    found = []
    for reader in started:
        output, _ = reader.communicate("end\n", timeout=3 * LIMIT)  # the slowest of eight, on a busy machine
        assert reader.returncode == 0
        found.append(json.loads(output))
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("consistency", CONSISTENCY)
def test_replacements_under_8_readers_never_mix(plain_shop: Workshop, consistency: str) -> None:
    replace_under_readers(plain_shop, CONSISTENCY[consistency], 8)


@pytest.mark.stress
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("consistency", CONSISTENCY)
def test_200_replacements_under_8_readers_never_mix(shop: Workshop, consistency: str) -> None:
    replace_under_readers(shop, CONSISTENCY[consistency], 200)


def replace_under_readers(shop: Workshop, consistency: str, replacements: int) -> None:
    """No pass through a file, by one open or one mapping, sees two versions; somebody reads between any two replacements."""
    store, rounds = shop.server.store, shop.folder / PROGRESS
    rounds.touch()
    for name, size in FILES.items():
        store.put(BUCKET, name, content(0, size))
    with shop.mounted(consistency) as mount:
        with readers(mount) as started:
            for version in range(1, replacements + 1):
                for name, size in FILES.items():
                    store.put(BUCKET, name, content(version, size))
                reached = rounds.stat().st_size + 1
                eventually(partial(_has, rounds, reached), "a reader goes on")
            seen = verdicts(started)
        for verdict in seen:
            assert verdict["mixed"] == verdict["short"] == verdict["mapped_mixed"] == verdict["mapped_short"] == 0, verdict
            assert verdict["errors"] == []
        for how in ("whole", "mapped_whole"):
            assert sum(int(str(verdict[how])) for verdict in seen) > 0
        if consistency == CONSISTENCY["close to open"]:
            for name, size in FILES.items():
                assert (mount.path / os.fsdecode(name)).read_bytes() == content(replacements, size)
        print(f"{consistency}: {[{name: verdict[name] for name in verdict if verdict[name]} for verdict in seen]}")


def _has(file: Path, size: int) -> bool:
    return file.stat().st_size >= size


def test_an_object_replaced_while_open_is_stale_and_the_next_open_sees_the_new_one(shop: Workshop) -> None:
    old, new = content(1, 4 << 20), content(2, 4 << 20)
    shop.server.store.put(BUCKET, b"file", old)
    with shop.mounted("-oattr_timeout=7200,entry_timeout=7200") as mount:
        path = mount.path / "file"
        descriptor = os.open(path, os.O_RDONLY)
        try:
            assert os.pread(descriptor, 4096, 0) == old[:4096]
            shop.server.store.put(BUCKET, b"file", new)
            with pytest.raises(OSError) as stale:
                _read_to_the_end(descriptor, old)
            assert stale.value.errno == errno.ESTALE
        finally:
            os.close(descriptor)
        assert path.read_bytes() == new


def _read_to_the_end(descriptor: int, old: bytes) -> None:
    """Reads on; whatever is answered must be of the old version."""
    offset = 4096
    while piece := os.pread(descriptor, 128 << 10, offset):
        assert piece == old[offset : offset + len(piece)]
        offset += len(piece)


def test_a_deleted_object_is_stale_and_then_missing(shop: Workshop) -> None:
    store = shop.server.store
    store.put(BUCKET, b"file", content(1, 1 << 20))
    with shop.mounted("-oattr_timeout=7200,entry_timeout=7200,negative_timeout=0") as mount:
        path = mount.path / "file"
        assert path.stat().st_size == 1 << 20
        store.delete(BUCKET, b"file")
        # The names are invalidated by the first read that meets the deletion, so that open() itself fails from then on.
        with pytest.raises(OSError) as stale:
            path.read_bytes()
        assert stale.value.errno in (errno.ESTALE, errno.ENOENT)
        with pytest.raises(FileNotFoundError):
            path.read_bytes()


def test_a_replaced_object_has_a_new_inode_and_an_untouched_one_keeps_its_own(shop: Workshop) -> None:
    store = shop.server.store
    store.put(BUCKET, b"changing", b"old")
    store.put(BUCKET, b"constant", b"same")
    with shop.mounted("-oattr_timeout=0,entry_timeout=0") as mount:
        changing, constant = mount.path / "changing", mount.path / "constant"
        before, kept = changing.stat().st_ino, constant.stat().st_ino
        store.put(BUCKET, b"changing", b"newer")
        eventually(lambda: changing.stat().st_size == 5, "the new size is seen")
        assert changing.stat().st_ino > before
        assert constant.stat().st_ino == kept
    with shop.mounted() as mount:
        assert (mount.path / "constant").stat().st_ino == kept
