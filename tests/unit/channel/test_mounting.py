"""What can be said of mounts without making one, and the errors of each thing that can be wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ossmount.channel import mounting
from ossmount.channel.mounting import Mount, MountError, Reason

MOUNTINFO = (
    "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
    "40 22 0:38 / /mnt/with\\040space\\011tab\\134back rw - fuse.ossmount oss://bucket/a\\040b rw,user_id=0\n"
    "41 22 0:39 / /mnt/\xe9 rw - tmpfs tmpfs rw\n"
    "42 40 0:40 / /mnt/with\\040space\\011tab\\134back rw shared:7 master:1 - fuse.other src rw\n"
    "broken line\n"
)


def test_mountinfo_is_parsed_with_its_escapes() -> None:
    found = mounting.parse_mountinfo(MOUNTINFO)
    assert found == [
        Mount("/", "254:0", "ext4", "/dev/vda"),
        Mount("/mnt/with space\ttab\\back", "0:38", "fuse.ossmount", "oss://bucket/a b"),
        Mount("/mnt/é", "0:39", "tmpfs", "tmpfs"),
        Mount("/mnt/with space\ttab\\back", "0:40", "fuse.other", "src"),
    ]


def test_escapes_are_bytes_and_not_characters() -> None:
    text = os.fsdecode(b"40 22 0:38 / /m/\\303\\251\\012\xff rw - fuse s rw")
    assert os.fsencode(mounting.parse_mountinfo(text)[0].mountpoint) == b"/m/\xc3\xa9\n\xff"


def test_this_machine_has_a_root_and_a_proc() -> None:
    points = [mount.mountpoint for mount in mounting.mounts()]
    assert "/proc" in points
    assert mounting.is_mountpoint("/proc")
    assert not mounting.is_mountpoint("/proc/self")
    assert not mounting.is_mountpoint("/no/such/directory")


def test_resolve_follows_links_but_not_into_a_mount(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert mounting.resolve(tmp_path / "link") == str(tmp_path.resolve() / "real")
    assert mounting.resolve(tmp_path / "link" / "new") == str(tmp_path.resolve() / "real" / "new")
    assert mounting.resolve("/proc/") == "/proc"


def reason_of(path: Path) -> tuple[Reason, str]:
    with pytest.raises(MountError) as caught:
        mounting.check_mountpoint(path)
    return caught.value.reason, str(caught.value)


def test_each_wrong_mountpoint_has_its_own_message(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    full = tmp_path / "full"
    full.mkdir()
    (full / "something").write_bytes(b"")
    expected = {
        tmp_path / "missing": (Reason.MISSING, "mkdir"),
        file / "below": (Reason.MISSING, "no such directory"),
        file: (Reason.NOT_A_DIRECTORY, "not a directory"),
        full: (Reason.NOT_EMPTY, "empty directory"),
    }
    for path, (reason, words) in expected.items():
        got, message = reason_of(path)
        assert got is reason
        assert words in message and str(path) in message


def test_an_empty_directory_will_do(tmp_path: Path) -> None:
    assert mounting.check_mountpoint(tmp_path) == str(tmp_path.resolve())


def test_what_is_mounted_already_is_refused_without_touching_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = Mount(str(tmp_path.resolve()), "0:99", "fuse.rclone", "remote")
    monkeypatch.setattr(mounting, "mounts", lambda: [mount])
    monkeypatch.setattr(os, "scandir", None)
    reason, message = reason_of(tmp_path)
    assert reason is Reason.ALREADY_MOUNTED
    assert "remote" in message and "ossmount umount" in message


def test_an_empty_volume_is_mounted_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The empty volume that Kubernetes mounts for a container is a mountpoint already."""
    monkeypatch.setattr(mounting, "mounts", lambda: [Mount(str(tmp_path.resolve()), "0:99", "tmpfs", "volume")])
    assert mounting.check_mountpoint(tmp_path) == str(tmp_path.resolve())


def test_a_missing_device_says_what_to_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounting, "DEVICE", str(tmp_path / "no-fuse"))
    for user in (0, 1000):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        with pytest.raises(MountError, match="modprobe fuse") as caught:
            (tmp_path / "m").mkdir(exist_ok=True)
            mounting.mount(tmp_path / "m", "source", allow_other=False)
        assert caught.value.reason is Reason.NO_DEVICE


def test_a_missing_fusermount3_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MountError, match="apt install fuse3") as caught:
        mounting.mount(tmp_path, "source", allow_other=False)
    assert caught.value.reason is Reason.NO_FUSERMOUNT


def an_ordinary_user(monkeypatch: pytest.MonkeyPatch, directory: Path, *, device_access: bool) -> None:
    """One with fusermount3 and a device, which may be for root only."""
    (directory / "fuse").write_bytes(b"")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda *_, **__: device_access)
    monkeypatch.setattr(mounting, "DEVICE", str(directory / "fuse"))
    monkeypatch.setattr(mounting, "_fusermount", lambda: "/usr/bin/fusermount3")


def test_allow_other_without_the_line_in_fuse_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "fuse.conf"
    mountpoint = tmp_path / "m"
    mountpoint.mkdir()
    assert not mounting.user_allow_other(conf)
    conf.write_text("# user_allow_other\n#user_allow_other\nmount_max = 7\n")
    assert not mounting.user_allow_other(conf)
    an_ordinary_user(monkeypatch, tmp_path, device_access=True)
    monkeypatch.setattr(mounting.user_allow_other, "__defaults__", (conf,))
    with pytest.raises(MountError, match="user_allow_other") as caught:
        mounting.mount(mountpoint, "source", allow_other=True)
    assert caught.value.reason is Reason.ALLOW_OTHER
    conf.write_text("mount_max = 7\nuser_allow_other\n")
    assert mounting.user_allow_other(conf)


def test_a_device_for_root_only_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    an_ordinary_user(monkeypatch, tmp_path, device_access=False)
    (tmp_path / "m").mkdir()
    with pytest.raises(MountError, match="chmod 666") as caught:
        mounting.mount(tmp_path / "m", "source", allow_other=False)
    assert caught.value.reason is Reason.NOT_PERMITTED


def test_options_for_fusermount3_escape_the_source() -> None:
    options = mounting.fusermount_options("oss://b/a,b\\c", allow_other=True)
    assert "fsname=oss://b/a\\,b\\\\c" in options
    assert options.endswith(",allow_other")
    assert "allow_other" not in mounting.fusermount_options("x", allow_other=False)


def test_unmounting_what_is_not_mounted(tmp_path: Path) -> None:
    for lazy in (False, True):
        with pytest.raises(MountError, match="nothing is mounted") as caught:
            mounting.unmount(tmp_path, lazy=lazy)
        assert caught.value.reason is Reason.NOT_MOUNTED


def test_read_ahead_of_no_mount_is_a_problem_and_not_an_error() -> None:
    assert "not mounted" in mounting.set_read_ahead_kb("/no/such", 1024).problem
    nowhere = Mount("/x", "999:999", "fuse", "x")
    got = mounting.set_read_ahead_kb("/x", 1024, read=lambda _: nowhere)
    assert got.kb == 0 and "999:999" in got.problem
