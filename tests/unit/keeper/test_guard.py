"""The keeper's side of the guard, over a socket whose other end the test has."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from ossmount.keeper import wire
from ossmount.keeper.daemon import Daemon
from ossmount.keeper.guard import Guard


class Told(Daemon):
    """Hears what a keeper tells it."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, object]]] = []

    def tell(self, kind: str, descriptors: tuple[int, ...] = (), **fields: object) -> None:
        self.heard.append((kind, fields))


class Keeping:
    """A guard's client and the guard's end."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs.settimeout(60)
        self.guard = Guard(ours, 1)
        self.daemon = Told()
        self.handlers: dict[int, Callable[[], None] | None] = {}

    def take(self, kind: str, number: int, *descriptors: int, **fields: object) -> None:
        message = {"kind": kind, "number": number, **fields}
        self.guard.take(self.daemon, message, list(descriptors), self.handlers.__setitem__)

    def asked(self) -> tuple[dict[str, object], list[int]]:
        received = wire.receive(self.theirs)
        assert received is not None
        return received

    def answer(self, number: object, error: int = 0, backing: int = 0) -> None:
        wire.send(self.theirs, "done", number=number, error=error, backing=backing)

    def hear(self) -> None:
        handler = self.handlers[self.guard.connection.fileno()]
        assert handler is not None
        handler()


@pytest.fixture
def keeping() -> Iterator[Keeping]:
    made = Keeping()
    yield made
    made.guard.connection.close()
    made.theirs.close()


def test_questions_are_passed_on_and_answers_come_back_to_who_has_asked(keeping: Keeping) -> None:
    file = os.memfd_create("device")
    keeping.take("mount", 7, file, allow_other=True)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)
    keeping.take("detach", 8)
    mount, descriptors = keeping.asked()
    detach, _ = keeping.asked()
    assert (mount["kind"], mount["allow_other"], len(descriptors)) == ("mount", True, 1)
    os.close(descriptors[0])
    keeping.answer(detach["number"], errno.EINVAL)
    keeping.hear()
    keeping.answer(mount["number"])
    keeping.hear()
    assert keeping.daemon.heard == [("done", {"number": 8, "error": errno.EINVAL}), ("done", {"number": 7, "error": 0})]
    assert keeping.handlers == {keeping.guard.connection.fileno(): None}  # nothing is waited for


def test_numbers_of_backing_files_come_at_once_whatever_else_is_under_way(keeping: Keeping) -> None:
    keeping.take("detach", 8)

    def guard() -> None:
        keeping.answer(3)  # of a question of a former keeper
        keeping.answer(keeping.asked()[0]["number"])
        message, descriptors = keeping.asked()
        assert message["kind"] == "back" and len(descriptors) == 2
        for descriptor in descriptors:
            os.close(descriptor)
        keeping.answer(message["number"], backing=42)

    answering = threading.Thread(target=guard)
    answering.start()
    backings = keeping.guard.backings([5])
    assert backings.open(keeping.theirs.fileno(), [os.memfd_create("file")]) == (42, 0)
    answering.join(60)
    keeping.hear()  # called for what has been taken already: does not wait
    assert backings.numbers == {5, 42}
    assert keeping.daemon.heard == [("done", {"number": 8, "error": 0})]


def test_a_guard_that_is_gone_is_an_error_and_no_end_of_the_keeper(keeping: Keeping) -> None:
    keeping.take("read_ahead", 1, kb=4)
    keeping.theirs.close()
    keeping.hear()
    keeping.take("detach", 2)
    assert [fields["number"] for _, fields in keeping.daemon.heard] == [1, 2]
    assert all(fields["error"] for _, fields in keeping.daemon.heard)
    backings = keeping.guard.backings([5])
    assert backings.open(0, [os.memfd_create("file")]) == (0, errno.ENOTCONN)
    backings.close(0, 5)
    assert keeping.guard.take_away() == errno.ENOTCONN
