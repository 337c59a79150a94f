from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from trio.testing import MockClock

from ossmount.data.disk.completing import PIECE, QUIET, RANGES, RETRY, TRIES, Completion, union
from ossmount.data.interface import ReadDone
from ossmount.errors import Unavailable
from ossmount.model import Version

VERSION = Version(b"key", "etag", 100 * PIECE)


class Reader:
    """Implements ossmount.data.interface.Reader; the first so many reads fail."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.reads: list[tuple[float, int, int]] = []
        self.forgotten = 0

    def read(self, version: Version, offset: int, size: int, done: ReadDone) -> None:
        assert version == VERSION
        self.reads.append((trio.current_time(), offset, size))
        self.failures -= 1
        done(Unavailable("no") if self.failures >= 0 else ())

    def forget(self, version: Version) -> None:
        self.forgotten += 1


def run(reader: Reader, test: Callable[[Completion], Awaitable[None]]) -> Completion:
    completion = Completion()
    completion.reader = reader

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(completion.run)
            await test(completion)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return completion


def test_only_when_nothing_else_is_missing_and_after_the_last_loss() -> None:
    async def test(completion: Completion) -> None:
        completion.lost(b"name", VERSION, 5 * PIECE, PIECE // 2)
        completion.look(b"name", 2 * PIECE)
        await trio.sleep(100)
        assert not reader.reads
        completion.lost(b"name", VERSION, 0, PIECE + 10)
        completion.look(b"name", PIECE + PIECE // 2 + 10)
        await trio.sleep(100)

    reader = Reader()
    completion = run(reader, test)
    times = {time for time, *_ in reader.reads}
    assert [each[1:] for each in reader.reads] == [(0, PIECE), (PIECE, 10), (5 * PIECE, PIECE // 2)]
    assert len(times) == 1 and completion.completed == 1 and reader.forgotten == 1


def test_what_is_remembered_of_an_object_is_bounded() -> None:
    """Ranges that touch are one; an object that is lost in too many pieces is left alone."""

    async def test(completion: Completion) -> None:
        for each in range(2 * RANGES):
            completion.lost(b"whole", VERSION, each * 4096, 4096)
        completion.look(b"whole", 2 * RANGES * 4096)
        for each in range(RANGES + 1):
            completion.lost(b"pieces", VERSION, each * 8192, 4096)
        completion.look(b"pieces", 4096)
        await trio.sleep(100)

    reader = Reader()
    completion = run(reader, test)
    assert completion.completed == 1 and sum(size for _, _, size in reader.reads) == 2 * RANGES * 4096


def test_union() -> None:
    assert union([(10, 5), (0, 3), (12, 10), (3, 2), (30, 1), (10, 2)]) == [(0, 5), (10, 12), (30, 1)]
    assert union([]) == []


def test_it_waits_for_room() -> None:
    async def test(completion: Completion) -> None:
        completion.has_room = lambda: trio.current_time() >= begin + 50
        begin = trio.current_time()
        completion.lost(b"name", VERSION, 0, PIECE)
        completion.look(b"name", PIECE)
        await trio.sleep(49)
        assert not reader.reads
        await trio.sleep(2)
        assert len(reader.reads) == 1

    reader = Reader()
    run(reader, test)


def test_what_fails_is_tried_again_from_there_on_and_not_for_ever() -> None:
    async def test(completion: Completion) -> None:
        for name in (b"one", b"two"):
            completion.lost(name, VERSION, 0, PIECE)
            completion.look(name, PIECE)
        await trio.sleep(QUIET + RETRY / 2)
        assert len(reader.reads) == 2  # one that failed holds nobody up
        await trio.sleep(RETRY * 2 * TRIES)

    reader = Reader(failures=1)
    completion = run(reader, test)
    assert completion.completed == 2 and len(reader.reads) == 3
    reader = Reader(failures=1000)
    completion = run(reader, test)
    assert completion.completed == 0 and len(reader.reads) == 2 * (TRIES + 1)
