"""Passthrough against the local file itself: `python -m benchmarks.passthrough`.

A file of 2 GiB is read once through `ossmount mount --passthrough`, until its copy in the cache is whole. Then, in turns, that
copy and the file of the mount are read: by one reader, by four (a quarter each), and by way of a mapping. What the kernel keeps
of the copy is dropped before each (posix_fadvise), unless --warm.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import crew, data, store
from benchmarks.access import Place
from benchmarks.network import NETWORKS
from benchmarks.own import OwnPeer
from benchmarks.peers import Target
from benchmarks.processes import TimedOut, interrupts, wait_until
from benchmarks.worker import Record, Task
from ossmount.control.client import ask
from ossmount.control.registry import Registry

BUCKET = "bench"
NAME = "large.bin"
CHUNK = 1 << 20  # bytes of one read
LIMIT = 600.0  # seconds for each step
WAYS = {"one reader": ("read", 1), "four readers": ("read", 4), "mapping": ("map", 1)}


def read(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """Reads a part of a file in order, or a mapping of it."""
    name = data.digest(NAME)
    record.begin()
    descriptor = os.open(arguments["path"], os.O_RDONLY)
    try:
        with contextlib.ExitStack() as stack:
            view = None
            if arguments["how"] == "map":
                view = stack.enter_context(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))
            for at in range(arguments["begin"], arguments["end"], CHUNK):
                piece = os.pread(descriptor, CHUNK, at) if view is None else view[at : at + CHUNK]
                data.check(name, at, piece)
                record.done(len(piece))
    finally:
        os.close(descriptor)


def seconds(path: Path, size: int, how: str, readers: int) -> float:
    part = size // readers
    tasks = [
        Task(
            "benchmarks.passthrough:read",
            Place(str(path.parent)),
            {"path": str(path), "how": how, "begin": number * part, "end": (number + 1) * part},
        )
        for number in range(readers)
    ]
    outcome = crew.run(tasks, LIMIT)
    if outcome.errors:
        raise RuntimeError("; ".join(outcome.errors))
    return outcome.seconds


def drop(path: Path) -> None:
    """Has the kernel forget what it keeps of a file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a read-only file system has nothing to write
            os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def mounted(scratch: Path, size: int, options: tuple[str, ...]) -> Iterator[tuple[Path, Path]]:
    """The file of the mount, and its whole copy."""
    root, mountpoint, cache = scratch / "root", scratch / "mount", scratch / "cache"
    mountpoint.mkdir()
    data.write(root / BUCKET, NAME, size)
    words = ("--passthrough", "--cache-dir", str(cache), "--cache-free-space", "0", "--memory-limit", "1G", *options)
    with store.serve(scratch, root, [NETWORKS["none"]]) as serving:
        target = Target(BUCKET, serving.url(NETWORKS["none"]), mountpoint, scratch, scratch)
        with OwnPeer("ossmount", words).mounted(target):
            path = mountpoint / NAME
            for _ in range(5):  # what was not written for want of memory is with the next reading
                drop(path)
                seconds(path, size, "read", 1)
                with contextlib.suppress(TimedOut):
                    wait_until(lambda: _whole(scratch, mountpoint), 20.0, "the copy is not whole")
                    break
            else:
                raise RuntimeError("the copy never became whole")
            (copy,) = cache.glob("*/*/*.data")
            yield path, copy


def _facts(scratch: Path, mountpoint: Path) -> dict[str, Any]:
    record = Registry(scratch / "state").find(str(mountpoint))
    assert record is not None
    facts: dict[str, Any] = ask(record.socket, "status", timeout=10.0)["facts"]
    return facts


def _whole(scratch: Path, mountpoint: Path) -> bool:
    return bool(_facts(scratch, mountpoint)["disk"]["copies"]["whole"])


def measure(scratch: Path, size: int, rounds: int, *, warm: bool, options: tuple[str, ...] = ()) -> dict[str, Any]:
    """MB/s of each way, the local file's and the mount's in turns, and the median of their ratios."""
    result: dict[str, Any] = {}
    with mounted(scratch, size, options) as (path, copy):
        for way, (how, readers) in WAYS.items():
            speeds: dict[str, list[float]] = {"local": [], "mount": []}
            for number in range(2 * rounds):
                turn = ("local", "mount")[(number + number // 2) % 2]  # each goes first as often as the other
                if not warm:
                    drop(copy)
                took = seconds(copy if turn == "local" else path, size, how, readers)
                speeds[turn].append(size / took / 1e6)
            ratios = [mount / local for mount, local in zip(speeds["mount"], speeds["local"], strict=True)]
            result[way] = {**speeds, "ratio": statistics.median(ratios)}
        opens = _facts(scratch, path.parent)["channel"]["passthrough"]["opens"]
        if opens["passthrough"] < rounds * sum(readers for _, readers in WAYS.values()):
            raise RuntimeError(f"not everything was read in passthrough: {opens}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.passthrough", description=__doc__)
    parser.add_argument("--size", type=int, default=2048, help="MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm", action="store_true", help="keep what the kernel has of the copy")
    parser.add_argument("--dir", default="/var/tmp", help="where server, cache and mount go; a short path, twice the size")
    parser.add_argument("--json", type=Path, help="write the figures to a file, too")
    arguments = parser.parse_args()
    interrupts.install()
    with tempfile.TemporaryDirectory(prefix="om-", dir=arguments.dir) as folder:
        result = measure(Path(folder), arguments.size << 20, arguments.rounds, warm=arguments.warm)
    print(f"{'':14}{'local MB/s':>12}{'mount MB/s':>12}{'ratio':>8}   medians of {arguments.rounds}")
    for way, found in result.items():
        local, mount = statistics.median(found["local"]), statistics.median(found["mount"])
        print(f"{way:14}{local:12,.0f}{mount:12,.0f}{found['ratio']:8.2f}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
