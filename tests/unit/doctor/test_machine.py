"""What the checks of a machine say, by what they find."""

from __future__ import annotations

from pathlib import Path

import pytest

from ossmount.doctor import disk
from ossmount.doctor.finding import Level
from ossmount.doctor.machine import cpus, descriptors, device, findings, kernel, memory, privileges, read_ahead


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


def test_few_cpus() -> None:
    assert [cpus(number).level for number in (0.5, 1.0, 2.0, 96.0)] == [Level.NOTE, Level.NOTE, Level.OK, Level.OK]


def test_how_far_the_kernel_reads_ahead(tmp_path: Path) -> None:
    (nothing,) = read_ahead(1028, tmp_path, {})
    assert nothing.level is Level.NOTE and "cannot be set" in nothing.text and "1028" in nothing.remedy
    for name, text in (("0:40", "128"), ("0:41", "1028")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "read_ahead_kb").write_text(f"{text}\n")
    first, low = read_ahead(1028, tmp_path, {"0:40": "/mnt/low", "0:41": "/mnt/good", "0:42": "/mnt/gone"})
    assert first.level is Level.OK and low.level is Level.NOTE
    assert low.text == "128 KiB on /mnt/low" and f"write 1028 to {tmp_path}/0:40/read_ahead_kb" in low.remedy
    for unchanged in (0, 128):
        (only,) = read_ahead(unchanged, tmp_path, {"0:40": "/mnt/low"})
        assert only.level is Level.OK


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
    found = {each.subject: each for each in findings(60.0, 1028, allow_other=False, root=tmp_path)}
    assert found["fs.fuse"].level is Level.BAD and "sysctl" in found["fs.fuse"].remedy
    assert found["/dev/fuse"].level is Level.BAD, "not there"


def test_a_disk(tmp_path: Path) -> None:
    found = disk.finding(str(tmp_path / "cache"), 10.0)
    assert found.level is not Level.BAD and "MB/s" in found.text
    assert list((tmp_path / "cache").iterdir()) == []
    assert disk.finding(str(tmp_path / "cache"), 100.0).level is Level.BAD
    (tmp_path / "file").touch()
    assert disk.finding(str(tmp_path / "file" / "cache"), 10.0).level is Level.BAD
