"""How a mount starts, serves and ends: the one nursery that everything runs in.

Tasks: one for each component, one for the channel, one for signals, one that waits for the wish to stop. Whichever fails
cancels the others.

- Before the mount answers, every failure takes the mount away again.
- Once it answers, a wish to stop (a signal, `ossmount umount`) detaches it, waits a moment for readers, and ends.
- With a keeper, daemons follow one another on one mount: what goes wrong before one serves is then no reason to take the mount
  away, and one that is asked to leave ends without touching it.
- A component that fails leaves the mount broken (ENOTCONN) instead of taking it away: under the mountpoint lies an empty
  folder, and a job that sees that one would believe that the data set is gone.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from ossmount.channel.interface import Leaver, Mounter
from ossmount.channel.mounting import Mount, find_mount, unmount
from ossmount.daemon.components import Component, Parts
from ossmount.exit_codes import CommandError, ExitCode

log = logging.getLogger(__name__)

_GRACE = 15.0  # seconds for the channel to end after unmount(); it gives readers a shorter time of its own
_CHECK = 30.0  # seconds for the first answer of the mounted root
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Heir(Protocol):
    """What the lifecycle needs to know of a keeper (ossmount.daemon.kept.Kept)."""

    @property
    def inherits(self) -> bool: ...

    async def prepared(self) -> None: ...

    @property
    def mounter(self) -> Mounter | None: ...

    def end(self) -> None: ...


class Lifecycle:
    """One mount from start to end."""

    def __init__(
        self,
        parts: Parts,
        mountpoint: str,
        *,
        kept: Heir | None = None,
        grace: float = _GRACE,
        stopping: Callable[[], None] = lambda: None,
    ) -> None:
        """stopping: called when an orderly end is asked for."""
        self._parts = parts
        self._stopping = stopping
        self._kept = kept
        self.left = False  # the mount is another daemon's
        self._mountpoint = mountpoint
        self._grace = grace
        self._stop = trio.Event()
        self._release = trio.Event()  # no (further) waiting for readers
        self._ready = False
        self._starting: list[trio.Event] = []  # of components that readers need not wait for
        self._serving: trio.CancelScope | None = None
        self._mount: Mount | None = None  # what we mounted, as the mount table showed it

    def stop(self, why: str) -> None:
        """Asks for an orderly end; the second time without waiting for readers."""
        log.info("stopping: %s", why)
        if self._stop.is_set():
            self._release.set()
        self._stop.set()
        self._stopping()

    def leave(self) -> None:
        """Ends without ending the mount, which another daemon goes on with."""
        if self._ready and isinstance(self._parts.channel, Leaver):
            self.left = True
            self._parts.channel.leave()

    async def run(self, ready: Callable[[], Awaitable[None]]) -> None:
        """Serves until the file system is unmounted or stop() was called. ready is awaited once the mount answers.

        Raises what made it fail; grouped as trio does.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self._watch_signals)
            nursery.start_soon(self._wait_for_stop)
            await self._start_components(ready)
            nursery.cancel_scope.cancel()

    async def _start_components(self, ready: Callable[[], Awaitable[None]]) -> None:
        """Starts the components one after the other, then serves; they end together when the channel has ended.

        The source is verified beside the early ones (a process starts as long as OSS takes to answer), before all others.
        """
        async with trio.open_nursery() as components:
            async with trio.open_nursery() as verification:
                verification.start_soon(self._parts.verify)
                for name, component, early in self._parts.components:
                    if early and self._inherits:
                        # it takes what it is asked for before it has started; readers wait for everything else
                        components.start_soon(self._start_beside, components, name, component)
                    elif early:
                        await components.start(self._run_component, name, component)
            for name, component, early in self._parts.components:
                if not early:
                    await components.start(self._run_component, name, component)
            if self._kept is not None:
                await self._kept.prepared()
            try:
                await self._serve(ready)
            finally:
                if self._stop.is_set() or not (self._ready or self._inherits):
                    with trio.CancelScope(shield=True):
                        await self._take_away()
                    if self._kept is not None:
                        self._kept.end()
            components.cancel_scope.cancel()

    async def _start_beside(self, components: trio.Nursery, name: str, component: Component) -> None:
        started = trio.Event()
        self._starting.append(started)
        await components.start(self._run_component, name, component)
        started.set()

    @property
    def _inherits(self) -> bool:
        return self._kept is not None and self._kept.inherits

    async def _run_component(
        self, name: str, component: Component, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        try:
            await component.run(task_status.started)
        except Exception:
            log.error("%s failed; the mount ends", name)
            raise
        raise CommandError(ExitCode.UNEXPECTED, f"{name} ended by itself; the mount ends")

    async def _serve(self, ready: Callable[[], Awaitable[None]]) -> None:
        """Runs the channel, and checks that the mount answers before it is called ready."""
        answered = trio.Event()

        def initialized() -> None:
            self._mount = find_mount(self._mountpoint)
            answered.set()

        async with trio.open_nursery() as nursery:
            self._serving = nursery.cancel_scope
            nursery.start_soon(self._announce, answered, ready)
            await self._parts.channel.serve(initialized)
            nursery.cancel_scope.cancel()
        self._release.set()
        if not self._ready:
            why = "stopped" if self._stop.is_set() else f"{self._mountpoint} was unmounted"
            raise CommandError(ExitCode.UNEXPECTED, f"{why} before the mount was ready")
        log.info("%s is %s", self._mountpoint, "another daemon's now" if self.left else "no longer mounted")

    async def _take_away(self) -> None:
        """Detaches what we mounted, if it is still there, after the channel has ended: for an end that was not orderly."""
        there = find_mount(self._mountpoint)
        if self._mount is None or there is None or there.device != self._mount.device:
            return
        mounter = None if self._kept is None else self._kept.mounter
        if mounter is None:
            await trio.to_thread.run_sync(functools.partial(unmount, self._mountpoint, lazy=True))
            return
        try:
            await mounter.detach()
        except OSError as failure:
            log.warning("%s could not be unmounted: %s", self._mountpoint, failure.strerror)

    async def _announce(self, answered: trio.Event, ready: Callable[[], Awaitable[None]]) -> None:
        await answered.wait()
        if not self._inherits:  # it has answered before, and may have been detached since
            await self._check()
        for started in self._starting:
            await started.wait()
        self._ready = True
        await ready()
        log.info("%s is %s", self._mountpoint, "taken over" if self._inherits else "mounted")

    async def _check(self) -> None:
        """Whether the kernel shows our root at the mountpoint, asked as every user would ask.

        In a thread, and given up when it takes too long: the event loop is what answers it.
        """
        try:
            with trio.fail_after(_CHECK):
                await trio.to_thread.run_sync(os.stat, self._mountpoint, abandon_on_cancel=True)
        except trio.TooSlowError:
            raise CommandError(
                ExitCode.UNEXPECTED, f"{self._mountpoint} is mounted but does not answer within {_CHECK:g} s"
            ) from None
        except PermissionError:
            log.info("the mount belongs to another user; its first answer is not checked")

    async def _watch_signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Handlers of our own, whatever was inherited: a shell's background jobs start with SIGINT ignored."""
        with trio.open_signal_receiver(*_SIGNALS) as received:
            task_status.started()
            async for number in received:
                self.stop(f"received {signal.Signals(number).name}")

    async def _wait_for_stop(self) -> None:
        await self._stop.wait()
        if self._serving is None:
            raise CommandError(ExitCode.UNEXPECTED, "stopped before the mount was ready")
        self._parts.channel.unmount()
        with trio.move_on_after(self._grace):
            await self._release.wait()
        self._serving.cancel()
