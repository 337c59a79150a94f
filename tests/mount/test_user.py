"""`--user`: root mounts, and everything that runs belongs to an ordinary user."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ossmount.channel.mounting import find_mount, open_device
from ossmount.control.registry import process_start
from ossmount.daemon.processes import descendants
from ossmount.exit_codes import ExitCode
from ossmount.keeper import guard, mounting, wire
from ossmount.keeper.mounting import Mounting
from tests.mount.support import BUCKET, NOBODY, Mount, Workshop, eventually, for_everybody

BIG = os.urandom(3 << 20)
CAP_SYS_ADMIN = 1 << 21
OPTIONS = ("--user", "nobody", "-o", "allow_other")


@pytest.fixture
def shop(plain_shop: Workshop) -> Iterator[Workshop]:
    plain_shop.server.store.put(BUCKET, b"folder/file", b"hello")
    plain_shop.server.store.put(BUCKET, b"big", BIG)
    plain_shop.environment["OSSMOUNT_METADATA_DIR"] = str(plain_shop.folder / "names")  # missing: it is made
    with for_everybody(plain_shop):
        yield plain_shop


def process_status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def check_processes(mount: Mount) -> None:
    status = mount.status()
    guard = status["facts"]["keeper"]["guard"]
    pids = {guard, status["keeper_pid"], status["daemon_pid"], *descendants(status["daemon_pid"])}
    assert len(pids) >= 4  # the guard, the keeper, the daemon, a fetch process
    for pid in pids:
        shown = process_status(pid)
        assert set(shown["Uid"].split()) == set(shown["Gid"].split()) == {str(NOBODY)}, shown["Name"]
        assert shown["NoNewPrivs"] == "1", shown["Name"]
        kept = CAP_SYS_ADMIN if pid == guard else 0
        assert {int(shown[name], 16) for name in ("CapPrm", "CapEff")} == {kept}, shown["Name"]
        assert {int(shown[name], 16) for name in ("CapInh", "CapBnd", "CapAmb")} == {0}, shown["Name"]


@pytest.mark.option("user")
def test_no_process_is_roots_and_readers_see_no_difference(shop: Workshop) -> None:
    with shop.mounted(*OPTIONS) as mount:
        check_processes(mount)
        assert (mount.path / "folder/file").read_bytes() == b"hello" and (mount.path / "big").read_bytes() == BIG
        found = (mount.path / "big").stat()
        assert (found.st_uid, found.st_gid) == (os.getuid(), os.getgid())
        facts = mount.status()["facts"]["channel"]
        assert facts["mounted_by"] == "the keeper" and facts["read_ahead_kb"] == 1028 and "read_ahead_problem" not in facts
        assert shop.run("refresh", str(mount.path)).returncode == 0
        assert str(mount.path) in shop.run("status").stdout
        with open("/proc/self/mounts") as file:
            line = next(line for line in file if f" {mount.path} " in line)
        assert {"ro", "nosuid", "nodev", "default_permissions", "user_id=0"} <= set(line.split()[3].split(","))
        made = [path for name in ("state/uid-65534", "names") for path in (shop.folder / name).rglob("*")]
        assert len(made) >= 5
        assert all(path.lstat().st_uid == NOBODY and not path.lstat().st_mode & 0o077 for path in made)
        for log in (shop.folder / "state").glob("*.log"):
            assert log.stat().st_uid == 0 and stat.S_IMODE(log.stat().st_mode) == 0o600
    assert not list((shop.folder / "state/uid-65534").iterdir())


def test_daemons_that_follow_have_no_privileges_either_and_sigterm_takes_the_mount_away(shop: Workshop) -> None:
    with shop.mounted(*OPTIONS) as mount:
        with open(mount.path / "big", "rb", buffering=0) as file:
            first = mount.status()["daemon_pid"]
            os.kill(first, signal.SIGKILL)
            assert os.pread(file.fileno(), 1000, 1 << 20) == BIG[1 << 20 :][:1000]
        assert "read_ahead_problem" not in mount.status()["facts"]["channel"]
        done = shop.run("restart", str(mount.path), "--log-level", "debug")
        assert done.returncode == 0, done.stderr
        check_processes(mount)
        assert shop.run("restart", str(mount.path), "--user", "daemon").returncode == ExitCode.USAGE
        os.kill(mount.status()["daemon_pid"], signal.SIGTERM)
        eventually(lambda: find_mount(str(mount.path)) is None, "the keeper has taken the mount away")


def test_a_keeper_that_was_killed_is_followed_by_one_that_can_do_the_same(shop: Workshop) -> None:
    cache = shop.folder / "cache"
    with shop.mounted(*OPTIONS, "--passthrough", "--cache-dir", str(cache)) as mount:
        before = mount.status()
        os.kill(before["keeper_pid"], signal.SIGKILL)
        eventually(lambda: mount.status()["keeper_pid"] not in (0, before["keeper_pid"]), "another keeper")
        check_processes(mount)
        assert mount.status()["facts"]["keeper"]["guard"] == before["facts"]["keeper"]["guard"]
        assert shop.run("warm", str(mount.path), "--pin", "big").returncode == 0
        eventually(lambda: is_read_in_passthrough(mount), "a file that is opened now is read in passthrough")
        os.kill(mount.status()["keeper_pid"], signal.SIGTERM)
        eventually(lambda: find_mount(str(mount.path)) is None, "the keeper has taken the mount away")
        eventually(lambda: process_start(before["facts"]["keeper"]["guard"]) is None, "nobody is left whom the guard guards")


def is_read_in_passthrough(mount: Mount) -> bool:
    assert (mount.path / "big").read_bytes() == BIG
    facts: dict[str, Any] = mount.status()["facts"]["channel"]["passthrough"]
    return bool(facts["opens"]["passthrough"])


def test_the_keeper_takes_the_mount_away_when_its_daemon_does_not(shop: Workshop) -> None:
    with shop.mounted(*OPTIONS) as mount:
        status = mount.status()
        os.kill(status["daemon_pid"], signal.SIGSTOP)

        def is_gone() -> bool:
            with contextlib.suppress(ProcessLookupError):
                os.kill(status["keeper_pid"], signal.SIGTERM)  # the third one kills the daemon
            return find_mount(str(mount.path)) is None

        eventually(is_gone, "the keeper has taken the mount away")


def test_large_files_are_read_in_passthrough(shop: Workshop) -> None:
    cache = shop.folder / "cache"
    with shop.mounted(*OPTIONS, "--passthrough", "--cache-dir", str(cache)) as mount:
        assert cache.stat().st_uid == NOBODY and stat.S_IMODE(cache.stat().st_mode) == 0o700
        assert shop.run("warm", str(mount.path), "--pin", "big").returncode == 0
        eventually(lambda: is_read_in_passthrough(mount), "the file is read in passthrough")


def test_a_mount_that_cannot_be_is_gone(shop: Workshop) -> None:
    """The daemon has its reasons after the keeper has mounted: no OSS, no mount."""
    path = shop.mountpoint()
    done = shop.run("mount", "oss://no-such-bucket", str(path), *OPTIONS)
    assert done.returncode == ExitCode.NO_BUCKET and not find_mount(str(path))


REFUSALS = (
    (("--user", "no-such-user"), "no user 'no-such-user'"),
    (("--user", "root"), "root is root"),
    (("--user", "nobody", "--no-keeper"), "needs a keeper"),
    (("--user", "nobody", "--channel", "pyfuse3"), "needs a keeper"),
    (("--user", "nobody", "--credentials", "keys.json"), "cannot use"),
    (("--user", "nobody", "--metadata-dir", "locked"), "chown -R nobody"),
    (("--user", "nobody", "--cache-dir", "locked"), "chown -R nobody"),
)


def test_what_cannot_be_is_refused_with_a_reason(shop: Workshop) -> None:
    keys = shop.folder / "keys.json"
    keys.write_text(json.dumps({"AccessKeyId": "test-id", "AccessKeySecret": "test-secret"}))
    keys.chmod(0o600)
    (shop.folder / "locked").mkdir(mode=0o755)
    path = shop.mountpoint()
    for arguments, said in REFUSALS:
        done = shop.run("mount", f"oss://{BUCKET}", str(path), *arguments)
        assert done.returncode == ExitCode.USAGE and said in done.stderr and "--user" in done.stderr, arguments
        assert not find_mount(str(path))
    shop.user = "nobody"
    for name in ("state", "names"):
        (shop.folder / name).mkdir(exist_ok=True)
        os.chown(shop.folder / name, NOBODY, NOBODY)
    done = shop.run("mount", f"oss://{BUCKET}", str(path), "--user", "daemon")
    assert done.returncode == ExitCode.USAGE and "only root" in done.stderr


# -- what a daemon that was taken over may ask its keeper


class Asking:
    """Who asks a guard: what a keeper passes on, or a daemon says itself."""

    def __init__(self, place: Path) -> None:
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.settimeout(60)
        self._guard = threading.Thread(target=guard.serve, args=(self._theirs, Mounting("oss://data", str(place))))
        self._guard.start()

    def ask(self, kind: str, descriptors: tuple[int, ...] = (), **fields: object) -> object:
        wire.send(self._ours, kind, descriptors, number=1, **fields)
        received = wire.receive(self._ours)
        assert received is not None
        return received[0]["error"]

    def end(self) -> None:
        self._ours.close()
        self._guard.join(60)
        assert not self._guard.is_alive()  # nobody is left who could ask
        self._theirs.close()


def test_a_guard_mounts_once_and_takes_away_nothing_but_what_it_has_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounting, "keep_only", lambda *_: None)  # else this process would give up its capabilities
    place, other = tmp_path / "place", tmp_path / "other"
    place.mkdir()
    other.mkdir()
    asking = Asking(place)
    device = open_device()
    try:
        place.rename(tmp_path / "moved")  # what the path leads to later does not count
        other.rename(place)
        assert asking.ask("mount", (device,), allow_other=False) == 0
        there = find_mount(str(tmp_path / "moved"))
        assert there is not None and there.kind == "fuse.ossmount" and not find_mount(str(place))
        assert asking.ask("mount", (device,), allow_other=False) == errno.EBUSY
        assert asking.ask("detach") == errno.EINVAL
        assert asking.ask("format the disk") == asking.ask("back", (device,)) == errno.EINVAL
        assert find_mount(str(tmp_path / "moved")) is not None
    finally:
        asking.end()
        os.close(device)
        subprocess.run(["umount", "--lazy", str(tmp_path / "moved")], check=True)


def test_a_guard_takes_away_its_mount_and_not_one_that_lies_on_top_of_it(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    asking = Asking(place)
    device = open_device()
    try:
        assert asking.ask("mount", (device,), allow_other=False) == 0
        subprocess.run(["mount", "-t", "tmpfs", "on-top", str(place)], check=True)
        assert asking.ask("detach") == errno.EINVAL
        there = find_mount(str(place))
        assert there is not None and there.kind == "tmpfs"
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # the process that looked at it may just be ending
        assert asking.ask("detach") == 0
        assert find_mount(str(place)) is None
    finally:
        asking.end()
        os.close(device)
        while find_mount(str(place)) is not None:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
