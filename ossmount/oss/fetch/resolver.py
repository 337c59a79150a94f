"""The addresses of one host, asked for in a thread of their own since getaddrinfo() blocks, and kept for 30 seconds.

New connections take the addresses in turn, so that the connections spread over all that DNS gives; an old answer serves on
while a new one is asked for, and also when asking fails: a DNS outage stops no reader whose addresses still work.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Callable
from typing import Final, TypeAlias

from ossmount.oss.fetch.trouble import Trouble, transport

#: Family and socket address, as socket.connect() takes it.
Address: TypeAlias = "tuple[int, tuple[object, ...]]"
Lookup: TypeAlias = Callable[[str, int], "list[Address]"]

#: Seconds that an answer counts as new. OSS gives its names a TTL of about a minute.
FRESH: Final = 30.0
#: Seconds for which an address that could not be connected to is left out while there are others.
AVOID: Final = 120.0
#: Seconds between two questions when the first one failed.
_AGAIN: Final = 1.0


def lookup(host: str, port: int) -> list[Address]:
    """The system's answer. Raises OSError."""
    # As bytes: for text Python loads its IDNA codec and Unicode tables, 3 ms, also for plain ASCII.
    name = host.encode() if host.isascii() else host
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys((int(family), address) for family, _, _, _, address in found))


class Resolver:
    """Addresses of one host. The worker polls `fileno()` and calls arrived() when it is readable."""

    def __init__(self, host: str, port: int, *, ask: Lookup = lookup) -> None:
        self._host = host
        self._port = port
        self._ask = ask
        self._addresses: list[Address] = []
        self._avoided: dict[Address, float] = {}  # until when
        self._next = 0
        self._asked = -FRESH  # when
        self._asking = False
        self._failure = ""
        self._answers: queue.SimpleQueue[list[Address] | str] = queue.SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._wake

    def close(self) -> None:
        """Not while a question is under way: its thread would wake a stranger's descriptor."""
        os.close(self._wake)

    def begin(self, now: float) -> None:
        """Asks unless there is an answer that counts as new, or a question under way."""
        wait = FRESH if self._addresses else _AGAIN
        if not self._asking and now - self._asked >= wait:
            self._asked = now
            self._asking = True
            self._failure = ""
            threading.Thread(target=self._run, name="resolver", daemon=True).start()

    def next(self, now: float) -> Address | None:
        """The next address in turn; None while the first answer is waited for. Raises Trouble when there is none."""
        self.begin(now)
        if self._addresses:
            usable = [address for address in self._addresses if self._avoided.get(address, 0.0) <= now] or self._addresses
            self._next += 1
            return usable[self._next % len(usable)]
        if self._failure:
            raise self._trouble()
        return None

    def arrived(self) -> None:
        """Takes the thread's answer over."""
        os.eventfd_read(self._wake)
        self._asking = False
        answer = self._answers.get()
        if isinstance(answer, str):
            self._failure = answer
        elif answer:
            self._addresses = answer
        else:
            self._failure = "no address"

    def failed(self, address: Address, now: float) -> None:
        """No connection to that address: the others are taken for a while, as far as there are any."""
        self._avoided = {known: until for known, until in self._avoided.items() if until > now}
        self._avoided[address] = now + AVOID

    def _trouble(self) -> Trouble:
        return transport(f"cannot resolve {self._host}: {self._failure}")

    def _run(self) -> None:
        try:
            self._answers.put(self._ask(self._host, self._port))
        except (OSError, UnicodeError) as error:
            self._answers.put(getattr(error, "strerror", None) or str(error))
        os.eventfd_write(self._wake, 1)
