"""Stores into the kernel's page cache, as far as they can be seen without a kernel: a pipe takes what is written."""

from __future__ import annotations

import errno
import os
import struct

import pytest
import trio

from ossmount.config import FetchConfig, SourceConfig
from ossmount.oss.fetch.delivery import Delivery, Latency
from ossmount.oss.fetch.pool import FetchPool

LIMIT = 60.0  # seconds, against hanging only


def notification(node: int, data: bytes) -> bytes:
    """FUSE_NOTIFY_STORE as linux/fuse.h has it."""
    return struct.pack("=IiQ", 40 + len(data), 4, 0) + struct.pack("=QQII", node, 0, len(data), 0) + data


def test_a_store_is_one_notification() -> None:
    device, ours = os.pipe()
    guard, theirs = os.pipe()
    delivery = Delivery(memoryview(b"0123456789"))
    assert delivery.store(7, 4, [(0, 4)]) == errno.ENODEV
    delivery.lend([ours, theirs])
    assert delivery.store(7, 5, [(8, 2), (1, 3)]) == 0
    assert os.read(device, 1000) == notification(7, b"89123")
    assert delivery.store(7, 1025, [(0, 1)] * 1025) == errno.E2BIG
    delivery.revoke()
    assert (os.read(device, 1), os.read(guard, 1)) == (b"", b"")
    assert delivery.store(7, 4, [(0, 4)]) == errno.ENODEV
    for end in (device, guard):
        os.close(end)


def test_a_device_that_refuses_is_an_errno() -> None:
    device, ours = os.pipe()
    guard, theirs = os.pipe()
    delivery = Delivery(memoryview(b"0123456789"))
    delivery.lend([ours, theirs])
    os.close(device)
    assert delivery.store(7, 4, [(0, 4)]) == errno.EPIPE
    delivery.revoke()
    os.close(guard)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_pool_lends_the_device_to_its_processes_and_gives_it_back(workers: int) -> None:
    slab = os.memfd_create("slab")
    os.truncate(slab, 1 << 20)
    os.pwrite(slab, b"all of a file", 4096)
    codes: list[int] = []
    device, ours = os.pipe()
    guard, theirs = os.pipe()

    async def wait_for(count: int) -> None:
        with trio.fail_after(LIMIT):
            while len(codes) < count:
                await trio.sleep(0.005)

    async def main() -> None:
        source = SourceConfig("bucket", endpoint="http://127.0.0.1:1")
        pool = FetchPool(source, FetchConfig(workers=workers, connections=4), slab, 1 << 20)
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: pool.run(task_status.started))
            assert not pool.store(7, 13, ((4096, 13),), codes.append)
            pool.lend(ours, theirs)
            for node in range(4):
                assert pool.store(node, 13, ((4096, 13),), codes.append)
            await wait_for(4)
            for pid in pool.pids():  # those that come after them are lent it too
                os.kill(pid, 9)
            with trio.fail_after(LIMIT):
                while pool.facts()["restarts"] != workers:
                    await trio.sleep(0.005)
                while not all(pool.store(4, 13, ((4096, 13),), codes.append) for _ in range(workers)):
                    await trio.sleep(0.005)
            pool.revoke()
            assert not pool.store(7, 13, ((4096, 13),), codes.append)
            with trio.fail_after(LIMIT):  # the guard ends once nobody has the device
                await trio.lowlevel.wait_readable(guard)
                assert os.read(guard, 1) == b""
            nursery.cancel_scope.cancel()

    trio.run(main)
    received = os.read(device, 1 << 16)
    assert codes[:4] == [0] * 4
    for node in range(4):
        assert notification(node, b"all of a file") in received
    for end in (slab, device, guard):
        os.close(end)


def test_latency_is_that_of_the_quickest_of_the_last_answers() -> None:
    latency = Latency()
    said = [estimate for number in range(64) if (estimate := latency.add(0.001 * (number % 8 + 1))) is not None]
    assert said == [0.001] * 8
    later = [estimate for _ in range(64) if (estimate := latency.add(0.5)) is not None]
    assert later[-1] == 0.5
