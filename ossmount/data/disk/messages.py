"""What the daemon and a disk process say to each other: one marshalled tuple in each packet of a SOCK_SEQPACKET pair.

daemon to process:
    (settings: dict)                                                first of all, once; see child.py
    (READ, number, directory, name, size, start, targets, progress)
    (WRITE, number, directory, name, label, size, start, targets)
    (PIN, number, directory, on, [(name, size), ...])               at most MOST_PINS of them
    (DROP, number, name)                                            from all directories
    (COPY, number, directory, name, size)
    (CHECK, number, directory, name, size)
process to daemon:
    (DONE, number, missing, bad, errno)         of a READ: missing ranges of the object, blocks that did not verify
    (PROGRESS, number, bytes)                   of a READ: so many from its start lie in the slab
    (WRITTEN, number, bytes, errno)             of a WRITE; 0 bytes and errno 0: there was no room
    (PINNED, number, states)                    pins.State of each
    (LISTED, directory, positions, known)       names that are there, see known.py; True: these were all, False: not known
    (DROPPED, number, errno)                    of a DROP
    (COPIED, number, errno)                     of a COPY: with a descriptor, or there is none
    (CHECKED, number, missing, bad, whole, errno)   of a CHECK: see copies.Checked
    (STATE, directory, {name: value})           what its keeper says
    (REFUSED, directory, text)                  the directory cannot be used, and why
`directory` is an index, `targets` are pieces of the slab.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

Message: TypeAlias = tuple[Any, ...]

READ: Final = 0
WRITE: Final = 1
DONE: Final = 2
PROGRESS: Final = 3
WRITTEN: Final = 4
STATE: Final = 5
REFUSED: Final = 6
PIN: Final = 7
PINNED: Final = 8
LISTED: Final = 9
COPY: Final = 10
CHECK: Final = 11
COPIED: Final = 12
CHECKED: Final = 13
DROP: Final = 14
DROPPED: Final = 15

MOST_PINS: Final = 512

LONGEST: Final = 64 << 10  # bytes of a packet; a fetch with more pieces than go into one (about 6,000) passes the cache by
