"""The wait for the next request, over a pipe and a clock that the test sets."""

from __future__ import annotations

import itertools
import os
import select
import time
from collections.abc import Iterator

import pytest

from ossmount.channel.kernel_channel.short_wait import ASKERS, AWAKE, GIVEN_BACK, MISSED, SELECTABLE, UNSHARED, ShortWait

ASKER = 17  # a thread


class Pipe:
    """A descriptor whose requests are single bytes, and the core that its writer shares with us."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fd, self.writer = os.pipe()
        os.set_blocking(self.fd, False)
        self.now = 0.0
        self.yields = 0
        self.slept = 0
        self.slice = AWAKE / 4  # seconds for which a yield gives the core away
        self.after: int | None = None  # yields after which a request is made
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(os, "sched_yield", self.give_away)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
        monkeypatch.setattr(select, "select", self.sleep)

    def give_away(self) -> None:
        self.yields += 1
        self.now += self.slice
        if self.yields == self.after:
            os.write(self.writer, b"x")

    def sleep(self, reading: tuple[int, ...], *_: object) -> tuple[list[int], list[int], list[int]]:
        assert reading == (self.fd,)
        self.slept += 1
        return [], [], []

    def receive(self, fd: int) -> int | None:
        try:
            return len(os.read(fd, 1))
        except BlockingIOError:
            return None

    def wait(self) -> ShortWait:
        return ShortWait(self.fd, self.receive)

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.writer)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    made = Pipe(monkeypatch)
    yield made
    made.close()


@pytest.mark.parametrize("after", [1, 3])
def test_what_another_process_of_this_core_asks_is_received_without_sleep(pipe: Pipe, after: int) -> None:
    pipe.after = after
    assert pipe.wait()(ASKER) == 1
    assert (pipe.yields, pipe.slept) == (after, 0)


def test_what_comes_while_it_sleeps_is_received(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(reading: tuple[int, ...], *_: object) -> tuple[list[int], list[int], list[int]]:
        os.write(pipe.writer, b"x")
        return [pipe.fd], [], []

    monkeypatch.setattr(select, "select", sleep)
    assert pipe.wait()(ASKER) == 1


def test_staying_awake_in_vain_is_tried_less_and_less(pipe: Pipe) -> None:
    wait = pipe.wait()
    awake = []
    for number in range(400):
        before = pipe.yields
        assert wait(ASKER) is None
        if pipe.yields > before:
            awake.append(number)
    assert pipe.slept == 400
    gaps = [later - earlier - 1 for earlier, later in itertools.pairwise(awake)]
    assert gaps[:4] == [1, 2, 4, MISSED] and set(gaps[4:]) == {MISSED}
    pipe.after = pipe.yields + 1
    while wait(ASKER) is None:
        pass
    before = pipe.yields
    assert wait(ASKER) is None
    assert pipe.yields > before, "it pays again"


def test_the_core_is_kept_for_a_while_when_it_came_back_late(pipe: Pipe) -> None:
    pipe.slice = 2 * GIVEN_BACK
    pipe.after = 1
    wait = pipe.wait()
    assert wait(ASKER) == 1
    for _ in range(UNSHARED):
        assert wait(ASKER) is None
    assert pipe.yields == 1
    wait(ASKER)
    assert pipe.yields == 2


def test_with_more_readers_than_cores_it_sleeps(pipe: Pipe) -> None:
    pipe.after = 1
    wait = pipe.wait()
    assert [wait(asker) for asker in (1, 2)] == [1, None]
    before = pipe.yields
    for number in range(20):
        wait(3 + number % 3)
    assert pipe.yields == before, "a third reader, and two cores"
    for _ in range(ASKERS):
        wait(1)
    assert pipe.yields > before, "one reader alone again"


def test_a_descriptor_that_select_cannot_take_is_left_to_the_event_loop(pipe: Pipe) -> None:
    assert ShortWait(SELECTABLE, lambda fd: None)(ASKER) is None
    assert pipe.slept == 0
