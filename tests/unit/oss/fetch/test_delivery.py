"""Stores into the kernel's page cache, as far as they can be seen without a kernel: a pipe takes what is written."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable

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


def estimates(latency: Latency, samples: Iterable[float], busy: int, now: float = 0.0) -> list[float]:
    return [estimate for sample in samples if (estimate := latency.add(sample, busy, now)) is not None]


def test_latency_is_that_of_the_quickest_of_the_last_answers() -> None:
    latency = Latency()
    assert estimates(latency, [0.001 * (number % 8 + 1) for number in range(64)], 4) == [0.001] * 8
    assert estimates(latency, [0.5] * 256, 4)[-1] == 0.5


def test_latency_is_that_of_answers_to_few_requests_as_long_as_there_are_any() -> None:
    latency = Latency()
    assert estimates(latency, [0.005] * 8, 100) == [0.005]  # better than nothing
    assert estimates(latency, [0.001] * 8, 8) == [0.001]
    assert estimates(latency, [0.009] * 512, 100, now=59.0) == []
    assert estimates(latency, [0.009] * 512, 100, now=61.0)[-1] == 0.009
