"""Taking a mount away that has no daemon any more."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable

from ossmount.keeper.report import log
from ossmount.keeper.table import device_at

_LIMIT = 5.0  # seconds for one command
_LOOK = 0.01  # seconds between two looks at it
<<<<<<< HEAD
=======


def topmost(mountpoint: str, table: str = "/proc/self/mountinfo") -> tuple[int, str]:
    """Number and MAJOR:MINOR of what is mounted there, on top; 0 and "" for nothing. Never touches it.

    Source: proc_pid_mountinfo(5).
    """
    found = 0, ""
    with open(table, "rb") as file:
        for line in file:
            number, _, device, _, path, *_ = line.split(b" ")
            path = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), path)
            if path == os.fsencode(mountpoint):
                found = int(number), device.decode()
    return found
>>>>>>> main


def detach(mountpoint: str, device: str, commands: list[list[str]], take_away: Callable[[], object] | None) -> None:
    """Detaches our mount, and not what somebody else has mounted there since: by the first command that succeeds.

    take_away: what does it where commands may not.
    """
    if take_away is not None:
        take_away()
        commands = []
    for words in commands:
        if topmost(mountpoint)[1] != device:
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
    if topmost(mountpoint)[1] == device:
        log(f"{mountpoint} could not be unmounted: it answers ENOTCONN until it is", "ERROR")
