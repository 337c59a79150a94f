"""Reads of any versions, completed in any order, failing, evicted and forgotten, against plain bytes."""

from __future__ import annotations

import errno

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ossmount.errors import Changed, DeadlineExceeded, InvalidArgument, NotFound, OssMountError, Throttled, Unavailable
from ossmount.model import Version
from tests.unit.data.fake_fetcher import KIB, MIB, Answer, Fetch, World

SIZES = st.one_of(st.integers(0, 20_000), st.integers(0, 300 * KIB), st.sampled_from([4096, MIB, MIB + 1, 3 * MIB + 5]))
READS = st.one_of(st.sampled_from([1, 4096, 64 * KIB, 128 * KIB]), st.integers(1, 256 * KIB))


class Reads(RuleBasedStateMachine):
    """Memory is a few pages, so that reads wait for memory and everything is dropped again and again."""

    @initialize(
        memory=st.sampled_from([32 * KIB, 300 * KIB, MIB, 4 * MIB]),
        sizes=st.lists(SIZES, min_size=1, max_size=5),
        window=st.sampled_from([64 * KIB, MIB]),
    )
    def start(self, memory: int, sizes: list[int], window: int) -> None:
        self.world = World(memory, readahead_size=window, readahead_count=3)
        self.versions = [self.world.add(size, f"object {number % 3}", str(number)) for number, size in enumerate(sizes)]
        self.reads: list[tuple[Version, int, int, Answer]] = []
        self.failures: list[OssMountError] = []
        self.next = dict.fromkeys(self.versions, 0)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        while self.pending or self.world.kernel.pending:
            self.world.fetcher.complete_all()
            if self.world.kernel.pending:
                self.world.kernel.end()
        self.all_answers_are_right()
        assert not self.reads, "a read was never answered"
        assert self.world.slab.resident <= self.world.reader.facts()["memory_limit"]  # type: ignore[operator]
        self.world.reader.allot(self.world.slab.size, self.world.slab.size, self.world.slab.size)
        facts = self.world.reader.facts()
        assert facts["memory_held"] == facts["transfers"] == facts["waiting_for_memory"] == 0
        for version in self.versions:
            self.world.reader.forget(version)
        facts = self.world.reader.facts()
        assert facts["memory_free"] == self.world.slab.size
        assert facts["memory_unread"] == facts["pages"] == 0
        self.world.slab.close()

    @property
    def pending(self) -> list[Fetch]:
        return self.world.fetcher.pending

    def begin(self, version: Version, offset: int, size: int) -> None:
        self.reads.append((version, offset, size, self.world.read(version, offset, size)))
        self.next[version] = offset + size

    @rule(number=st.integers(0, 4), place=st.floats(0, 1), size=READS)
    def read_anywhere(self, number: int, place: float, size: int) -> None:
        version = self.versions[number % len(self.versions)]
        self.begin(version, int(place * version.size), size)

    @rule(number=st.integers(0, 4), size=READS, count=st.integers(1, 6), swap=st.booleans())
    def read_on(self, number: int, size: int, count: int, swap: bool) -> None:
        version = self.versions[number % len(self.versions)]
        start = self.next[version]
        order = list(range(count))
        if swap:
            order.reverse()
        for at in order:
            self.begin(version, start + at * size, size)
        self.next[version] = start + count * size

    @precondition(lambda self: self.pending)
    @rule(which=st.integers(0, 99))
    def complete(self, which: int) -> None:
        self.world.fetcher.complete(self.pending[which % len(self.pending)])

    @precondition(lambda self: self.pending)
    @rule(which=st.integers(0, 99), size=st.integers(1, 200 * KIB), tell=st.booleans())
    def receive(self, which: int, size: int, tell: bool) -> None:
        self.world.fetcher.receive(self.pending[which % len(self.pending)], size, tell)

    @precondition(lambda self: self.pending)
    @rule(which=st.integers(0, 99), kind=st.sampled_from([Changed, NotFound, Unavailable, Throttled, DeadlineExceeded]))
    def fail(self, which: int, kind: type[OssMountError]) -> None:
        error = kind("as the test wants it")
        self.failures.append(error)
        self.world.fetcher.fail(error, self.pending[which % len(self.pending)])

    @rule(numbers=st.lists(st.integers(0, 4), max_size=8))
    def prefetch(self, numbers: list[int]) -> None:
        for number in numbers:
            self.world.prefetch(self.versions[number % len(self.versions)], node=number)

    @rule(number=st.integers(0, 4))
    def give_back(self, number: int) -> None:
        self.world.reader.give_back(self.versions[number % len(self.versions)])

    @precondition(lambda self: hasattr(self, "world") and self.world.kernel.pending)
    @rule(code=st.sampled_from([0, 0, errno.ENOENT, errno.EIO]))
    def end_store(self, code: int) -> None:
        self.world.kernel.end(code)

    @invariant()
    def what_is_stored_is_right_and_answerable(self) -> None:
        """A store may wait for a READ of its node: such a READ must not need a fetch."""
        for store in self.world.kernel.pending if hasattr(self, "world") else ():
            version = self.versions[store.node % len(self.versions)]
            assert store.data == self.world.data(version, 0, version.size)
            answer = self.world.read(version, 0, version.size)
            assert answer.data == store.data

    @rule()
    def end_cancelled(self) -> None:
        self.world.fetcher.end_cancelled()

    @rule(number=st.integers(0, 4))
    def forget(self, number: int) -> None:
        self.world.reader.forget(self.versions[number % len(self.versions)])

    @precondition(lambda self: hasattr(self, "world") and self.world.slab.size >= MIB)
    @rule(parts=st.tuples(*[st.floats(0.5, 1)] * 3))
    def allot(self, parts: tuple[float, float, float]) -> None:
        """Never less than the largest read takes, as in the daemon."""
        slab, ahead, look_ahead = (int(part * self.world.slab.size) for part in parts)
        self.world.reader.allot(slab, ahead // 2, look_ahead // 4)

    @rule(seconds=st.sampled_from([0.5, 3, 60]))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    @invariant()
    def all_answers_are_right(self) -> None:
        if not hasattr(self, "world"):
            return
        for read in list(self.reads):
            version, offset, size, answer = read
            if answer.waiting:
                continue
            self.reads.remove(read)
            if answer.error is None:
                assert answer.data == self.world.data(version, offset, size)
            elif isinstance(answer.error, InvalidArgument):
                assert size + 2 * 4096 > self.world.slab.size
            elif "no memory" not in str(answer.error):  # such a read has seen the clock go on by a minute
                assert any(answer.error is failure for failure in self.failures)

    @invariant()
    def no_read_waits_for_nothing(self) -> None:
        if hasattr(self, "world") and not self.pending and not self.world.kernel.pending:
            assert all(not answer.waiting for *_, answer in self.reads)

    @invariant()
    def memory_is_bounded(self) -> None:
        if hasattr(self, "world"):
            facts = self.world.reader.facts()
            under_way = sum(fetch.request.length for fetch in self.pending)
            free = facts["memory_free"]
            assert isinstance(free, int)
            assert 0 <= free <= self.world.slab.size - under_way
            self.world.fetcher.check_targets()


TestReads = Reads.TestCase
TestReads.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
