"""Daemons that die, hang or are replaced, while their mount is read."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ossmount.channel import mounting
from ossmount.cli.status import look_at
from ossmount.control.registry import Registry, process_start
from ossmount.emulator.faults import Fault
from ossmount.exit_codes import ExitCode
from tests.mount import keeper_reader
from tests.mount.keeper_reader import content
from tests.mount.support import BUCKET, LIMIT, Mount, Workshop, as_nobody, eventually, spoil, workshop

FILES = [f"train/{number // 40}/{number:03d}.bin" for number in range(120)]
LARGE = "large.bin"
SIZES = {name: 30_000 + 911 * index for index, name in enumerate(FILES)}


def fill(shop: Workshop, large: int = 24 << 20) -> None:
    for name, size in {**SIZES, LARGE: large}.items():
        shop.server.store.put(BUCKET, name.encode(), content(name, 0, size))


def state_of(mount: Mount) -> dict[str, Any]:
    """What `ossmount status` shows, without a process for it."""
    registry = Registry(mount.workshop.folder / "state")
    record = registry.find(str(mount.path))
    return (None if record is None else look_at(registry, record)) or {"state": "gone"}


def daemon_of(mount: Mount) -> int:
    """The daemon that serves now; 0 while none does."""
    state = state_of(mount)
    return int(state["daemon_pid"]) if state["state"] == "serving" else 0


def another_daemon(mount: Mount, *former: int) -> int:
    """Waits for a daemon that is none of these."""
    found = [0]

    def is_there() -> bool:
        found.append(daemon_of(mount))
        return found[-1] not in (0, *former)

    eventually(is_there, "another daemon serves")
    return found[-1]


@contextlib.contextmanager
def readers(mount: Mount, count: int, pause: float = 0.02) -> Iterator[list[dict[str, Any]]]:
    """Processes that read all small files, and one that reads the large one; what they saw, once they have ended."""
    words = [sys.executable, "-I", keeper_reader.__file__, str(mount.path), str(pause)]
    names = [FILES] * count + [[LARGE]]
    seen: list[dict[str, Any]] = []
    processes = [subprocess.Popen([*words, *each], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for each in names]
    try:
        yield seen
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in processes:
            assert process.stdout is not None
            seen.append(json.loads(process.stdout.read()))
            assert process.wait(LIMIT) == 0
    finally:
        for process in processes:
            process.kill()
            process.wait()


def check(seen: list[dict[str, Any]]) -> None:
    assert [reader["errors"] for reader in seen] == [[]] * len(seen)
    assert [reader["wrong"] for reader in seen] == [0] * len(seen)
    assert all(reader["files"] for reader in seen[:-1]) and seen[-1]["bytes"]


def requests(mount: Mount) -> int:
    """READs that the daemon which serves now has had."""
    state = state_of(mount)
    return int(state["counters"]["kernel"].get("READ", 0)) if state["state"] == "serving" else 0


def kill_again_and_again(mount: Mount, times: int) -> list[int]:
    """Each daemon is killed once it has answered READs; the pids of all."""
    pids = [another_daemon(mount)]
    for _ in range(times):
        eventually(lambda: requests(mount) > 20, "the daemon serves readers")
        os.kill(pids[-1], signal.SIGKILL)
        pids.append(another_daemon(mount, *pids))
    return pids


def test_readers_notice_nothing_of_daemons_that_are_killed(plain_shop: Workshop) -> None:
    fill(plain_shop)
    with plain_shop.mounted() as mount, readers(mount, 3) as seen:
        pids = kill_again_and_again(mount, 3)
        assert len(set(pids)) == 4
        status = mount.status()
        assert status["facts"]["keeper"]["deaths"] == 3
        assert status["facts"]["channel"]["mounted_by"] == "a former daemon"
    check(seen)


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_fifty_kills_and_ten_restarts_under_eight_readers(plain_shop: Workshop) -> None:
    """Prints the longest call of any reader, which is the longest pause."""
    fill(plain_shop, large=256 << 20)
    with plain_shop.mounted() as mount, readers(mount, 8, 0.0) as seen:
        pids = kill_again_and_again(mount, 50)
    check(seen)
    print(f"longest pauses with kill -9: {sorted(reader['longest'] for reader in seen)}")
    with plain_shop.mounted() as mount, readers(mount, 8, 0.0) as seen:
        pids = [another_daemon(mount)]
        for _ in range(10):
            eventually(lambda: requests(mount) > 20, "the daemon serves readers")
            done = plain_shop.run("restart", str(mount.path))
            assert done.returncode == 0, done.stderr
            pids.append(another_daemon(mount, *pids))
    check(seen)
    print(f"longest pauses with restart: {sorted(reader['longest'] for reader in seen)}")


# -- restart


def test_a_restart_with_other_options_while_readers_read(plain_shop: Workshop) -> None:
    fill(plain_shop)
    with plain_shop.mounted() as mount, readers(mount, 2) as seen:
        pids = [another_daemon(mount)]
        for level in ("debug", "warning"):
            eventually(lambda: requests(mount) > 20, "the daemon serves readers")
            done = plain_shop.run("restart", str(mount.path), "--log-level", level, "-o", "memory_limit=48M")
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
            pids.append(daemon_of(mount))
        assert len(set(pids)) == 3 and 0 not in pids
        status = mount.status()
        assert status["options"]["log_level"] == {"value": "warning", "origin": "--log-level"}
        assert status["options"]["memory_limit"] == {"value": "48M", "origin": "-o memory_limit"}
        assert status["options"]["fetch_workers"]["origin"] == "OSSMOUNT_FETCH_WORKERS"  # as it was mounted
        assert (status["facts"]["keeper"]["deaths"], status["facts"]["keeper"]["restarts"]) == (0, 2)
        eventually(lambda: all(process_start(pid) is None for pid in pids[:-1]), "the former daemons end")
        assert "Traceback" not in mount.log
    check(seen)


@pytest.mark.parametrize(
    ("arguments", "env", "code", "message"),
    [
        (["--no-symlink"], {}, ExitCode.USAGE, "--no-symlink cannot change from false to true while mounted"),
        (["-o", "max_background=7"], {}, ExitCode.USAGE, "agreed with the kernel"),
        (["--memory-limit", "1M"], {}, ExitCode.UNEXPECTED, "at least 16M"),
        ([], {"OSS_ACCESS_KEY_ID": "wrong"}, ExitCode.UNEXPECTED, "InvalidAccessKeyId"),
        (["--frobnicate"], {}, ExitCode.USAGE, "unknown option --frobnicate"),
    ],
)
def test_a_restart_that_cannot_be_leaves_the_daemon_as_it_is(
    one_mount: Mount, arguments: list[str], env: dict[str, str | None], code: ExitCode, message: str
) -> None:
    pid = daemon_of(one_mount)
    done = one_mount.workshop.run("restart", str(one_mount.path), *arguments, env=env)
    assert done.returncode == code and message in done.stderr, done.stderr
    assert daemon_of(one_mount) == pid != 0
    assert (one_mount.path / "file").read_bytes() == b"hello"


@pytest.fixture(scope="module")
def one_mount() -> Iterator[Mount]:
    """A mount that no test changes."""
    with workshop() as shop:
        shop.server.store.put(BUCKET, b"file", b"hello")
        with shop.mounted() as mount:
            yield mount


@pytest.mark.option("no_keeper")
def test_what_has_no_keeper_is_not_restarted(plain_shop: Workshop) -> None:
    plain_shop.server.store.put(BUCKET, b"file", b"hello")
    with plain_shop.mounted("--no-keeper") as mount:
        done = plain_shop.run("restart", str(mount.path))
        assert done.returncode == ExitCode.USAGE and "it has no keeper" in done.stderr
        assert mount.status()["facts"]["keeper"] == {"none": "--no-keeper was given"}
    done = plain_shop.run("restart", str(mount.path))
    assert done.returncode == ExitCode.NOT_MOUNTED


def test_what_is_open_stays_open(plain_shop: Workshop) -> None:
    """A descriptor, a mapping and a working directory, over a restart and a death."""
    name = FILES[0]
    fill(plain_shop)
    with plain_shop.mounted() as mount:
        folder, file = os.path.split(name)
        descriptor = os.open(mount.path / name, os.O_RDONLY)
        working = os.open(mount.path / folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            inode = os.fstat(descriptor).st_ino
            pid = another_daemon(mount)
            assert plain_shop.run("restart", str(mount.path)).returncode == 0
            os.kill(daemon_of(mount), signal.SIGKILL)
            another_daemon(mount, pid)
            # its own and the one for a new keeper, and none that it has by inheritance
            assert targets(daemon_of(mount)).count("/dev/fuse") == 2 and targets(keeper_of(mount)).count("/dev/fuse") == 1
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(descriptor, 1 << 20, 0) == content(name, 0, SIZES[name])
            assert os.stat(file, dir_fd=working).st_ino == inode == os.fstat(descriptor).st_ino
            assert sorted(os.listdir(working)) == sorted(os.path.basename(each) for each in FILES[:40])
        finally:
            os.close(descriptor)
            os.close(working)


# -- the keeper


def keeper_of(mount: Mount) -> int:
    return int(state_of(mount)["keeper_pid"])


def targets(pid: int) -> list[str]:
    """What the descriptors of a process are of."""
    return [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]


def test_the_keeper_is_small_and_keeps_out_of_its_mount(one_mount: Mount) -> None:
    pid = keeper_of(one_mount)
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert status["Name"].strip() == "ossmount-keeper"
    assert int(status["VmRSS"].split()[0]) <= 15 << 10  # KiB
    assert int(status["Threads"]) == 1
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert not [target for target in targets(pid) if target.startswith(str(one_mount.path))]
    assert targets(pid).count("/dev/fuse") == 1
    keeper, daemon, ours = (
        int(Path(f"/proc/{each}/oom_score_adj").read_text()) for each in (pid, daemon_of(one_mount), os.getpid())
    )
    may_be_lowered = subprocess.run(
        ["sh", "-c", "echo -900 > /proc/self/oom_score_adj"], stderr=subprocess.DEVNULL, check=False
    )
    assert daemon == ours and keeper == (-900 if may_be_lowered.returncode == 0 else ours)


def test_a_keeper_that_dies_is_replaced_and_the_next_one_keeps_the_mount(plain_shop: Workshop) -> None:
    fill(plain_shop)
    with plain_shop.mounted() as mount, readers(mount, 2) as seen:
        pid, keepers = another_daemon(mount), [keeper_of(mount)]
        for _ in range(2):
            os.kill(keepers[-1], signal.SIGKILL)
            eventually(lambda: keeper_of(mount) not in keepers, "another keeper")
            keepers.append(keeper_of(mount))
            assert daemon_of(mount) == pid
        os.kill(pid, signal.SIGKILL)
        another_daemon(mount, pid)
        assert keeper_of(mount) == keepers[-1]
        assert plain_shop.run("restart", str(mount.path)).returncode == 0
        sockets = {Path(state_of(mount)["log"]).stem + f"-{pid}.sock" for pid in (daemon_of(mount), f"keeper-{keepers[-1]}")}
        left = (plain_shop.folder / "state").glob
        eventually(lambda: {path.name for path in left("*.sock")} == sockets, "no other sockets are left")
    check(seen)


@pytest.mark.parametrize("first", ["keeper", pytest.param("daemon", marks=pytest.mark.stress)])
def test_without_daemon_and_keeper_the_mount_is_dead_and_nobody_hangs(plain_shop: Workshop, first: str) -> None:
    fill(plain_shop)
    with plain_shop.mounted() as mount:
        status = mount.status()
        with readers(mount, 1) as seen:
            eventually(lambda: requests(mount) > 20, "the daemon serves readers")
            pids = [status["keeper_pid"], status["daemon_pid"]]
            for pid in pids:  # neither can do anything until both are dead
                os.kill(pid, signal.SIGSTOP)
            for pid in pids if first == "keeper" else pids[::-1]:
                os.kill(pid, signal.SIGKILL)
            eventually(lambda: all(process_start(pid) is None for pid in status["pids"]), "every process has ended")
        # one that was told to end before its next READ has seen nothing of it, or a read(2) that ended where its pages did
        gone = {os.strerror(errno.ENOTCONN), os.strerror(errno.ECONNABORTED)}
        assert {error.partition("] ")[2].partition(":")[0] for reader in seen for error in reader["errors"]} <= gone
        done = plain_shop.run("status", str(mount.path))
        assert done.returncode == ExitCode.NOT_MOUNTED and "dead" in done.stdout
        with pytest.raises(OSError) as failure:
            os.listdir(mount.path)
        assert failure.value.errno == errno.ENOTCONN


# -- daemons that are in trouble


@pytest.mark.stress  # tests/mount/test_stuck.py has one that hangs otherwise
def test_a_daemon_that_is_suspended_is_replaced(plain_shop: Workshop) -> None:
    fill(plain_shop)
    with plain_shop.mounted() as mount, readers(mount, 2) as seen:
        pid = another_daemon(mount)
        eventually(lambda: requests(mount) > 20, "the daemon serves readers")
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: process_start(pid) is None, "it is killed")
        another_daemon(mount, pid)
        assert "gave no sign of life" in mount.log
    check(seen)


def test_the_store_need_not_answer_when_a_daemon_dies(plain_shop: Workshop) -> None:
    plain_shop.server.store.put(BUCKET, b"folder/file", b"hello")
    with plain_shop.mounted("-o", "attr_timeout=1h,entry_timeout=1h") as mount:
        etag = os.getxattr(mount.path / "folder/file", "user.oss.etag")
        plain_shop.server.faults.add(Fault(operations=("LIST", "HEAD", "GET"), hang=True))
        pid = daemon_of(mount)
        os.kill(pid, signal.SIGKILL)
        another_daemon(mount, pid)
        assert os.getxattr(mount.path / "folder/file", "user.oss.etag") == etag  # which the kernel does not keep
        plain_shop.server.faults.clear()
        plain_shop.server.drop_connections()
        assert (mount.path / "folder/file").read_bytes() == b"hello"


STATER = "import os, sys\ntry:\n    os.stat(sys.argv[1])\nexcept OSError as failure:\n    print(failure.errno)\n"


def test_the_list_of_keys_is_the_one_that_was_mounted(plain_shop: Workshop) -> None:
    fill(plain_shop, large=1000)
    manifest = plain_shop.folder / "keys.csv"
    manifest.write_text("".join(f"{name}\n" for name in ["key", *FILES[:50]]))
    with plain_shop.mounted("--manifest", str(manifest)) as mount:
        daemon = another_daemon(mount)
        inodes = {name: (mount.path / name).stat().st_ino for name in FILES[:10]}
        manifest.unlink()
        os.kill(daemon, signal.SIGKILL)
        another_daemon(mount, daemon)
        assert (mount.path / FILES[49]).read_bytes() == content(FILES[49], 0, SIZES[FILES[49]])
        assert {name: (mount.path / name).stat().st_ino for name in FILES[:10]} == inodes
        assert not (mount.path / FILES[50]).exists()
    assert not list((plain_shop.folder / "state").glob("*.manifest*"))


def test_a_request_in_hand_at_two_deaths_is_refused(plain_shop: Workshop) -> None:
    plain_shop.server.store.put(BUCKET, b"file", b"hello")
    with plain_shop.mounted("--timeout", str(10 * int(LIMIT))) as mount:
        plain_shop.server.faults.add(Fault(operations=("LIST",), hang=True))
        asked = [plain_shop.server.requests.count("LIST")]
        words = [sys.executable, "-I", "-c", STATER, str(mount.path / "poison")]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as stater:
            try:
                pids = [daemon_of(mount)]
                for _ in range(2):
                    eventually(lambda: plain_shop.server.requests.count("LIST") > asked[-1], "the daemon has it in hand")
                    os.kill(pids[-1], signal.SIGKILL)
                    asked.append(plain_shop.server.requests.count("LIST"))
                    pids.append(another_daemon(mount, *pids))
                output, _ = stater.communicate(timeout=LIMIT)
                assert int(output) == errno.EIO
            finally:
                stater.kill()
        assert daemon_of(mount) == pids[-1]
        plain_shop.server.faults.clear()
        plain_shop.server.drop_connections()
        assert (mount.path / "file").read_bytes() == b"hello"


@pytest.mark.timeout(600)
def test_daemons_that_die_before_they_serve_end_in_a_clear_state(plain_shop: Workshop) -> None:
    cache, away = plain_shop.folder / "cache", plain_shop.folder / "away"
    plain_shop.server.store.put(BUCKET, b"file", b"hello")
    with plain_shop.mounted("--cache-dir", str(cache)) as mount:
        spoil(cache, away)
        os.kill(daemon_of(mount), signal.SIGKILL)
        # five daemons, each with all its imports, and 7.5 s of pauses between them
        eventually(lambda: state_of(mount)["state"] == "failed", "no more daemons are started", limit=5 * LIMIT)
        with pytest.raises(OSError) as failure:
            os.getxattr(mount.path / "file", "user.oss.etag")
        assert failure.value.errno == errno.EIO
        done = plain_shop.run("status", str(mount.path))
        assert done.returncode == ExitCode.NOT_MOUNTED
        assert "5 daemons in a row died before they served" in done.stdout and "ossmount restart" in done.stdout
        assert "the mount has failed" in mount.log
        cache.unlink()
        away.rename(cache)
        again = plain_shop.run("restart", str(mount.path))
        assert again.returncode == 0, again.stderr
        assert daemon_of(mount)
        assert (mount.path / "file").read_bytes() == b"hello"
        spoil(cache, away)
        again = plain_shop.run("restart", str(mount.path))  # the one that serves goes on
        assert again.returncode == ExitCode.UNEXPECTED and "cache is not a folder" in again.stderr, again.stderr
        os.kill(daemon_of(mount), signal.SIGKILL)
        eventually(lambda: state_of(mount)["state"] == "restarting", "the daemon is dead")
        record = json.loads(next((plain_shop.folder / "state").glob("*.json")).read_text())
        assert plain_shop.run("umount", str(mount.path)).returncode == 0
        assert process_start(record["keeper_pid"]) is None
        assert plain_shop.run("status").stdout == "nothing is mounted\n"


def test_a_daemon_dies_while_its_fetch_processes_write_into_the_page_cache(plain_shop: Workshop) -> None:
    fill(plain_shop)
    listed = plain_shop.folder / "list"
    listed.write_text("\n".join(FILES))
    plain_shop.server.faults.add(Fault(operations=("GetObject",), latency=0.2))
    with plain_shop.mounted() as mount:
        pid = daemon_of(mount)
        for name in FILES:
            os.stat(mount.path / name)  # nothing is stored for names that the kernel does not know
        words = plain_shop.words(["prefetch", str(mount.path), "--from-list", str(listed)])
        with subprocess.Popen(words, env=plain_shop.environment, stderr=subprocess.DEVNULL) as teller:
            try:
                eventually(lambda: state_of(mount)["facts"]["look_ahead"]["stored"] > 3, "files are stored")
                with readers(mount, 3) as seen:
                    os.kill(pid, signal.SIGKILL)
                    another_daemon(mount, pid)
                    eventually(lambda: requests(mount) > 20, "it serves")
            finally:
                teller.kill()
    check(seen)


def test_an_ordinary_users_mount_is_kept_as_well() -> None:
    """Through fusermount3, and without any of what only root may do for a keeper."""
    with workshop("nobody") as shop:
        shop.server.store.put(BUCKET, b"file", b"hello")
        with shop.mounted() as mount:
            pid = daemon_of(mount)
            assert state_of(mount)["facts"]["channel"]["mounted_by"] == "fusermount3"
            os.kill(pid, signal.SIGKILL)
            another_daemon(mount, pid)
            assert shop.run("restart", str(mount.path)).returncode == 0
            words = as_nobody(["cat", str(mount.path / "file")], readable=True)
            assert subprocess.run(words, capture_output=True, check=True, timeout=LIMIT).stdout == b"hello"


# -- in the foreground


def test_in_the_foreground_the_process_outlives_its_daemons(plain_shop: Workshop) -> None:
    """It is the one that systemd watches (Type=notify, WatchdogSec=)."""
    plain_shop.server.store.put(BUCKET, b"file", b"hello")
    path = str(plain_shop.folder / "notify.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(LIMIT)
        env = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000000"}
        with plain_shop.mounted(foreground=True, env=env) as mount:
            assert mount.process is not None
            status = mount.status()
            assert status["keeper_pid"] == mount.process.pid
            assert systemd.recv(999) == f"READY=1\nSTATUS=daemon {status['daemon_pid']} serves {mount.path}".encode()
            assert systemd.recv(999) == b"WATCHDOG=1" == systemd.recv(999)
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{status['daemon_pid']}/environ").read_bytes()
            os.kill(status["daemon_pid"], signal.SIGKILL)
            another_daemon(mount, status["daemon_pid"])
            assert mount.process.poll() is None
            assert (mount.path / "file").read_bytes() == b"hello"
            mount.process.send_signal(signal.SIGTERM)
            assert mount.process.wait(LIMIT) == 0
            assert mounting.find_mount(str(mount.path)) is None
        said: list[bytes] = []
        while said[-1:] != [b"STOPPING=1"]:
            said.append(systemd.recv(999))
        assert sum(each.startswith(b"READY=1") for each in said) == 1 and said.count(b"STOPPING=1") == 1


# -- every step of a restart


def children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


@contextlib.contextmanager
def restarting(mount: Mount) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A restart whose new daemon waits for OSS, and the pid of that daemon."""
    shop = mount.workshop
    shop.server.faults.add(Fault(operations=("LIST",), hang=True))
    status = mount.status()
    words = shop.words(["restart", str(mount.path)])
    with subprocess.Popen(words, env=shop.environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            asked = shop.server.requests.count("LIST")
            eventually(lambda: children(status["keeper_pid"]) - {status["daemon_pid"]}, "a new daemon starts")
            eventually(lambda: shop.server.requests.count("LIST") > asked, "it asks OSS whether all is right")
            (new,) = children(status["keeper_pid"]) - {status["daemon_pid"]}
            yield process, new
        finally:
            shop.server.faults.clear()
            process.kill()


def let_it_prepare(shop: Workshop) -> None:
    shop.server.faults.clear()
    shop.server.drop_connections()


@pytest.mark.stress
def test_the_new_daemon_dies_while_it_prepares_itself(plain_shop: Workshop) -> None:
    fill(plain_shop)
    with plain_shop.mounted() as mount, readers(mount, 1) as seen:
        pid = another_daemon(mount)
        with restarting(mount) as (restart, new):
            os.kill(new, signal.SIGKILL)
            _, said = restart.communicate(timeout=LIMIT)
            assert restart.returncode == ExitCode.UNEXPECTED and "was ended by signal 9 before it was ready" in said
        assert daemon_of(mount) == pid
    check(seen)


def test_the_old_daemon_dies_while_the_new_one_prepares_itself(plain_shop: Workshop) -> None:
    fill(plain_shop)
    with plain_shop.mounted() as mount, readers(mount, 1) as seen:
        pid = another_daemon(mount)
        with restarting(mount) as (restart, new):
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: process_start(pid) is None, "the old one is gone")
            let_it_prepare(plain_shop)
            _, said = restart.communicate(timeout=LIMIT)
            assert restart.returncode == 0, said
        assert daemon_of(mount) == new
    check(seen)


@pytest.mark.stress
def test_the_keeper_dies_while_the_new_daemon_prepares_itself(plain_shop: Workshop) -> None:
    fill(plain_shop)
    with plain_shop.mounted() as mount, readers(mount, 1) as seen:
        pid, keeper = another_daemon(mount), keeper_of(mount)
        with restarting(mount) as (restart, new):
            os.kill(keeper, signal.SIGKILL)
            assert restart.wait(LIMIT) == ExitCode.UNEXPECTED
            let_it_prepare(plain_shop)
            eventually(lambda: process_start(new) is None, "nobody waits for it any more")
        eventually(lambda: keeper_of(mount) != keeper, "another keeper")
        assert daemon_of(mount) == pid
        assert plain_shop.run("restart", str(mount.path)).returncode == 0
    check(seen)


@pytest.mark.stress
@pytest.mark.parametrize("dies", ["none", "new"])
def test_the_old_daemon_does_not_leave(plain_shop: Workshop, dies: str) -> None:
    """It hangs; and perhaps the new one dies while it waits for that."""
    fill(plain_shop)
    with plain_shop.mounted() as mount, readers(mount, 1) as seen:
        pid = another_daemon(mount)
        with restarting(mount) as (restart, new):
            os.kill(pid, signal.SIGSTOP)
            let_it_prepare(plain_shop)
            if dies == "new":
                eventually(lambda: len(list((plain_shop.folder / "state").glob(f"*-{new}.sock"))), "it is nearly prepared")
                os.kill(new, signal.SIGKILL)
            _, said = restart.communicate(timeout=LIMIT)
            assert (restart.returncode == 0) == (dies == "none"), said
        next_one = another_daemon(mount, pid)
        assert (next_one == new) == (dies == "none")
    check(seen)
