"""The queues of notifications, without a process behind them."""

from __future__ import annotations

import errno
import os
import struct
from typing import Any

import pytest
import trio
import trio.testing

from ossmount.channel.kernel_channel import notify, protocol
from ossmount.channel.kernel_channel.notify import Lane, Notifier, pack_entry, pack_node


def test_the_messages_are_the_kernels_structs() -> None:
    message = pack_entry(7, b"name", expire=True)
    assert protocol.OUT_HEADER.unpack_from(message) == (len(message), 3, 0)
    assert protocol.NOTIFY_INVAL_ENTRY_OUT.unpack_from(message, 16) == (7, 4, 1)
    assert message[32:] == b"name\0"
    message = pack_node(9)
    assert protocol.OUT_HEADER.unpack_from(message) == (len(message), 2, 0)
    assert protocol.NOTIFY_INVAL_INODE_OUT.unpack_from(message, 16) == (9, 0, 0)


def test_the_same_news_is_queued_once_and_who_waits_for_it_waits_no_longer_and_no_shorter() -> None:
    async def main() -> None:
        lane = Lane("names")
        told: list[str] = []
        lane.put(b"a")
        lane.hold(lambda: told.append("a"))
        lane.put(b"b")
        lane.hold(lambda: told.append("b"))
        lane.put(b"a")
        assert (list(lane.queue), lane.queued) == ([b"a", b"b"], 2)
        for news in (b"a", b"b"):
            assert lane._take() == news
            lane._confirm(struct.pack("=i", 0))
            assert told[-1].encode() == news

    trio.run(main)


def test_a_full_queue_loses_and_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(notify, "CAPACITY", 2)
    lane = Lane("names")
    for message in (b"a", b"b", b"c", b"d", b"a"):
        lane.put(message)
    assert list(lane.queue) == [b"a", b"b"]
    assert lane.lost == 2
    assert caplog.text.count("lost") == 1


async def stream_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    ours, theirs = trio.socket.socketpair()
    return trio.SocketStream(ours), trio.SocketStream(theirs)


def test_messages_go_out_in_order_and_bounded_by_what_is_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "IN_FLIGHT", 3)

    async def main() -> None:
        lane = Lane("names")
        done: list[str] = []
        ours, theirs = await stream_pair()
        with trio.fail_after(60):
            async with ours, theirs, trio.open_nursery() as nursery:
                nursery.start_soon(lane.send, ours)
                nursery.start_soon(lane.receive, ours, nursery.cancel_scope)
                for number in range(5):
                    lane.put(b"%d" % number)
                lane.hold(lambda: done.append("told"))
                assert await read_exactly(theirs, 3) == b"012"
                await trio.testing.wait_all_tasks_blocked()
                assert lane.sent == 3 and not done
                await theirs.send_all(struct.pack("=iii", 0, -0, errno.ENOENT))
                assert await read_exactly(theirs, 2) == b"34"
                await theirs.send_all(struct.pack("=i", 0) + struct.pack("=i", errno.EINVAL)[:2])
                await trio.testing.wait_all_tasks_blocked()
                assert lane.behind and not done
                await theirs.send_all(struct.pack("=i", errno.EINVAL)[2:])
                await trio.testing.wait_all_tasks_blocked()
                assert not lane.behind and done == ["told"] and lane.failed == 1
                await theirs.aclose()  # the process ended: both tasks end

    trio.run(main)


def test_the_kernel_is_asked_which_nodes_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """By notifications that change nothing of a node that is known: attributes only."""
    monkeypatch.setattr(notify, "IN_FLIGHT", 3)
    verdicts = {10: 0, 11: errno.ENOENT, 12: errno.ENOTCONN, 13: errno.ENOENT, 14: 0}

    async def answer(stream: trio.SocketStream) -> None:
        size = len(notify.pack_question(1))
        while True:
            message = await read_exactly(stream, size)
            node, offset, _ = protocol.NOTIFY_INVAL_INODE_OUT.unpack_from(message, 16)
            await stream.send_all(struct.pack("=i", verdicts.get(node, 0) if offset == -1 else 0))

    async def main() -> None:
        notifier = Notifier()
        ours, theirs = await stream_pair()
        with trio.fail_after(60):
            async with ours, theirs, trio.open_nursery() as nursery:
                nursery.start_soon(notifier.nodes.send, ours)
                nursery.start_soon(notifier.nodes.receive, ours, nursery.cancel_scope)
                nursery.start_soon(answer, theirs)
                notifier.invalidate_node(11)
                assert await notifier.known([]) == set()
                assert await notifier.known(list(verdicts)) == {10, 12, 14}
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_who_cannot_be_asked_may_know_them_all() -> None:
    async def main() -> None:
        notifier = Notifier()
        assert await notifier.known([1, 2]) == {1, 2}  # nobody answers
        known: list[set[int]] = []

        async def ask() -> None:
            known.append(await notifier.known([1, 2]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            notifier.nodes._take()
            notifier.nodes._take()
            notifier.nodes.give_up_sent()  # the process ended with both
        assert known == [{1, 2}]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_process_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = trio.lowlevel.open_process
    left = [2]

    async def fail_twice(*words: Any, **more: Any) -> trio.Process:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return await real(*words, **more)

    monkeypatch.setattr(notify, "RESTART", 0.01)
    monkeypatch.setattr(trio.lowlevel, "open_process", fail_twice)

    async def main() -> None:
        notifier = Notifier()
        descriptors = len(os.listdir("/proc/self/fd"))
        with open(os.devnull, "wb") as device, trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                notifier.invalidate_entry(1, b"name")
                nursery.start_soon(notifier.run, device.fileno())
                while notifier.entries.behind:
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
            await notifier.end()
        assert notifier.entries.lost == 0
        assert len(os.listdir("/proc/self/fd")) == descriptors

    trio.run(main)
    assert caplog.text.count("cannot be started") == 2


async def read_exactly(stream: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += bytes(await stream.receive_some(size - len(data)))
    return data


def test_what_is_held_goes_after_a_second_though_nothing_was_told() -> None:
    async def main() -> None:
        notifier = Notifier()
        done: list[float] = []
        notifier.after_entries(lambda: done.append(trio.current_time()))
        assert len(done) == 1  # nothing was queued: at once
        notifier.invalidate_node(7)
        notifier.after_entries(lambda: done.append(trio.current_time()))
        assert len(done) == 2  # pages may wait for the very READ that is answered
        notifier.invalidate_entry(1, b"name")
        begin = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(notifier.entries.release_late)
            notifier.after_entries(lambda: done.append(trio.current_time()))
            assert len(done) == 2
            await trio.sleep(notify.PATIENCE / 2)
            assert len(done) == 2
            await trio.sleep(notify.PATIENCE)
            nursery.cancel_scope.cancel()
        assert len(done) == 3
        assert done[2] == pytest.approx(begin + notify.PATIENCE)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("dies", [False, True])
def test_who_tells_of_very_many_waits_until_the_kernel_knows(dies: bool) -> None:
    async def main() -> None:
        notifier = Notifier()
        await notifier.caught_up()  # nothing was told: at once
        begin = trio.current_time()
        for name in (b"a", b"b"):
            notifier.invalidate_entry(1, name)
        notifier.invalidate_node(7)  # its page may be read, from an OSS that does not answer
        known: list[float] = []

        async def tell() -> None:
            await notifier.caught_up()
            known.append(trio.current_time() - begin)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell)
            await trio.sleep(3)
            for _ in range(2):
                notifier.entries._take()
            notifier.invalidate_entry(1, b"later")
            notifier.entries._confirm(struct.pack("=i", 0))
            await trio.sleep(1)
            assert not known
            if dies:
                notifier.entries.give_up_sent()
            else:
                notifier.entries._confirm(struct.pack("=i", errno.ENOENT))
        assert known == pytest.approx([4 + notify.CATCHING_UP])

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_what_the_process_had_when_it_died_is_not_waited_for() -> None:
    async def main() -> None:
        lane = Lane("names")
        done: list[int] = []
        lane.put(b"a")
        lane.hold(lambda: done.append(1))
        lane.queue.clear()
        lane.sent = 1
        lane.give_up_sent()
        assert done == [1]
        assert lane.lost == 1 and not lane.behind

    trio.run(main)
