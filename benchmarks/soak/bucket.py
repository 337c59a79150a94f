"""The soak's bucket: objects whose every 16 bytes name their version, and somebody who changes them all the time."""

from __future__ import annotations

import random
import threading

from ossmount.emulator.store import Store

BUCKET = "soak"
_UNIT = 16  # bytes that name a version
SMALL = (1 << 10, 48 << 10)  # bytes of a small object, from and to
LARGE = 48 << 20  # bytes of a large one


def content(version: int, size: int) -> bytes:
    return b"%015d\n" % version * (size // _UNIT)


def is_whole(data: bytes) -> bool:
    """Whether what was read from a file's start, or from a multiple of 16 on, is of one version."""
    return data == data[:_UNIT] * (len(data) // _UNIT)


class Bucket:
    """So many folders with so many small objects each, and a few large ones. change() is for one thread."""

    def __init__(self, store: Store, folders: int, files: int, large: int, seed: int = 1) -> None:
        self._store = store
        self._random = random.Random(seed)
        self._version = 0
        self.changes = 0
        self._small = [b"f%05d/%03d" % (folder, file) for folder in range(folders) for file in range(files)]
        self._large = [b"large/%d" % number for number in range(large)]
        store.create_bucket(BUCKET)
        for number, key in enumerate(self._small):
            if number % files == 0:  # one of each folder has bytes of its own, the others are made at once
                self._put(key)
        store.put_many(BUCKET, [key for number, key in enumerate(self._small) if number % files], content(0, 16 << 10))
        for key in self._large:
            self._put(key, LARGE)

    def _put(self, key: bytes, size: int = 0) -> None:
        self._version += 1
        size = size or self._random.randrange(*SMALL) // _UNIT * _UNIT
        self._store.put(BUCKET, key, content(self._version, size))

    def change(self, stop: threading.Event, pause: float) -> None:
        """Replaces, deletes and makes objects, one in a pause, until it is told to stop."""
        missing: list[bytes] = []
        while not stop.wait(pause):
            self.changes += 1
            kind = self._random.random()
            if kind < 0.02:
                self._put(self._random.choice(self._large), LARGE)
            elif kind < 0.15:
                key = self._random.choice(self._small)
                if self._store.delete(BUCKET, key):
                    missing.append(key)
            elif kind < 0.3 and missing:
                self._put(missing.pop(self._random.randrange(len(missing))))
            else:
                self._put(self._random.choice(self._small))
