from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from ossmount.channel.mounting import Mount
from ossmount.daemon.components import Component, Named, Parts
from ossmount.daemon.failures import command_error
from ossmount.daemon.lifecycle import Lifecycle
from ossmount.exit_codes import CommandError, ExitCode

LIMIT = 30.0  # seconds, against hanging only


class FakeChannel:
    """A channel whose mount is a flag. `busy`: unmount() detaches it, but its readers go on."""

    last: FakeChannel | None = None

    def __init__(self, *, busy: bool = False, failure: Exception | None = None) -> None:
        self.busy = busy
        self.failure = failure
        self.mounted = False
        self.unmounts = 0
        self.ended = trio.Event()
        self.cancelled = False
        FakeChannel.last = self

    async def serve(self, ready: Callable[[], None]) -> None:
        if self.failure is not None:
            raise self.failure
        self.mounted = True
        ready()
        try:
            await self.ended.wait()
        except trio.Cancelled:
            self.cancelled = True
            raise

    def unmount(self) -> None:
        self.unmounts += 1
        if self.mounted:
            self.mounted = False
            if not self.busy:
                self.ended.set()

    def facts(self) -> dict[str, object]:
        return {}

    def invalidate_entry(self, parent: int, name: bytes) -> None: ...

    def invalidate_node(self, node: int) -> None: ...

    def after_invalidations(self, then: Callable[[], None]) -> None: ...

    async def known(self, nodes: Sequence[int]) -> Sequence[int]:
        return nodes

    async def caught_up(self) -> None: ...


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> FakeTable:
    """The mount table as the lifecycle sees it."""
    table = FakeTable()
    monkeypatch.setattr("ossmount.daemon.lifecycle.find_mount", table.find)
    monkeypatch.setattr("ossmount.daemon.lifecycle.unmount", table.unmount)
    return table


class FakeTable:
    """Shows the mount of the channel that runs in the test while it is mounted, else what others have mounted there."""

    def __init__(self) -> None:
        self.other: Mount | None = None
        self.unmounts = 0

    def find(self, mountpoint: str) -> Mount | None:
        channel = FakeChannel.last
        mounted = channel is not None and channel.mounted
        return Mount(mountpoint, "0:99", "fuse.ossmount", "x") if mounted else self.other

    def unmount(self, mountpoint: str, *, lazy: bool) -> None:
        assert lazy and FakeChannel.last is not None
        self.unmounts += 1
        FakeChannel.last.mounted = False


class FakeComponent:
    """Starts, and ends or fails when it is told to."""

    def __init__(self, failure: Exception | None = None, *, starts: bool = True) -> None:
        self.failure = failure
        self.starts = starts
        self.running = False
        self.end = trio.Event()

    async def run(self, started: Callable[[], None]) -> None:
        if not self.starts:
            raise self.failure or AssertionError
        self.running = True
        started()
        try:
            await self.end.wait()
            if self.failure is not None:
                raise self.failure
        finally:
            self.running = False


async def right() -> None:
    await trio.lowlevel.checkpoint()


def parts(channel: FakeChannel, *components: Component, verify: Callable[[], Awaitable[None]] = right) -> Parts:
    named = tuple(Named(f"part {number}", component) for number, component in enumerate(components))
    return Parts(verify, named, channel, "asked for", list, dict, {})


def run(
    lifecycle: Lifecycle, once_ready: Callable[[], Awaitable[None]] = right, clock: MockClock | None = None
) -> CommandError | None:
    """Runs it to its end; how it failed."""

    async def main() -> None:
        if clock is not None:
            await lifecycle.run(once_ready)
            return
        with trio.fail_after(LIMIT):
            await lifecycle.run(once_ready)

    try:
        trio.run(main, clock=clock)
    except BaseException as failure:
        return command_error(failure)
    return None


@pytest.fixture(autouse=True)
def signals_are_restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before


def test_an_unmount_from_outside_is_an_orderly_end(tmp_path: Path) -> None:
    channel, component = FakeChannel(), FakeComponent()

    async def once_ready() -> None:
        assert component.running
        channel.mounted = False
        channel.ended.set()

    assert run(Lifecycle(parts(channel, component), str(tmp_path)), once_ready) is None
    assert channel.unmounts == 0
    assert not component.running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_unmounts_also_where_it_was_ignored(tmp_path: Path, number: signal.Signals) -> None:
    channel = FakeChannel()
    before = signal.signal(number, signal.SIG_IGN)
    try:

        async def once_ready() -> None:
            os.kill(os.getpid(), number)

        assert run(Lifecycle(parts(channel, FakeComponent()), str(tmp_path)), once_ready) is None
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert not channel.mounted
    assert channel.unmounts > 0


def test_readers_have_a_moment_and_not_more(tmp_path: Path) -> None:
    channel = FakeChannel(busy=True)
    lifecycle = Lifecycle(parts(channel), str(tmp_path), grace=0.01)

    async def once_ready() -> None:
        lifecycle.stop("test")

    assert run(lifecycle, once_ready) is None
    assert channel.cancelled
    assert not channel.mounted


def test_what_others_mounted_there_meanwhile_is_left_alone(tmp_path: Path, table: FakeTable) -> None:
    channel = FakeChannel(busy=True)
    lifecycle = Lifecycle(parts(channel), str(tmp_path), grace=0.01)

    async def once_ready() -> None:
        table.other = Mount(str(tmp_path), "0:100", "fuse.ossmount", "y")
        lifecycle.stop("test")

    assert run(lifecycle, once_ready) is None
    assert (channel.unmounts, table.unmounts) == (1, 0)


def test_the_second_wish_to_stop_does_not_wait_for_readers(tmp_path: Path) -> None:
    channel = FakeChannel(busy=True)
    lifecycle = Lifecycle(parts(channel), str(tmp_path), grace=float("inf"))

    async def once_ready() -> None:
        lifecycle.stop("test")
        lifecycle.stop("test")

    assert run(lifecycle, once_ready) is None
    assert channel.cancelled


def test_a_component_that_fails_leaves_the_mount_broken_and_not_empty(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    channel, component = FakeChannel(), FakeComponent(CommandError(ExitCode.UNEXPECTED, "out of luck"))

    async def once_ready() -> None:
        component.end.set()

    failure = run(Lifecycle(parts(channel, FakeComponent(), component), str(tmp_path)), once_ready)
    assert failure is not None and failure.message == "out of luck"
    assert "part 1 failed" in caplog.text
    assert channel.mounted and channel.cancelled
    assert channel.unmounts == 0


def test_a_component_that_ends_by_itself_has_failed(tmp_path: Path) -> None:
    channel, component = FakeChannel(), FakeComponent()

    async def once_ready() -> None:
        component.end.set()

    failure = run(Lifecycle(parts(channel, component), str(tmp_path)), once_ready)
    assert failure is not None and "part 0 ended by itself" in failure.message


def test_nothing_is_mounted_when_oss_refuses(tmp_path: Path) -> None:
    async def refuse() -> None:
        raise CommandError(ExitCode.REFUSED, "no")

    channel, component = FakeChannel(), FakeComponent()
    failure = run(Lifecycle(parts(channel, component, verify=refuse), str(tmp_path)))
    assert failure is not None and failure.code == ExitCode.REFUSED
    assert not channel.mounted and not component.running


def test_an_early_component_starts_while_oss_is_asked_and_ends_when_it_refuses(tmp_path: Path) -> None:
    channel, early, late = FakeChannel(), FakeComponent(), FakeComponent()

    async def refuse() -> None:
        while not early.running:
            await trio.lowlevel.checkpoint()
        raise CommandError(ExitCode.REFUSED, f"late runs: {late.running}")

    named = (Named("early", early, early=True), Named("late", late))
    failure = run(Lifecycle(parts(channel, verify=refuse)._replace(components=named), str(tmp_path)))
    assert failure is not None and (failure.code, failure.message) == (ExitCode.REFUSED, "late runs: False")
    assert not channel.mounted and not early.running


def test_nothing_is_mounted_when_a_component_does_not_start(tmp_path: Path) -> None:
    channel, first = FakeChannel(), FakeComponent()
    second = FakeComponent(CommandError(ExitCode.UNEXPECTED, "no room"), starts=False)
    failure = run(Lifecycle(parts(channel, first, second), str(tmp_path)))
    assert failure is not None and failure.message == "no room"
    assert not channel.mounted and not first.running


def test_a_mount_that_does_not_answer_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: FakeTable) -> None:
    def fail(path: str) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "stat", fail)
    channel = FakeChannel()
    failure = run(Lifecycle(parts(channel), str(tmp_path)))
    assert failure is not None and "broken" in failure.message
    assert not channel.mounted and table.unmounts == 1


def test_a_mount_that_is_silent_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = threading.Event()
    monkeypatch.setattr(os, "stat", lambda path: silent.wait())
    channel, clock = FakeChannel(), MockClock(autojump_threshold=0.01)
    try:
        failure = run(Lifecycle(parts(channel), str(tmp_path)), clock=clock)
    finally:
        silent.set()
    assert failure is not None and "does not answer within 30 s" in failure.message
    assert not channel.mounted


def test_a_channel_that_cannot_mount(tmp_path: Path) -> None:
    channel = FakeChannel(failure=CommandError(ExitCode.NO_FUSE, "no /dev/fuse"))
    failure = run(Lifecycle(parts(channel, FakeComponent()), str(tmp_path)))
    assert failure is not None and failure.code == ExitCode.NO_FUSE


def test_stopped_while_oss_is_asked(tmp_path: Path) -> None:
    async def slow() -> None:
        lifecycle.stop("test")
        await trio.sleep_forever()

    channel = FakeChannel()
    lifecycle: Any = Lifecycle(parts(channel, verify=slow), str(tmp_path))
    failure = run(lifecycle)
    assert failure is not None and "stopped before the mount was ready" in failure.message
    assert not channel.mounted
