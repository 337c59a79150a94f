"""Fetch processes that die, hang or are orphaned, and signals that reach them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading

import pytest
import trio

from ossmount.config import FetchConfig
from ossmount.errors import DeadlineExceeded, OssMountError, Unavailable
from ossmount.model import Version
from ossmount.oss.fetch import slot
from ossmount.oss.fetch.pool import FetchPool
from ossmount.oss.interface import FetchRequest
from tests.unit.oss.fetch.scripted import HANG, Action, Request, Slab, Wanted, fetch_all, honest, serving, source, wait_until

DATA = bytes(range(256)) * 400
#: Seconds that a test waits for something before it says that it never comes.
PATIENCE = 60.0


def test_what_a_killed_process_carried_is_repeated() -> None:
    """Two processes of 50 fetches each; one is killed when answers have begun."""
    release = threading.Event()

    def script(request: Request) -> list[Action]:
        answer = honest(DATA, "E1", request)
        return [answer[:5000], release, answer[5000:]]

    with serving(script) as server:

        def kill(pool: FetchPool, _numbers: list[int]) -> None:
            wait_until(lambda: len(server.requests) >= 10)
            before = pool.pids()
            os.kill(before[0], signal.SIGKILL)
            wait_until(lambda: len(pool.pids()) == 2 and before[0] not in pool.pids())
            release.set()

        wanted = [Wanted(b"%d" % number, DATA, pieces=number % 3 + 1, demand=number % 2 == 0) for number in range(100)]
        facts = fetch_all(source(server.url), wanted, workers=2, during=kill)
    assert [item.key for item in wanted if not item.right] == []
    assert facts["restarts"] == 1


def test_a_fetch_that_kills_every_process_fails() -> None:
    with serving(lambda request: [HANG]) as server:

        def kill(pool: FetchPool, _numbers: list[int]) -> None:
            for deaths in range(3):
                wait_until(lambda deaths=deaths: len(server.requests) == deaths + 1)  # type: ignore[misc]
                os.kill(pool.pids()[0], signal.SIGKILL)

        wanted = [Wanted(b"a", DATA)]
        fetch_all(source(server.url), wanted, during=kill)
        assert len(server.requests) == 3
    assert isinstance(wanted[0].failure, Unavailable)
    assert wanted[0].calls == 1


def test_what_only_waited_for_a_connection_survives_any_number_of_deaths() -> None:
    """One connection: the first fetch dies with three processes, the others are still in the queue then."""
    with serving(lambda request: [HANG if request.key == b"poison" else honest(DATA, "E1", request)]) as server:

        def kill(pool: FetchPool, _numbers: list[int]) -> None:
            for deaths in range(3):
                wait_until(lambda deaths=deaths: len(server.requests) == deaths + 1)  # type: ignore[misc]
                os.kill(pool.pids()[0], signal.SIGKILL)

        wanted = [Wanted(b"poison", DATA), *(Wanted(b"%d" % number, DATA) for number in range(50))]
        facts = fetch_all(source(server.url), wanted, connections=1, during=kill)
    assert isinstance(wanted[0].failure, Unavailable)
    assert [item.key for item in wanted[1:] if not item.right] == []
    assert facts["restarts"] == 3


def test_a_stuck_process_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is frozen before it is given anything, so that only its end can bring an answer."""
    monkeypatch.setattr(slot, "_STUCK", 0.2)
    monkeypatch.setattr(slot, "_WATCH", 0.1)
    failures: list[OssMountError | None] = []

    async def main() -> None:
        pool = FetchPool(source("http://127.0.0.1:9", timeout=0.5), FetchConfig(1, 1), slab.fd, slab.size, environment={})
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                started, ended = trio.Event(), trio.Event()

                def done(failure: OssMountError | None) -> None:
                    failures.append(failure)
                    ended.set()

                nursery.start_soon(pool.run, started.set)
                await started.wait()
                (frozen,) = pool.pids()
                os.kill(frozen, signal.SIGSTOP)
                pool.fetch(FetchRequest(Version(b"a", "E1", 10), 0, 10, ((0, 10),)), done)
                await ended.wait()
                assert frozen not in pool.pids()
                assert pool.facts()["restarts"] == 1
                nursery.cancel_scope.cancel()

    slab = Slab([Wanted(b"a", bytes(10))])
    trio.run(main)
    slab.close()
    assert [type(failure) for failure in failures] == [DeadlineExceeded]


def test_ctrl_c_does_not_end_a_process() -> None:
    release = threading.Event()

    def script(request: Request) -> list[Action]:
        return [release, honest(DATA, "E1", request)]

    with serving(script) as server:

        def interrupt(pool: FetchPool, _numbers: list[int]) -> None:
            wait_until(lambda: len(server.requests) == 1)
            os.kill(pool.pids()[0], signal.SIGINT)
            release.set()

        wanted = [Wanted(b"a", DATA)]
        facts = fetch_all(source(server.url), wanted, during=interrupt)
    assert wanted[0].right
    assert facts["restarts"] == 0


def test_sigterm_ends_a_process_and_another_one_takes_over() -> None:
    with serving(lambda request: [honest(DATA, "E1", request) if request.nth else HANG]) as server:

        def terminate(pool: FetchPool, _numbers: list[int]) -> None:
            wait_until(lambda: len(server.requests) == 1)
            os.kill(pool.pids()[0], signal.SIGTERM)

        wanted = [Wanted(b"a", DATA)]
        facts = fetch_all(source(server.url), wanted, during=terminate)
    assert wanted[0].right
    assert facts["restarts"] == 1


_DAEMON = """
import os, signal, sys, trio
from ossmount.config import FetchConfig, SourceConfig
from ossmount.oss.fetch.pool import FetchPool

async def main():
    fd = os.memfd_create("slab")
    os.truncate(fd, 4096)
    pool = FetchPool(SourceConfig("bucket", endpoint="http://127.0.0.1:9"), FetchConfig(2, 2), fd, 4096, environment={})
    await pool.run(lambda: print(*pool.pids(), flush=True))

signal.signal(signal.SIGINT, signal.default_int_handler)
trio.run(main)
"""


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_the_daemon(number: signal.Signals, frozen: bool) -> None:
    """A frozen one does not see the end of its socket: the kernel has to end it."""
    daemon = subprocess.Popen(
        [sys.executable, "-c", _DAEMON],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        assert daemon.stdout is not None
        pids = [int(pid) for pid in daemon.stdout.readline().split()]
        assert len(pids) == 2
        ends = [os.pidfd_open(pid) for pid in pids]
        try:
            for pid in pids if frozen else []:
                os.kill(pid, signal.SIGSTOP)
            daemon.send_signal(number)
            for end in ends:
                assert select.select([end], [], [], PATIENCE)[0], "a fetch process lives on"
        finally:
            for end in ends:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(end, signal.SIGKILL)
                os.close(end)
    finally:
        daemon.kill()
        daemon.communicate(timeout=PATIENCE)
