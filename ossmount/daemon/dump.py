"""SIGUSR2: what the daemon is just doing, written to its log. SIGUSR1: a log that says everything; once more: as it was.

The stacks of all threads are written by faulthandler, in C: also while a library holds the interpreter lock. What follows,
trio's tasks, requests in hand and counters, needs the main thread to be in Python, or in a system call that a signal
interrupts. Nothing here uses logging or sys.stderr: the signal may come in the middle of a log line.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType

import trio

#: Lines of one section of a dump.
Section = Callable[[], Iterable[str]]

_ROOT = str(Path(__file__).parents[2]) + "/"
_MACHINERY = "/trio/_core/"  # below every task that waits
_NAMES = 8  # tasks with the same stack that are named
_LOG = 2  # descriptor


@contextlib.contextmanager
def answering_signals(sections: Mapping[str, Section]) -> Iterator[None]:
    """Answers both signals until the block ends. To be entered by the main thread."""
    ours = logging.getLogger("ossmount")
    level = ours.level

    def toggle(_number: int, _frame: FrameType | None) -> None:
        ours.setLevel(level if ours.level == logging.DEBUG else logging.DEBUG)
        write([f"received SIGUSR1: the log level is {logging.getLevelName(ours.level).lower()} now"])

    def dump(_number: int, _frame: FrameType | None) -> None:
        write(["received SIGUSR2: this daemon's state; the stacks of its threads stand above"])
        for name, section in {"tasks": task_lines, **sections}.items():
            write([f"{name}:", *_guarded(section)])  # each by itself: a later one may wait for what is stuck

    before = {signal.SIGUSR1: signal.signal(signal.SIGUSR1, toggle), signal.SIGUSR2: signal.signal(signal.SIGUSR2, dump)}
    faulthandler.register(signal.SIGUSR2, _LOG, all_threads=True, chain=True)
    try:
        yield
    finally:
        faulthandler.unregister(signal.SIGUSR2)
        for number, handler in before.items():
            signal.signal(number, handler)


def write(lines: Iterable[str]) -> None:
    """To the log, whose first line gets the time. A log that is full or gone is no reason to fail."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime())
    with contextlib.suppress(OSError):
        os.write(_LOG, (f"{stamp} " + "\n  ".join(lines) + "\n").encode(errors="backslashreplace"))


def task_lines() -> Iterator[str]:
    """The stacks of trio's tasks, outermost call first; tasks that wait at the same place are told once."""
    try:
        root = trio.lowlevel.current_root_task()
    except RuntimeError:
        root = None
    if root is None:
        yield "no event loop runs"
        return
    alike: dict[tuple[str, ...], list[str]] = {}
    for task in _descendants(root):
        frames = [(frame, line) for frame, line in task.iter_await_frames() if _MACHINERY not in frame.f_code.co_filename]
        stack = tuple(_place(frame, line) for frame, line in frames)
        alike.setdefault(stack, []).append(task.name)
    for stack, names in alike.items():
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        yield f"{len(names)} × {', '.join(names[:_NAMES])}{more}"
        yield from (f"    {place}" for place in stack)


def tree_lines(values: Mapping[str, object]) -> Iterator[str]:
    """One line for each part of the counters and facts that `ossmount status` shows."""
    for name, value in values.items():
        yield f"{name}: {json.dumps(value, default=str)}"


def _descendants(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    yield task
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _descendants(child)


def _place(frame: FrameType, line: int) -> str:
    file = frame.f_code.co_filename.removeprefix(_ROOT).rpartition("site-packages/")[2]
    return f"{file}:{line} {frame.f_code.co_name}"


def _guarded(section: Section) -> list[str]:
    """A state in which something cannot be told is the very one in which all else must be."""
    lines: list[str] = []
    try:
        lines.extend(section())
    except Exception as failure:
        lines.append(f"cannot be told: {failure!r}")
    return lines
