"""What to fetch before it is asked for: a state machine of one object, without I/O and without a clock.

It sees the reads of the kernel, not those of programs: a program's read arrives as several READs of 128 KiB to 1 MiB that
overtake each other, from several readers at once, without handles, and an mmap'ed value arrives as faults of 4 KiB one
after the other. Reads that touch each other are joined into *streams*, in whichever order they come; everything follows
from where streams begin, how long they get, and how they are spaced:

forward   a stream that begins the object, or has become longer than a random read is (1 MiB), is read ahead: a target that
          doubles with each window consumed, up to `count` windows of `window` bytes and to four times what was read, all in
          flight at once
backward  the fourth read in a row that ends where its stream begins: the same, downwards
strided   three streams begin at equal distances: the next ones are fetched, 2, 4, 8 … of them
value     a second small read (≤ 64 KiB) that goes on where the first one ended: the rest of what streams here use to be
          long, in one fetch, so that an mmap'ed value costs two round trips; one, where nearly all streams here go on: then
          the first read brings it
random    everything else, tails and headers included: exactly what is asked for, and nothing remembered but its place

When bytes fetched ahead are dropped before they are read, the target halves and `lost` tells the caller, whose `limit` bounds
the target at any time.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ossmount.data.blocks import BLOCK

STREAMS = 16  # remembered in one object; 8 readers with one stray read each
FIRST_TARGET = 512 << 10  # bytes; a request for them costs a latency of 5-20 ms and little bandwidth
RANDOM_RUN = (1 << 20) + (64 << 10)  # bytes; random reads up to here, an unaligned MiB too, cost no byte more than they ask
REACH = 4  # bytes that may be fetched ahead for each byte read of the stream: what a reader that stops early costs at most
LONGEST_RANDOM_RUN = 8 << 20  # where streams keep ending early, this much is read before readahead begins
SMALL_READ = 64 << 10  # bytes; faults and small preads
HEADER_READ = 16 << 10  # bytes; what the kernel makes of an 8-byte read at the beginning of a file
FIRST_VALUE = 128 << 10  # bytes; how long a value is thought to be until some were seen
LONGEST_VALUE = 1 << 20
REREAD = 4 << 20  # bytes behind a stream's front that still count as its own
JUDGED = 24  # streams that began with a small read; where SURE of them went on, the next one is thought to do so too
SURE = 20
BACKWARD_READS = 3  # in a row; fewer are READs that were overtaken by later ones
SMALLEST_WINDOW = 128 << 10  # below this a round trip costs more than it brings


class Stream:
    """Reads that touch each other. Offsets in bytes."""

    __slots__ = ("backward", "front", "going", "issued", "issued_down", "largest", "reads", "start", "target", "unread")

    def __init__(self, start: int, front: int) -> None:
        self.start = start  # first byte read
        self.front = front  # behind the last byte read
        self.reads = 1
        self.largest = front - start  # the largest read
        self.backward = 0  # reads in a row that extended the start
        self.going = False  # is read ahead
        self.issued = 0  # end of what was asked for ahead
        self.issued_down = start  # beginning of what was asked for ahead, of a backward stream
        self.target = FIRST_TARGET  # how far ahead it may be asked for
        self.unread = 0  # kept by the page cache

    @property
    def length(self) -> int:
        return self.front - self.start

    def cut(self, start: int, end: int) -> None:
        """The window from start to end and those planned behind it were not fetched for want of room."""
        if start >= self.front:
            self.issued = min(self.issued, start)
        else:
            self.issued_down = max(self.issued_down, end)
        self.target = max(FIRST_TARGET, self.target // 2)

    def __repr__(self) -> str:
        return f"<Stream {self.start}-{self.front}, {self.reads} reads, issued {self.issued}, target {self.target}>"


class Plan(NamedTuple):
    """What to fetch beyond the read."""

    stream: Stream
    extend: int  # the fetch for the read's last bytes may go on to this offset; never more than LONGEST_VALUE away
    windows: list[tuple[int, int]]  # (start, end) to fetch ahead, the most urgent first


class Readahead:
    """The streams of one object of `size` bytes."""

    def __init__(self, size: int, window: int, count: int) -> None:
        self._size = size
        self._window = max(window // BLOCK * BLOCK, BLOCK)
        self._most = self._window * max(1, count)
        self._count = max(1, count)
        self._streams: list[Stream] = []  # most recently used last
        self._begun: deque[Stream] = deque(maxlen=3)  # the last ones to begin, for strides
        self._random_run = RANDOM_RUN
        self._values: deque[int] = deque(maxlen=8)  # lengths of the last short streams
        self._went_on: deque[bool] = deque(maxlen=JUDGED)  # of the last streams that began with a small read
        self._stride_issued = 0  # where the last element asked for begins
        self._stride_depth = 1
        self.lost = False  # the last read came too late for what was fetched ahead: it was dropped, or has failed

    def streams(self) -> list[dict[str, object]]:
        """For people; bytes."""
        return [
            {"from": one.start, "to": one.front, "reads": one.reads, "read_ahead": one.going, "ahead_to": one.issued}
            for one in self._streams
        ]

    def read(self, offset: int, end: int, missing: bool, limit: int) -> Plan | None:
        """Notes a read of the bytes from offset to end.

        `missing`: some of them are neither in memory nor under way. `limit`: bytes that may be fetched ahead now.
        """
        self.lost = False
        for at in range(len(self._streams) - 1, -1, -1):
            stream = self._streams[at]
            if stream.start <= offset <= stream.front and offset >= stream.front - REREAD:
                return self._forward(stream, offset, end, missing, limit)
            if stream.start == end:
                return self._backward(stream, offset, end, limit)
        return self._begin(offset, end, limit)

    # -- forward ------------------------------------------------------------------------------------------------------

    def _forward(self, stream: Stream, offset: int, end: int, missing: bool, limit: int) -> Plan | None:
        self._use(stream)
        if missing and stream.going and end <= stream.issued:
            self.lost = True
            stream.target = max(FIRST_TARGET, stream.target // 2)
            stream.issued = 0
        if end <= stream.front:
            return None
        stream.front = end
        stream.reads += 1
        stream.largest = max(stream.largest, end - offset)
        stream.backward = self._join(stream)
        if stream.backward >= BACKWARD_READS:
            return self._downwards(stream, end, limit)
        if not stream.going:
            if stream.length > self._random_run or (stream.start == 0 and len(self._streams) == 1):
                stream.going = True
            elif stream.largest <= SMALL_READ and missing:
                return Plan(stream, self._value_end(stream, limit), [])
            else:
                return None
        elif stream.length > 4 * self._random_run:
            self._random_run = RANDOM_RUN
        return Plan(stream, stream.front, self._windows(stream, limit))

    def _windows(self, stream: Stream, limit: int) -> list[tuple[int, int]]:
        windows: list[tuple[int, int]] = []
        position = max(stream.issued, -(-stream.front // BLOCK) * BLOCK)
        reach = min(stream.target, limit, max(FIRST_TARGET, REACH * stream.length))
        last = min(self._size, stream.front + reach)
        while position < last:
            window = self._window_of(reach)
            if window < SMALLEST_WINDOW or (position + window > last and last < self._size):
                break
            end = min(position + window, self._size)
            windows.append((position, end))
            position = end
        if windows:
            stream.issued = position
            stream.target = min(stream.target * 2, self._most)
        return windows

    def _window_of(self, target: int) -> int:
        """Several windows share the target from the beginning: one connection is slower than the reader."""
        share = max(FIRST_TARGET, target // self._count)
        return min(share, self._window, target) // BLOCK * BLOCK

    def _value_end(self, stream: Stream, limit: int) -> int:
        """Where the value probably ends of which a second small part is read."""
        values = sorted(self._values)
        length = values[len(values) * 3 // 4] if values else FIRST_VALUE
        if length <= stream.length:  # longer than the others: twice what was read of it
            length = 2 * stream.length
        return min(stream.start + length, stream.front + min(LONGEST_VALUE, limit), self._size)

    # -- backward -----------------------------------------------------------------------------------------------------

    def _backward(self, stream: Stream, offset: int, end: int, limit: int) -> Plan | None:
        self._use(stream)
        stream.start = offset
        stream.reads += 1
        stream.backward += 1
        stream.largest = max(stream.largest, end - offset)
        self._join(stream)
        return self._downwards(stream, end, limit) if stream.backward >= BACKWARD_READS else None

    def _downwards(self, stream: Stream, end: int, limit: int) -> Plan:
        stream.issued_down = min(stream.issued_down, stream.start // BLOCK * BLOCK)
        windows: list[tuple[int, int]] = []
        reach = min(stream.target, limit, REACH * stream.length)
        low = max(0, stream.start - reach)
        while stream.issued_down > low:
            window = min(self._window_of(reach), reach)
            if window < BLOCK or (stream.issued_down - window < low and low > 0):
                break
            first = max(0, stream.issued_down - window) // BLOCK * BLOCK
            windows.append((first, stream.issued_down))
            stream.issued_down = first
        if windows:
            stream.target = min(stream.target * 2, self._most)
        return Plan(stream, end, windows)

    # -- new streams --------------------------------------------------------------------------------------------------

    def _begin(self, offset: int, end: int, limit: int) -> Plan | None:
        stream = Stream(offset, end)
        first = not self._streams
        if not first:
            self._learn(self._streams[-1])
        self._streams.append(stream)
        self._join(stream)
        if len(self._streams) > STREAMS:
            self._retire(self._streams.pop(0))
        windows = self._strides(stream, limit)
        self._begun.append(stream)
        if windows:
            return Plan(stream, end, windows)
        if stream.length <= SMALL_READ and sum(self._went_on) >= SURE:
            return Plan(stream, self._value_end(stream, limit), [])
        if first and offset == 0 and end < self._size:
            if end <= HEADER_READ:
                return Plan(stream, min(self._size, FIRST_VALUE, end + limit), [])
            stream.going = True
            return Plan(stream, end, self._windows(stream, limit))
        return None

    def _strides(self, stream: Stream, limit: int) -> list[tuple[int, int]]:
        """The elements ahead, when the last streams begin at equal distances."""
        if len(self._begun) < 2:
            return []
        before, last = self._begun[-2], self._begun[-1]
        stride = stream.start - last.start
        length = max(last.length, stream.length)
        if stride != last.start - before.start or abs(stride) <= length or abs(before.length - last.length) >= length:
            self._stride_depth, self._stride_issued = 1, stream.start
            return []
        if length > limit:
            return []
        self._stride_depth = min(2 * self._stride_depth, 2 * self._count)
        while self._stride_depth > 1 and self._stride_depth * length > limit:
            self._stride_depth //= 2
        ahead = (self._stride_issued - stream.start) // stride  # elements asked for already
        if not 0 <= ahead <= 2 * self._count:
            ahead = 0
        windows = []
        for number in range(ahead + 1, self._stride_depth + 1):
            start = stream.start + number * stride
            if not 0 <= start < self._size:
                break
            self._stride_issued = start
            windows.append((start, min(start + length, self._size)))
        return windows

    def _join(self, stream: Stream) -> int:
        """Takes in the streams that the stream touches now: READs that had overtaken it.

        Or it is the next part of a backward reader that came in several READs: says how many such parts there were in a row.
        """
        backward = 0
        for other in [other for other in self._streams if other is not stream]:
            touches = stream.start <= other.start <= stream.front or other.front == stream.start
            if touches and (other.backward or other.front <= stream.front + REREAD):  # else it goes on elsewhere
                if other.start > stream.start:
                    backward = max(backward, other.backward + 1)
                    stream.issued_down = min(stream.issued_down, other.issued_down)
                stream.start = min(stream.start, other.start)
                stream.front = max(stream.front, other.front)
                stream.reads += other.reads
                stream.largest = max(stream.largest, other.largest)
                stream.going = stream.going or other.going
                stream.issued = max(stream.issued, other.issued)
                stream.target = max(stream.target, other.target)
                self._streams.remove(other)
                if other in self._begun:
                    self._begun.remove(other)
        return backward

    def _use(self, stream: Stream) -> None:
        if self._streams[-1] is not stream:
            self._streams.remove(stream)
            self._streams.append(stream)

    def _learn(self, stream: Stream) -> None:
        """The reader has jumped away from the stream: how long are values, which are read in small reads, here?"""
        if not stream.going and stream.reads > 1 and stream.length <= LONGEST_VALUE and stream.largest <= SMALL_READ:
            self._values.append(-(-stream.length // BLOCK) * BLOCK)

    def _retire(self, stream: Stream) -> None:
        """A stream that nobody has read for long: was it worth reading ahead, and was it more than its first read?"""
        if stream.largest <= SMALL_READ:
            self._went_on.append(stream.reads > 1)
            self._learn(stream)  # once more: where several readers take turns, it was half read when the next one began
        if stream.going and stream.start > 0 and stream.issued > stream.front:
            self._random_run = min(LONGEST_RANDOM_RUN, max(self._random_run, 2 * stream.length))

    def __repr__(self) -> str:
        return f"<Readahead of {self._size} bytes, {self._streams}>"
