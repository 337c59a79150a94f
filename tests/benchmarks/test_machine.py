"""What is said about the machine."""

from __future__ import annotations

from pathlib import Path

from benchmarks import machine


def test_who_reclaims_memory(tmp_path: Path) -> None:
    assert machine.reclaim(tmp_path / "nothing") == "when short"
    for number, state in enumerate(("off", "on")):
        (tmp_path / f"{number}").mkdir()
        assert machine.reclaim(tmp_path) == "when short"
        (tmp_path / f"{number}" / "state").write_text(f"{state}\n")
    assert machine.reclaim(tmp_path) == "DAMON"


def test_everything_is_said() -> None:
    described = machine.describe()
    assert {"processor", "cores", "memory", "reclaim", "kernel", "python", "commit"} == described.keys()
    assert all(described[name] for name in described.keys() - {"commit", "processor"})
