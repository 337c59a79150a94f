from pathlib import Path

import pytest

from ossmount.daemon import memory

GIB = 1 << 30


def machine(root: Path, cgroup: str, limits: dict[str, str], total: int = 64 * GIB) -> Path:
    """A root folder with /proc and /sys as a machine with these cgroup limits shows them."""
    files = {"proc/meminfo": f"MemTotal: {total // 1024} kB\nMemFree: 1 kB\n", "proc/self/cgroup": cgroup, **limits}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_machine_without_limits(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/\n", {})
    assert memory.usable_memory(root) == 64 * GIB
    assert memory.default_limit(root) == GIB


def test_a_small_machine_gives_a_quarter(tmp_path: Path) -> None:
    assert memory.default_limit(machine(tmp_path, "0::/\n", {}, total=2 * GIB)) == GIB // 2


def test_a_tiny_one_gives_what_is_needed_at_least(tmp_path: Path) -> None:
    assert memory.default_limit(machine(tmp_path, "0::/\n", {}, total=1 << 20)) == memory.LEAST_LIMIT


def test_the_smallest_limit_of_all_parents_holds_in_version_2(tmp_path: Path) -> None:
    limits = {
        "sys/fs/cgroup/kubepods/memory.max": f"{8 * GIB}\n",
        "sys/fs/cgroup/kubepods/pod/memory.max": f"{2 * GIB}\n",
        "sys/fs/cgroup/kubepods/pod/container/memory.max": "max\n",
    }
    assert memory.usable_memory(machine(tmp_path, "0::/kubepods/pod/container\n", limits)) == 2 * GIB


def test_a_container_that_sees_only_its_own_cgroup(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/../../host/path\n", {"sys/fs/cgroup/memory.max": f"{GIB}\n"})
    assert memory.usable_memory(root) == GIB


def test_version_1(tmp_path: Path) -> None:
    cgroup = "9:cpu,cpuacct:/docker/x\n8:memory:/docker/x\n0::/\n"
    limits = {
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": f"{GIB}\n",
        "sys/fs/cgroup/cpu/docker/x/memory.limit_in_bytes": "1\n",
    }
    assert memory.usable_memory(machine(tmp_path, cgroup, limits)) == GIB


@pytest.mark.parametrize("text", ["", "max", "nonsense\n"])
def test_what_is_not_understood_is_no_limit(tmp_path: Path, text: str) -> None:
    root = machine(tmp_path, "0::/a\n", {"sys/fs/cgroup/a/memory.max": text})
    assert memory.usable_memory(root) == 64 * GIB


def test_this_machine_has_some_memory() -> None:
    assert memory.LEAST_LIMIT <= memory.default_limit() <= memory.DEFAULT_LIMIT


def test_available_memory_is_what_the_machine_and_all_cgroups_leave(tmp_path: Path) -> None:
    limits = {
        "sys/fs/cgroup/pod/memory.max": f"{8 * GIB}\n",
        "sys/fs/cgroup/pod/memory.current": f"{6 * GIB}\n",
        "sys/fs/cgroup/pod/memory.stat": f"anon {GIB}\ninactive_file {2 * GIB}\nactive_file {GIB}\n",
        "sys/fs/cgroup/pod/container/memory.max": "max\n",
        "sys/fs/cgroup/pod/container/memory.current": f"{GIB}\n",
    }
    root = machine(tmp_path, "0::/pod/container\n", limits)
    (root / "proc/meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {30 * GIB // 1024} kB\n")
    assert memory.available_memory(root) == 5 * GIB
    (root / "proc/meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {3 * GIB // 1024} kB\n")
    assert memory.available_memory(root) == 3 * GIB


def test_available_memory_in_version_1_and_of_nothing(tmp_path: Path) -> None:
    limits = {
        "sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{2 * GIB}\n",
        "sys/fs/cgroup/memory/box/memory.usage_in_bytes": f"{2 * GIB}\n",
        "sys/fs/cgroup/memory/box/memory.stat": f"total_inactive_file {GIB}\ntotal_active_file 0\n",
    }
    root = machine(tmp_path, "5:memory:/box\n", limits)
    (root / "proc/meminfo").write_text(f"MemAvailable: {30 * GIB // 1024} kB\n")
    assert memory.available_memory(root) == GIB
    assert memory.available_memory(tmp_path / "nothing") == 0
