from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ossmount.keeper.notify import Notify


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.setblocking(False)
        yield made


def received(systemd: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(systemd.recv(999))
        except BlockingIOError:
            return found


def test_it_tells_what_systemd_asked_for(systemd: socket.socket) -> None:
    environment = {
        "NOTIFY_SOCKET": systemd.getsockname(),
        "WATCHDOG_USEC": "3000000",
        "WATCHDOG_PID": str(os.getpid()),
        "A": "b",
    }
    notify = Notify(environment)
    assert environment == {"A": "b"}  # nothing of it reaches daemons
    notify.ready("well")
    for now in (10.0, 11.0, 11.4, 11.5, 12.0, 13.1):
        notify.alive(now)
    notify.stopping()
    assert received(systemd) == [b"READY=1\nSTATUS=well", b"WATCHDOG=1", b"WATCHDOG=1", b"WATCHDOG=1", b"STOPPING=1"]


@pytest.mark.parametrize("watchdog", [{}, {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}])
def test_a_watchdog_that_nobody_or_another_process_was_asked_for(systemd: socket.socket, watchdog: dict[str, str]) -> None:
    notify = Notify({"NOTIFY_SOCKET": systemd.getsockname(), **watchdog})
    notify.alive(10.0)
    assert received(systemd) == []


def test_nobody_listens() -> None:
    for environment in ({}, {"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "1"}, {"NOTIFY_SOCKET": "vsock:2:1234"}):
        notify = Notify(environment)
        notify.ready("well")
        notify.alive(10.0)


def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0ossmount-test-{os.getpid()}")
        systemd.setblocking(False)
        Notify({"NOTIFY_SOCKET": f"@ossmount-test-{os.getpid()}"}).stopping()
        assert received(systemd) == [b"STOPPING=1"]
