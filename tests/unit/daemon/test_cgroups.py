"""How many CPUs a process may use, by what its cgroups say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ossmount.daemon.cgroups import usable_cpus

ALL = float(len(os.sched_getaffinity(0)))


def machine(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": cgroup, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "cpus"),
    [
        ("0::/\n", {}, ALL),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, ALL),
        ("0::/a/b\n", {"sys/fs/cgroup/a/cpu.max": "50000 100000\n", "sys/fs/cgroup/a/b/cpu.max": "75000 100000"}, 0.5),
        ("0::/../../host\n", {"sys/fs/cgroup/cpu.max": "25000 100000\n"}, 0.25),
        ("0::/a\n", {"sys/fs/cgroup/a/cpu.max": "nonsense\n"}, ALL),
        ("0::/a\n", {"sys/fs/cgroup/a/cpu.max": "99999900000 100000\n"}, ALL),
        (
            "4:cpu,cpuacct:/docker/x\n",
            {
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
        (
            "4:cpu,cpuacct:/docker/x\n",
            {"sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us": "100000\n"},
            ALL,
        ),
    ],
)
def test_what_the_cgroups_allow(tmp_path: Path, cgroup: str, files: dict[str, str], cpus: float) -> None:
    assert usable_cpus(machine(tmp_path, cgroup, files)) == cpus


def test_without_proc(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == ALL
