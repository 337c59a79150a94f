"""What Kubernetes asks the containers of a node's mounts, each a short command: health, ready, drained."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from ossmount.node.run import Wanted

_DRAINING = "draining"  # a file of the state directory, there while a keeper drains its mounts
_NOTICE = 3.0  # seconds between the ends of two containers of a pod, at most: both are told at the same time
_LOOK = 0.2  # seconds


def ask(mounts: list[Wanted], question: str) -> int:
    """`ossmount status --health` or `--ready` of all mounts: the first exit code that is not 0."""
    for each in mounts:
        code = subprocess.run([sys.executable, "-m", "ossmount", "status", question, each.mountpoint], check=False).returncode
        if code:
            return code
    return 0


class Draining:
    """The time in which a keeper waits for its readers, as the other container sees it."""

    def __init__(self, state: str) -> None:
        self._path = os.path.join(state, _DRAINING)

    def __enter__(self) -> None:
        with open(self._path, "w", encoding="ascii") as file:
            file.write(str(os.getpid()))

    def __exit__(self, *error: object) -> None:
        os.unlink(self._path)


def drained(state: str, limit: float) -> int:
    """Waits until a keeper that drains has done so, for so many seconds; at once when none does: daemons are replaced then."""
    path = os.path.join(state, _DRAINING)
    begin = time.monotonic()
    while not os.path.exists(path):
        if time.monotonic() > begin + _NOTICE:
            return 0
        time.sleep(_LOOK)
    while os.path.exists(path):
        if time.monotonic() > begin + limit:
            return 1
        time.sleep(_LOOK)
    return 0
