"""Tells a mount of ossmount an order, as a training program does: `python -m benchmarks.telling MOUNT FILE`.

Writes a line once the mount knows that it will be told, and stays until its standard input ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ossmount.hints import Prefetcher


def main() -> None:
    place, order = sys.argv[1:]
    with Prefetcher(place) as prefetcher:
        prefetcher.feed(Path(order).read_text().splitlines())
        print("telling", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
