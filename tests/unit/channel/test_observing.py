"""What the channel knows of its requests: durations, failures, and who watches."""

from __future__ import annotations

import errno
from typing import Any

import trio
import trio.testing

from ossmount.channel.interface import Ended
from ossmount.channel.kernel_channel.channel import KernelChannel
from ossmount.channel.kernel_channel.protocol import Opcode
from ossmount.errors import Denied, Unavailable
from tests.unit.channel.fake_kernel import FakeKernel
from tests.unit.channel.memory_filesystem import MemoryFilesystem
from tests.unit.channel.well_formed import NAMES, WELL_FORMED, read_in, run

FILE = NAMES[b"file"]


def durations(channel: KernelChannel) -> dict[str, Any]:
    found = channel.facts()["durations"]
    assert isinstance(found, dict)
    return found


def test_every_request_is_timed_once_whether_it_is_answered_at_once_or_later() -> None:
    for slow in (False, True):

        async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
            for opcode, (body, node) in WELL_FORMED.items():
                await kernel.ask(opcode, body, node=node)
            counted = {name: each["count"] for name, each in durations(channel).items()}
            expected = {name: count for name, count in channel.requests().items() if name != "INIT"}
            assert counted == expected

        run(check, slow=slow, open="ask")


def test_a_read_that_waits_is_timed_until_its_answer() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        operations.hold_reads = True
        await kernel.post(Opcode.READ, read_in(0, 4096), node=FILE)
        await kernel.ask(Opcode.STATFS)
        assert "READ" not in durations(channel)
        await trio.sleep(0.05)
        operations.release_reads()
        await kernel.receive()
        read = durations(channel)["READ"]
        assert read["count"] == 1 and read["seconds"] >= 0.05

    run(check)


def test_watchers_hear_what_is_slow_enough_for_them_until_they_leave() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        everything: list[Ended] = []
        slow: list[Ended] = []
        leave = channel.observed.watch(everything.append, 0.0)
        channel.observed.watch(slow.append, 0.04)
        await kernel.ask(Opcode.LOOKUP, b"file\0")
        await kernel.ask(Opcode.READ, read_in(100, 512), node=FILE)
        operations.hold_reads = True
        await kernel.post(Opcode.READ, read_in(4096, 1024), node=FILE)
        await kernel.ask(Opcode.LOOKUP, b"none\0")
        await trio.sleep(0.05)
        operations.release_reads()
        await kernel.receive()
        heard = [each._replace(seconds=0.0) for each in everything]
        assert heard == [
            Ended("LOOKUP", 1, b"file", 0, 0, 0.0, 0),
            Ended("READ", FILE, b"", 100, 512, 0.0, 0),
            Ended("LOOKUP", 1, b"none", 0, 0, 0.0, errno.ENOENT),
            Ended("READ", FILE, b"", 4096, 1024, 0.0, 0),
        ]
        assert [each._replace(seconds=0.0) for each in slow if each.offset] == heard[3:]
        leave()
        await kernel.ask(Opcode.LOOKUP, b"file\0")
        assert len(everything) == 4

    run(check)


def test_a_lookup_that_takes_a_task_is_told_with_its_name() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        heard: list[Ended] = []
        channel.observed.watch(heard.append, 0.0)
        await kernel.ask(Opcode.LOOKUP, b"file\0")
        (lookup,) = heard
        assert lookup._replace(seconds=0.0) == Ended("LOOKUP", 1, b"file", 0, 0, 0.0, 0)
        assert lookup.seconds > 0

    run(check, slow=True)


def test_failures_are_counted_and_the_last_ones_kept_but_not_ordinary_answers() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        await kernel.ask(Opcode.LOOKUP, b"none\0")
        operations.failure = Unavailable("the network is gone")
        await kernel.ask(Opcode.READ, read_in(0, 10), node=FILE)
        operations.failure = None
        operations.hold_reads = True
        await kernel.post(Opcode.READ, read_in(0, 10), node=FILE)
        await kernel.ask(Opcode.STATFS)
        operations.held.pop()[3](Denied("403"))
        await kernel.receive()
        assert channel.facts()["errors"] == {"EIO": 1, "EACCES": 1}
        last = [(each["node"], each["errno"], each["error"]) for each in channel.observed.last_failures()]
        assert last == [(FILE, "EIO", "the network is gone"), (FILE, "EACCES", "403")]

    run(check)
