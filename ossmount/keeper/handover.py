"""From one living daemon to another: who leaves keeps the device until who takes it has it.

A pipe tells: its writing end travels with the device, and who has both writes into it. If it ends without that, the keeper died
in between, and who has left is the only one that can save the mount (ossmount.daemon.kept).
"""

from __future__ import annotations

import os
import time

from ossmount.keeper.daemon import Daemon

LEAVING = 3.0  # seconds to leave the connection to a replacement


class Handover:
    """Of one keeper; at most one at a time."""

    def __init__(self) -> None:
        self.due = 0.0  # when a daemon is to have left; 0: none was told to
        self._writing = -1

    def __repr__(self) -> str:
        return f"<Handover due={self.due}>"

    def begin(self, leaving: Daemon) -> None:
        self.close()
        self.due = time.monotonic() + LEAVING
        reading, self._writing = os.pipe()
        leaving.tell("leave", (reading,))
        os.close(reading)

    def end(self, taking: Daemon, device: int, **inheritance: object) -> None:
        """Gives the device away; also where nobody was told to leave, since he is dead."""
        taking.tell("take", (device, self._writing) if self._writing >= 0 else (device,), **inheritance)
        self.close()

    def close(self) -> None:
        """Nobody is to leave any more, or nobody takes it."""
        self.due = 0.0
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1
