"""`ossmount warm`: reads files through the mount, many at a time, so that the caches have them.

Through the mount and not past it: what is there already costs no request, whichever cache holds it, which is what makes the
command resumable; errors are those that a reader would get; and large files come by readahead.
"""

from __future__ import annotations

import argparse
import os
import queue
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from ossmount.channel.mounting import resolve
from ossmount.control.registry import Registry
from ossmount.control.state import state_directory
from ossmount.exit_codes import CommandError, ExitCode

DESCRIPTION = """Reads files, and folders with everything in them, through a mount once, so that they are in
memory (and in the disk cache, if there is one) when a job reads them. What is there already is not
fetched again: a command that was interrupted goes on where it ended. Exits with 0 when every file
could be read, else with 1."""

EPILOG = """Example:
  ossmount warm /mnt/train train/000 train/001 labels.json"""

READERS = 32  # threads; at 15 ms latency 2,000 small files/s
PIECE = 1 << 20  # bytes of one read
SHOWN = 20  # failures that are printed
_AGAIN = (1.0, 10.0)  # seconds between lines of progress: to a terminal, to anything else

File = tuple[str, int]  # path, bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint", metavar="MOUNT")
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a file or folder: relative to MOUNT, or absolute and in it")
    parser.add_argument("--pin", action="store_true", help="refused: this version cannot keep files for good")
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress")


def run(arguments: argparse.Namespace) -> int:
    if arguments.pin:
        message = "--pin: this version cannot keep files in a cache for good; leave --pin out"
        raise CommandError(ExitCode.USAGE, message)
    mountpoint = resolve(arguments.mountpoint)
    record = Registry(state_directory(os.environ, os.geteuid())).find(mountpoint)
    if record is None or not record.alive():
        raise CommandError(ExitCode.NOT_MOUNTED, f"{arguments.mountpoint}: no mount of yours; `ossmount status` lists them")
    failures: list[str] = []
    files = list(_files([_inside(mountpoint, path) for path in arguments.paths], failures.append))
    progress = _Progress(files, quiet=arguments.quiet)
    _read_all(files, progress, failures)
    progress.end(len(failures))
    for line in failures[:SHOWN]:
        print(f"ossmount: {line}", file=sys.stderr)
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
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
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
            if not self._quiet and now - self._said >= _AGAIN[0 if self._terminal else 1]:
                self._said = now
                print(self._text(now), end="\r" if self._terminal else "\n", file=sys.stderr, flush=True)

    def _text(self, now: float) -> str:
        rate = self._bytes / max(now - self._begin, 1e-9)
        left = (self._total_bytes - self._bytes) / rate if rate else 0.0
        return (
            f"{self._files:,} of {self._total_files:,} files, {self._bytes / 1e6:,.0f} of {self._total_bytes / 1e6:,.0f} MB, "
            f"{rate / 1e6:,.0f} MB/s, {left:,.0f} s left"
        )

    def end(self, failures: int) -> None:
        seconds = time.monotonic() - self._begin
        print(f"{self._files:,} files, {self._bytes / 1e6:,.0f} MB in {seconds:.1f} s; {failures:,} failed", file=sys.stderr)


def _read_all(files: Sequence[File], progress: _Progress, failures: list[str]) -> None:
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for path, _ in files:
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
                _read(path, buffer, progress, stop)
            except OSError as error:
                failures.append(f"{path}: {error.strerror}")

    threads = [threading.Thread(target=work, name="warm") for _ in range(min(READERS, len(files)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        stop.set()  # Ctrl-C: no thread begins anything more
        for thread in threads:
            thread.join()


def _read(path: str, buffer: bytearray, progress: _Progress, stop: threading.Event) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while not stop.is_set():
            size = os.readv(descriptor, (buffer,))
            if not size:
                progress.add(0, file=True)
                return
            progress.add(size)
    finally:
        os.close(descriptor)
