"""`ossmount-node keeper`: mounts what the environment says on a node, and keeps it mounted while daemons come and go.

This process is privileged and does nothing but mount(2) and umount(2): the device goes to a keeper, which runs as an
ordinary user, and from there to the daemons, which the starter of another container starts (ossmount/node/starter.py).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import NamedTuple

from ossmount.channel.mounting import Mounted, MountError, find_mount, mount, unmount
from ossmount.exit_codes import ExitCode
from ossmount.node.probes import Draining
from ossmount.node.run import Wanted
from ossmount.node.starter import socket_in

_DEVICE = 100  # the number under which a keeper and its daemons have the device
_LOOK = 0.1  # seconds
_BETWEEN = 2.0  # seconds between the end of a keeper and the next one


class Settings(NamedTuple):
    """What `ossmount-node keeper` is told."""

    user: int  # who keepers run as
    group: int
    state: str  # the folder that both containers see
    drain: float  # seconds from SIGTERM for readers to close their files
    environment: dict[str, str]  # of the keepers


class Kept:
    """One mount and its keeper."""

    def __init__(self, wanted: Wanted, settings: Settings, number: int = 0) -> None:
        """number: among the mounts of the node."""
        self.wanted = wanted
        self._settings = settings
        self._number = number
        self._process: subprocess.Popen[bytes] | None = None
        self._again = 0.0

    def begin(self) -> None:
        """Takes away what an earlier pod has left there, mounts, and starts a keeper. Raises MountError."""
        self._clear()
        os.makedirs(self.wanted.mountpoint, exist_ok=True)
        mounted = mount(self.wanted.mountpoint, self.wanted.source, allow_other=True)
        try:
            self._process = self._start(mounted)
        finally:
            os.close(mounted.fd)

    def _start(self, mounted: Mounted) -> subprocess.Popen[bytes]:
        os.dup2(mounted.fd, _DEVICE, inheritable=True)
        words = [sys.executable, "-m", "ossmount", "mount", "--foreground", "--fuse-fd", str(_DEVICE)]
        own = {"OSSMOUNT_STARTER": socket_in(self._settings.state), "OSSMOUNT_ALLOW_OTHER": "true"}
        if metrics := self._settings.environment.get("OSSMOUNT_METRICS"):
            own["OSSMOUNT_METRICS"] = counted_up(metrics, self._number)
        try:
            return subprocess.Popen(
                [*words, self.wanted.source, self.wanted.mountpoint],
                env={**self._settings.environment, **own},
                stdin=subprocess.DEVNULL,
                pass_fds=(_DEVICE,),
                user=self._settings.user,
                group=self._settings.group,
                extra_groups=[],
                start_new_session=True,
            )
        finally:
            os.close(_DEVICE)

    def _clear(self) -> None:
        while (found := find_mount(self.wanted.mountpoint)) is not None and found.kind.startswith("fuse"):
            unmount(self.wanted.mountpoint, lazy=True)

    def look(self, now: float) -> None:
        """Mounts anew where the keeper has ended: with it the mount is gone, and readers have got ENOTCONN."""
        if self._process is not None and (code := self._process.poll()) is not None:
            say(f"the keeper of {self.wanted.mountpoint} has ended with {code}; it is mounted anew in {_BETWEEN:g} s")
            self._process, self._again = None, now + _BETWEEN
        if self._process is None and now >= self._again:
            try:
                self.begin()
            except (MountError, OSError) as error:
                say(f"{self.wanted.mountpoint}: {error}")
                self._again = now + _BETWEEN

    def detach(self) -> None:
        """New readers find the folder below; those who have files open may finish."""
        with contextlib.suppress(MountError):
            self._clear()

    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_BETWEEN)
            self._process.kill()
            self._process.wait()


def counted_up(metrics: str, number: int) -> str:
    """[ADDRESS:]PORT with a port of its own for each mount, since one process shows the numbers of one mount."""
    address, colon, port = metrics.rpartition(":")
    return f"{address}{colon}{int(port) + number}" if port.isascii() and port.isdigit() else metrics


def keep(mounts: list[Wanted], settings: Settings) -> int:
    """Until SIGTERM or SIGINT; then drains: detaches all, waits for the readers, ends the keepers."""
    stops: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: stops.append(number))
    all_kept = [Kept(wanted, settings, number) for number, wanted in enumerate(mounts)]
    try:
        while not stops:
            for kept in all_kept:
                kept.look(time.monotonic())
            time.sleep(_LOOK)
    finally:
        with Draining(settings.state):
            for kept in all_kept:
                kept.detach()
            deadline = time.monotonic() + settings.drain
            while time.monotonic() < deadline and not all(kept.ended() for kept in all_kept):
                time.sleep(_LOOK)
            for kept in all_kept:
                kept.end()
    return ExitCode.OK


def say(message: str) -> None:
    print(f"ossmount-node: {message}", file=sys.stderr, flush=True)
