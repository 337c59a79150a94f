"""Each kind of fault against each operation of a reader, through a real mount: outcomes, errnos, times, recovery."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from ossmount.emulator.faults import Fault
from ossmount.hints import Prefetcher
from tests.mount.support import BUCKET, LIMIT, Mount, Workshop

SMALL, BIG = 20_000, 2 << 20  # bytes
BIGS = 12
NAMES = [f"n{number}" for number in range(20)]  # of the folders that are looked at and listed
METADATA, DATA = ("LIST", "HEAD"), ("GetObject",)

PASSING = frozenset({errno.EIO, errno.ETIMEDOUT})  # of what is repeated until the deadline
NONE: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Kind:
    """A kind of fault and the errnos that SEMANTICS.md and docs/ERRORS.md allow for it."""

    name: str
    fault: Fault
    always: frozenset[int] = PASSING  # while each request meets it
    sometimes: frozenset[int] = NONE  # where one or some do
    calls: tuple[str, ...] = METADATA + DATA
    #: Operations that are left out. A range has no checksum of its own: a changed bit in it is what `--verify` is for.
    without: tuple[str, ...] = ()


#: What is asked for, by operation; of listings their prefix.
KEYS = {
    "lookup": "lookup*",
    "readdir": "readdir*",
    "small read": "small/*",
    "big read": "big/*",
    "prefetch": "prefetch/*",
    "refresh": "refresh*",
}
DENIED, STALE, ARCHIVED = frozenset({errno.EACCES}), frozenset({errno.ESTALE}), frozenset({errno.ENODATA})
BAD = frozenset({errno.EIO})
KINDS = {
    kind.name: kind
    for kind in (
        Kind("reset", Fault(reset=True)),
        Kind("reset in the body", Fault(reset_after=5000), calls=DATA),
        Kind("cut off", Fault(truncate_after=100)),
        Kind("silence", Fault(hang=True), always=frozenset({errno.ETIMEDOUT})),
        Kind("silence in the body", Fault(hang_after=100)),
        Kind("latency of 1.5 s", Fault(latency=1.5)),
        Kind("late body", Fault(first_byte_delay=1.5)),
        Kind("2 KB/s", Fault(bandwidth=2000.0)),
        Kind("500 InternalError", Fault(code="InternalError")),
        Kind("502", Fault(code="BadGateway", status=502)),
        Kind("503 ServiceUnavailable", Fault(code="ServiceUnavailable")),
        Kind("503 QpsLimitExceeded", Fault(code="QpsLimitExceeded")),
        Kind("429 TooManyRequests", Fault(code="TooManyRequests")),
        Kind("403 AccessDenied", Fault(code="AccessDenied"), DENIED, DENIED),
        Kind("403 InvalidAccessKeyId", Fault(code="InvalidAccessKeyId"), DENIED, DENIED),
        Kind("403 SignatureDoesNotMatch", Fault(code="SignatureDoesNotMatch"), DENIED, DENIED),
        Kind("403 SecurityTokenExpired", Fault(code="SecurityTokenExpired"), DENIED, DENIED),
        Kind("403 RequestTimeTooSkewed", Fault(code="RequestTimeTooSkewed"), DENIED, DENIED),
        Kind("403 InvalidObjectState", Fault(code="InvalidObjectState"), ARCHIVED, ARCHIVED, DATA),
        Kind("404 NoSuchKey", Fault(code="NoSuchKey"), STALE, STALE, DATA),
        Kind("412 PreconditionFailed", Fault(code="PreconditionFailed"), STALE, STALE, DATA),
        Kind("another version", Fault(etag="F" * 32, ignore_conditions=True), STALE, STALE, DATA),
        Kind(
            "a changed byte", Fault(corrupt_at=77), frozenset({errno.EIO}), frozenset({errno.EIO}), DATA, without=("big read",)
        ),
    )
}


@lru_cache(maxsize=4096)
def content(name: str, size: int) -> bytes:
    return random.Random(name).randbytes(size)


@dataclass
class Cell:
    """What one operation went through."""

    good: int = 0
    errnos: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    longest: float = 0.0  # seconds
    met: int = 0  # requests that met the fault
    usual: float = 0.0  # seconds that the operation takes on this machine after that
    recovery: float = 0.0  # seconds from the fault's end to the first good outcome, beyond those


class World:
    """A mount over a bucket with enough names that no operation of data finds anything cached."""

    def __init__(self, shop: Workshop, rounds: int) -> None:
        self.shop = shop
        store = shop.server.store
        for folder in ("lookup", "readdir", "refresh"):
            for name in NAMES:
                store.put(BUCKET, f"{folder}/{name}".encode(), name.encode())
        for number in range(rounds):
            store.put(BUCKET, f"small/{number}".encode(), content(f"small/{number}", SMALL))
            for part in range(4):
                name = f"prefetch/{number}-{part}"
                store.put(BUCKET, name.encode(), content(name, SMALL))
        for number in range(BIGS):
            store.put(BUCKET, f"big/{number}".encode(), content(f"big/{number}", BIG))
        self._rounds = {"small": rounds, "prefetch": rounds, "big": BIGS, "lookup": len(NAMES)}
        self._next: Counter[str] = Counter()

    def operations(self, mount: Mount) -> dict[str, Callable[[], str]]:
        """Each does its work once and tells what was wrong, "" for nothing. Raises OSError."""
        return {
            "lookup": lambda: self._lookup(mount.path),
            "readdir": lambda: self._names(mount.path / "readdir"),
            "small read": lambda: self._file(mount.path, f"small/{self._number('small')}", SMALL),
            "big read": lambda: self._file(mount.path, f"big/{self._number('big')}", BIG),
            "prefetch": lambda: self._prefetch(mount.path),
            "refresh": lambda: self._refresh(mount),
        }

    def _number(self, name: str) -> int:
        self._next[name] += 1
        return (self._next[name] - 1) % self._rounds[name]

    def _lookup(self, path: Path) -> str:
        name = NAMES[self._number("lookup")]
        size = os.stat(path / "lookup" / name).st_size
        return "" if size == len(name) else f"lookup/{name} has {size} bytes"

    def _names(self, folder: Path) -> str:
        found = sorted(os.listdir(folder))
        return "" if found == sorted(NAMES) else f"{folder.name} holds {found}"

    def _file(self, path: Path, name: str, size: int) -> str:
        """Read, and dropped from the kernel's page cache, so that the next round reads it anew."""
        with open(path / name, "rb", buffering=0) as file:
            found = b"".join(iter(lambda: file.read(1 << 20), b""))
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return "" if found == content(name, size) else f"{name} has wrong bytes"

    def _prefetch(self, path: Path) -> str:
        number = self._number("prefetch")
        names = [f"prefetch/{number}-{part}" for part in range(4)]
        with Prefetcher(path) as prefetcher:
            prefetcher.feed(names)
            prefetcher.finish(LIMIT)
            return next((wrong for name in names if (wrong := self._file(path, name, SMALL))), "")

    def _refresh(self, mount: Mount) -> str:
        done = self.shop.run("refresh", str(mount.path), "refresh")
        if done.returncode:
            return f"refresh ended with {done.returncode}: {done.stderr}"
        return self._names(mount.path / "refresh")


def go(cell: Cell, operation: Callable[[], str]) -> bool:
    """Once; whether it was good."""
    begin = time.monotonic()
    try:
        wrong = operation()
    except OSError as failure:
        cell.errnos[failure.errno or 0] += 1
        return False
    finally:
        cell.longest = max(cell.longest, time.monotonic() - begin)
    if wrong:
        cell.wrong.append(wrong)
        return False
    cell.good += 1
    return True


def run(world: World, mount: Mount, kind: Kind, how: str, seconds: float, times: int) -> dict[str, Cell]:
    """All operations at the same time. how: "once", "10 %" or "always" (for so many seconds)."""
    faults = world.shop.server.faults
    operations = {name: todo for name, todo in world.operations(mount).items() if _concerned(name, kind)}
    cells = {name: Cell() for name in operations}
    injections = {
        name: faults.add(replace(_fault(kind.fault, how), keys=KEYS[name], operations=_calls(name))) for name in cells
    }
    ended = threading.Event()

    def work(name: str) -> None:
        cell, operation = cells[name], operations[name]
        if how != "always":
            for _ in range(times):
                go(cell, operation)
            return
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            go(cell, operation)
            time.sleep(0.2)
        ended.wait()
        since = time.monotonic()
        while not go(cell, operation) and time.monotonic() - since < LIMIT:
            time.sleep(0.02)
        good = time.monotonic()
        go(cell, operation)
        cell.usual = time.monotonic() - good
        cell.recovery = max(0.0, good - since - cell.usual)

    with ThreadPoolExecutor(len(operations)) as threads:
        futures = [threads.submit(work, name) for name in operations]
        if how == "always":
            time.sleep(seconds)
            faults.clear()
        ended.set()
        for future in futures:
            future.result()
    for name, injection in injections.items():
        cells[name].met = injection.hits
    faults.clear()
    return cells


def _fault(fault: Fault, how: str) -> Fault:
    if how == "once":
        return replace(fault, count=1)
    return replace(fault, probability=0.1) if how == "10 %" else fault


def _concerned(name: str, kind: Kind) -> bool:
    return name not in kind.without and all(call in kind.calls for call in _calls(name))


def _calls(name: str) -> tuple[str, ...]:
    return DATA if name in ("small read", "big read", "prefetch") else METADATA


def problems(kind: Kind, how: str, cells: dict[str, Cell]) -> Iterator[str]:
    """What breaks a promise, however slow the machine is."""
    allowed = kind.always if how == "always" else kind.sometimes
    for name, cell in cells.items():
        where = f"{kind.name}, {name}, {how}"
        if cell.wrong:
            yield f"{where}: {cell.wrong}"
        if unexpected := {errno.errorcode.get(number, "?") for number in cell.errnos if number not in allowed}:
            yield f"{where}: {unexpected}"
        if not cell.good and how == "always":
            yield f"{where}: never good again"


def delays(kind: Kind, how: str, cells: dict[str, Cell], timeout: float, recovery: float) -> Iterator[str]:
    """What took too long. An operation is up to three calls with a deadline each, a prefetch eight."""
    for name, cell in cells.items():
        where = f"{kind.name}, {name}, {how}"
        if not cell.met and how == "always":
            yield f"{where}: no request met the fault"
        if cell.longest > (8 if name == "prefetch" else 3) * timeout + recovery:
            yield f"{where}: one took {cell.longest:.1f} s"
        if cell.recovery > recovery:
            yield f"{where}: good again only {cell.recovery:.1f} s after the fault's end"


HEADING = f"{'fault':28}{'how':8}{'operation':12}{'met':>6}{'good':>6}{'longest':>9}{'recovery':>9}{'usual':>7}  errnos"


def table(kind: str, how: str, cells: dict[str, Cell]) -> str:
    """One line for each cell."""
    lines = []
    for name, cell in cells.items():
        found = ", ".join(f"{errno.errorcode.get(number, '?')} {count}" for number, count in cell.errnos.items())
        recovery = f"{cell.recovery:8.2f}s{cell.usual:6.2f}s" if how == "always" else " " * 16
        lines.append(f"{kind:28}{how:8}{name:12}{cell.met:6}{cell.good:6}{cell.longest:8.2f}s{recovery}  {found}")
    return "\n".join(lines)
