"""Requests as no kernel makes them, and FORGET as the kernel counts: by Hypothesis and against a model."""

from __future__ import annotations

import random
import socket
import struct
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ossmount.channel.kernel_channel import init, protocol
from ossmount.channel.kernel_channel.channel import KernelChannel
from ossmount.channel.kernel_channel.device import Device
from ossmount.channel.kernel_channel.handlers import Handlers
from ossmount.channel.kernel_channel.protocol import UNANSWERED, Opcode
from ossmount.config import ChannelConfig
from tests.unit.channel.fake_kernel import FakeKernel, init_in, parse_answer, request
from tests.unit.channel.memory_filesystem import MemoryFilesystem, Tree
from tests.unit.channel.well_formed import WELL_FORMED, parse_listing, read_in, run

BODIES = st.one_of(
    st.binary(max_size=120),
    st.sampled_from([body for body, _ in WELL_FORMED.values()]),
    st.builds(lambda body, cut: body[:cut], st.sampled_from([body for body, _ in WELL_FORMED.values()]), st.integers(0, 60)),
    st.builds(read_in, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)),
    st.builds(lambda name: name + b"\0", st.binary(max_size=300)),
)
OPCODES = st.one_of(
    st.sampled_from([opcode for opcode in Opcode if opcode is not Opcode.DESTROY]).map(int),
    st.integers(0, 100).filter(lambda opcode: opcode != Opcode.DESTROY),
    st.integers(0, 2**32 - 1).filter(lambda opcode: opcode != Opcode.DESTROY),
)
LENGTHS = st.one_of(st.none(), st.integers(0, 2**32 - 1))
REQUESTS = st.lists(
    st.tuples(OPCODES, BODIES, st.integers(0, 8), LENGTHS, st.sampled_from([0, 0, 0, 1, 5, 65535])), max_size=12
)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(REQUESTS, st.booleans(), st.sampled_from(["skip", "ask"]))
def test_any_sequence_of_requests_is_answered_exactly_once(
    requests: list[tuple[int, bytes, int, int | None, int]], slow: bool, how: str
) -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        expected: Counter[int] = Counter()
        for opcode, body, node, length, extensions in requests:
            unique = await kernel.post(opcode, body, node=node, length=length, extensions=extensions)
            if opcode not in UNANSWERED:
                expected[unique] += 1
        got: Counter[int] = Counter()
        for _ in range(expected.total()):
            answer = await kernel.receive()
            assert -512 < answer.error <= 0
            assert answer.error == 0 or not answer.body
            got[answer.unique] += 1
        assert got == expected
        await kernel.nothing_more()
        assert channel.facts()["defects"] == 0
        assert channel.facts()["waiting"] == 0

    run(check, slow=slow, open=how)


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=200))
def test_a_message_of_any_bytes_does_not_end_the_connection(message: bytes) -> None:
    async def check(channel: KernelChannel, kernel: FakeKernel, operations: MemoryFilesystem) -> None:
        if len(message) >= 8 and struct.unpack_from("=I", message, 4)[0] == Opcode.DESTROY:
            return
        await kernel.send(message or b"\0")
        sentinel = await kernel.post(Opcode.STATFS)
        while (await kernel.receive()).unique != sentinel:
            pass

    run(check)


def test_forget_is_counted_as_the_kernel_counts() -> None:
    """100,000 operations against a model of the kernel's lookup counts."""
    rng = random.Random(7)
    tree: Tree = {b"d%d" % number: {b"f%d" % inner: b"" for inner in range(9)} for number in range(6)}
    operations = MemoryFilesystem(tree)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    config = ChannelConfig(Path("/nowhere"), "model")
    agreement = init.negotiate(init.parse_offer(init_in(), "6.18"), config)
    buffer = bytearray(1 << 16)

    def start(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing here is slow")

    held: Counter[int] = Counter()
    total: Counter[int] = Counter()
    with ours, theirs:
        handlers = Handlers(operations, Device(theirs.fileno()), agreement, buffer, start)

        def ask(opcode: Opcode, body: bytes, node: int) -> None:
            message = request(opcode, 2, body, node=node)
            buffer[: len(message)] = message
            handlers.table[opcode](2, node, len(message))

        for _ in range(100_000):
            what = rng.random()
            parent = rng.choice((1, *operations.names[1].values()))
            if what < 0.5:
                name = rng.choice([*operations.names[parent], b"missing"])
                if name != b"missing":
                    ask(Opcode.LOOKUP, name + b"\0", parent)
                    node = protocol.ENTRY_OUT.unpack(parse_answer(ours.recv(1 << 16)).body)[0]
                    held[node] += 1
                    total[node] += 1
            elif what < 0.55:
                ask(Opcode.READDIRPLUS, read_in(0, 4096), parent)
                for _, node, *_ in parse_listing(parse_answer(ours.recv(1 << 16)).body, plus=True):
                    held[node] += 1
                    total[node] += 1
            elif what < 0.9:
                known = [node for node, count in held.items() if count]
                if known:
                    node = rng.choice(known)
                    count = rng.randint(1, held[node])
                    ask(Opcode.FORGET, protocol.FORGET_IN.pack(count), node)
                    held[node] -= count
            else:
                some = rng.sample([node for node, count in held.items() if count], k=min(3, sum(map(bool, held.values()))))
                ones = b"".join(protocol.FORGET_ONE.pack(node, held.pop(node)) for node in some)
                ask(Opcode.BATCH_FORGET, protocol.BATCH_FORGET_IN.pack(len(some), 0) + ones, 0)
        for node, count in held.items():
            if count:
                ask(Opcode.FORGET, protocol.FORGET_IN.pack(count), node)
        assert operations.forgotten == total
        assert sum(total.values()) > 50_000
