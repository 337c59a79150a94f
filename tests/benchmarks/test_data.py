"""The data is the same wherever and whenever it is made, and wrong bytes are noticed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from benchmarks import data, formats


def hashes(root: Path) -> dict[str, str]:
    return {
        os.path.relpath(os.path.join(base, file), root): hashlib.sha256(Path(base, file).read_bytes()).hexdigest()
        for base, _, files in os.walk(root)
        for file in files
    }


def test_making_it_twice_gives_the_same_bytes_and_times(bench_cache: Path, tmp_path: Path) -> None:
    sets = [name for name in formats.SETS if name != "packages"]
    again = data.ensure(tmp_path, data.TINY, formats.SETS, sets, lambda text: None) / data.BUCKET
    first = data.data_root(bench_cache, data.TINY) / data.BUCKET
    for name in sets:
        assert hashes(first / name) == hashes(again / name), name
    assert {file.stat().st_mtime for file in again.rglob("*") if file.is_file()} == {data.MTIME}


def test_a_set_that_is_there_is_not_made_again(bench_cache: Path) -> None:
    said: list[str] = []
    data.ensure(bench_cache, data.TINY, formats.SETS, list(formats.SETS), said.append)
    assert said == []


def test_full_scale_is_what_the_figures_speak_of() -> None:
    sizes = data.train_sizes(data.FULL)
    assert len(sizes) == 10_000
    assert 100_000 < sum(sizes) / len(sizes) < 120_000
    assert min(sizes) >= 8_000 and max(sizes) <= 600_000
    assert len({data.train_key(data.FULL, number).rpartition("/")[0] for number in range(10_000)}) == 100
    assert all(4_096 <= size <= 16_384 for size in data.small_sizes(data.FULL))


def test_stamps_tell_wrong_files_wrong_offsets_and_holes() -> None:
    name = data.digest("big/0.bin")
    content = b"".join(bytes(piece) for piece in data.pieces("big/0.bin", data.PIECE + 10_000))
    assert len(content) == data.PIECE + 10_000
    for offset in (0, 5_000, data.PIECE - 100, data.PIECE + 4_096):
        data.check(name, offset, content[offset : offset + 8_192])
    with pytest.raises(ValueError, match="wrong bytes"):
        data.check(data.digest("big/1.bin"), 0, content)
    with pytest.raises(ValueError, match="wrong bytes"):
        data.check(name, 4_096, content[8_192:])
    with pytest.raises(ValueError, match="wrong bytes"):
        data.check(name, 0, bytes(4_096))


def test_too_little_space_is_said_before_anything_is_written(tmp_path: Path) -> None:
    huge = data.DataSet("huge", lambda root, scale: None, lambda scale: 1 << 60)
    with pytest.raises(data.NotEnoughSpace, match="--cache"):
        data.ensure(tmp_path, data.TINY, {"huge": huge}, ["huge"], lambda text: None)
    assert list(tmp_path.rglob("huge")) == []
