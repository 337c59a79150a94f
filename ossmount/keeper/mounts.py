"""The mount table, and taking a mount away that has no daemon any more."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator

from ossmount.keeper.report import log

_TABLE = "/proc/self/mountinfo"
_LIMIT = 5.0  # seconds for one command
_LOOK = 0.01  # seconds between two looks at it


def topmost(mountpoint: str, table: str = _TABLE) -> tuple[int, str]:
    """Number and MAJOR:MINOR of what is mounted there, on top; 0 and "" for nothing. Never touches it.

    Source: proc_pid_mountinfo(5).
    """
    found = 0, ""
    for fields in _lines_of(mountpoint, table):
        found = int(fields[0]), fields[2].decode()
    return found


def is_automounted(mountpoint: str, table: str = _TABLE) -> bool:
    """Whether an automounter waits there (systemd.automount(5), automount(8)).

    It lets the processes of its own process group look below its trap and mount there; any other one that touches the place
    starts another mount and waits for it. So whatever of ours touches it stays in the group that it was started in. Source:
    Documentation/filesystems/autofs.rst of the kernel, "Communicating with autofs: detecting the daemon".
    """
    return any(fields[fields.index(b"-") + 1] == b"autofs" for fields in _lines_of(mountpoint, table))


def _lines_of(mountpoint: str, table: str) -> Iterator[list[bytes]]:
    """The fields of all that is mounted at exactly this place, the topmost last."""
    with open(table, "rb") as file:
        for line in file:
            fields = line.split(b" ")
            path = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), fields[4])
            if path == os.fsencode(mountpoint):
                yield fields


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
