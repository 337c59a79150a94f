"""A channel that goes on with a connection which another one began: no INIT, and requests that come once more."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio
import trio.testing

from ossmount.channel.kernel_channel import channel as channel_module
from ossmount.channel.kernel_channel import init, protocol
from ossmount.channel.kernel_channel.channel import KernelChannel
from ossmount.channel.kernel_channel.journal import DEATHS, ENTRIES, SIZE, Journal
from ossmount.channel.kernel_channel.protocol import UNIQUE_RESEND, Opcode
from ossmount.errors import Unsupported
from tests.unit.channel.fake_kernel import LIMIT, FakeKeeper, FakeKernel, connected
from tests.unit.channel.memory_filesystem import MemoryFilesystem
from tests.unit.channel.well_formed import NAMES, TREE, read_in

Check = Callable[[KernelChannel, FakeKernel, MemoryFilesystem], Awaitable[None]]
AGAIN = 40 | UNIQUE_RESEND  # the number of a request that is sent again


@pytest.fixture
def keeper() -> Iterator[FakeKeeper]:
    made = FakeKeeper()
    yield made
    made.close()


def run(keeper: FakeKeeper | None, check: Check, **options: object) -> None:
    async def main() -> None:
        operations = MemoryFilesystem(TREE)
        async with connected(operations, keeper=keeper, **options) as (channel, kernel):  # type: ignore[arg-type]
            await check(channel, kernel, operations)

    trio.run(main)


async def nothing(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None: ...


async def taken_over(kernel: FakeKernel) -> None:
    """The channel serves."""
    assert (await kernel.ask(Opcode.STATFS)).error == 0


async def post_read(kernel: FakeKernel, unique: int) -> None:
    await kernel.post(Opcode.READ, read_in(0, 10), node=NAMES[b"file"], unique=unique)


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await trio.sleep(0.001)


def test_a_successor_holds_what_was_agreed_before_it_whatever_it_is_told_itself(keeper: FakeKeeper) -> None:
    first: dict[str, object] = {}

    async def begin(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        first.update(channel.facts())

    async def go_on(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        assert (await kernel.ask(Opcode.OPEN, protocol.OPEN_IN.pack(0, 0), node=NAMES[b"file"])).error == -errno.ENOSYS
        facts = channel.facts()
        assert facts["mounted_by"] == "a former daemon"
        for name in ("protocol", "flags", "open", "open_why", "max_background", "max_pages", "kernel_listings"):
            assert facts[name] == first[name]

    run(keeper, begin, minor=44, max_background=77)
    assert keeper.told[0] == "keep"
    run(keeper, go_on, max_background=99, open="ask")


def test_an_agreement_of_which_something_is_missing_is_refused(keeper: FakeKeeper) -> None:
    run(keeper, nothing)
    assert keeper.agreement is not None
    lacking = {name: value for name, value in keeper.agreement.items() if name != "max_pages"}
    with pytest.raises(Unsupported, match="max_pages"):
        init.agreement_from(lacking)
    assert init.agreement_as_json(init.agreement_from({**keeper.agreement, "new": 1})) == keeper.agreement


def test_a_request_that_is_sent_again_is_answered_under_its_new_number(keeper: FakeKeeper) -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        await post_read(kernel, AGAIN)
        answer = await kernel.receive()
        assert (answer.error, answer.unique, len(answer.body)) == (0, AGAIN, 10)

    run(keeper, nothing)
    run(keeper, check)


@pytest.mark.parametrize("kind", ["READ", "LOOKUP"])
def test_what_comes_again_while_it_is_in_hand_is_answered_once(keeper: FakeKeeper, kind: str) -> None:
    """A second RESEND, after the dead daemon was reaped, numbers anew what the successor has in hand."""

    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        go = trio.Event()
        operations.hold_reads, operations.slow = True, go.wait
        body = read_in(0, 10) if kind == "READ" else b"file\0"
        node = NAMES[b"file"] if kind == "READ" else 1
        for unique in (40, AGAIN, AGAIN):
            await kernel.post(Opcode[kind], body, node=node, unique=unique)
        await until(lambda: channel.requests().get(kind) == 3)
        operations.release_reads()
        go.set()
        answer = await kernel.receive()
        assert (answer.error, answer.unique) == (0, AGAIN)
        await kernel.nothing_more()
        assert channel.facts()["waiting"] == 0

    run(keeper, nothing)
    run(keeper, check)


def test_a_request_in_hand_at_two_deaths_is_refused(keeper: FakeKeeper) -> None:
    async def die_with_it(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        operations.hold_reads = True
        await post_read(kernel, AGAIN)
        await until(lambda: operations.held)

    async def refuse(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        await post_read(kernel, AGAIN)
        answer = await kernel.receive()
        assert (answer.error, answer.unique) == (-errno.EIO, AGAIN)
        assert operations.calls["read"] == 0
        await post_read(kernel, AGAIN + 2)  # others are served
        assert (await kernel.receive()).error == 0

    run(keeper, nothing)
    run(keeper, die_with_it)
    run(keeper, refuse)


def test_an_interrupt_of_what_is_sent_again_is_no_request_of_its_own(keeper: FakeKeeper) -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        operations.hold_reads = True
        await post_read(kernel, AGAIN)
        await until(lambda: operations.held)
        # of a thread that lives in another pid namespace, so that its READ runs on
        await kernel.post(Opcode.INTERRUPT, protocol.INTERRUPT_IN.pack(AGAIN), unique=AGAIN | 1)
        await taken_over(kernel)
        operations.release_reads()
        assert (await kernel.receive()).unique == AGAIN

    run(keeper, nothing)
    run(keeper, check)


def test_who_leaves_answers_what_is_in_hand_and_reads_no_more(keeper: FakeKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "LEAVING", LIMIT)

    async def main() -> None:
        operations = MemoryFilesystem(TREE)
        async with connected(operations, keeper=keeper) as (channel, kernel):
            operations.hold_reads = True
            await post_read(kernel, 40)
            await until(lambda: operations.held)
            channel.leave()
            await trio.testing.wait_all_tasks_blocked()
            await post_read(kernel, 42)
            assert keeper.told == ["keep"]
            operations.release_reads()
            answer = await kernel.receive()
            assert (answer.error, answer.unique) == (0, 40)
            await until(lambda: keeper.told == ["keep", "left"])
            assert channel.facts()["state"] == "left to another daemon"
            assert channel.requests()["READ"] == 1

    trio.run(main)


def test_the_end_of_the_connection_is_told(keeper: FakeKeeper) -> None:
    async def unmounted(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        await kernel.ask(Opcode.DESTROY)
        await until(lambda: keeper.told == ["keep", "end"])

    run(keeper, unmounted)


def test_a_kernel_that_sends_nothing_again_and_cannot_be_read_from_a_clone_is_not_kept(keeper: FakeKeeper) -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        await taken_over(kernel)
        assert keeper.told == []

    run(keeper, check, flags=(1 << 39) - 1)


# -- the journal


def memfd() -> int:
    return os.memfd_create("journal")


def test_the_journal_counts_deaths_only() -> None:
    descriptor = memfd()
    assert Journal(descriptor, after_death=True).take_up(7)
    assert Journal(descriptor, after_death=False).take_up(7)  # the one before left, and did not die
    assert not Journal(descriptor, after_death=True).take_up(7)
    assert DEATHS == 2
    os.close(descriptor)


def test_the_journal_takes_a_request_that_comes_twice_for_one() -> None:
    descriptor = memfd()
    journal = Journal(descriptor, after_death=True)
    assert journal.take_up(7) and journal.take_up(7)
    os.close(descriptor)


def test_the_journal_is_bounded_and_forgets_the_oldest() -> None:
    descriptor = memfd()
    first = Journal(descriptor, after_death=True)
    for number in range(1, ENTRIES + 3):
        first.take_up(number)
    assert os.fstat(descriptor).st_size == SIZE
    second = Journal(descriptor, after_death=True)
    assert [second.take_up(number) for number in (1, 2, 3, ENTRIES + 2)] == [True, True, False, False]
    os.close(descriptor)
