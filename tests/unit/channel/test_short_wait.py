"""The wait for the next request, over a pipe."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator

import pytest

from ossmount.channel.kernel_channel import short_wait
from ossmount.channel.kernel_channel.short_wait import UNSHARED, ShortWait


class Pipe:
    """A descriptor whose requests are single bytes."""

    def __init__(self) -> None:
        self.fd, self.writer = os.pipe()
        os.set_blocking(self.fd, False)

    def receive(self, fd: int) -> int | None:
        try:
            return len(os.read(fd, 1))
        except BlockingIOError:
            return None

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.writer)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def test_nothing_comes(pipe: Pipe) -> None:
    assert ShortWait(pipe.fd, pipe.receive)() is None


def test_what_another_process_of_this_core_asks_is_received_at_once(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_yield", lambda: os.write(pipe.writer, b"x"))
    monkeypatch.setattr(select, "select", None)  # not called
    assert ShortWait(pipe.fd, pipe.receive)() == 1


def test_the_core_is_kept_for_a_while_when_it_came_back_late(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    yields: list[float] = []
    now = 0.0

    def give_away() -> None:
        nonlocal now
        yields.append(now)
        now += 1.0

    monkeypatch.setattr(os, "sched_yield", give_away)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    wait = ShortWait(pipe.fd, lambda fd: None)
    for _ in range(UNSHARED + 1):
        wait()
    assert len(yields) == 1
    wait()
    assert len(yields) == 2


def test_a_descriptor_that_select_cannot_take_is_left_to_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "select", None)  # not called
    assert ShortWait(short_wait.SELECTABLE, lambda fd: None)() is None
