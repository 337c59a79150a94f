"""A daemon dies at any moment of a restart, its own or the one that follows it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from ossmount.control.registry import process_start
from ossmount.exit_codes import ExitCode
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


#: A keeper that dies just before (just after) it has passed the device on.
DYING = """
from ossmount.keeper import handover
passing = handover.Handover.end
def end(self, *given, **inheritance):
    {after}passing(self, *given, **inheritance)
    __import__("os").kill(__import__("os").getpid(), 9)
handover.Handover.end = end
"""
#: `ossmount` with such a keeper; whoever starts another keeper starts a usual one.
COMMAND = """
import sys
from ossmount.daemon import keeping
head, _, tail = keeping._START.partition("code = ")
keeping._START = head + {dying!r} + "code = " + tail
from ossmount.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize("after", ["", "# "], ids=["after", "before"])
def test_the_keeper_dies_while_it_holds_the_device_alone(
    plain_shop: Workshop, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon that has left saves the mount, unless the other one has it already."""
    fill(plain_shop)
    code = COMMAND.format(dying=f"exec({DYING.format(after=after)!r}); ")
    with monkeypatch.context() as patched:
        patched.setattr(plain_shop, "words", lambda arguments: [sys.executable, "-c", code, *arguments])
        patched.setattr(plain_shop, "run", plain_shop.run_anew)
        entering = plain_shop.mounted()
        mount = entering.__enter__()
    with contextlib.ExitStack() as stack:
        stack.push(entering.__exit__)
        seen = stack.enter_context(readers(mount, 2))
        old, keeper = another_daemon(mount), keeper_of(mount)
        restart = plain_shop.run("restart", str(mount.path))
        assert restart.returncode == ExitCode.UNEXPECTED, restart.stderr
        gone({old, keeper})
        assert another_daemon(mount, old) and keeper_of(mount) not in (0, keeper)
        assert mount.log.count("died before another daemon had the connection") == (1 if after else 0)
        os.listdir(mount.path)
        assert plain_shop.run("restart", str(mount.path)).returncode == 0
    check(seen)
