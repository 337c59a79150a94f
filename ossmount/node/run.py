"""`ossmount-run COMMAND…`: the entrypoint of a container that reads a bucket.

Mounts what the environment says, runs the command, passes signals on to it, unmounts, and ends with the command's exit code.
It may be PID 1: it reaps what others leave behind. It stays for as long as the command, so it imports little and starts
`ossmount mount` and `umount` as processes of their own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ossmount.exit_codes import ExitCode

USAGE = """usage: ossmount-run [COMMAND [ARGUMENT ...]]

Mounts what the environment names, runs COMMAND, unmounts, and ends with the exit code of COMMAND.
Without COMMAND it stays until SIGTERM or SIGINT.

  OSSMOUNT_SOURCE=oss://BUCKET/PREFIX    what to mount, and
  OSSMOUNT_MOUNTPOINT=/mnt/data          where; the folder is made if it is missing
  OSSMOUNT_MOUNTS="SOURCE=MOUNTPOINT ..." or several of them, with spaces or newlines between

All options of `ossmount mount` are variables too (OSSMOUNT_MEMORY_LIMIT=2G); so are the access keys. The daemon's log goes
to stderr. A mount that fails ends it with the exit code of `ossmount mount`; a COMMAND that is not found with 127, one that
cannot be executed with 126, one that a signal ended with 128 and its number.
"""

STOP = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
#: All that is not a fault of this process itself. SIGCHLD is for us, all others are passed on.
TAKEN = signal.valid_signals() - {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP,
    signal.SIGABRT, signal.SIGSYS, signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP,
}  # fmt: skip

#: What is ours in the environment beside the options of a mount.
VARIABLES = ("OSSMOUNT_SOURCE", "OSSMOUNT_MOUNTPOINT", "OSSMOUNT_MOUNTS")


class Wanted(NamedTuple):
    """One mount."""

    source: str
    mountpoint: str


class WrongEnvironment(Exception):
    """The environment does not say what to mount; the message says how it would."""


class Ended(Exception):
    """A signal came while nothing was running that it could have been passed on to."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


def wanted(environ: Mapping[str, str]) -> list[Wanted]:
    """The mounts that the environment names; raises WrongEnvironment."""
    source, mountpoint = environ.get("OSSMOUNT_SOURCE", ""), environ.get("OSSMOUNT_MOUNTPOINT", "")
    several = environ.get("OSSMOUNT_MOUNTS", "").split()
    if bool(source) != bool(mountpoint):
        there, missing = ("SOURCE", "MOUNTPOINT") if source else ("MOUNTPOINT", "SOURCE")
        raise WrongEnvironment(f"OSSMOUNT_{there} is set, but OSSMOUNT_{missing} is not")
    found = [Wanted(source, mountpoint)] if source else []
    for word in several:
        source, equals, mountpoint = word.rpartition("=")
        if not equals or not source or not mountpoint.startswith("/"):
            raise WrongEnvironment(f"OSSMOUNT_MOUNTS: {word} is not SOURCE=/MOUNTPOINT, such as oss://bucket/train=/mnt/train")
        found.append(Wanted(source, mountpoint))
    if not found:
        raise WrongEnvironment("nothing to mount: set OSSMOUNT_SOURCE=oss://BUCKET/PREFIX and OSSMOUNT_MOUNTPOINT=/mnt/data")
    twice = [
        each.mountpoint
        for number, each in enumerate(found)
        if each.mountpoint in {other.mountpoint for other in found[:number]}
    ]
    if twice:
        raise WrongEnvironment(f"{twice[0]} is named twice as a mountpoint")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs to the end and returns the exit code of this process."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] in (["--help"], ["-h"]):
        print(USAGE, end="")
        return ExitCode.OK
    words = words[1:] if words[:1] == ["--"] else words
    if words and words[0].startswith("-"):
        return _failed(f"unknown option {words[0]}; the command comes first\n{USAGE}", ExitCode.USAGE)
    try:
        mounts = wanted(os.environ)
    except WrongEnvironment as error:
        return _failed(str(error), ExitCode.USAGE)
    # Signals are taken one after the other where we wait, never in between. (PID 1 would also lose those without a handler.)
    signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN | {signal.SIGTTOU})
    done: list[Wanted] = []
    try:
        for each in mounts:
            code = _mount(each)
            if code:
                return code
            done.append(each)
        return _run(words)
    except Ended as end:
        return end.code
    finally:
        for each in reversed(done):
            _unmount(each)


def _mount(each: Wanted) -> int:
    try:
        os.makedirs(each.mountpoint, exist_ok=True)
    except OSError as error:
        return _failed(f"cannot make the folder {each.mountpoint}: {error.strerror}", ExitCode.MOUNTPOINT)
    stopped: list[int] = []

    def passed_on(number: int) -> int:
        """`ossmount mount` ends in order at SIGINT: whatever it has started is gone then."""
        if number not in STOP:
            return number
        stopped.append(number)
        return signal.SIGINT

    code = _wait(_spawn([*_ossmount(), "mount", "--stderr", each.source, each.mountpoint]), passed_on)
    if stopped:
        _unmount(each)
        raise Ended(stopped[0])
    return code


def _run(words: Sequence[str]) -> int:
    """The command, or nothing until a signal comes."""
    if not words:
        while signal.sigwait(TAKEN) not in STOP:
            _reap(0)
        return ExitCode.OK
    try:
        child = _spawn(words)
    except FileNotFoundError:
        return _failed(f"{words[0]}: command not found", 127)
    except OSError as error:
        return _failed(f"{words[0]}: {error.strerror}", 126)
    with contextlib.suppress(OSError):  # no terminal
        os.tcsetpgrp(0, child)
    return _wait(child)


def _spawn(words: Sequence[str]) -> int:
    """Starts it as a process group of its own, so that a signal reaches it once, also from a terminal; its pid."""
    return os.posix_spawnp(
        words[0], list(words), os.environ, setpgroup=0, setsigmask=[], setsigdef=[signal.SIGPIPE, signal.SIGXFSZ]
    )  # fmt: skip


def _wait(child: int, passed_on: Callable[[int], int] = lambda number: number) -> int:
    """Passes signals on (as which, `passed_on` says) until the child has ended; its exit code as a shell gives it."""
    while (status := _reap(child)) is None:
        number = signal.sigwait(TAKEN)
        if number != signal.SIGCHLD:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, passed_on(number))
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _reap(child: int) -> int | None:
    """Collects every process that has ended, as PID 1 has to; the status of the child if it is one of them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = status


def _unmount(each: Wanted) -> None:
    """Also while something that the command left behind still reads: that is let finish, or dies with the container."""
    for how in ((), ("--lazy",)):
        if _wait(_spawn([*_ossmount(), "umount", *how, each.mountpoint])) in (ExitCode.OK, ExitCode.NOT_MOUNTED):
            return


def _ossmount() -> list[str]:
    return [sys.executable, "-m", "ossmount"]


def _failed(message: str, code: int) -> int:
    print(f"ossmount-run: {message}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
