"""Versions whose bytes are to leave the disk: until they have, they are neither read there nor written."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable

from ossmount.data.disk import messages

_log = logging.getLogger(__name__)


class Dropping:
    """Asks the writing process. Everything runs on the event loop's thread."""

    def __init__(self, send: Callable[[messages.Message], bool]) -> None:
        self._send = send
        self.names: dict[bytes, int] = {}  # and the number under which the process was asked; 0: it was not
        self._number = 0
        self.dropped = 0

    def add(self, name: bytes, written: Iterable[bytes]) -> None:
        """`written`: what is being written just now, which must end first."""
        self.names.setdefault(name, 0)
        self.ask(written)

    def ask(self, written: Iterable[bytes]) -> None:
        """Asks for what was not asked for yet."""
        if not any(number == 0 for number in self.names.values()):
            return
        busy = set(written)
        for name, number in self.names.items():
            if not number and name not in busy and self._send((messages.DROP, self._number + 1, name)):
                self._number += 1
                self.names[name] = self._number

    def answered(self, number: int, error: int) -> None:
        name = next((name for name, asked in self.names.items() if asked == number), None)
        if name is None:
            return
        if error:  # it stays in `names`: as long as this daemon lives nobody reads it
            _log.error("%s cannot be removed from the cache on disk: %s", name.hex(), os.strerror(error))
        else:
            del self.names[name]
            self.dropped += 1

    def lost(self) -> None:
        """The process has ended: the next one is asked."""
        self.names = dict.fromkeys(self.names, 0)
