"""In a process of its own: what is set stays set, and threads that have ended leave their heaps behind."""

from __future__ import annotations

import os
import subprocess
import sys

THREADS = """
import ctypes, sys, threading
from ossmount.children.allocator import keep_little
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
if sys.argv[1] == "little":
    keep_little()
together = threading.Barrier(8)
def allocate():
    together.wait()
    assert libc.malloc(5000)
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_stats()
"""


def heaps(how: str) -> int:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    words = [sys.executable, "-c", THREADS, how]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=60, check=True)
    return sum(line.startswith("Arena ") for line in done.stderr.splitlines())


def test_threads_share_one_heap() -> None:
    assert heaps("much") > 1
    assert heaps("little") == 1
