"""Daemons that are stuck, suspended or asked for their state; and mounts that are taken away from under them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ossmount.channel.mounting import find_mount
from ossmount.control.registry import process_start
from ossmount.emulator.faults import Fault
from tests.mount.support import BUCKET, LIMIT, Mount, Workshop, eventually, spoil

DATA = bytes(range(256)) * 4096

#: Makes a daemon stick in Python (SIGRTMIN + 1), or in C with the interpreter lock (SIGRTMIN + 2).
STICKING = """
import itertools, signal, time
def stuck_here(*_):
    time.sleep(3600)
def stuck_with_the_lock(*_):
    sum(itertools.repeat(0))
signal.signal(signal.SIGRTMIN + 1, stuck_here)
signal.signal(signal.SIGRTMIN + 2, stuck_with_the_lock)
"""

#: Prints the length of what was read, or the errno of the failure behind a minus.
READER = """
import os, sys
try:
    print(len(os.pread(os.open(sys.argv[1], os.O_RDONLY), 100, 0)))
except OSError as failure:
    print(-failure.errno)
"""


@contextlib.contextmanager
def reading(path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-I", "-c", READER, str(path)], stdout=subprocess.PIPE, text=True) as reader:
        try:
            yield reader
        finally:
            reader.kill()


def waiting(shop: Workshop, before: int = 0) -> None:
    eventually(lambda: shop.server.requests.count("GET") > before, "the read has become a GET")


@pytest.fixture
def sticky_shop(plain_shop: Workshop) -> Workshop:
    """A server with one file, and daemons that can be made to stick."""
    folder = plain_shop.folder / "sticking"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(STICKING)
    plain_shop.environment["PYTHONPATH"] = f"{folder}:{plain_shop.environment['PYTHONPATH']}"
    plain_shop.server.store.put(BUCKET, b"file", DATA)
    return plain_shop


@pytest.mark.parametrize(
    ("number", "tasks"),
    [(1, True), pytest.param(2, False, marks=pytest.mark.stress)],
    ids=["in Python", "in C"],
)
def test_a_stuck_daemon_writes_down_its_stacks_and_is_replaced(sticky_shop: Workshop, number: int, tasks: bool) -> None:
    with sticky_shop.mounted() as mount:
        daemon = mount.status()["daemon_pid"]
        assert (mount.path / "file").stat().st_size == len(DATA)
        os.kill(daemon, signal.SIGRTMIN + number)
        with reading(mount.path / "file") as reader:
            output, _ = reader.communicate(timeout=LIMIT)
            assert int(output) == 100
        eventually(lambda: process_start(daemon) is None, "the stuck daemon is killed")
        log = mount.log
        assert "gave no sign of life" in log
        assert "stuck_here" in log if tasks else "stuck_with_the_lock" in log
        assert ("_serve_requests" in log and "counters:" in log) == tasks
        assert mount.status()["facts"]["keeper"]["deaths"] == 1


@pytest.mark.stress
def test_a_stuck_daemon_without_a_keeper_ends_and_its_readers_are_told(sticky_shop: Workshop) -> None:
    with sticky_shop.mounted("--no-keeper") as mount:
        daemon = mount.status()["daemon_pid"]
        assert (mount.path / "file").stat().st_size == len(DATA)
        os.kill(daemon, signal.SIGRTMIN + 1)
        with reading(mount.path / "file") as reader:
            output, _ = reader.communicate(timeout=2 * LIMIT)
            assert int(output) < 0
        log = mount.log
        assert "the event loop stands still for 60 s" in log and "stuck_here" in log and "_serve_requests" in log


def test_signals_tell_the_state_and_raise_the_log_level(sticky_shop: Workshop) -> None:
    with sticky_shop.mounted("--timeout", str(10 * int(LIMIT))) as mount:
        status = mount.status()
        assert (mount.path / "file").stat().st_size == len(DATA)
        sticky_shop.server.faults.add(Fault(operations=("GET",), hang=True))
        with reading(mount.path / "file"):
            waiting(sticky_shop)
            os.kill(status["keeper_pid"], signal.SIGUSR2)  # which passes it on
            eventually(lambda: "counters:" in mount.log, "the state is written")
            eventually(lambda: "oldest READ" in ask_again(status["daemon_pid"], mount), "it has been seen in hand")
        log = mount.log
        assert re.search(r"READ \d+ of thread \d+: node \d+, offset 0\n", log)
        assert "Current thread 0x" in log and "_serve_requests" in log and '"connections"' in log
        assert "test-secret" not in log
        os.kill(status["daemon_pid"], signal.SIGUSR1)
        eventually(lambda: "the log level is debug now" in mount.log, "it logs everything")
        os.kill(status["keeper_pid"], signal.SIGUSR1)
        eventually(lambda: "the log level is info now" in mount.log, "it logs what it did")
        sticky_shop.server.faults.clear()
        sticky_shop.server.drop_connections()
        assert mount.status()["daemon_pid"] == status["daemon_pid"]
        assert (mount.path / "file").read_bytes() == DATA


def ask_again(pid: int, mount: Mount) -> str:
    os.kill(pid, signal.SIGUSR2)
    return mount.log


# -- the mountpoint is always freed


@contextlib.contextmanager
def suspended_under_a_reader(shop: Workshop) -> Iterator[tuple[Mount, dict[str, Any], subprocess.Popen[str]]]:
    """A mount, its status and a reader that waits for OSS; then daemon and keeper are suspended."""
    with shop.mounted("--timeout", str(10 * int(LIMIT))) as mount:
        status = mount.status()
        assert (mount.path / "file").stat().st_size == len(DATA)
        shop.server.faults.add(Fault(operations=("GET",), hang=True))
        with reading(mount.path / "file") as reader:
            waiting(shop)
            for pid in (status["keeper_pid"], status["daemon_pid"]):
                os.kill(pid, signal.SIGSTOP)
            yield mount, status, reader


@pytest.mark.parametrize("state", ["stopped", "dead"])
def test_umount_force_frees_the_mountpoint_and_its_readers(sticky_shop: Workshop, state: str) -> None:
    """Daemon and keeper are suspended, or the keeper is dead and the daemon suspended, while a reader waits."""
    with suspended_under_a_reader(sticky_shop) as (mount, status, reader):
        if state == "dead":
            os.kill(status["keeper_pid"], signal.SIGKILL)
        done = sticky_shop.run("umount", "--force", str(mount.path))
        assert (done.returncode, done.stderr) == (0, "")
        assert find_mount(str(mount.path)) is None
        output, _ = reader.communicate(timeout=LIMIT)
        assert int(output) < 0
        eventually(lambda: all(process_start(pid) is None for pid in status["pids"]), "every process has ended")
        assert sticky_shop.run("status").stdout == "nothing is mounted\n"


def test_umount_force_needs_no_record_of_the_mount(sticky_shop: Workshop) -> None:
    """Nobody knows its processes, and they are suspended: the kernel is told to end the connection."""
    with suspended_under_a_reader(sticky_shop) as (mount, status, reader):
        try:
            # in a mount namespace of its own, where the kernel's control file system is there for sure
            words = ["unshare", "--mount", "sh", "-c", 'mount -t fusectl none /sys/fs/fuse/connections && exec "$@"', "sh"]
            words += sticky_shop.words(["umount", "--force", str(mount.path)])
            environment = sticky_shop.changed({"OSSMOUNT_STATE_DIR": str(sticky_shop.folder / "elsewhere")})
            done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False)
            assert (done.returncode, done.stderr) == (0, "")
            output, _ = reader.communicate(timeout=LIMIT)
            assert int(output) < 0
        finally:
            for pid in (status["keeper_pid"], status["daemon_pid"]):
                os.kill(pid, signal.SIGKILL)
            subprocess.run(["umount", "--lazy", str(mount.path)], check=False, timeout=LIMIT)


@pytest.mark.stress
@pytest.mark.parametrize("foreground", [True, False])
def test_sigterm_unmounts_also_when_the_daemon_is_suspended(sticky_shop: Workshop, foreground: bool) -> None:
    with sticky_shop.mounted(foreground=foreground) as mount:
        status = mount.status()
        assert (mount.path / "file").stat().st_size == len(DATA)
        os.kill(status["daemon_pid"], signal.SIGSTOP)
        with reading(mount.path / "file") as reader:
            os.kill(status["keeper_pid"], signal.SIGTERM)
            output, _ = reader.communicate(timeout=LIMIT)
            assert int(output) < 0
        eventually(lambda: all(process_start(pid) is None for pid in status["pids"]), "every process has ended")
        assert find_mount(str(mount.path)) is None


def test_sigterm_unmounts_when_no_daemon_can_be_started_any_more(sticky_shop: Workshop) -> None:
    cache = sticky_shop.folder / "cache"
    with sticky_shop.mounted("--cache-dir", str(cache)) as mount:
        status = mount.status()
        spoil(cache, sticky_shop.folder / "away")
        os.kill(status["daemon_pid"], signal.SIGKILL)
        eventually(lambda: "before it served" in mount.log, "a daemon that followed has died")
        os.kill(status["keeper_pid"], signal.SIGTERM)
        eventually(lambda: process_start(status["keeper_pid"]) is None, "the keeper ends")
        assert find_mount(str(mount.path)) is None
