"""The measurement of the metadata store runs, over few names."""

from __future__ import annotations

from pathlib import Path

from benchmarks import metadata_scale
from benchmarks.network import NETWORKS


def test_all_steps_over_few_names(short_folder: Path) -> None:
    steps = metadata_scale.measure("synthetic-nested-3000", NETWORKS["none"], short_folder, stats=20)
    assert [step.name for step in steps] == ["build", "mount", "first answer", "20 random stats", "walk of all"]
    build, mount, *reads = steps
    assert build.lists >= 4  # the check and three pages
    assert mount.lists == 1  # the check alone
    assert all(step.lists == 0 for step in reads)  # what was built is not asked again
    assert all(step.peak > 0 for step in (build, *reads))
    text = metadata_scale.table(steps)
    assert len(text.splitlines()) == 6 and "files/s" in text
