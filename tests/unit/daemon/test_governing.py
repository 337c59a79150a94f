"""The governor's component: looks, and hands out what follows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import trio
from trio.testing import MockClock

from ossmount.daemon import memory
from ossmount.daemon.governing import Governing, look
from ossmount.daemon.governor import Look, Shares

GIB = 1 << 30
PLENTY = Look(64 * GIB, 60 * GIB, 0, 0)


def test_shares_are_handed_out_when_they_change() -> None:
    now = PLENTY
    applied: list[Shares] = []

    async def main() -> None:
        nonlocal now
        governing = Governing(GIB, 128, lambda: now, applied.append)
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: governing.run(task_status.started))
            await trio.sleep(30)
            assert applied == []
            assert governing.for_kernel() > GIB
            now = Look(GIB, 0, GIB // 2, 0)
            await trio.sleep(30)
            assert len(applied) == 1
            assert governing.facts()["slab"] == applied[0].slab < GIB // 2
            assert governing.facts()["reason"]
            assert governing.for_kernel() == 0
            now = PLENTY
            await trio.sleep(300)
            assert applied[-1].slab == governing.facts()["slab"] == GIB
            assert governing.facts()["shrunk"] == 1
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_look_at_this_machine() -> None:
    found = look(lambda: 12345)
    assert found.slab == 12345
    assert 0 < found.available <= found.total
    assert 1 << 20 < found.beside < found.total


def test_private_memory_is_that_of_each_process_alone() -> None:
    """A child that maps 64 MiB of shared memory and 32 MiB of its own, both written."""
    program = "import mmap, sys; a = mmap.mmap(-1, 64 << 20); a[:] = bytes(64 << 20); b = bytearray(b'x') * (32 << 20); "
    program += "print(flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        assert 32 << 20 <= memory.private_memory([child.pid]) < 60 << 20
        assert memory.private_memory([child.pid, child.pid]) == 2 * memory.private_memory([child.pid])
    finally:
        child.communicate()
    assert memory.private_memory([child.pid]) == 0


def test_private_memory_of_made_up_processes(tmp_path: Path) -> None:
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/statm").write_text("1000 500 300 1 0 200 0\n")
    assert memory.private_memory([1, 2], tmp_path) == 200 * os.sysconf("SC_PAGE_SIZE")
