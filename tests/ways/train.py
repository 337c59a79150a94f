"""A training loop, as far as a mount sees one: epochs over a folder in random order, by four workers, each with its digest.

`python train.py --data FOLDER`. EPOCHS in the environment is how many (2); SIGTERM ends it behind the epoch in hand. Where the
daemon can be told (ossmount.hints, copied beside this file) it is told the order of each epoch. Files are read from the mount
each time, never from the kernel's page cache: otherwise a second epoch would ask nobody.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def digest(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return hashlib.sha256(file.readall()).hexdigest()


def epoch(files: list[Path], order: list[Path]) -> str:
    with ThreadPoolExecutor(4) as workers:
        digests = dict(zip(order, workers.map(digest, order), strict=True))
    return hashlib.sha256("".join(digests[path] for path in files).encode()).hexdigest()


def prefetcher(folder: str) -> Any:
    """What tells the daemon; None where there is no such module or no daemon to be told."""
    try:
        from hints import NotMounted, Prefetcher  # type: ignore[import-not-found]
    except ImportError:
        return None
    try:
        return Prefetcher(folder)
    except NotMounted as error:
        print(f"nobody is told: {error}", flush=True)
        return None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    folder = parser.parse_args().data
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stops.append(number))
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    told = prefetcher(folder)
    print(f"{len(files)} files, uid {os.getuid()}, {'told' if told else 'not told'}", flush=True)
    first = ""
    for number in range(1, int(os.environ.get("EPOCHS", "2")) + 1):
        order = random.Random(number).sample(files, len(files))
        if told:
            told.feed(order)
        found = epoch(files, order)
        print(f"epoch {number}: {found}", flush=True)
        if found != (first := first or found):
            sys.exit("two epochs differ")
        if stops:
            break


if __name__ == "__main__":
    main()
