"""`ossmount umount`: takes a mount away; needs nothing of its daemon."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

from ossmount.channel.mounting import Mount, MountError, Reason, find_mount, resolve, unmount
from ossmount.control.registry import Record, Registry
from ossmount.control.state import state_directory
from ossmount.exit_codes import CommandError, ExitCode

DESCRIPTION = """Unmounts a folder, also when the daemon of the mount is dead. While a process still
uses the mount, nothing happens unless --lazy or --force is given."""

_END = 30.0  # seconds that the daemon may take to end after its mount is gone
_CONNECTIONS = "/sys/fs/fuse/connections"  # Documentation/filesystems/fuse of the kernel
_FORCE = 5.0  # seconds until a daemon that was told to end is killed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", help="what to unmount")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "-l", "--lazy", action="store_true", help="detach now; the daemon ends when the last process has closed its files"
    )
    how.add_argument(
        "--force", action="store_true", help="detach now and end daemon and keeper, whatever they do; reads under way fail"
    )


def run(arguments: argparse.Namespace) -> int:
    mountpoint = resolve(arguments.mountpoint)
    registry = Registry(state_directory(os.environ, os.geteuid()))
    record = registry.find(mountpoint)
    mounted = find_mount(mountpoint)
    if mounted is None and (record is None or not record.alive()):
        if record is not None:
            registry.remove(record)
        raise CommandError(ExitCode.NOT_MOUNTED, f"{arguments.mountpoint}: nothing is mounted here")
    if mounted is not None and not mounted.kind.startswith("fuse"):
        message = f"{arguments.mountpoint}: this is a mount of {mounted.kind}, not one of ossmount; use umount"
        raise CommandError(ExitCode.NOT_MOUNTED, message)
    with _connection(mounted if arguments.force else None) as abort:
        if mounted is not None:
            _detach(mountpoint, lazy=arguments.lazy or arguments.force)
        if record is None:
            abort()
        elif arguments.force:
            _end(record, abort)
        elif not arguments.lazy:
            _wait(record)
    if record is not None and not record.alive():
        registry.remove(record)  # of a daemon that could not do it itself
    return ExitCode.OK


@contextlib.contextmanager
def _connection(mounted: Mount | None) -> Iterator[Callable[[], None]]:
    """What ends the connection of a mount in the kernel, whoever holds it: all that waits for an answer fails at once.

    Opened before the mount is detached: its number may be another connection's afterwards. It does nothing where the kernel's
    control file system is not mounted, or not ours to use; then the connection ends with the last process that has it.
    """
    descriptor = -1
    if mounted is not None:
        with contextlib.suppress(OSError):
            descriptor = os.open(f"{_CONNECTIONS}/{mounted.device.partition(':')[2]}/abort", os.O_WRONLY | os.O_CLOEXEC)

    def abort() -> None:
        if descriptor >= 0:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                os.write(descriptor, b"1")

    try:
        yield abort
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _detach(mountpoint: str, *, lazy: bool) -> None:
    codes = {Reason.NOT_MOUNTED: ExitCode.NOT_MOUNTED, Reason.NO_FUSERMOUNT: ExitCode.NO_FUSE}
    try:
        unmount(mountpoint, lazy=lazy)
    except MountError as error:
        if error.reason is not Reason.BUSY:
            raise CommandError(codes.get(error.reason, ExitCode.UNEXPECTED), str(error)) from None
        users = _users(mountpoint)
        who = f" by {', '.join(users[:8])}" if users else ""
        message = (
            f"{mountpoint} is in use{who}. End that and try again, or:\n"
            f"  ossmount umount --lazy {mountpoint}     detach it now, let its users finish\n"
            f"  ossmount umount --force {mountpoint}    detach it now, let its users fail"
        )
        raise CommandError(ExitCode.BUSY, message) from None


def _users(mountpoint: str) -> list[str]:
    """The processes that use a mount, as "NAME (PID)", as far as we may see. Reads links of /proc only, never the mount."""
    found = []
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            links = [f"/proc/{pid}/cwd", f"/proc/{pid}/root", f"/proc/{pid}/exe"]
            links += [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")]
            if any(_inside(link, mountpoint) for link in links):
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                    found.append(f"{file.read().strip()} ({pid})")
    return found


def _inside(link: str, mountpoint: str) -> bool:
    try:
        target = os.readlink(link)
    except OSError:
        return False
    return target == mountpoint or target.startswith(mountpoint.rstrip("/") + "/")


def _wait(record: Record) -> None:
    deadline = time.monotonic() + _END
    while record.alive():
        if time.monotonic() > deadline:
            print(f"ossmount: unmounted, but its daemon (pid {record.pid}) still runs", file=sys.stderr)
            return
        time.sleep(0.005)


def _end(record: Record, abort: Callable[[], None]) -> None:
    """Ends a daemon: asked, asked not to wait for readers, killed; and its keeper, which knows what comes after a daemon."""
    for number, limit in ((signal.SIGTERM, 0.1), (signal.SIGTERM, _FORCE), (signal.SIGKILL, _FORCE)):
        if not record.alive():
            return
        kill = number == signal.SIGKILL
        targets = [record.keeper_pid] * (record.kept() and (kill or not record.runs())) + [record.pid] * record.runs()
        for pid in targets:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if kill:
            abort()
        deadline = time.monotonic() + limit
        while record.alive() and time.monotonic() < deadline and (kill or not _is_stopped(targets)):
            time.sleep(0.005)
    if record.alive():
        raise CommandError(ExitCode.UNEXPECTED, f"unmounted, but the daemon (pid {record.pid}) does not end")


def _is_stopped(pids: list[int]) -> bool:
    """Whether a signal that is not SIGKILL would wait for somebody to continue them."""
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
            if file.read().rpartition(b")")[2].split()[0] not in (b"T", b"t"):
                return False
    return bool(pids)
