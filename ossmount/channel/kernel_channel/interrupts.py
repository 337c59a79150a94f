"""Which INTERRUPT to honour.

The kernel sends INTERRUPT for every signal that a waiting process gets, also for those it handles and goes on after
(timers, profilers, SIGCHLD). Programs written for local disks do not expect EINTR from read(2) of a file, and a page fault
that fails with EINTR is SIGBUS. So a READ is given up only when its process is about to die, as on a local disk; other
requests also for the signals by which a person asks a program to stop. Source: proc_pid_status(5), signal(7).
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NamedTuple


def _mask(*signals: int) -> int:
    return sum(1 << (number - 1) for number in signals)


# Signals whose default action is not to end the process.
_HARMLESS = _mask(
    signal.SIGCHLD,
    signal.SIGCONT,
    signal.SIGURG,
    signal.SIGWINCH,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGSTOP,
)
_STOP = _mask(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL)


class Signals(NamedTuple):
    """What a waiting thread has to expect."""

    dying: bool  # a pending signal will end the process
    stopping: bool  # or one is pending by which programs are asked to end


def parse_status(text: str) -> Signals:
    """The signals in /proc/PID/status: pending ones that are neither blocked nor ignored."""
    masks = dict.fromkeys(("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"), 0)
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name in masks:
            masks[name] = int(value, 16)
    pending = (masks["SigPnd"] | masks["ShdPnd"]) & ~masks["SigBlk"] & ~masks["SigIgn"]
    deadly = pending & ~masks["SigCgt"] & ~_HARMLESS
    return Signals(bool(deadly), bool(deadly or pending & _STOP))


def signals_of(pid: int) -> Signals:
    """The signals of a thread; of one that is gone: dying; of one that cannot be seen: stopping at most."""
    if pid == 0:  # it lives in another pid namespace
        return Signals(False, True)
    try:
        return parse_status(Path(f"/proc/{pid}/status").read_bytes().decode(errors="replace"))
    except (FileNotFoundError, ProcessLookupError):
        return Signals(True, True)
    except PermissionError:
        return Signals(False, True)
