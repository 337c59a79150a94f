"""A daemon dies at any moment of a restart, its own or the one that follows it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time

import pytest

from ossmount.control.registry import process_start
from tests.mount.support import LIMIT, Workshop, eventually
from tests.mount.test_keeper import another_daemon, check, children, daemon_of, fill, keeper_of, readers

STEPS = 16
LONGEST = 2.0  # seconds from the command to the death; a restart takes about one


def new_daemon(keeper: int, old: int, restart: subprocess.Popen[bytes]) -> None:
    eventually(lambda: children(keeper) - {old} or restart.poll() is not None, "a new daemon starts")


def gone(pids: set[int]) -> None:
    eventually(lambda: all(process_start(pid) is None for pid in pids), "they are dead")


@pytest.mark.stress
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("who", ["old", "new"])
def test_a_daemon_dies_at_any_moment_of_a_restart(plain_shop: Workshop, who: str) -> None:
    """Whatever the restart says, somebody serves afterwards, and readers have seen nothing of it."""
    moments = [LONGEST * step / STEPS for step in range(STEPS)]
    random.Random(who).shuffle(moments)
    ended = []
    fill(plain_shop)
    with plain_shop.mounted() as mount, readers(mount, 2) as seen:
        for moment in moments:
            old, keeper = another_daemon(mount), keeper_of(mount)
            words = plain_shop.words(["restart", str(mount.path)])
            with subprocess.Popen(words, env=plain_shop.environment, stderr=subprocess.DEVNULL) as restart:
                try:
                    if who == "new":
                        new_daemon(keeper, old, restart)
                    time.sleep(moment)
                    victims = {old} if who == "old" else children(keeper) - {old}
                    for victim in victims:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(victim, signal.SIGKILL)
                    ended.append(restart.wait(2 * LIMIT))
                finally:
                    restart.kill()
            gone(victims)
            another_daemon(mount, *victims)
        assert daemon_of(mount) and keeper_of(mount) == keeper
    check(seen)
    print(f"restarts that succeeded, by when the {who} daemon died: {sorted(zip(moments, ended, strict=True))}")
