"""Run as a program: saves objects in a process that is killed at its Nth system call, for every N, and looks at what is left.

Prints the number of crashes that were tried, how often what was saved before was still there, and each wrong byte as an error.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from ossmount.data.disk import inventory, store
from ossmount.data.disk.layout import name_of
from ossmount.data.disk.pieces import Pieces
from ossmount.model import Version

CALLS = ("open", "pwritev", "ftruncate", "makedirs", "close", "unlink", "fstat", "stat")
BLOCK = 4096


def dying(step: int, torn: bool) -> None:
    """From now on the process is killed before its `step`th system call; a write that it would be is made by half before."""
    left = step

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                if name == "pwritev" and torn:
                    half_write(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return counted

    def half_write(file: int, views: Sequence[memoryview], offset: int) -> None:
        data = b"".join(views)
        os.pwrite(file, data[: len(data) // 2 + 1], offset)

    for name in CALLS:
        setattr(os, name, wrap(name, getattr(os, name)))


def in_child(action: Callable[[], None]) -> bool:
    """Whether the child was killed by what dying() does; otherwise it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException as error:
            print(f"unexpected: {error!r}", flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


class Scene:
    """One object, of which the first blocks may be cached already."""

    def __init__(self, root: str, size: int, start: int, end: int, torn: bool, before: bool) -> None:
        self.root, self.size, self.start, self.end, self.torn = root, size, start, end, torn
        self.data = random.Random(size).randbytes(size)
        self.name = name_of("store", Version(b"key", "etag", size))
        if before:
            self.save(0, 2 * BLOCK)

    def save(self, start: int, end: int) -> None:
        slab = memoryview(bytearray(self.data[start:end]))
        store.save(self.root, self.name, b"label", self.size, start, Pieces(slab, [(0, end - start)]))

    def check(self) -> bool:
        """Whether everything from start to end is there. Prints what is wrong."""
        slab = memoryview(bytearray(self.size))
        buffer = memoryview(bytearray(store.BUFFER))
        missing, bad = store.load(self.root, self.name, self.size, 0, Pieces(slab, [(0, self.size)]), buffer, 3600.0)
        found = bytearray(slab)
        for first, last in missing:
            found[first:last] = self.data[first:last]
        if found != self.data:
            print(f"wrong bytes: {self.size} {self.start} {self.end}", flush=True)
        if bad and not self.torn:  # a kill, unlike a power failure, loses nothing that was written
            print(f"damage: {bad} blocks of {self.size} {self.start} {self.end}", flush=True)
        return not any(first < self.end and self.start < last for first, last in missing)


def try_all(action: str) -> int:
    """Every step of saving or dropping; the crashes."""
    crashes = 0
    large = (1 << 20) + 5
    scenes = [(5000, 0, 5000, False)]
    scenes += [(large, 4 * BLOCK, 40 * BLOCK, before) for before in (False, True)]
    scenes += [(large, 1 << 20, large, True), (300_000, 2 * BLOCK, 300_000, True)]
    for size, start, end, before in scenes:
        for torn in (False, True) if action == "save" else (False,):
            step = 0
            while True:
                step += 1
                with tempfile.TemporaryDirectory() as root:
                    scene = Scene(root, size, start, end, torn, before)
                    if action == "drop":
                        scene.save(start, end)

                    def act(scene: Scene = scene, step: int = step, torn: bool = torn) -> None:
                        dying(step, torn)
                        if action == "save":
                            scene.save(scene.start, scene.end)
                        else:
                            for entry in list(inventory.entries(scene.root)):
                                inventory.drop(entry)

                    killed = in_child(act)
                    there = scene.check()
                    if not killed:
                        if there != (action == "save"):
                            print(f"not {action}d: {size} {start} {end}", flush=True)
                        break
                    crashes += 1
                    scene.save(start, end)  # the next one who fetches it
                    if not scene.check():
                        print(f"not healed: {size} {start} {end} step {step}", flush=True)
    return crashes


if __name__ == "__main__":
    print(f"{try_all(sys.argv[1])} crashes", flush=True)
