"""Reader processes: results add up; what fails, ends or hangs is told and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from benchmarks import crew
from benchmarks.access import Place
from benchmarks.processes import TimedOut, descendants
from benchmarks.worker import Task


def task(name: str, **arguments: int) -> Task:
    return Task(f"tests.benchmarks.helpers:{name}", Place("/"), arguments)


def workers() -> list[int]:
    """Our own reader processes that are alive."""
    mine = [pid for pid in descendants([os.getpid()]) if pid != os.getpid()]
    return [pid for pid in mine if b"benchmarks.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_what_all_readers_did_is_added_up() -> None:
    outcome = crew.run([task("two", bytes=10), task("two", bytes=1)], 60)
    assert (outcome.operations, outcome.bytes_, len(outcome.latencies), outcome.errors) == (4, 22, 4, ())
    assert outcome.seconds > 0


def test_a_failure_is_a_result() -> None:
    outcome = crew.run([task("fail"), task("two", bytes=1)], 60)
    assert outcome.errors == ("ValueError: as told",)
    assert outcome.operations == 2


def test_readers_that_hang_are_cut_off() -> None:
    with pytest.raises(TimedOut, match="readers did not end in time"):
        crew.run([task("two", bytes=1), task("hang")], 1)
    assert workers() == []


def test_a_reader_that_ends_early_is_told() -> None:
    with pytest.raises(RuntimeError, match="ended before"):
        crew.run([task("vanish"), task("hang")], 60)
    assert workers() == []


def test_a_reader_ends_with_its_starter() -> None:
    reader = subprocess.run(
        ["python3", "-c", "import benchmarks.worker as w; w.main()"],
        input=task("hang").to_json().encode(),
        env={**os.environ, "PYTHONPATH": str(Path(crew.__file__).parent.parent)},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert reader.stdout == b"ready\n"
