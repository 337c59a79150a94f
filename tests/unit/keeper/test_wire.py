"""Messages between keeper and daemon."""

from __future__ import annotations

import os
import socket

import pytest

from ossmount.keeper import wire


@pytest.mark.parametrize("count", [0, 1, 4])
def test_descriptors_arrive_and_are_not_inherited(count: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        sent = [os.memfd_create(f"file{number}") for number in range(count)]
        wire.send(ours, "hello", tuple(sent), number=7)
        received = wire.receive(theirs)
        assert received is not None
        message, descriptors = received
        assert message == {"kind": "hello", "number": 7}
        assert [os.fstat(one).st_ino for one in descriptors] == [os.fstat(one).st_ino for one in sent]
        assert not any(os.get_inheritable(one) for one in descriptors)
        for one in (*sent, *descriptors):
            os.close(one)


def test_the_end_of_the_other_side_is_none() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        ours.close()
        assert wire.receive(theirs) is None
