"""The readahead machine on traces of what the kernel sends."""

from __future__ import annotations

import random

from ossmount.data.readahead import Readahead
from tests.unit.data.fake_fetcher import KIB, MIB

BLOCK = 4096
GIB = 1 << 30


class Trace:
    """Reads of one object whose fetches all succeed at once: what is fetched, and how often a reader waits."""

    def __init__(self, size: int, window: int = 8 * MIB, count: int = 8, limit: int = GIB) -> None:
        self.size = size
        self.limit = limit
        self.machine = Readahead(size, window, count)
        self.blocks: set[int] = set()
        self.waits = 0  # fetches that a reader waits for
        self.windows: list[tuple[int, int]] = []
        self.end = 0

    def read(self, offset: int, size: int) -> None:
        end = min(offset + size, self.size)
        wanted = set(range(offset // BLOCK, -(-end // BLOCK)))
        missing = not wanted <= self.blocks
        plan = self.machine.read(offset, end, missing, self.limit)
        self.waits += missing
        self.blocks |= wanted
        if plan is None:
            return
        if missing:
            self.blocks |= set(range(end // BLOCK, -(-plan.extend // BLOCK)))
        for start, stop in plan.windows:
            assert 0 <= start < stop <= self.size
            self.windows.append((start, stop))
            self.blocks |= set(range(start // BLOCK, -(-stop // BLOCK)))

    @property
    def fetched(self) -> int:
        return len(self.blocks) * BLOCK

    def drop(self, start: int) -> None:
        """Everything from the offset on is dropped from memory."""
        self.blocks = {block for block in self.blocks if block < start // BLOCK}


def overtaking(order: random.Random, reads: list[tuple[int, int]], distance: int = 4) -> list[tuple[int, int]]:
    """The reads as they arrive when neighbours overtake each other by up to `distance` places."""
    return [read for _, read in sorted((at + order.random() * distance, read) for at, read in enumerate(reads))]


def chunks(start: int, size: int, chunk: int) -> list[tuple[int, int]]:
    return [(at, min(chunk, start + size - at)) for at in range(start, start + size, chunk)]


def test_sequential_from_the_start() -> None:
    trace = Trace(64 * MIB)
    for read in chunks(0, 64 * MIB, 128 * KIB):
        trace.read(*read)
    assert trace.waits == 1
    assert trace.fetched == 64 * MIB


def test_sequential_reads_that_overtake_each_other_are_one_stream() -> None:
    for seed in range(10):
        trace = Trace(64 * MIB)
        for read in overtaking(random.Random(seed), chunks(0, 64 * MIB, 128 * KIB)):
            trace.read(*read)
        assert trace.waits <= 8, seed  # until the stream is recognized
        assert trace.fetched == 64 * MIB
        assert len(trace.machine._streams) == 1


def test_windows_double_until_the_configured_ones_are_in_flight() -> None:
    trace = Trace(GIB, window=8 * MIB, count=4)
    ahead = 0
    for read in chunks(0, 256 * MIB, MIB):
        trace.read(*read)
        front = read[0] + read[1]
        assert trace.windows[-1][1] - front <= 32 * MIB
        ahead = max(ahead, trace.windows[-1][1] - front)
    sizes = [stop - start for start, stop in trace.windows]
    assert sizes == sorted(sizes)
    assert sizes[0] <= 512 * KIB and sizes[-1] == 8 * MIB
    assert ahead > 24 * MIB


def test_a_reader_that_stops_early_has_cost_four_times_what_it_read_at_most() -> None:
    for stop in (MIB, 4 * MIB, 10 * MIB, 20 * MIB):
        trace = Trace(GIB, window=4 * MIB, count=32)
        for read in chunks(0, stop, MIB):
            trace.read(*read)
        assert trace.fetched <= 5 * stop, stop
        assert trace.fetched >= 2 * stop or stop < 4 * MIB, stop


def test_a_stream_in_the_middle_is_read_ahead_once_it_is_longer_than_a_random_read() -> None:
    trace = Trace(GIB)
    for read in chunks(100 * MIB, 64 * MIB, 256 * KIB):
        trace.read(*read)
    assert trace.waits <= 5
    first = trace.windows[0]
    assert first[0] <= 102 * MIB


def test_two_interleaved_streams() -> None:
    trace = Trace(GIB)
    for one, two in zip(chunks(0, 32 * MIB, 128 * KIB), chunks(512 * MIB, 32 * MIB, 128 * KIB), strict=True):
        trace.read(*one)
        trace.read(*two)
    assert trace.waits <= 12
    assert trace.fetched <= 64 * MIB + 2 * 64 * MIB


def test_eight_readers_that_overtake_each_other() -> None:
    order = random.Random(8)
    parts = [overtaking(order, chunks(at * 128 * MIB, 16 * MIB, 256 * KIB)) for at in range(8)]
    trace = Trace(GIB)
    while any(parts):
        part = order.choice([part for part in parts if part])
        trace.read(*part.pop(0))
    assert trace.waits <= 8 * 10


def test_random_reads_fetch_exactly_what_they_ask_for() -> None:
    order = random.Random(1)
    for size in (4 * KIB, 64 * KIB, MIB):
        trace = Trace(1024 * GIB)  # so large that no two of the reads touch
        for _ in range(300):
            start = order.randrange(1, 1024 * GIB // BLOCK - 256) * BLOCK
            for read in overtaking(order, chunks(start, size, 256 * KIB)):
                trace.read(*read)
        assert trace.fetched <= 300 * size * 1.02
        assert not trace.windows or size == MIB  # four READs that arrive in reverse look like a backward reader


def test_random_reads_of_an_unaligned_megabyte() -> None:
    order = random.Random(2)
    trace = Trace(2 * GIB)
    for _ in range(300):
        start = order.randrange(2 * GIB - 2 * MIB)
        first, last = start // BLOCK * BLOCK, -(-(start + MIB) // BLOCK) * BLOCK
        for read in overtaking(order, chunks(first, last - first, 128 * KIB)):
            trace.read(*read)
    assert trace.fetched <= 1.05 * 300 * MIB


def test_an_unaligned_random_megabyte_as_the_kernel_sends_it() -> None:
    trace = Trace(64 * GIB)
    for number in range(1, 50):
        start = number * number * 16 * MIB
        trace.read(start, MIB)
        trace.read(start + MIB, 4096)
    assert trace.windows == []
    assert trace.fetched == 49 * (MIB + 4096)


def test_streams_that_end_early_make_readahead_begin_later() -> None:
    order = random.Random(3)
    trace = Trace(8 * GIB)
    for _ in range(200):
        start = order.randrange(MIB, 8 * GIB - 4 * MIB) // BLOCK * BLOCK
        for read in chunks(start, 2 * MIB, 512 * KIB):
            trace.read(*read)
    assert trace.fetched <= 1.3 * 200 * 2 * MIB


def test_backward() -> None:
    trace = Trace(256 * MIB)
    for at in range(128 * MIB, 96 * MIB, -64 * KIB):
        trace.read(at - 64 * KIB, 64 * KIB)
    assert trace.waits <= 6
    assert trace.fetched <= 32 * MIB + 64 * MIB


def test_backward_by_single_blocks() -> None:
    trace = Trace(256 * MIB)
    for at in range(8 * MIB, 6 * MIB, -4096):
        trace.read(at - 4096, 4096)
    assert trace.waits <= 12


def test_backward_through_mmap() -> None:
    """What the kernel makes of memmove() out of a mapping, from its end: each fault reads around itself, in two READs."""
    trace = Trace(256 * MIB)
    trace.read(128 * MIB, MIB)
    trace.read(129 * MIB, MIB)
    for at in range(1, 60):
        start = 128 * MIB - at * (MIB + 4096)
        trace.read(start, MIB)
        trace.read(start + MIB, 4096)
    assert trace.waits <= 16
    assert trace.fetched <= 61 * MIB + 64 * MIB


def test_strided() -> None:
    for size, stride in ((64 * KIB, 256 * KIB), (64 * KIB, MIB), (128 * KIB, 10 * MIB), (64 * KIB, -MIB)):
        trace = Trace(GIB)
        first = 0 if stride > 0 else 900 * MIB
        for number in range(1, 90):
            trace.read(first + number * stride, size)
        assert trace.waits <= 5, (size, stride)
        assert trace.fetched <= (89 + 16) * size


def test_strided_in_elements_of_several_reads() -> None:
    trace = Trace(2 * GIB)
    for number in range(1, 60):
        for read in chunks(number * 16 * MIB, 512 * KIB, 128 * KIB):
            trace.read(*read)
    assert trace.waits <= 16
    assert trace.fetched <= (60 + 16) * 512 * KIB


def test_values_read_by_faults_take_two_fetches() -> None:
    order = random.Random(4)
    trace = Trace(2 * GIB)
    values = [order.randrange(1, 2 * GIB // BLOCK - 100) * BLOCK for _ in range(200)]
    for value in values:
        for fault in chunks(value, 112 * KIB, 4096):
            trace.read(*fault)
    assert trace.waits <= 2 * len(values)
    assert trace.fetched <= 1.2 * len(values) * 112 * KIB


def test_values_of_a_large_file_take_one_fetch_once_most_streams_were_values() -> None:
    """Eight readers of values, whose faults mix; the pages of the index are in memory."""
    order = random.Random(9)
    trace = Trace(64 * GIB)
    readers: list[list[tuple[int, int]]] = [[] for _ in range(8)]
    values = 0
    while values < 400:
        reader = order.choice(readers)
        if not reader:
            reader += chunks(order.randrange(1, 64 * GIB // BLOCK - 100) * BLOCK, 112 * KIB, 4096)
            values += 1
            if values == 100:
                before = trace.waits
        trace.read(*reader.pop(0))
    assert trace.waits - before <= 1.15 * 300
    assert trace.fetched <= 1.3 * 400 * 112 * KIB


def test_single_pages_read_by_faults_are_fetched_alone_whatever_else_is_read() -> None:
    """The index of a database whose pages are not in memory: as many single pages as values."""
    order = random.Random(10)
    trace = Trace(64 * GIB)
    for number in range(600):
        length = 112 * KIB if number % 2 else 4096
        for fault in chunks(order.randrange(1, 64 * GIB // BLOCK - 100) * BLOCK, length, 4096):
            trace.read(*fault)
    assert trace.fetched <= 1.2 * 300 * (112 * KIB + 4096)


def test_values_that_give_way_to_single_pages() -> None:
    order = random.Random(11)
    trace = Trace(64 * GIB)
    for length, count in ((112 * KIB, 100), (4096, 300)):
        before = trace.fetched
        for _ in range(count):
            for fault in chunks(order.randrange(1, 64 * GIB // BLOCK - 100) * BLOCK, length, 4096):
                trace.read(*fault)
    assert trace.fetched - before <= 300 * 4096 + 30 * 128 * KIB


def test_values_of_mixed_lengths_read_by_faults() -> None:
    order = random.Random(5)
    trace = Trace(8 * GIB)
    total = 0
    for _ in range(300):
        length = min(600, max(8, int(order.lognormvariate(4.5, 0.6)))) * KIB // BLOCK * BLOCK
        total += length
        start = order.randrange(1, 8 * GIB // BLOCK - 200) * BLOCK
        for fault in chunks(start, length, 4096):
            trace.read(*fault)
    assert trace.waits <= 2.5 * 300
    assert trace.fetched <= 2 * total


def test_the_tail_of_a_zip_or_parquet_file_is_fetched_exactly() -> None:
    size = 100 * MIB + 777
    trace = Trace(size)
    trace.read(size - 777 - 4096, 4096 + 777)  # the last bytes: where the footer is
    trace.read(size - 777 - 64 * KIB, 60 * KIB)  # the footer
    trace.read(0, 4096)  # some look at the magic as well
    assert trace.fetched <= 80 * KIB
    assert trace.windows == []


def test_the_header_of_a_safetensors_file_and_then_its_tensors() -> None:
    trace = Trace(GIB)
    trace.read(0, 16 * KIB)  # 8 bytes of length, as the kernel asks for them
    assert trace.fetched <= 128 * KIB
    trace.read(16 * KIB, 112 * KIB)
    assert trace.waits == 1
    for read in chunks(128 * KIB, 64 * MIB, MIB):
        trace.read(*read)
    assert trace.waits <= 3


def test_a_zip_that_is_opened_by_its_tail_and_some_members_of_it() -> None:
    """End record, central directory, and for each member its local header with the compressed bytes behind it."""
    order = random.Random(6)
    size = 900 * MIB
    trace = Trace(size)
    trace.read(size - 4096, 4096)
    for read in chunks(size - MIB, MIB - 4096, 128 * KIB):
        trace.read(*read)
    opened = trace.fetched
    assert opened <= 1.5 * MIB
    members = sorted(order.sample(range(size // MIB - 2), 40))
    for member in order.sample(members, len(members)):
        for read in chunks(member * MIB, 112 * KIB, 16 * KIB):
            trace.read(*read)
    assert trace.fetched - opened <= 1.3 * 40 * 112 * KIB
    assert trace.waits <= 10 + 3 * 40


def test_one_column_of_a_parquet_file() -> None:
    """Footer, then a chunk of some MiB in each row group, all of one length: fetched before they are asked for."""
    size = 2 * GIB
    trace = Trace(size)
    trace.read(size - 4096, 4096)
    trace.read(size - 64 * KIB, 60 * KIB)
    for group in range(32):
        for read in chunks(64 * MIB * group + 5 * MIB, 2 * MIB, MIB):
            trace.read(*read)
    assert trace.waits <= 2 + 16
    assert trace.fetched <= (32 + 16) * 2 * MIB


def test_the_headers_of_a_tar_file_whose_members_are_skipped() -> None:
    """What makes an index of it: 512 bytes for each member, of which the kernel reads a page. No byte of the members."""
    order = random.Random(7)
    trace = Trace(GIB)
    at = members = 0
    while at < GIB - MIB:
        trace.read(at // BLOCK * BLOCK, 4096)
        members += 1
        at += 512 + -(-order.randrange(40_000, 200_000) // 512) * 512
    assert trace.fetched <= MIB + 1.2 * members * 4096
    assert trace.waits <= members


def test_a_tar_file_that_is_streamed() -> None:
    trace = Trace(256 * MIB)
    for read in chunks(0, 256 * MIB, 10 * KIB // BLOCK * BLOCK):  # tarfile's own blocks of 10 KiB, as far as pages go
        trace.read(*read)
    assert trace.waits <= 2
    assert trace.fetched == 256 * MIB


def test_an_hdf5_file_with_its_metadata_all_over_and_chunks_at_random() -> None:
    """Superblock, then object headers and B-tree nodes wherever they lie, then chunks of 256 KiB in shuffled order."""
    order = random.Random(8)
    size = 4 * GIB
    trace = Trace(size)
    trace.read(0, 16 * KIB)
    places = [order.randrange(MIB, size - MIB) // BLOCK * BLOCK for _ in range(60)]
    for place in places:
        trace.read(place, 4096)
    metadata = trace.fetched
    assert metadata <= 128 * KIB + 60 * 4096
    chunk = 256 * KIB
    wanted = order.sample(range(16, size // chunk - 1, 2), 200)
    for number in wanted:
        for read in chunks(number * chunk, chunk, 128 * KIB):
            trace.read(*read)
    assert trace.fetched - metadata <= 1.05 * 200 * chunk
    assert trace.waits <= 1 + 60 + 2 * 200


def test_an_hdf5_file_whose_chunks_are_read_in_order() -> None:
    trace = Trace(4 * GIB)
    trace.read(0, 16 * KIB)
    trace.read(3 * GIB, 4096)
    for read in chunks(MIB, 200 * MIB, 256 * KIB):
        trace.read(*read)
    assert trace.waits <= 2 + 8


def test_a_small_limit_bounds_what_is_fetched_ahead() -> None:
    trace = Trace(64 * MIB, limit=MIB)
    for read in chunks(0, 32 * MIB, 128 * KIB):
        trace.read(*read)
        assert not trace.windows or trace.windows[-1][1] - (read[0] + read[1]) <= MIB
    assert trace.waits <= 2


def test_no_room_at_all_means_exact_reads() -> None:
    trace = Trace(64 * MIB, limit=0)
    for read in chunks(0, 8 * MIB, 128 * KIB):
        trace.read(*read)
    assert trace.windows == []
    assert trace.fetched == 8 * MIB


def test_dropped_readahead_shrinks_the_target_and_is_fetched_again() -> None:
    trace = Trace(GIB)
    for read in chunks(0, 32 * MIB, MIB):
        trace.read(*read)
    (stream,) = trace.machine._streams
    before = stream.target
    trace.drop(32 * MIB)
    waits = trace.waits
    for read in chunks(32 * MIB, 4 * MIB, MIB):
        trace.read(*read)
        assert trace.waits == waits + 1
    assert stream.target <= before


def test_a_window_that_was_cut_is_planned_again() -> None:
    machine = Readahead(GIB, 8 * MIB, 8)
    plan = machine.read(0, MIB, True, GIB)
    assert plan is not None and plan.windows
    start, end = plan.windows[-1]
    plan.stream.cut(start, end)
    again = machine.read(MIB, 2 * MIB, False, GIB)
    assert again is not None and again.windows[0][0] == max(start, 2 * MIB)


def test_a_second_pass_is_read_ahead_too() -> None:
    trace = Trace(32 * MIB)
    for _ in range(2):
        waits = trace.waits
        trace.blocks.clear()
        for read in chunks(0, 32 * MIB, 128 * KIB):
            trace.read(*read)
        assert trace.waits - waits <= 12
    for start in (5 * MIB, 20 * MIB):  # and passes that begin inside what an old stream has read
        waits = trace.waits
        trace.blocks.clear()
        for read in chunks(start, 10 * MIB, 128 * KIB):
            trace.read(*read)
        assert trace.waits - waits <= 12


def test_any_reads_keep_the_machine_small_and_its_plans_inside_the_object() -> None:
    order = random.Random(6)
    for size in (MIB + 1, 3 * MIB + 123, 64 * MIB):
        trace = Trace(size, window=order.choice([MIB, 8 * MIB]), limit=order.choice([0, 300 * KIB, 16 * MIB]))
        position = 0
        for _ in range(3000):
            length = order.choice([1, 4096, 10_000, 128 * KIB])
            position = order.choice([position, position + length, max(0, position - length), order.randrange(size)]) % size
            trace.read(position, min(length, size - position))
            position += length
            assert len(trace.machine._streams) <= 16
