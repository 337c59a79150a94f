"""What is known of the requests that were answered: how long they took, with which errors, and who wants to hear of each.

A request is timed from the moment it was read from the device. Those that are answered at once are entered by the loop that
reads them (ossmount.channel.kernel_channel.channel), the others by ended().
"""

from __future__ import annotations

import errno
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

from ossmount.channel.interface import Ended, Watcher
from ossmount.channel.kernel_channel.protocol import Opcode
from ossmount.durations import BUCKETS, as_facts
from ossmount.errors import (
    InvalidArgument,
    IsDirectory,
    NameTooLong,
    NoAttribute,
    NotDirectory,
    NotFound,
    ReadOnly,
    TooSmall,
    Unsupported,
)

#: Answers that a program gets for what it asked, and that say nothing of the mount.
ORDINARY = (
    InvalidArgument,
    IsDirectory,
    NameTooLong,
    NoAttribute,
    NotDirectory,
    NotFound,
    ReadOnly,
    TooSmall,
    Unsupported,
)
KEPT_FAILURES = 64  # the last ones, for `ossmount explain`


class Observed:
    """Of one connection. `buckets` and `seconds` are indexed by opcode, see ossmount.durations."""

    def __init__(self) -> None:
        count = max(Opcode) + 1
        self.buckets = [[0] * BUCKETS for _ in range(count)]
        self.seconds = [0.0] * count
        self.pended = 0  # requests so far that could not be answered at once
        self.slow_after = math.inf  # seconds; what took that long is told
        self.files = 0  # READs of the beginning of a file
        self.errors: Counter[str] = Counter()  # failures by the name of their errno
        self._last_failures: deque[dict[str, object]] = deque(maxlen=KEPT_FAILURES)
        self._watchers: dict[object, tuple[Watcher, float]] = {}

    def watch(self, watcher: Watcher, slower_than: float) -> Callable[[], None]:
        """Tells of each request that took so many seconds or more, until the function returned is called."""
        token = object()
        self._watchers[token] = (watcher, slower_than)
        self._set_threshold()

        def end() -> None:
            self._watchers.pop(token, None)
            self._set_threshold()

        return end

    def _set_threshold(self) -> None:
        self.slow_after = min((slow for _, slow in self._watchers.values()), default=math.inf)

    def ended(self, request: Ended) -> None:
        """A request that was not answered at once has been answered."""
        opcode = Opcode[request.operation] if request.operation in Opcode.__members__ else 0
        self.buckets[opcode][int(request.seconds * 1e6).bit_length()] += 1
        self.seconds[opcode] += request.seconds
        if request.seconds >= self.slow_after:
            self.tell(request)

    def tell(self, request: Ended) -> None:
        for watcher, slower_than in list(self._watchers.values()):
            if request.seconds >= slower_than:
                watcher(request)

    def failed(self, code: int, node: int, failure: BaseException) -> None:
        """A request was answered with an errno."""
        if isinstance(failure, ORDINARY):
            return
        name = errno.errorcode.get(code, str(code))
        self.errors[name] += 1
        self._last_failures.append({"time": round(time.time(), 3), "node": node, "errno": name, "error": str(failure)})

    def last_failures(self) -> Sequence[Mapping[str, object]]:
        return tuple(self._last_failures)

    def facts(self) -> dict[str, object]:
        """Durations by opcode, of those that there were, failures by errno, and READs of the beginning of a file."""
        used = [opcode for opcode in Opcode if any(self.buckets[opcode])]
        durations = {opcode.name: as_facts(self.buckets[opcode], self.seconds[opcode]) for opcode in used}
        return {"durations": durations, "errors": dict(self.errors), "files_read": self.files}
