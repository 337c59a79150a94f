"""Daemons that die, hang or are replaced, while their mount is read."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ossmount.control.registry import process_start
from tests.mount import keeper_reader
from tests.mount.keeper_reader import content
from tests.mount.support import BUCKET, LIMIT, Mount, Workshop, eventually

FILES = [f"train/{number // 40}/{number:03d}.bin" for number in range(120)]
LARGE = "large.bin"
SIZES = {name: 30_000 + 911 * index for index, name in enumerate(FILES)}


def fill(shop: Workshop, large: int = 24 << 20) -> None:
    for name, size in {**SIZES, LARGE: large}.items():
        shop.server.store.put(BUCKET, name.encode(), content(name, 0, size))


def daemon_of(mount: Mount) -> int:
    """The daemon that serves now; 0 while none does."""
    done = mount.workshop.run("status", str(mount.path), "--json")
    status: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"state": "gone"}
    return int(status["daemon_pid"]) if status["state"] == "serving" else 0


def another_daemon(mount: Mount, *former: int) -> int:
    """Waits for a daemon that is none of these."""
    eventually(lambda: daemon_of(mount) not in (0, *former), "another daemon serves")
    return daemon_of(mount)


@contextlib.contextmanager
def readers(mount: Mount, count: int) -> Iterator[list[dict[str, Any]]]:
    """Processes that read all small files, and one that reads the large one; what they saw, once they have ended."""
    words = [sys.executable, "-I", keeper_reader.__file__, str(mount.path)]
    names = [FILES] * count + [[LARGE]]
    seen: list[dict[str, Any]] = []
    processes = [
        subprocess.Popen([*words, str(index), *each], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for index, each in enumerate(names)
    ]
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
    done = mount.workshop.run("status", str(mount.path), "--json")
    status = json.loads(done.stdout)
    return int(status["counters"]["kernel"].get("READ", 0)) if status["state"] == "serving" else 0


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
    with plain_shop.mounted() as mount, readers(mount, 8) as seen:
        pids = kill_again_and_again(mount, 50)
    check(seen)
    print(f"longest pauses with kill -9: {sorted(reader['longest'] for reader in seen)}")
    with plain_shop.mounted() as mount, readers(mount, 8) as seen:
        pids = [another_daemon(mount)]
        for _ in range(10):
            eventually(lambda: requests(mount) > 20, "the daemon serves readers")
            done = plain_shop.run("restart", str(mount.path))
            assert done.returncode == 0, done.stderr
            pids.append(another_daemon(mount, *pids))
    check(seen)
    print(f"longest pauses with restart: {sorted(reader['longest'] for reader in seen)}")
