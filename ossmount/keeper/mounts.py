"""The mount table, and taking a mount away that has no daemon any more."""

from __future__ import annotations

import os
import signal
import time

from ossmount.keeper.guard import Guard
from ossmount.keeper.report import log

_LIMIT = 5.0  # seconds for one command
_LOOK = 0.01  # seconds between two looks at it
_ESCAPES = ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\043", "#"), (r"\134", "\\"))


def device_at(mountpoint: str) -> str:
    """MAJOR:MINOR of what is mounted there, on top; "" for nothing. Never touches it. Source: proc_pid_mountinfo(5)."""
    found = ""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split(" ")
            place = fields[4]
            for written, meant in _ESCAPES:
                place = place.replace(written, meant)
            if place == mountpoint:
                found = fields[2]
    return found


def detach(mountpoint: str, device: str, commands: list[list[str]], guard: Guard | None) -> None:
    """Detaches our mount, and not what somebody else has mounted there since: by the first command that succeeds.

    guard: who has mounted it, where commands may not.
    """
    if guard is not None:
        guard.take_away()
        commands = []
    for words in commands:
        if device_at(mountpoint) != device:
            return
        try:
            pid = os.posix_spawn(words[0], words, os.environ)
        except OSError:
            continue
        end = time.monotonic() + _LIMIT
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                break
            time.sleep(_LOOK)
    if device_at(mountpoint) == device:
        log(f"{mountpoint} could not be unmounted: it answers ENOTCONN until it is", "ERROR")
