"""Taking a mount away that has no daemon any more."""

from __future__ import annotations

import os
import signal
import time

from ossmount.keeper.mounting import Mounting
from ossmount.keeper.report import log
from ossmount.keeper.table import device_at

_LIMIT = 5.0  # seconds for one command
_LOOK = 0.01  # seconds between two looks at it


def detach(mountpoint: str, device: str, commands: list[list[str]], mounting: Mounting | None) -> None:
    """Detaches our mount, and not what somebody else has mounted there since: by the first command that succeeds.

    mounting: who has mounted it, where commands may not.
    """
    if mounting is not None:
        mounting.take_away()
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
