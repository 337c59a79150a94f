"""Starting and ending processes so that none of them outlives the benchmark."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

CHECKOUT = Path(__file__).resolve().parent.parent


class Interrupts:
    """Ctrl-C and SIGTERM, taken only where somebody waits or computes for long: never in the middle of cleaning up.

    Only the first one is taken. The handlers are the process's own, so there is one object for the process.
    """

    def __init__(self) -> None:
        self._seen = self._taken = False

    def install(self) -> None:
        signal.signal(signal.SIGINT, self._note)
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._seen = True

    def check(self) -> None:
        """Raises KeyboardInterrupt once after a signal came."""
        if self._seen and not self._taken:
            self._taken = True
            raise KeyboardInterrupt


interrupts = Interrupts()


class TimedOut(Exception):
    """Something did not happen within its limit; the message says what."""


def own_environment() -> dict[str, str]:
    """The environment in which `python -m benchmarks.…` and `python -m ossmount` mean those of this checkout."""
    path = os.pathsep.join(part for part in (str(CHECKOUT), os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "PYTHONPATH": path}


def wait_until(condition: Callable[[], bool], limit: float, what: str, *, interruptible: bool = True) -> None:
    """Polls the condition; raises TimedOut(what) after limit seconds. Clean-up waits uninterruptibly."""
    deadline = time.monotonic() + limit
    pause = 0.002
    while not condition():
        if interruptible:
            interrupts.check()
        if time.monotonic() > deadline:
            raise TimedOut(f"{what} within {limit:g} s")
        time.sleep(pause)
        pause = min(0.01, pause * 1.5)


def end(process: subprocess.Popen[bytes], grace: float = 5.0) -> None:
    """Ends a process that leads its own session: SIGTERM, after grace seconds SIGKILL to its whole group. Idempotent."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):  # what was not flushed has no reader any more
                stream.close()
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    with contextlib.suppress(ProcessLookupError):  # the group is empty: the good case
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def descendants(roots: list[int]) -> list[int]:
    """The processes and everything below them that is alive, from one pass over /proc."""
    children: dict[int, list[int]] = {}
    present: set[int] = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = stat_fields(int(entry))
            if fields:
                present.add(int(entry))
                children.setdefault(int(fields[1]), []).append(int(entry))
    found: list[int] = []
    waiting = [pid for pid in roots if pid in present]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.append(pid)
            waiting.extend(children.get(pid, []))
    return found


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie, which only waits for its parent, does not."""
    return stat_fields(pid)[:1] not in ([], ["Z"])


def stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat from the third field on (state, ppid, …), empty for a process that is gone (proc(5))."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text[text.rindex(")") + 2 :].split()


def kill_when_left(pids: list[int], limit: float) -> None:
    """Waits until processes that are not our children are gone; kills those that are left after limit seconds."""

    def left() -> list[int]:
        return [pid for pid in pids if alive(pid)]

    with contextlib.suppress(TimedOut):  # the others are killed below
        wait_until(lambda: not left(), limit, "", interruptible=False)
    for pid in left():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
