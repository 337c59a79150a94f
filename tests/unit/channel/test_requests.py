"""Every request, through a real KernelChannel: right ones, short ones, long ones, unknown ones."""

from __future__ import annotations

import errno
import math
import os

import pytest
import trio

from ossmount.channel.kernel_channel import protocol
from ossmount.channel.kernel_channel.channel import KernelChannel
from ossmount.channel.kernel_channel.packing import FOREVER, validity
from ossmount.channel.kernel_channel.protocol import WRITES, FileOpen, Opcode
from ossmount.errors import Changed, Denied, OssMountError
from ossmount.filesystem.interface import FilesystemStatistics
from tests.unit.channel.fake_kernel import FakeKernel, connected
from tests.unit.channel.memory_filesystem import MTIME_NS, MemoryFilesystem, Tree
from tests.unit.channel.well_formed import NAMES, TREE, WELL_FORMED, parse_listing, read_in, run


@pytest.mark.parametrize("slow", [False, True])
def test_lookup_and_getattr_carry_every_attribute(slow: bool) -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        operations.valid = 1.5
        error, _, body = await kernel.ask(Opcode.LOOKUP, b"file\0")
        assert error == 0
        entry = protocol.ENTRY_OUT.unpack(body)
        node = NAMES[b"file"]
        seconds, nanoseconds = divmod(MTIME_NS, 10**9)
        attributes = (node, 5120, 10, *(seconds,) * 3, *(nanoseconds,) * 3, 0o100644, 1, 0, 0, 0, 4096, 0)
        assert entry == (node, 0, 1, 1, 500_000_000, 500_000_000, *attributes)
        error, _, body = await kernel.ask(Opcode.GETATTR, protocol.GETATTR_IN.pack(0, 0, 0), node=node)
        assert protocol.ATTR_OUT.unpack(body) == (1, 500_000_000, 0, *attributes)

    run(check, slow=slow)


def test_a_missing_name_is_enoent_or_a_negative_entry() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        assert (await kernel.ask(Opcode.LOOKUP, b"none\0")).error == -errno.ENOENT
        operations.negative_valid = 2.25
        error, _, body = await kernel.ask(Opcode.LOOKUP, b"none\0")
        assert error == 0
        assert protocol.ENTRY_OUT.unpack(body)[:6] == (0, 0, 2, 0, 250_000_000, 0)
        assert (await kernel.ask(Opcode.LOOKUP, b"x\0", node=NAMES[b"file"])).error == -errno.ENOTDIR
        assert (await kernel.ask(Opcode.LOOKUP, b"x\0", node=999)).error == -errno.ESTALE

    run(check)


@pytest.mark.parametrize("name", [b"", b"\0", b"file", b"fi\0le\0", b"file\0\0"])
def test_a_name_that_no_kernel_sends_is_refused(name: bytes) -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        assert (await kernel.ask(Opcode.LOOKUP, name)).error == -errno.EINVAL
        assert operations.calls["lookup"] == 0

    run(check)


def test_reads_are_the_bytes_from_the_offset() -> None:
    data = TREE[b"file"]
    assert isinstance(data, bytes)

    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        for offset, size in ((0, 4096), (100, 7), (5000, 4096), (5120, 4096), (9999, 1)):
            answer = await kernel.ask(Opcode.READ, read_in(offset, size), node=NAMES[b"file"])
            assert (answer.error, answer.body) == (0, data[offset : offset + size])
        assert (await kernel.ask(Opcode.READ, read_in(1 << 63, 1), node=NAMES[b"file"])).error == -errno.EINVAL
        assert (await kernel.ask(Opcode.READ, read_in(0, 1), node=1)).error == -errno.EINVAL
        assert (await kernel.ask(Opcode.READ, read_in(0, 1), node=999)).error == -errno.ESTALE

    run(check)


def test_reads_are_answered_when_they_are_done_in_any_order() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        operations.hold_reads = True
        first = await kernel.post(Opcode.READ, read_in(0, 10), node=NAMES[b"file"])
        second = await kernel.post(Opcode.READ, read_in(10, 10), node=NAMES[b"file"])
        await kernel.nothing_more()
        assert channel.facts()["waiting"] == 2
        operations.held[1][3](Denied("no"))
        assert await kernel.receive() == (-errno.EACCES, second, b"")
        operations.held[0][3]((memoryview(b"0123456789"),))
        assert await kernel.receive() == (0, first, b"0123456789")
        operations.held[0][3]((memoryview(b"0123456789"),))  # once more: dropped
        await kernel.nothing_more()
        assert channel.facts()["waiting"] == 0

    run(check)


def test_more_bytes_than_were_asked_for_are_a_defect_and_not_sent() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        operations.hold_reads = True
        unique = await kernel.post(Opcode.READ, read_in(0, 10), node=NAMES[b"file"])
        await kernel.nothing_more()
        operations.held[0][3]((memoryview(b"01234567891"),))
        assert await kernel.receive() == (-errno.EIO, unique, b"")
        assert channel.facts()["defects"] == 1

    run(check)


def test_many_pieces_are_one_answer() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        operations.hold_reads = True
        unique = await kernel.post(Opcode.READ, read_in(0, 5000), node=NAMES[b"file"])
        await kernel.nothing_more()
        operations.held[0][3]([memoryview(b"ab")] * 2000)
        assert await kernel.receive() == (0, unique, b"ab" * 2000)

    run(check)


@pytest.mark.parametrize("failure", [Changed("x"), Denied("x")])
@pytest.mark.parametrize("opcode", [opcode for opcode in WELL_FORMED if opcode not in (Opcode.OPENDIR,)])
def test_a_failure_is_its_errno_and_a_defect_is_eio(opcode: Opcode, failure: OssMountError) -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        body, node = WELL_FORMED[opcode]
        if opcode in (Opcode.RELEASE, Opcode.RELEASEDIR):  # nobody is asked
            assert (await kernel.ask(opcode, body, node=node)).error == 0
            return
        operations.failure = failure
        assert (await kernel.ask(opcode, body, node=node)).error == -failure.errno
        operations.failure = KeyError("a defect")
        assert (await kernel.ask(opcode, body, node=node)).error == -errno.EIO
        assert channel.facts()["defects"] == 1
        operations.failure = None
        assert (await kernel.ask(opcode, body, node=node)).error == 0

    run(check, open="ask")


def test_a_coroutine_that_fails_is_answered() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        async def fail(failure: Exception) -> None:
            await trio.sleep(0)
            raise failure

        for failure, code in ((Denied("no"), errno.EACCES), (KeyError("a defect"), errno.EIO)):
            operations.slow = lambda failure=failure: fail(failure)
            for opcode in (
                Opcode.LOOKUP,
                Opcode.GETATTR,
                Opcode.READLINK,
                Opcode.GETXATTR,
                Opcode.LISTXATTR,
                Opcode.READDIRPLUS,
            ):
                body, node = WELL_FORMED[opcode]
                assert (await kernel.ask(opcode, body, node=node)).error == -code
        assert channel.facts()["defects"] == 6

    run(check)


def test_slow_answers_do_not_hold_up_others() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        go = trio.Event()
        operations.slow = go.wait
        slow = await kernel.post(Opcode.GETATTR, bytes(16))
        await kernel.nothing_more()
        go.set()
        assert (await kernel.receive()).unique == slow

    run(check)


def test_what_is_not_served_has_its_errno() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        for opcode in WRITES:
            assert (await kernel.ask(opcode, bytes(100))).error == -errno.EROFS
        assert (await kernel.ask(Opcode.IOCTL, bytes(32))).error == -errno.ENOTTY
        for opcode in (
            Opcode.OPEN, Opcode.RELEASE, Opcode.FLUSH, Opcode.OPENDIR, Opcode.RELEASEDIR, Opcode.ACCESS, Opcode.LSEEK,
            Opcode.POLL, Opcode.STATX, Opcode.FSYNC, Opcode.FSYNCDIR, Opcode.BMAP, Opcode.GETLK, Opcode.SETLK, Opcode.SYNCFS,
        ):  # fmt: skip
            assert (await kernel.ask(opcode, bytes(100))).error == -errno.ENOSYS
        for unknown in (0, 7, 19, 54, 63, 4096, 0xFFFFFFFF):
            assert (await kernel.ask(unknown, bytes(100))).error == -errno.ENOSYS
        assert channel.requests()["UNKNOWN"] >= 4
        assert not operations.calls

    run(check)


def test_open_ask_gives_handles_and_flags() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        body, node = WELL_FORMED[Opcode.OPEN]
        first = protocol.OPEN_OUT.unpack((await kernel.ask(Opcode.OPEN, body, node=node)).body)
        operations.keep_pages = False
        second = protocol.OPEN_OUT.unpack((await kernel.ask(Opcode.OPEN, body, node=node)).body)
        assert first[0] != second[0]
        assert first[1] & FileOpen.KEEP_CACHE and not second[1] & FileOpen.KEEP_CACHE
        directory = protocol.OPEN_OUT.unpack((await kernel.ask(Opcode.OPENDIR, body)).body)
        assert directory[1] == FileOpen.CACHE_DIR | FileOpen.KEEP_CACHE
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
            assert (await kernel.ask(Opcode.OPEN, protocol.OPEN_IN.pack(flags, 0), node=node)).error == -errno.EROFS

    run(check, open="ask")


def test_close_to_open_does_not_keep_listings() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        answer = await kernel.ask(Opcode.OPENDIR, protocol.OPEN_IN.pack(0, 0))
        assert protocol.OPEN_OUT.unpack(answer.body)[1] == FileOpen.CACHE_DIR

    run(check, close_to_open=True)


def test_extended_attributes_follow_the_size_protocol() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        node, value = NAMES[b"file"], b"0123456789abcdef"
        for opcode, suffix, data in (
            (Opcode.GETXATTR, b"user.oss.etag\0", value),
            (Opcode.LISTXATTR, b"", b"user.oss.etag\0"),
        ):
            asked = await kernel.ask(opcode, protocol.GETXATTR_IN.pack(0, 0) + suffix, node=node)
            assert protocol.GETXATTR_OUT.unpack(asked.body) == (len(data), 0)
            got = await kernel.ask(opcode, protocol.GETXATTR_IN.pack(len(data), 0) + suffix, node=node)
            assert (got.error, got.body) == (0, data)
            short = await kernel.ask(opcode, protocol.GETXATTR_IN.pack(len(data) - 1, 0) + suffix, node=node)
            assert short.error == -errno.ERANGE
        other = await kernel.ask(Opcode.GETXATTR, protocol.GETXATTR_IN.pack(99, 0) + b"security.selinux\0", node=node)
        assert other.error == -errno.EOPNOTSUPP

    run(check)


def test_statfs_and_readlink() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        assert (await kernel.ask(Opcode.READLINK, node=NAMES[b"link"])).body == b"a/inner"
        statistics: FilesystemStatistics = operations.statfs()
        answer = await kernel.ask(Opcode.STATFS)
        assert protocol.STATFS_OUT.unpack(answer.body) == (statistics.blocks, 0, 0, 0, 0, 4096, 255, 4096, 0)

    run(check)


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("size", [300, 4096, 1 << 20])
@pytest.mark.parametrize("slow", [False, True])
def test_a_directory_is_listed_whole_in_pages_of_any_size(plus: bool, size: int, slow: bool) -> None:
    names: Tree = {b"n%d" % number * (number % 9 + 1): b"" for number in range(1200)}

    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        offset, found = 0, []
        while True:
            answer = await kernel.ask(Opcode.READDIRPLUS if plus else Opcode.READDIR, read_in(offset, size))
            assert answer.error == 0 and len(answer.body) <= size
            page = parse_listing(answer.body, plus=plus)
            if not page:
                break
            found += page
            offset = page[-1][2]
        assert [name for name, *_ in found] == sorted(names)
        assert {kind for *_, kind in found} == {8}
        if plus:
            assert {name: node for name, node, *_ in found} == operations.names[1]
        assert operations.calls["list"] == 3  # two batches and the end

    run(check, slow=slow, tree=names)


def test_two_readers_of_a_directory_and_one_that_goes_back() -> None:
    names: Tree = {b"n%03d" % number: b"" for number in range(100)}

    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        async def page(offset: int) -> list[bytes]:
            answer = await kernel.ask(Opcode.READDIRPLUS, read_in(offset, 1600))
            return [name for name, *_ in parse_listing(answer.body, plus=True)]

        ordered = sorted(names)
        assert await page(0) == await page(0) == ordered[:10]
        assert await page(10) == await page(10) == ordered[10:20]
        assert await page(5) == ordered[5:15]
        channel.invalidate_node(1)
        operations.names[1].pop(ordered[20])
        assert await page(20) == ordered[21:31]

    run(check, tree=names)


def test_a_page_too_small_for_a_name_is_refused_and_not_the_end() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        assert (await kernel.ask(Opcode.READDIRPLUS, read_in(0, 100))).error == -errno.EINVAL
        assert (await kernel.ask(Opcode.READDIR, read_in(0, 0))).error == -errno.EINVAL
        assert (await kernel.ask(Opcode.READDIR, read_in(1 << 63, 4096))).error == -errno.EINVAL

    run(check)


@pytest.mark.parametrize("opcode", [*WELL_FORMED, Opcode.IOCTL, Opcode.FLUSH, Opcode.SETATTR])
def test_short_and_long_bodies_are_answered_once(opcode: Opcode) -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        body, node = WELL_FORMED.get(opcode, (bytes(64), 1))
        for cut in range(len(body) + 1):
            answer = await kernel.ask(opcode, body[:cut], node=node)
            assert -512 < answer.error <= 0
        await kernel.ask(opcode, body + b"x" * 8000, node=node)
        lied = await kernel.ask(opcode, body, node=node, length=17)
        assert lied.error == -errno.EINVAL
        await kernel.nothing_more()

    run(check, open="ask")


def test_extensions_behind_the_body_are_not_part_of_it() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        answer = await kernel.ask(Opcode.LOOKUP, b"file\0" + bytes(16), extensions=2)
        assert protocol.ENTRY_OUT.unpack(answer.body)[0] == NAMES[b"file"]
        assert (await kernel.ask(Opcode.LOOKUP, b"file\0", extensions=0xFFFF)).error == -errno.EINVAL

    run(check)


def test_messages_that_have_no_answer() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        await kernel.post(Opcode.FORGET, protocol.FORGET_IN.pack(3), node=7)
        await kernel.post(Opcode.FORGET, b"short", node=7)
        one = protocol.FORGET_ONE.pack(8, 2)
        await kernel.post(Opcode.BATCH_FORGET, protocol.BATCH_FORGET_IN.pack(2, 0) + one + one)
        await kernel.post(Opcode.BATCH_FORGET, protocol.BATCH_FORGET_IN.pack(0xFFFFFFFF, 0) + one)
        await kernel.post(Opcode.INTERRUPT, protocol.INTERRUPT_IN.pack(12345))
        await kernel.post(Opcode.INTERRUPT, b"")
        await kernel.post(Opcode.NOTIFY_REPLY, bytes(40))
        await kernel.post(Opcode.LOOKUP, b"file\0", unique=0)  # an answer to 0 would be a notification
        await kernel.send(b"shorter than a header")
        await kernel.nothing_more()
        assert operations.forgotten == {7: 3, 8: 4}
        operations.failure = KeyError("a defect")
        await kernel.post(Opcode.FORGET, protocol.FORGET_IN.pack(3), node=7)
        assert (await kernel.ask(Opcode.STATFS)).error == -errno.EIO

    run(check)


def test_an_interrupted_request_of_a_process_that_is_gone_is_given_up() -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        operations.hold_reads = True
        operations.slow = trio.sleep_forever
        with open("/proc/sys/kernel/pid_max") as file:
            nobody = int(file.read())  # one above the highest pid
        header = protocol.IN_HEADER
        for unique, opcode, body, node in (
            (100, Opcode.READ, read_in(0, 10), NAMES[b"file"]),
            (102, Opcode.GETATTR, bytes(16), 1),
        ):
            await kernel.send(header.pack(header.size + len(body), opcode, unique, node, 0, 0, nobody, 0, 0) + body)
            await kernel.nothing_more()
            assert channel.facts()["waiting"] == 1
            await kernel.post(Opcode.INTERRUPT, protocol.INTERRUPT_IN.pack(unique))
            assert await kernel.receive() == (-errno.EINTR, unique, b"")
            await kernel.nothing_more()
            assert channel.facts()["waiting"] == 0
        operations.release_reads()
        await kernel.nothing_more()

    run(check)


def test_destroy_is_answered_and_ends_serving() -> None:
    async def main() -> None:
        async with connected(MemoryFilesystem(TREE)) as (channel, kernel):
            assert (await kernel.ask(Opcode.DESTROY)).error == 0
            while channel.facts()["state"] == "serving":
                await trio.sleep(0.001)

    trio.run(main)


def test_validities() -> None:
    assert validity(0) == validity(-1) == validity(-math.inf) == validity(math.nan) == (0, 0)
    assert validity(math.inf) == validity(1e30) == (FOREVER, 0)
    assert validity(60) == (60, 0)
    assert validity(0.25) == (0, 250_000_000)
    assert validity(1e-12) == (0, 0)
    assert validity(59.999999999) <= (60, 0)


def test_flags_are_not_asked_of_a_kernel_that_does_not_offer_them() -> None:
    async def main() -> None:
        async with connected(MemoryFilesystem(TREE), minor=31, flags=0) as (channel, kernel):
            assert channel.facts()["flags"] == []
            assert channel.facts()["open"] == "ask"
            assert (await kernel.ask(Opcode.OPENDIR, protocol.OPEN_IN.pack(0, 0))).error == 0

    trio.run(main)


def test_answers_after_the_end_go_nowhere() -> None:
    """The number of the closed descriptor may be another file's by then."""

    async def main() -> None:
        operations = MemoryFilesystem(TREE)
        operations.hold_reads = True
        async with connected(operations) as (channel, kernel):
            await kernel.post(Opcode.READ, read_in(0, 4), node=NAMES[b"file"])
            await kernel.post(Opcode.READ, read_in(0, 4), node=NAMES[b"file"])
            await kernel.nothing_more()
        others = [os.pipe() for _ in range(20)]  # they take the free numbers
        try:
            operations.held[0][3]((memoryview(b"data"),))
            operations.held[1][3](Denied("late"))
            for reading, _ in others:
                os.set_blocking(reading, False)
                with pytest.raises(BlockingIOError):
                    os.read(reading, 1)
        finally:
            for pair in others:
                for fd in pair:
                    os.close(fd)
        assert channel.facts()["answers_lost"] == 2
        assert channel.facts()["defects"] == 0

    trio.run(main)
