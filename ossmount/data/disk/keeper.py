"""Keeps one cache directory within its limits: counts, evicts, and says whether there is room for more.

All processes that use a directory have a keeper; the one that holds the lock counts and evicts for all. Nobody counts file by
file at each write: a count is what a scan in the background has found, and what all processes say they have written since.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ossmount.data.disk import pins
from ossmount.data.disk.inventory import Census, entries, evict
from ossmount.data.disk.layout import ROOT

MIB = 1 << 20
TURN = 1.0  # seconds between two looks
REST = 0.001  # seconds of rest after each folder of a scan
RECOUNT = 60.0  # seconds after which the pins are counted anew: other processes may have made some
LONG_LOG = 16 * MIB  # bytes of `written`, one for each MiB, after which it begins anew

Report = Callable[[dict[str, Any]], None]


class Untrusted(Exception):
    """Somebody else could have put bytes into a cache directory."""


def root_of(directory: str) -> str:
    return os.path.join(directory, ROOT)


def check_owner(root: str) -> None:
    """Whether nobody but root and we can write there. Raises Untrusted, or OSError where there is nothing."""
    found = os.lstat(root)
    if not stat.S_ISDIR(found.st_mode):
        raise Untrusted(f"{root} is not a directory")
    if found.st_uid not in (0, os.geteuid()):
        raise Untrusted(f"{root} belongs to user {found.st_uid}, and this is user {os.geteuid()}: use a directory of your own")
    if found.st_mode & 0o022:
        raise Untrusted(f"{root} may be written by other users: chmod 700 it, after `ossmount cache clear`")
    above = os.stat(os.path.dirname(root))
    if above.st_mode & 0o002 and not above.st_mode & stat.S_ISVTX:
        raise Untrusted(f"{os.path.dirname(root)} may be written by everybody: chmod 700 it, or use another folder")


def prepare(directory: str) -> None:
    """Makes the cache directory. Raises OSError and Untrusted."""
    os.makedirs(directory, 0o700, exist_ok=True)
    root = root_of(directory)
    with contextlib.suppress(FileExistsError):
        os.mkdir(root, 0o700)
    check_owner(root)
    if not os.access(root, os.W_OK | os.X_OK):
        raise OSError(errno.EROFS if os.statvfs(root).f_flag & os.ST_RDONLY else errno.EACCES, "it may not be written")


class Trusted:
    """The directories from which something may be read."""

    def __init__(self, directories: Sequence[str]) -> None:
        self.roots = [root_of(directory) for directory in directories]
        self._trusted: set[int] = set()

    def root(self, directory: int) -> str | None:
        """None where the directory is not there, or others could have put something there."""
        if directory not in self._trusted:
            try:
                check_owner(self.roots[directory])
            except (FileNotFoundError, Untrusted):  # the writing process makes it, and says what is wrong
                return None
            self._trusted.add(directory)
        return self.roots[directory]


class Limits:
    """How much of a disk the cache may take."""

    def __init__(self, size: int, free_percent: int) -> None:
        """size: bytes, 0 for no limit but the free space; free_percent: of the disk, that are left free."""
        self.size = size
        self.free_percent = free_percent

    def allow(self, root: str, used: int, length: int) -> bool:
        """Whether there is room for so many more bytes."""
        if self.size and used + length > self.size:
            return False
        disk = os.statvfs(root)
        return (disk.f_bavail * disk.f_frsize - length) * 100 >= disk.f_blocks * disk.f_frsize * self.free_percent

    def over(self, root: str, used: int) -> int:
        """Bytes that are too many."""
        disk = os.statvfs(root)
        wanted = disk.f_blocks * disk.f_frsize * self.free_percent // 100 - disk.f_bavail * disk.f_frsize
        return max(0, min(used, max(wanted, used - self.size if self.size else 0)))

    def most(self, root: str, used: int) -> int:
        """Bytes that the cache, which has so many now, may have and nothing would be evicted."""
        disk = os.statvfs(root)
        total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        room = max(0, used + free - total * (self.free_percent + 2) // 100)
        return min(room, self.size * 9 // 10) if self.size else room

    def excess(self, root: str, used: int, more: int = 0) -> int:
        """Bytes that must go for so many more; more than strictly needed once it is time, so that a scan pays."""
        disk = os.statvfs(root)
        total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize - more
        wanted = 0
        if self.size and used + more > self.size * 19 // 20:
            wanted = used + more - self.size * 9 // 10
        if free * 100 < total * (self.free_percent + 1):
            wanted = max(wanted, total * (self.free_percent + 2) // 100 - free)
        return min(wanted, used)


class Keeper:
    """Of one directory. run() in a thread of its own; the rest may be called by any thread."""

    def __init__(self, directory: str, limits: Limits, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        """report is called, in run()'s thread, with what has changed."""
        self._root = root_of(directory)
        self._limits = limits
        self._report = report
        self._clock = clock
        self._wake = threading.Event()
        self._lock = threading.Lock()  # for _mine
        self._mine = 0  # bytes written that `written` does not tell of yet
        self._refused = 0  # bytes of the largest write since the last turn that there was no room for
        self._used: int | None = None  # bytes, without _mine; None: not known yet
        self._holder = -1  # descriptor of the lock, when it is ours
        self._counted = 0
        self._mark = 0  # length of `written` when _counted was true
        self._next_scan = 0.0
        self._rested = 0.0  # seconds of the scan under way
        self._evicted = (0, 0)  # entries, bytes
        self._reported: dict[str, Any] = {}
        self._pinning = threading.Lock()  # for the next ones
        self._pinned = 0  # bytes of disk that all pinned objects take, once all of them is there
        self._pins_counted = self._pins_changed = -RECOUNT  # when
        self._seen = 0  # bytes that were used when the pins were counted

    def pin(self, name: bytes, size: int) -> bool:
        """Pins an object of so many bytes where it fits beside what is pinned; whether it is pinned now. Raises OSError."""
        with self._pinning:
            if pins.is_pinned(self._root, name):
                return True
            if self._clock() - self._pins_counted >= RECOUNT:
                self._count_pins()
            if self._pinned + pins.cost(size) > self._limits.most(self._root, (self._used or self._seen) + self._mine):
                return False
            pins.pin(self._root, name, size)
            self._pinned += pins.cost(size)
            self._pins_changed = self._clock()
            return True

    def unpin(self, name: bytes, size: int) -> None:
        """From now on the object may be evicted. Raises OSError."""
        with self._pinning:
            if pins.unpin(self._root, name):
                self._pinned = max(0, self._pinned - pins.cost(size))
                self._pins_changed = self._clock()

    def _count_pins(self) -> None:
        used = pinned = 0
        for entry in entries(self._root):
            used += entry.size
            pinned += pins.cost(entry.pinned) if entry.pinned else 0
        self._pinned, self._seen, self._pins_counted = pinned, used, self._clock()

    def allows(self, length: int) -> bool:
        """Whether so many bytes may be written now; if not, room is made for them. Raises OSError."""
        allowed = self._limits.allow(self._root, (self._used or 0) + self._mine, length)
        if not allowed:
            self._refused = max(self._refused, length)
            self._wake.set()
        return allowed

    def wrote(self, length: int) -> None:
        with self._lock:
            self._mine += length

    def run(self) -> None:
        """For ever."""
        while True:
            try:
                self.turn()
            except OSError as error:
                self._reported = {}  # it is told again when it goes well
                self._report({"keeper_error": os.strerror(error.errno or 0)})
            self._wake.wait(TURN)
            self._wake.clear()

    def turn(self) -> None:
        """One look at the directory. Raises OSError."""
        mark = self._publish()
        if self._holder < 0:
            self._try_lock()
        if self._holder < 0:
            counted, marked = self._read_usage()
            self._used = None if counted is None else counted + max(0, mark - marked) * MIB
        else:
            self._keep(mark)
        state = {
            "used": self._used,
            "pinned": self._pinned,
            "evicted": self._evicted[0],
            "evicted_bytes": self._evicted[1],
        }
        if state != self._reported:
            self._reported = state
            self._report(state)

    def _keep(self, mark: int) -> None:
        """The turn of the one who holds the lock."""
        if self._used is None:
            counted, marked = self._read_usage()  # of the last holder: true enough until the scan is through
            self._counted, self._mark = counted or 0, min(marked, mark)
        self._used = self._counted + (mark - self._mark) * MIB
        now = self._clock()
        first = not self._next_scan
        more = self._refused
        if first or (now >= self._next_scan and self._limits.excess(self._root, self._used + self._mine, more) > 0):
            self._refused = 0
            if mark > LONG_LOG:
                os.truncate(f"{self._root}/written", 0)
                mark = 0
            with self._lock:
                self._mine = 0  # the scan sees it
            self._rested = 0.0
            census = evict(self._root, lambda used: self._limits.excess(self._root, used, more), self._rest)
            took = self._clock() - now - self._rested  # on a busy machine the rests are most of it: 5 s were seen
            self._next_scan = self._clock() + 10 * took  # a tenth of the time at most
            self._scanned(census, mark)
            with self._pinning:
                if max(self._pins_counted, self._pins_changed) < now:
                    self._pinned, self._pins_counted = census.pinned, now

    def _rest(self) -> None:
        begin = self._clock()
        time.sleep(REST)
        self._rested += self._clock() - begin

    def _scanned(self, census: Census, mark: int) -> None:
        self._counted, self._mark = census.size, mark
        self._used = census.size
        self._evicted = (self._evicted[0] + census.dropped, self._evicted[1] + census.freed)
        path = f"{self._root}/usage"
        with open(f"{path}.new", "w", encoding="ascii") as file:
            json.dump({"bytes": census.size, "entries": census.entries, "mark": mark, "when": int(time.time())}, file)
        os.replace(f"{path}.new", path)

    def _publish(self) -> int:
        """Says what was written, in whole MiB; the MiB that all have said."""
        with self._lock:
            whole = self._mine // MIB
            self._mine -= whole * MIB
        file = os.open(f"{self._root}/written", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if whole:
                os.write(file, bytes(whole))
            return os.fstat(file).st_size
        finally:
            os.close(file)

    def _read_usage(self) -> tuple[int | None, int]:
        try:
            with open(f"{self._root}/usage", encoding="ascii") as file:
                value = json.load(file)
            return int(value["bytes"]), int(value["mark"])
        except FileNotFoundError:
            return None, 0
        except (ValueError, TypeError, KeyError):  # torn by a crash; the next scan writes it anew
            return None, 0

    def _try_lock(self) -> None:
        file = os.open(f"{self._root}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
        except BaseException:
            os.close(file)
            raise
        else:
            self._holder = file
