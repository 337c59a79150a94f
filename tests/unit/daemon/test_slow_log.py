"""The slow log: which lines, where their time went, and the file."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from ossmount.channel.interface import Ended
from ossmount.daemon import slow_log
from ossmount.daemon.slow_log import SlowLog, append
from ossmount.errors import StaleNode
from ossmount.model import Version
from ossmount.oss.interface import FetchRequest, SlowFetch

KEYS = {7: b"train/a/file", 2: b"train/a/"}


def key_of(node: int) -> bytes:
    try:
        return KEYS[node]
    except KeyError:
        raise StaleNode(f"node {node}") from None


class Bench:
    """A slow log with a clock that the test moves."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 100.0
        self.log = SlowLog(path, 0.1, key_of, b"train/", lambda: self.now)

    def lines(self) -> list[dict[str, Any]]:
        async def main() -> None:
            with trio.move_on_after(0.01):
                await self.log.run(lambda: None)

        trio.run(main)
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "slow.jsonl")


def read(seconds: float, offset: int = 0, size: int = 4096, code: int = 0) -> Ended:
    return Ended("READ", 7, b"", offset, size, seconds, code)


def fetch(seconds: float, queued: float = 0.0, paused: float = 0.0, start: int = 0, length: int = 8192) -> SlowFetch:
    return SlowFetch(KEYS[7], start, length, seconds, queued, paused, 2 if paused else 1, "")


def test_the_time_of_a_read_is_that_of_its_fetch(bench: Bench) -> None:
    bench.log.fetch_ended(fetch(0.9, queued=0.2, paused=0.1))
    bench.log.request_ended(read(1.0, code=errno.EIO))
    get, line = bench.lines()
    assert (get["operation"], get["path"], get["size"], get["tries"], get["ms"]) == ("GET", "a/file", 8192, 2, 900.0)
    assert get["where"] == {"queue": 200.0, "network": 600.0, "retry": 100.0}
    assert (line["operation"], line["path"], line["ms"], line["errno"]) == ("READ", "a/file", 1000.0, "EIO")
    assert line["where"] == {"queue": 200.0, "network": 600.0, "retry": 100.0, "disk": 0.0, "other": 100.0}


def test_a_fetch_that_began_before_the_read_explains_no_more_than_the_read_took(bench: Bench) -> None:
    bench.log.fetch_ended(fetch(5.0))
    bench.log.request_ended(read(0.25))
    assert bench.lines()[1]["where"] == {"queue": 0.0, "network": 250.0, "retry": 0.0, "disk": 0.0, "other": 0.0}


def test_what_is_of_other_bytes_or_long_over_explains_nothing(bench: Bench) -> None:
    bench.log.fetch_ended(fetch(0.5, start=8192))
    bench.log.disk_read(FetchRequest(Version(b"train/other", "E", 9), 0, 9, ()), 0.3)
    bench.log.fetch_ended(fetch(0.05))  # below the threshold: no line, but it may explain one
    bench.now += 60
    bench.log.request_ended(read(0.2))
    first, line = bench.lines()
    assert first["operation"] == "GET" and line["where"]["other"] == 200.0


def test_reads_of_the_disk_and_operations_on_names(bench: Bench) -> None:
    bench.log.disk_read(FetchRequest(Version(KEYS[7], "E", 9000), 0, 9000, ()), 0.15)
    bench.log.request_ended(read(0.2))
    bench.log.request_ended(Ended("LOOKUP", 2, b"name", 0, 0, 0.3, 0))
    bench.log.request_ended(Ended("GETATTR", 99, b"", 0, 0, 0.3, errno.ESTALE))
    disk, lookup, stale = bench.lines()
    assert disk["where"]["disk"] == 150.0
    assert (lookup["path"], lookup["where"]) == ("a/name", {"listing": 300.0})
    assert (stale["path"], stale["errno"]) == (None, "ESTALE")


def test_only_its_owner_can_read_it_and_it_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "slow.jsonl"
    path.touch(mode=0o644)
    append(path, ["1" * 50], largest=100)
    assert path.stat().st_mode & 0o777 == 0o600
    append(path, ["2" * 60], largest=100)
    assert not path.exists()
    append(path, ["3"], largest=100)
    assert path.read_text() == "3\n"
    assert (tmp_path / "slow.jsonl.1").read_text().split() == ["1" * 50, "2" * 60]
    assert (tmp_path / "slow.jsonl.1").stat().st_mode & 0o777 == 0o600
    target = tmp_path / "elsewhere"
    os.symlink(target, tmp_path / "link")
    with pytest.raises(OSError):
        append(tmp_path / "link", ["x"])
    assert not target.exists()


def test_a_storm_and_a_folder_that_is_gone_cost_lines_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_log, "WAITING", 3)
    bench = Bench(tmp_path / "none" / "slow.jsonl")
    for _ in range(5):
        bench.log.request_ended(read(0.2))
    assert bench.lines() == []
    facts = bench.log.facts()
    assert (facts["lines"], facts["lost"]) == (0, 5)
    assert "No such file" in str(facts["problem"])
