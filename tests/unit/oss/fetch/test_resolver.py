from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator

import pytest

from ossmount.oss.fetch.resolver import AVOID, FRESH, Address, Resolver, lookup
from ossmount.oss.fetch.trouble import Trouble

A: Address = (socket.AF_INET, ("10.0.0.1", 80))
B: Address = (socket.AF_INET, ("10.0.0.2", 80))
C: Address = (socket.AF_INET, ("10.0.0.3", 80))


class Names:
    """A name server whose answers a test sets."""

    def __init__(self, answer: list[Address] | OSError) -> None:
        self.answer = answer
        self.asked = 0

    def __call__(self, _host: str, _port: int) -> list[Address]:
        self.asked += 1
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


@contextlib.contextmanager
def resolving(names: Names) -> Iterator[Resolver]:
    resolver = Resolver("bucket.example", 80, ask=names)
    try:
        yield resolver
    finally:
        for thread in threading.enumerate():
            if thread.name == "resolver":
                thread.join(30)
        resolver.close()


def _wait(resolver: Resolver) -> None:
    assert select.select([resolver], [], [], 60)[0]
    resolver.arrived()


def test_addresses_are_taken_in_turn_and_asked_for_again() -> None:
    names = Names([A, B])
    with resolving(names) as resolver:
        assert resolver.next(0.0) is None
        _wait(resolver)
        assert {resolver.next(1.0) for _ in range(2)} == {A, B}
        assert resolver.next(2.0) != resolver.next(2.0)
        names.answer = [C]
        assert names.asked == 1
        assert resolver.next(FRESH) in (A, B)  # serves on while the new answer is under way
        _wait(resolver)
        assert resolver.next(FRESH) == C
        assert names.asked == 2


def test_known_addresses_outlive_a_failing_name_server() -> None:
    names = Names([A])
    with resolving(names) as resolver:
        resolver.next(0.0)
        _wait(resolver)
        names.answer = socket.gaierror(-3, "Temporary failure in name resolution")
        assert resolver.next(FRESH) == A
        _wait(resolver)
        assert resolver.next(FRESH) == A


@pytest.mark.parametrize("answer", [socket.gaierror(-2, "Name or service not known"), []])
def test_no_address_is_a_trouble_until_there_is_one(answer: list[Address] | OSError) -> None:
    names = Names(answer)
    with resolving(names) as resolver:
        resolver.next(0.0)
        _wait(resolver)
        with pytest.raises(Trouble, match=r"cannot resolve bucket\.example"):
            resolver.next(0.5)
        names.answer = [A]
        assert resolver.next(1.5) is None
        _wait(resolver)
        assert resolver.next(1.5) == A


def test_an_address_that_fails_is_left_out() -> None:
    names = Names([A, B])
    with resolving(names) as resolver:
        resolver.next(0.0)
        _wait(resolver)
        resolver.failed(A, 1.0)
        assert {resolver.next(1.0) for _ in range(3)} == {B}
        resolver.failed(B, 2.0)  # where all fail, all are tried
        assert {resolver.next(2.0) for _ in range(3)} == {A, B}
        assert {resolver.next(1.0 + AVOID) for _ in range(3)} == {A}


def test_looks_up_addresses() -> None:
    assert lookup("127.0.0.1", 80) == [(socket.AF_INET, ("127.0.0.1", 80))]
