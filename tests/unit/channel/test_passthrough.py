"""How OPEN is answered with a local file, over a kernel and a keeper of the test's own."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from ossmount.channel.kernel_channel import init, protocol
from ossmount.channel.kernel_channel.channel import KernelChannel
from ossmount.channel.kernel_channel.protocol import UNIQUE_RESEND, FileOpen, Init, Opcode
from ossmount.config import ChannelConfig
from tests.unit.channel.fake_kernel import ALL_FLAGS, FakeKeeper, FakeKernel, connected
from tests.unit.channel.memory_filesystem import MemoryFilesystem
from tests.unit.channel.well_formed import NAMES, TREE, read_in

FILE, SMALL = NAMES[b"file"], NAMES[b"inner"]
Check = Callable[[KernelChannel, FakeKernel], Awaitable[None]]


class Copies:
    """LocalCopies of one file, when `there`."""

    def __init__(self) -> None:
        self.there = True
        self.asked = 0
        self.may_answer = trio.Event()
        self.may_answer.set()

    def may_have(self, node: int) -> bool:
        return node == FILE

    async def open(self, node: int) -> int | None:
        self.asked += 1
        await self.may_answer.wait()
        if not self.there:
            return None
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())


class Opened(NamedTuple):
    handle: int
    flags: FileOpen
    backing: int


@pytest.fixture
def keeper() -> Iterator[FakeKeeper]:
    made = FakeKeeper()
    yield made
    made.close()


def run(keeper: FakeKeeper, copies: Copies, check: Check, **options: object) -> None:
    async def main() -> None:
        operations = MemoryFilesystem(TREE)
        chosen = {"passthrough": 1, **options}
        async with connected(operations, keeper=keeper, copies=copies, **chosen) as (channel, kernel):  # type: ignore[arg-type]
            await check(channel, kernel)

    trio.run(main)


async def opened(kernel: FakeKernel, node: int = FILE, flags: int = os.O_RDONLY) -> Opened:
    answer = await kernel.ask(Opcode.OPEN, protocol.OPEN_IN.pack(flags, 0), node=node)
    assert answer.error == 0
    handle, given, backing = protocol.OPEN_OUT.unpack(answer.body)
    return Opened(handle, FileOpen(given), backing)


async def release(kernel: FakeKernel, handle: int, node: int = FILE) -> None:
    assert (await kernel.ask(Opcode.RELEASE, protocol.RELEASE_IN.pack(handle, 0, 0, 0), node=node)).error == 0


def passthrough(channel: KernelChannel) -> dict[str, object]:
    facts = channel.facts()["passthrough"]
    assert isinstance(facts, dict)
    return facts


def test_all_opens_of_a_file_have_one_number_until_the_last_is_released(keeper: FakeKeeper) -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel) -> None:
        first, second = await opened(kernel), await opened(kernel)
        assert first.flags == second.flags == FileOpen.PASSTHROUGH | FileOpen.NOFLUSH
        assert first.backing == second.backing and set(keeper.backed) == {first.backing}
        await release(kernel, first.handle)
        assert set(keeper.backed) == {first.backing}
        third = await opened(kernel)
        assert third.backing == first.backing and copies.asked == 1
        await release(kernel, second.handle)
        await release(kernel, third.handle)
        assert not keeper.backed
        again = await opened(kernel)
        assert again.backing not in (0, first.backing) and copies.asked == 2
        assert passthrough(channel) == {
            "state": "on",
            "opens": {"passthrough": 4, "cached": 0},
            "open_files": {"passthrough": 1, "cached": 0},
        }

    copies = Copies()
    run(keeper, copies, check)


def test_what_is_open_through_the_cache_stays_so_until_its_last_release(keeper: FakeKeeper) -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel) -> None:
        copies.there = False
        cached = [await opened(kernel)]
        copies.there = True
        cached.append(await opened(kernel))
        for one in cached:
            assert one.backing == 0 and FileOpen.PASSTHROUGH not in one.flags and FileOpen.KEEP_CACHE in one.flags
            await release(kernel, one.handle)
        assert (await opened(kernel)).backing
        small = await opened(kernel, SMALL)
        assert (small.handle, small.backing) == (0, 0) and FileOpen.KEEP_CACHE in small.flags
        await release(kernel, small.handle, SMALL)

    copies = Copies()
    run(keeper, copies, check)


def test_opens_that_come_while_it_is_decided_are_answered_alike(keeper: FakeKeeper) -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel) -> None:
        copies.may_answer = trio.Event()
        for _ in range(3):
            await kernel.post(Opcode.OPEN, protocol.OPEN_IN.pack(os.O_RDONLY, 0), node=FILE)
        while channel.facts()["waiting"] != 3:
            await trio.sleep(0.001)
        copies.may_answer.set()
        answers = [protocol.OPEN_OUT.unpack((await kernel.receive()).body) for _ in range(3)]
        assert len({handle for handle, _, _ in answers}) == 3
        assert {backing for _, _, backing in answers} == set(keeper.backed) != set()
        assert copies.asked == 1

    copies = Copies()
    run(keeper, copies, check)


def test_a_reader_with_o_direct_has_its_reads_answered_by_us(keeper: FakeKeeper) -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel) -> None:
        alone = await opened(kernel, flags=os.O_DIRECT)
        assert alone.backing == 0 and copies.asked == 0
        await release(kernel, alone.handle)
        ordinary = await opened(kernel)
        beside = await opened(kernel, flags=os.O_DIRECT)
        assert beside.backing == ordinary.backing != 0
        assert beside.flags == FileOpen.PASSTHROUGH | FileOpen.DIRECT_IO | FileOpen.NOFLUSH
        assert (await kernel.ask(Opcode.READ, read_in(3, 10), node=FILE)).error == 0

    copies = Copies()
    run(keeper, copies, check)


@pytest.mark.parametrize("after_death", [True, False])
def test_the_next_daemon_answers_with_the_same_number(keeper: FakeKeeper, after_death: bool) -> None:
    seen: list[Opened] = []

    async def begin(channel: KernelChannel, kernel: FakeKernel) -> None:
        seen.append(await opened(kernel))
        copies.there = False
        seen.append(await opened(kernel))

    async def go_on(channel: KernelChannel, kernel: FakeKernel) -> None:
        third = await opened(kernel)
        assert third.backing == seen[0].backing
        for one in (*seen, third):
            assert keeper.backed
            await release(kernel, one.handle)
            await release(kernel, one.handle)  # sent again, since a daemon died before its answer
        assert not keeper.backed
        assert (await opened(kernel)).backing == 0

    copies = Copies()
    run(keeper, copies, begin)
    keeper.after_death = after_death
    run(keeper, copies, go_on, passthrough=0)  # what was agreed holds


def test_a_next_daemon_that_is_told_otherwise_opens_no_more_and_says_why(keeper: FakeKeeper) -> None:
    seen: list[Opened] = []

    async def begin(channel: KernelChannel, kernel: FakeKernel) -> None:
        seen.append(await opened(kernel))

    async def go_on(channel: KernelChannel, kernel: FakeKernel) -> None:
        facts = passthrough(channel)
        assert (facts["state"], facts["why"]) == ("off", "--verify full")
        second = await opened(kernel)
        assert second.backing == seen[0].backing  # while it is open
        for one in (*seen, second):
            await release(kernel, one.handle)
        assert (await opened(kernel)).backing == 0

    run(keeper, Copies(), begin)
    run(keeper, Copies(), go_on, passthrough=0, why_no_passthrough="--verify full")


def test_an_open_that_was_not_answered_comes_again_and_counts_once(keeper: FakeKeeper) -> None:
    async def begin(channel: KernelChannel, kernel: FakeKernel) -> None:
        await kernel.post(Opcode.OPEN, protocol.OPEN_IN.pack(os.O_RDONLY, 0), node=FILE, unique=40)
        await kernel.receive()  # as far as the next daemon can tell, the kernel never did

    async def go_on(channel: KernelChannel, kernel: FakeKernel) -> None:
        await kernel.post(Opcode.OPEN, protocol.OPEN_IN.pack(os.O_RDONLY, 0), node=FILE, unique=40 | UNIQUE_RESEND)
        answer = await kernel.receive()
        assert answer.unique == 40 | UNIQUE_RESEND
        handle, _, backing = protocol.OPEN_OUT.unpack(answer.body)
        assert set(keeper.backed) == {backing}
        await release(kernel, handle)
        assert not keeper.backed

    copies = Copies()
    run(keeper, copies, begin)
    run(keeper, copies, go_on)


def test_numbers_that_a_dead_daemon_did_not_use_are_given_back(keeper: FakeKeeper) -> None:
    async def begin(channel: KernelChannel, kernel: FakeKernel) -> None:
        await opened(kernel)

    async def go_on(channel: KernelChannel, kernel: FakeKernel) -> None:
        number = (await opened(kernel)).backing
        assert set(keeper.backed) == {number}

    copies = Copies()
    run(keeper, copies, begin)
    keeper.backed[next(keeper.numbers)] = 1
    run(keeper, copies, go_on)


@pytest.mark.parametrize(
    ("code", "why"),
    [(errno.EPERM, "CAP_SYS_ADMIN"), (errno.EOPNOTSUPP, "built without"), (errno.EMFILE, "Too many open files")],
)
def test_a_kernel_that_refuses_is_not_asked_again(keeper: FakeKeeper, code: int, why: str) -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel) -> None:
        assert (await opened(kernel)).backing == 0 and copies.asked == 0
        facts = passthrough(channel)
        assert facts["state"] == "off" and why in str(facts["why"])

    copies = Copies()
    keeper.refuses = code
    run(keeper, copies, check)


def test_a_cache_on_a_stacked_file_system_turns_it_off_with_the_reason(keeper: FakeKeeper) -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel) -> None:
        keeper.refuses = errno.ELOOP
        assert (await opened(kernel)).backing == 0
        facts = passthrough(channel)
        assert facts["state"] == "off" and "stacked too deeply" in str(facts["why"])

    run(keeper, Copies(), check)


def test_one_file_that_is_refused_is_read_through_the_cache(keeper: FakeKeeper) -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel) -> None:
        keeper.refuses = errno.EMFILE
        cached = await opened(kernel)
        assert cached.backing == 0 and passthrough(channel)["state"] == "on"
        await release(kernel, cached.handle)
        keeper.refuses = 0
        assert (await opened(kernel)).backing

    run(keeper, Copies(), check)


def test_without_the_kernels_offer_open_is_skipped_as_ever(keeper: FakeKeeper) -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel) -> None:
        facts = channel.facts()
        assert facts["open"] == "skip"
        assert "Linux 6.9" in str(passthrough(channel)["why"])
        answer = await kernel.ask(Opcode.OPEN, protocol.OPEN_IN.pack(os.O_RDONLY, 0), node=FILE)
        assert answer.error == -errno.ENOSYS

    run(keeper, Copies(), check, flags=ALL_FLAGS & ~int(Init.PASSTHROUGH))


@pytest.mark.parametrize(("depth", "declared"), [(0, 0), (1, 1), (2, 2)])
def test_the_depth_of_stacked_file_systems_is_declared(depth: int, declared: int) -> None:

    config = ChannelConfig(Path("/mnt"), "x", passthrough=depth)
    agreement = init.negotiate(init.Offer(7, 45, 0, Init(ALL_FLAGS), "6.18.0"), config)
    assert (Init.PASSTHROUGH in agreement.flags, agreement.skip_open) == (depth > 0, depth == 0)
    assert protocol.INIT_OUT.unpack(init.pack_init_out(agreement, depth))[11] == declared
    assert "passthrough" in agreement.why_open or not depth
