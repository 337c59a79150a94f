"""How much of the store's file is mapped into this process, which counts as its memory though it is the kernel's page cache.

A page that is read stays mapped, with the 64 KiB around it: listing ten million keys would leave 1.2 GB resident. When it is
much, the store maps its file anew (a few ms for 100 MiB), and what is needed again is found in the page cache.
"""

from __future__ import annotations

from pathlib import Path

MOST = 96 << 20  # bytes of all mapped files; Python and its libraries are 25 MB of it
_EVERY = 128  # transactions between two looks, which take 30 µs each; they map 25 MB when each reads somewhere else


class Mapped:
    """Counts transactions and looks now and then."""

    def __init__(self) -> None:
        self._uses = 0

    def is_much(self) -> bool:
        """To be asked before each transaction."""
        self._uses += 1
        return not self._uses % _EVERY and file_bytes() > MOST


def file_bytes() -> int:
    """Resident bytes of mapped files (proc_pid_status(5): RssFile)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssFile:"):
            return int(line.split()[1]) * 1024
    return 0
