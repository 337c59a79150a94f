"""Phases over a folder of this machine, and the report of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ossmount.bench.measure import Phase, phases
from ossmount.bench.report import bars, line, picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(60):
        path = tmp_path / "tree" / f"{number % 3}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (1000 + number))
    (tmp_path / "tree" / "large").write_bytes(b"y" * (3 << 20))
    return tmp_path / "tree"


def test_all_phases(folder: Path) -> None:
    found = {phase.name: phase for phase in phases(str(folder), readers=3, seconds=0.5)}
    assert list(found) == ["walk and stat", "small files, cold", "small files, again", "one large file", "random 64 KiB"]
    assert found["walk and stat"].done == 64
    small = sum(1000 + number for number in range(60))
    assert (found["small files, cold"].done, found["small files, cold"].bytes) == (60, small)
    assert (found["small files, again"].done, found["small files, again"].bytes) == (60, small)
    assert found["one large file"].bytes == 3 << 20
    part = found["random 64 KiB"]
    assert part.bytes == part.done * 65536 and 0 < part.p50 <= part.p99


def test_what_is_not_there_is_left_out(tmp_path: Path) -> None:
    assert [(phase.name, phase.done) for phase in phases(str(tmp_path), 2, 0.5)] == [("walk and stat", 0)]


def test_a_failure_of_a_reader_is_told(folder: Path) -> None:
    steps = phases(str(folder), 2, 0.5)
    next(steps)
    (folder / "0" / "0.jpg").unlink()
    with pytest.raises(FileNotFoundError):
        list(steps)


def test_the_report(tmp_path: Path) -> None:
    done = [Phase("a", "files", 10, 50_000_000, 0.5, 0.01, 0.02), Phase("b", "reads", 5, 25_000_000, 0.5, 0.0, 0.0)]
    assert "20 files/s" in line(done[0]) and "100 MB/s" in line(done[0]) and "p99 20.0 ms" in line(done[0])
    first, second = bars(done).splitlines()
    assert first.count("█") == 2 * second.count("█")
    assert bars([Phase("walk", "names", 5, 0, 1.0, 0.0, 0.0)]) == ""
    picture(done, "title", tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
