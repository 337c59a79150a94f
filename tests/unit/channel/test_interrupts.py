"""Which signals of a waiting process end its request."""

from __future__ import annotations

import os
import signal

import pytest

from ossmount.channel.kernel_channel.interrupts import Signals, parse_status, signals_of


def status(*, pending: int = 0, shared: int = 0, blocked: int = 0, ignored: int = 0, caught: int = 0) -> str:
    def mask(number: int) -> str:
        return f"{(1 << (number - 1)) if number else 0:016x}"

    return (
        f"Name:\tpython\nPid:\t7\nSigQ:\t0/7\nSigPnd:\t{mask(pending)}\nShdPnd:\t{mask(shared)}\n"
        f"SigBlk:\t{mask(blocked)}\nSigIgn:\t{mask(ignored)}\nSigCgt:\t{mask(caught)}\n"
    )


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV, signal.SIGUSR1, signal.SIGALRM]
)
def test_a_signal_that_nobody_handles_ends_the_process(number: int) -> None:
    assert parse_status(status(pending=number)) == Signals(True, True)
    assert parse_status(status(shared=number)) == Signals(True, True)


@pytest.mark.parametrize("number", [signal.SIGALRM, signal.SIGPROF, signal.SIGUSR1])
def test_a_handled_signal_does_not(number: int) -> None:
    assert parse_status(status(shared=number, caught=number)) == Signals(False, False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_handled_signal_to_stop_means_stopping(number: int) -> None:
    assert parse_status(status(shared=number, caught=number)) == Signals(False, True)


@pytest.mark.parametrize("number", [signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT])
def test_signals_whose_default_is_nothing_do_not(number: int) -> None:
    assert parse_status(status(pending=number)) == Signals(False, False)


def test_blocked_and_ignored_signals_do_not() -> None:
    assert parse_status(status(pending=signal.SIGTERM, blocked=signal.SIGTERM)) == Signals(False, False)
    assert parse_status(status(pending=signal.SIGINT, ignored=signal.SIGINT)) == Signals(False, False)


def test_processes_that_are_here_gone_or_not_to_be_seen() -> None:
    assert signals_of(os.getpid()).dying is False
    with open("/proc/sys/kernel/pid_max") as file:
        assert signals_of(int(file.read())) == Signals(True, True)
    assert signals_of(0) == Signals(False, True)
