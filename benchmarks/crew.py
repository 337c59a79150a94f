"""Runs several reader processes at once, from one starting shot, under one time limit."""

from __future__ import annotations

import array
import contextlib
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.processes import TimedOut, end, interrupts, own_environment
from benchmarks.worker import Result, Task


class Outcome(NamedTuple):
    """What a crew did together."""

    operations: int
    bytes_: int
    seconds: float  # from the first start to the last end
    latencies: array.array[int]  # nanoseconds, of all readers
    errors: tuple[str, ...]


def run(tasks: Sequence[Task], limit: float, go: Callable[[], None] = lambda: None) -> Outcome:
    """Starts a process for each task, calls go() once all are ready, lets them run, and adds up.

    Raises TimedOut after limit seconds. A reader that hangs in the kernel outlives this call until its mount is aborted.
    """
    deadline = time.monotonic() + limit
    with contextlib.ExitStack() as stack:
        readers = [_start(stack, task) for task in tasks]
        lines = [_Lines(reader) for reader in readers]
        _gather(lines, 1, deadline)
        go()
        for reader in readers:
            _send(reader, "go\n")
        _gather(lines, 2, deadline)
        return add_up([Result.from_json(each.received[1]) for each in lines])


def add_up(results: Sequence[Result]) -> Outcome:
    latencies: array.array[int] = array.array("Q")
    for result in results:
        latencies.extend(result.latencies)
    return Outcome(
        sum(result.operations for result in results),
        sum(result.bytes_ for result in results),
        (max(result.ended_ns for result in results) - min(result.began_ns for result in results)) / 1e9,
        latencies,
        tuple(result.error for result in results if result.error),
    )


def _start(stack: contextlib.ExitStack, task: Task) -> subprocess.Popen[bytes]:
    reader = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=own_environment(),
        start_new_session=True,
    )
    stack.callback(_abandon, reader)
    _send(reader, task.to_json() + "\n")
    return reader


def _abandon(reader: subprocess.Popen[bytes]) -> None:
    """Ends a reader; one in an uninterruptible read dies when its mount is aborted and must not be waited for here."""
    if reader.poll() is None:
        reader.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            reader.wait(1.0)
    if reader.poll() is not None:
        end(reader)


def _send(reader: subprocess.Popen[bytes], text: str) -> None:
    assert reader.stdin is not None
    reader.stdin.write(text.encode())
    reader.stdin.flush()


class _Lines:
    """The lines that a reader wrote so far."""

    def __init__(self, reader: subprocess.Popen[bytes]) -> None:
        assert reader.stdout is not None
        self.descriptor = reader.stdout.fileno()
        self.received: list[str] = []
        self._rest = b""

    def take(self) -> None:
        data = os.read(self.descriptor, 1 << 20)
        if not data:
            raise RuntimeError("a reader process ended before its result; its messages stand above")
        *whole, self._rest = (self._rest + data).split(b"\n")
        self.received += [line.decode() for line in whole]


def _gather(lines: Sequence[_Lines], wanted: int, deadline: float) -> None:
    """Reads until every reader wrote that many lines."""
    with selectors.DefaultSelector() as selector:
        missing = [each for each in lines if len(each.received) < wanted]
        for each in missing:
            selector.register(each.descriptor, selectors.EVENT_READ, each)
        while selector.get_map():
            interrupts.check()
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimedOut(f"{len(selector.get_map())} of {len(lines)} readers did not end in time")
            for key, _ in selector.select(min(left, 0.1)):
                each = key.data
                each.take()
                if len(each.received) >= wanted:
                    selector.unregister(each.descriptor)
