"""Which names may be cached, so that nobody is asked for what cannot be there: an empty cache costs a miss nothing.

The reading process lists the names of a folder once, as long as no other process (of another mount) writes into it, and the
daemon keeps some bits of each in a table (a Bloom filter of one hash: names are hashes already). A name that is not in the
table is not there. One that is in it may be: it is asked for as ever. A folder that another mount uses is not believed to be
known, since that mount adds names that we do not hear of.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import struct
import threading
from collections.abc import Callable
from typing import Final

from ossmount.data.disk.inventory import names
from ossmount.data.disk.keeper import Untrusted, check_owner

_BITS: Final = (
    1 << 25
)  # 4 MiB, taken as it fills; 1 % of a million absent names are asked for in vain at 330,000 names, 3 % at 1 M
_PACKET: Final = 12_000  # names in one message, 4 bytes each
_LOOK: Final = 0.5  # seconds between two looks at who else is there
_REST: Final = 0.001  # seconds of rest after each sub-folder
_LOCK: Final = struct.Struct("hhqqi4x")  # struct flock: l_type, l_whence, l_start, l_len, l_pid

#: Tells the daemon of positions in the table; then, with True, that these were all, or, with False, that the folder is not
#: known any more.
Tell = Callable[[bytes, "bool | None"], None]


class Known:
    """The daemon's table."""

    def __init__(self) -> None:
        self._bits = bytearray(_BITS >> 3)

    def add(self, name: bytes) -> None:
        position = _position(name)
        self._bits[position >> 3] |= 1 << (position & 7)

    def add_positions(self, packed: bytes) -> None:
        """As Listing tells them."""
        bits = self._bits
        for position in array.array("I", packed):
            bits[position >> 3] |= 1 << (position & 7)

    def __contains__(self, name: bytes) -> bool:
        """Whether it may have been added; False is certain."""
        position = _position(name)
        return bool(self._bits[position >> 3] >> (position & 7) & 1)


def _position(name: bytes) -> int:
    return int.from_bytes(name[:4], "little") % _BITS


class Listing:
    """The reading process's side: one folder, looked at by a thread of its own."""

    def __init__(self, root: str, tell: Tell) -> None:
        self._root = root
        self._tell = tell
        self._users = -1  # descriptor of the file in which each process that uses the folder locks a byte of its own
        self._mine = int.from_bytes(os.urandom(6), "little") + 1  # which byte; a pid may be in use in another container too
        self._told = False  # the daemon believes to know the folder

    def run(self) -> None:
        """For ever."""
        wait = threading.Event()
        while True:
            with contextlib.suppress(OSError):  # not known then; whoever reads meets the failure as well, and reports it
                self.turn()
            wait.wait(_LOOK)

    def turn(self) -> None:
        """Lists the folder if that is due, and takes back what was told when others have come. Raises OSError."""
        if self._users < 0 and not self._enter():
            return
        alone = self._is_alone()
        if self._told and not alone:
            self._told = False
            self._tell(b"", False)
        elif alone and not self._told:
            self._list()
            if self._is_alone():
                self._told = True
                self._tell(b"", True)

    def _enter(self) -> bool:
        """Shows that we use the folder, once it is there."""
        try:
            check_owner(self._root)
            users = os.open(f"{self._root}/users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except (FileNotFoundError, Untrusted):
            return False
        try:
            fcntl.fcntl(users, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, self._mine, 1, 0))
        except OSError:
            os.close(users)
            raise
        self._users = users
        return True

    def _is_alone(self) -> bool:
        for start, length in ((0, self._mine), (self._mine + 1, 0)):  # a length of 0: to the end
            asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
            if _LOCK.unpack(fcntl.fcntl(self._users, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK:
                return False
        return True

    def _list(self) -> None:
        packed = array.array("I")
        wait = threading.Event()
        for name in names(self._root, lambda: wait.wait(_REST)):
            packed.append(_position(name))
            if len(packed) == _PACKET:
                self._tell(packed.tobytes(), None)
                packed = array.array("I")
        self._tell(packed.tobytes(), None)
