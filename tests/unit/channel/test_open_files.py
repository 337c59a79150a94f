"""The table of open files: what one daemon writes, the next one finds, wherever the first was killed."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from ossmount.channel.kernel_channel import journal, open_files
from ossmount.channel.kernel_channel.open_files import CACHED, ENTRIES, OpenFiles
from ossmount.channel.kernel_channel.protocol import UNIQUE_RESEND


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = os.memfd_create("table")
    yield descriptor
    os.close(descriptor)


def test_it_lies_behind_the_journal() -> None:
    assert journal.SIZE <= open_files.OFFSET


def test_an_inode_is_open_until_its_last_handle_is_crossed_out(memory: int) -> None:
    files = OpenFiles(memory)
    first, second = files.add(2, 7, 30), files.add(4, 7, 30)
    other = files.add(6, 8, CACHED)
    assert len({first, second, other, 0}) == 4
    assert files.opened(7) == (30, 2) and files.opened(8) == (CACHED, 1) and files.opened(9) is None
    assert files.backings() == {30} and files.counts() == (1, 1)
    assert files.remove(first) == CACHED
    assert files.remove(first) == CACHED, "a RELEASE that comes again changes nothing"
    assert files.opened(7) == (30, 1)
    assert files.remove(second) == 30
    assert files.remove(other) == CACHED
    assert files.counts() == (0, 0)


@pytest.mark.parametrize("handle", [0, 1, ENTRIES, (1 << 24) - 1, 5 << 24 | 3, 1 << 63])
def test_handles_that_nobody_gave_are_nothing(memory: int, handle: int) -> None:
    files = OpenFiles(memory)
    files.add(2, 7, 30)
    assert files.remove(handle) == CACHED
    assert files.opened(7) == (30, 1)


def test_a_handle_is_never_used_twice_also_by_the_next_daemon(memory: int) -> None:
    used = set()
    for _ in range(3):
        files = OpenFiles(memory)
        for unique in range(100):
            handle = files.add(unique, 1, CACHED)
            assert handle not in used
            used.add(handle)
            files.remove(handle)


def test_the_next_daemon_finds_what_is_open_and_what_was_not_answered(memory: int) -> None:
    first = OpenFiles(memory)
    handles = {unique: first.add(unique, unique % 5, unique % 5 % 2) for unique in range(2, 3 * ENTRIES)}
    for unique in range(2, 3 * ENTRIES, 3):
        first.remove(handles.pop(unique))
    second = OpenFiles(memory)
    assert second.counts() == first.counts()
    for node in range(5):
        assert second.opened(node) == first.opened(node)
    for unique in range(2, 3 * ENTRIES):
        assert second.unanswered(unique | UNIQUE_RESEND) == handles.get(unique, 0)
        assert first.unanswered(unique) == 0, "its own"


def test_a_daemon_killed_while_it_writes_an_open_down_leaves_it_whole_or_not_at_all(memory: int) -> None:
    """The table is copied as it is before and after, and every number of the new bytes is there in the middle."""
    files = OpenFiles(memory)
    files.add(2, 7, 30)
    size = os.fstat(memory).st_size
    before = os.pread(memory, size, 0)
    handle = files.add(4, 8, 31)
    after = os.pread(memory, size, 0)
    changed = [at for at in range(0, size, 4) if before[at : at + 4] != after[at : at + 4]]
    for count in range(len(changed)):
        torn = bytearray(before)
        for at in changed[:count]:
            torn[at : at + 4] = after[at : at + 4]
        os.pwrite(memory, torn, 0)
        killed = OpenFiles(memory)
        assert killed.opened(7) == (30, 1) and killed.opened(8) is None
        assert killed.add(6, 9, CACHED) != handle or killed.opened(8) is None


def test_any_sequence_agrees_with_a_dictionary(memory: int) -> None:
    order = random.Random(11)
    files = OpenFiles(memory)
    model: dict[int, tuple[int, int]] = {}  # handle: node, backing
    for step in range(20_000):
        if order.random() < 0.001:
            files = OpenFiles(memory)
        if model and order.random() < 0.45:
            handle = order.choice(list(model)) if len(model) < 50 else next(iter(model))
            node, backing = model.pop(handle)
            last = all(there != node for there, _ in model.values())
            assert files.remove(handle) == (backing if last else CACHED)
        else:
            node = order.randrange(20)
            known = [backing for there, backing in model.values() if there == node]
            backing = known[0] if known else order.choice([CACHED, step + 1])
            model[files.add(step, node, backing)] = (node, backing)
    assert files.backings() == {backing for _, backing in model.values() if backing}
    for node in range(20):
        opened = files.opened(node)
        assert (opened.handles if opened else 0) == sum(1 for there, _ in model.values() if there == node)
