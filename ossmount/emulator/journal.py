"""The record of every request, for assertions."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass
class Entry:
    """One request. It is entered when its headers have come; status and sent are set just before they go out."""

    kind: str  # GET, HEAD, LIST, PUT, DELETE, POST, BUCKET
    operation: str  # the call: GetObject, ListObjectsV2, …
    method: str
    bucket: str
    key: bytes  # of a listing: its prefix
    query: Mapping[str, str]
    headers: Mapping[str, str]  # as they were sent, names in lower case
    client: tuple[str, int]  # one for each connection
    request_id: str
    status: int = 0  # 0: not answered (yet)
    sent: int = 0  # bytes of the body
    code: str = ""  # OSS's name of the error


class Journal:
    """Entries in the order of arrival. Safe on any thread; iterate over it or index it like a list."""

    def __init__(self) -> None:
        self.keep: int | None = None  # entries kept at most, the newest; None for all
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._in_flight = 0
        self._peak = 0

    def __iter__(self) -> Iterator[Entry]:
        with self._lock:
            return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Entry:
        return self._entries[index]

    def select(self, what: str = "", key: bytes | None = None) -> list[Entry]:
        """The requests of a kind or call ("" for all), for one key where it is given."""
        return [entry for entry in self if what in ("", entry.kind, entry.operation) and key in (None, entry.key)]

    def count(self, what: str = "", key: bytes | None = None) -> int:
        return len(self.select(what, key))

    @property
    def peak(self) -> int:
        """The most requests that were being answered at one time, since the last clear()."""
        return self._peak

    @property
    def in_flight(self) -> int:
        """Requests that are being answered now."""
        return self._in_flight

    def clear(self) -> None:
        with self._lock:
            self._entries = []
            self._peak = self._in_flight

    def enter(self, entry: Entry) -> None:
        with self._lock:
            self._entries.append(entry)
            if self.keep is not None and len(self._entries) > self.keep:
                del self._entries[0]
            self._in_flight += 1
            self._peak = max(self._peak, self._in_flight)

    def leave(self) -> None:
        with self._lock:
            self._in_flight -= 1
