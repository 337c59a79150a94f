"""`ossmount warm`: reads files through the mount, many at a time, so that the caches have them.

Through the mount and not past it: what is there already costs no request, whichever cache holds it, which is what makes the
command resumable; errors are those that a reader would get; and large files come by readahead.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from ossmount.channel.mounting import resolve
from ossmount.cli.pins import Pins
from ossmount.control.registry import Registry
from ossmount.control.state import state_directory
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.printable import printable

DESCRIPTION = """Reads files, and folders with everything in them, through a mount once, so that they are in
memory (and in the disk cache, if there is one) when a job reads them. What is there already is not
fetched again: a command that was interrupted goes on where it ended. Exits with 0 when every file
could be read, else with 1.

With --pin the files stay in the disk cache (--cache-dir) until --unpin: what was not used for longest
is dropped around them, also by other mounts and after a restart. Only `ossmount cache clear` drops
them. Exits with 0 when all of every file lies on the disk, and with 12 when they do not fit. A pin
is of the version that is there now: when an object changes, its file must be pinned again."""

EPILOG = """Examples:
  ossmount warm /mnt/train train/000 train/001 labels.json
  ossmount warm /mnt/models --pin base-model
  ossmount warm /mnt/models --unpin base-model"""

READERS = 32  # threads; at 15 ms latency 2,000 small files/s
PIECE = 1 << 20  # bytes of one read
SHOWN = 20  # failures that are printed
_WHY = {"failed": "the cache on disk cannot be written, see `ossmount status`", "unknown": "not there any more"}
_AGAIN = 1.0  # seconds between two states of progress

File = tuple[str, int]  # path, bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint", metavar="MOUNT", help="the mount to read through")
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a file or folder: relative to MOUNT, or absolute and in it")
    pins = parser.add_mutually_exclusive_group()
    pins.add_argument("--pin", action="store_true", help="keep the files in the disk cache until --unpin")
    pins.add_argument("--unpin", action="store_true", help="let the files be dropped from the disk cache again; reads nothing")
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress, which only a terminal is shown")
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object, and no progress")


def run(arguments: argparse.Namespace) -> int:
    mountpoint = resolve(arguments.mountpoint)
    registry = Registry(state_directory(os.environ, os.geteuid()))
    record = registry.find(mountpoint)
    if record is None or not record.alive():
        raise CommandError(ExitCode.NOT_MOUNTED, f"{arguments.mountpoint}: no mount of yours; `ossmount status` lists them")
    missing: list[str] = []
    files = list(_files([_inside(mountpoint, path) for path in arguments.paths], missing.append))
    pins = Pins(lambda: registry.find(mountpoint), mountpoint)
    quiet = arguments.quiet or arguments.json
    if arguments.unpin:
        failed = _unpin(pins, files)
    elif arguments.pin:
        failed = _pin(pins, files, quiet=quiet)
    else:
        failed = _warm(files, len(missing), quiet=quiet)
    failures = missing + [f"{path}: {why}" for path, why in failed.items()]
    if arguments.json:
        print(json.dumps({"files": len(files), "bytes": sum(size for _, size in files), "failures": failures}))
        return ExitCode.UNEXPECTED if failures else ExitCode.OK
    return _report(failures)


def _warm(files: Sequence[File], missing: int, *, quiet: bool) -> dict[str, str]:
    """missing: of paths that were given and name nothing; they count as failed."""
    progress = _Progress(files, quiet=quiet)
    failed = _read_all([path for path, _ in files], READERS, progress)
    progress.end(missing + len(failed))
    return failed


def _pin(pins: Pins, files: Sequence[File], *, quiet: bool) -> dict[str, str]:
    sizes = dict(files)
    states = pins.pin(list(sizes))
    failed = {path: _WHY[state] for path, state in states.items() if state in _WHY}
    lacking = [path for path, state in states.items() if state == "lacking"]
    progress = _Progress([(path, sizes[path]) for path in lacking], quiet=quiet)

    def read(paths: Sequence[str], readers: int) -> dict[str, str]:
        nonlocal progress
        done, progress = progress, _Progress([], quiet=True)  # later passes read again what was counted
        return _read_all(paths, readers, done, drop=True)

    if lacking:
        failed.update(pins.fill(lacking, read))
    kept = [path for path in sizes if path not in failed]
    print(f"{len(kept):,} files, {sum(sizes[path] for path in kept) / 1e6:,.0f} MB are pinned", file=sys.stderr)
    return failed


def _unpin(pins: Pins, files: Sequence[File]) -> dict[str, str]:
    states = pins.unpin([path for path, _ in files])
    failed = {path: _WHY[state] for path, state in states.items() if state in _WHY}
    print(f"{len(states) - len(failed):,} files are not pinned any more", file=sys.stderr)
    return failed


def _report(failures: Sequence[str]) -> int:
    for line in failures[:SHOWN]:
        print(f"ossmount: {printable(line)}", file=sys.stderr)
    if len(failures) > SHOWN:
        print(f"ossmount: and {len(failures) - SHOWN:,} more", file=sys.stderr)
    return ExitCode.UNEXPECTED if failures else ExitCode.OK


def _inside(mountpoint: str, path: str) -> str:
    found = os.path.normpath(os.path.join(mountpoint, path))
    if found != mountpoint and not found.startswith(mountpoint.rstrip("/") + "/"):
        raise CommandError(ExitCode.USAGE, f"{path}: does not lie in {mountpoint}")
    return found


def _files(paths: Sequence[str], fail: Callable[[str], None]) -> Iterator[File]:
    """The regular files among the paths and below them."""
    for path in paths:
        try:
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode):
                with os.scandir(path) as entries:
                    below = sorted(entry.path for entry in entries)
                yield from _files(below, fail)
            elif stat.S_ISREG(status.st_mode):
                yield path, status.st_size
        except OSError as error:
            fail(f"{path}: {error.strerror}")


class _Progress:
    """Counts what the threads have read, and says so now and then."""

    def __init__(self, files: Sequence[File], *, quiet: bool) -> None:
        self._lock = threading.Lock()
        self._live = not quiet and sys.stderr.isatty()
        self._total_files = len(files)
        self._total_bytes = sum(size for _, size in files)
        self._files = 0
        self._bytes = 0
        self._begin = self._said = time.monotonic()

    def add(self, size: int, *, file: bool = False) -> None:
        with self._lock:
            self._bytes += size
            self._files += file
            now = time.monotonic()
            if self._live and now - self._said >= _AGAIN:
                self._said = now
                print("\r", self._text(now), "\x1b[K", sep="", end="", file=sys.stderr, flush=True)

    def _text(self, now: float) -> str:
        rate = self._bytes / max(now - self._begin, 1e-9)
        left = (self._total_bytes - self._bytes) / rate if rate else 0.0
        return (
            f"{self._files:,} of {self._total_files:,} files, {self._bytes / 1e6:,.0f} of {self._total_bytes / 1e6:,.0f} MB, "
            f"{rate / 1e6:,.0f} MB/s, {left:,.0f} s left"
        )

    def end(self, failures: int) -> None:
        seconds = time.monotonic() - self._begin
        if self._live:
            print("\r", "\x1b[K", sep="", end="", file=sys.stderr)
        print(f"{self._files:,} files, {self._bytes / 1e6:,.0f} MB in {seconds:.1f} s; {failures:,} failed", file=sys.stderr)


def _read_all(paths: Sequence[str], readers: int, progress: _Progress, *, drop: bool = False) -> dict[str, str]:
    """The failures, by path. drop: what the kernel has of a file is dropped first, so that we are asked for it."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    failures: dict[str, str] = {}
    for path in paths:
        waiting.put(path)
    stop = threading.Event()

    def work() -> None:
        buffer = bytearray(PIECE)
        while not stop.is_set():
            try:
                path = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                _read(path, buffer, progress, stop, drop=drop)
            except OSError as error:
                failures[path] = error.strerror or "it cannot be read"

    threads = [threading.Thread(target=work, name="warm") for _ in range(min(readers, len(paths)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        stop.set()  # Ctrl-C: no thread begins anything more
        for thread in threads:
            thread.join()
    return failures


def _read(path: str, buffer: bytearray, progress: _Progress, stop: threading.Event, *, drop: bool) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if drop:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        while not stop.is_set():
            size = os.readv(descriptor, (buffer,))
            if not size:
                progress.add(0, file=True)
                return
            progress.add(size)
    finally:
        os.close(descriptor)
