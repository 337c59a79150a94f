"""Whether a mount reads in passthrough: what is known before the kernel is asked."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from ossmount.channel import mounting
from ossmount.channel.mounting import Mount
from ossmount.config import DiskConfig
from ossmount.daemon import passthrough
from ossmount.options.gathering import gather
from ossmount.options.settings import Settings, UsageError

DISK = DiskConfig((Path("/cache"),), "store")
ROOT = "Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t000001ffffffffff\n"
NOBODY = "Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000000000\n"
WITHOUT = f"CapEff:\t{(1 << 41) - 1 - (1 << 21):016x}\n"


def settings(*mount_options: str) -> Settings:
    return Settings(gather({}, mount_options, {}))


@pytest.mark.parametrize(
    ("mount_options", "disk", "status", "why"),
    [
        ("", DISK, ROOT, "not asked for"),
        ("passthrough=false", DISK, ROOT, "not asked for"),
        ("passthrough,channel=pyfuse3", DISK, ROOT, "pyfuse3"),
        ("passthrough", None, ROOT, "--cache-dir"),
        ("passthrough", DISK, NOBODY, "CAP_SYS_ADMIN"),
        ("passthrough", DISK, WITHOUT, "CAP_SYS_ADMIN"),
        ("passthrough", DISK, "", "CAP_SYS_ADMIN"),
    ],
)
def test_where_it_cannot_be(
    monkeypatch: pytest.MonkeyPatch, mount_options: str, disk: DiskConfig | None, status: str, why: str
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_: status)
    monkeypatch.setattr(platform, "release", lambda: "6.18.0")
    depth, reason = passthrough.choose(settings(*filter(None, [mount_options])), disk)
    assert depth == 0 and why in reason


@pytest.mark.parametrize(("kind", "depth"), [("ext4", 1), ("xfs", 1), ("overlay", 2)])
def test_the_depth_is_that_of_the_caches_file_system(monkeypatch: pytest.MonkeyPatch, kind: str, depth: int) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_: ROOT)
    monkeypatch.setattr(mounting, "mounts", lambda: [Mount("/", "0:1", "ext4", "x"), Mount("/cache", "0:2", kind, "x")])
    assert passthrough.choose(settings("passthrough"), DISK) == (depth, "")


@pytest.mark.parametrize(
    ("directory", "stacked"),
    [
        ("/nowhere/a/b", False),
        ("/nowhere/over", True),
        ("/nowhere/over/deep/er", True),
        ("/nowhere/overtaken", False),
        ("/nowhere/over/disk/x", False),
        ("/nowhere/twice", True),
    ],
)
def test_the_innermost_mount_counts_and_of_two_the_later(directory: str, stacked: bool) -> None:
    mounts = [
        Mount(path, "0:1", kind, "x")
        for path, kind in (
            ("/nowhere/twice", "ext4"),
            ("/", "ext4"),
            ("/nowhere/over", "overlay"),
            ("/nowhere/over/disk", "xfs"),
            ("/nowhere/twice", "overlay"),
        )
    ]
    assert passthrough.is_stacked(directory, mounts) is stacked
    assert passthrough.is_stacked(directory, []) is False


@pytest.mark.parametrize("other", ["open=skip", "direct_io"])
def test_options_that_contradict_it_are_refused(other: str) -> None:
    with pytest.raises(UsageError, match="passthrough"):
        settings(f"passthrough,{other}")
