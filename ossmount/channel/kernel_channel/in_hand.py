"""The requests that are in hand: READs that the filesystem has, and coroutines of it that run in tasks.

Also what may still happen to them: an INTERRUPT, or the same request once more under another number (after FUSE_NOTIFY_RESEND).
Everything runs on the event loop's thread.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import trio

from ossmount.channel.interface import Ended
from ossmount.channel.kernel_channel import interrupts
from ossmount.channel.kernel_channel.handlers import Handlers, PendingRead
from ossmount.channel.kernel_channel.protocol import UNIQUE_RESEND

REWATCH = 0.25  # seconds between looks at a process whose signal did not end its request
SHOWN = 256  # requests of each kind in a dump
DRAINING = 0.005  # seconds between looks at whether all are answered


class _Task:
    """A coroutine of the filesystem that answers a request."""

    __slots__ = ("began", "pid", "request", "scope", "unique")

    def __init__(self, unique: int, pid: int, request: Ended, began: float) -> None:
        self.unique = unique
        self.pid = pid  # of the thread that waits
        self.request = request
        self.began = began
        self.scope = trio.CancelScope()


class InHand:
    """What one connection owes the kernel. `reads` and `tasks` are by the number of the request."""

    def __init__(self) -> None:
        self.tasks: dict[int, _Task] = {}
        self.reads: dict[int, PendingRead] = {}
        self._handlers: Handlers | None = None
        self._nursery: trio.Nursery | None = None

    def __len__(self) -> int:
        return len(self.tasks) + len(self.reads)

    def attach(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self.reads = handlers.reads

    def run_in(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def start(self, unique: int, work: Coroutine[Any, Any, Any], finish: Callable[[int, Any], None]) -> None:
        """Runs a coroutine in a task and answers the request in the buffer with its result."""
        assert self._nursery is not None and self._handlers is not None
        handlers = self._handlers
        task = _Task(unique, handlers.requester(), handlers.request_in_buffer(), handlers.clock())
        handlers.observed.pended += 1
        self.tasks[unique] = task
        self._nursery.start_soon(self._run, task, work, finish)

    async def _run(self, task: _Task, work: Coroutine[Any, Any, Any], finish: Callable[[int, Any], None]) -> None:
        assert self._handlers is not None
        handlers, request, code = self._handlers, task.request, 0
        try:
            with task.scope:
                result = await work
            if task.scope.cancelled_caught:
                code = errno.EINTR
                handlers.device.error(task.unique, code)
            else:
                finish(task.unique, result)
        except Exception as failure:
            code = handlers.fail(task.unique, failure, request.node)
        finally:
            del self.tasks[task.unique]
        handlers.observed.ended(request._replace(seconds=handlers.clock() - task.began, errno=code))

    def renumber(self, unique: int) -> bool:
        """The kernel sends a request again, under this number; True when it is in hand: its answer goes to the new number."""
        former = unique & ~UNIQUE_RESEND
        for known in (unique, former):
            read = self.reads.pop(known, None)
            if read is not None:
                read.unique = unique
                self.reads[unique] = read
                return True
            task = self.tasks.pop(known, None)
            if task is not None:
                task.unique = unique
                self.tasks[unique] = task
                return True
        return False

    async def drain(self, limit: float) -> None:
        """Waits until everything is answered, for `limit` seconds at most."""
        with trio.move_on_after(limit):
            while len(self):
                await trio.sleep(DRAINING)

    def oldest(self) -> tuple[int, int]:
        """The READ and the other request that are in hand longest (ossmount.channel.interface.Owed)."""
        return next(iter(self.reads), 0), next(iter(self.tasks), 0)  # dicts: in the order in which they came

    def give_up(self, number: int) -> None:
        """Answers with ETIMEDOUT; an answer that comes later is lost."""
        read = self.reads.get(number)
        if read is not None:
            read.give_up(errno.ETIMEDOUT)
        task = self.tasks.get(number)
        if task is not None and self._handlers is not None:
            self._handlers.device.error(number, errno.ETIMEDOUT)
            task.scope.cancel()

    def lines(self) -> Iterator[str]:
        for number, read in list(self.reads.items())[:SHOWN]:
            yield f"READ {number} of thread {read.pid}: node {read.node}, offset {read.offset}"
        for number, task in list(self.tasks.items())[:SHOWN]:
            yield f"{task.request.operation} {number} of thread {task.pid}: node {task.request.node}"
        yield f"{len(self.reads)} READs and {len(self.tasks)} other requests in hand"

    def interrupt(self, unique: int) -> None:
        """The kernel interrupts a request."""
        assert self._nursery is not None
        if not self._honour(unique):
            self._nursery.start_soon(self._watch, unique)

    def _honour(self, unique: int) -> bool:
        """Gives a request up if its process wants to end; True when there is nothing more to do about it."""
        read = self.reads.get(unique)
        if read is not None:
            if not interrupts.signals_of(read.pid).dying:
                return False
            read.give_up(errno.EINTR)
        task = self.tasks.get(unique)
        if task is not None:
            if not interrupts.signals_of(task.pid).stopping:
                return False
            task.scope.cancel()
        return True

    async def _watch(self, unique: int) -> None:
        """The kernel interrupts a request only once; a later signal may be the one that ends its process."""
        while not self._honour(unique):
            await trio.sleep(REWATCH)
