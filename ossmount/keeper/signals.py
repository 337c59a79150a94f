"""The signals that a keeper takes: the wish to end, and what it passes on to the daemon (ossmount.daemon.dump)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2)


def catch(watch: Callable[[int, Callable[[], None]], None], take: Callable[[int], None]) -> None:
    """Gives all of them to take(), in the loop. Whatever was inherited: a shell's background jobs start with SIGINT ignored."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    for number in (*STOP_SIGNALS, *PASSED_ON):
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(writing)

    def read() -> None:
        for number in os.read(reading, 64):
            take(number)

    watch(reading, read)
