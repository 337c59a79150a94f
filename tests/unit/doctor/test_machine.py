"""What the checks of a machine say, by what they find."""

from __future__ import annotations

from pathlib import Path

import pytest

from ossmount.doctor import disk
from ossmount.doctor.finding import Level
from ossmount.doctor.machine import descriptors, device, findings, kernel, memory, privileges


@pytest.mark.parametrize(
    ("release", "level"),
    [
        ("6.18.44-generic", Level.OK),
        ("6.9.0", Level.OK),
        ("5.15.0-91", Level.NOTE),
        ("4.19.91", Level.NOTE),
        ("odd", Level.NOTE),
    ],
)
def test_kernels(release: str, level: Level) -> None:
    assert kernel(release).level is level


def test_the_device(tmp_path: Path) -> None:
    assert device(tmp_path / "fuse").level is Level.BAD
    (tmp_path / "fuse").touch()
    assert device(tmp_path / "fuse").level is Level.OK


def test_privileges() -> None:
    assert privileges(1 << 21, None).level is Level.OK
    assert privileges(0, "/usr/bin/fusermount3").level is Level.NOTE
    assert privileges(0, None).level is Level.BAD


def test_limits() -> None:
    assert [memory(size).level for size in (32 << 20, 256 << 20, 8 << 30)] == [Level.BAD, Level.NOTE, Level.OK]
    assert [descriptors(soft, 4096).level for soft in (256, 1024)] == [Level.NOTE, Level.OK]
    assert "ulimit -n 4096" in descriptors(256, 4096).remedy


def test_a_kernel_that_ends_slow_requests(tmp_path: Path) -> None:
    """A root in which the files of /proc say so."""
    for name, text in {
        "proc/self/status": "CapEff:\t000001ffffffffff\n",
        "proc/meminfo": "MemTotal: 16000000 kB\n",
        "proc/self/cgroup": "",
        "proc/sys/fs/fuse/default_request_timeout": "0\n",
        "proc/sys/fs/fuse/max_request_timeout": "60\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {each.subject: each for each in findings(60.0, allow_other=False, root=tmp_path)}
    assert found["fs.fuse"].level is Level.BAD and "sysctl" in found["fs.fuse"].remedy
    assert found["/dev/fuse"].level is Level.BAD, "not there"


def test_a_disk(tmp_path: Path) -> None:
    found = disk.finding(str(tmp_path / "cache"), 10.0)
    assert found.level is not Level.BAD and "MB/s" in found.text
    assert list((tmp_path / "cache").iterdir()) == []
    assert disk.finding(str(tmp_path / "cache"), 100.0).level is Level.BAD
    (tmp_path / "file").touch()
    assert disk.finding(str(tmp_path / "file" / "cache"), 10.0).level is Level.BAD
