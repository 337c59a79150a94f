"""Taking a mount away while it may be in use, in processes that nobody has to wait for."""

from __future__ import annotations

import logging
import subprocess

import trio

from ossmount.channel import mounting
from ossmount.channel.interface import Succession

log = logging.getLogger(__name__)

GRACE = 2.0  # seconds that readers of a detached mount get to finish before the connection is closed


async def detach(mountpoint: str, helpers: list[trio.Process], succession: Succession | None = None) -> None:
    """Detaches the mount, if it is one. Its processes are added to helpers, for reap()."""
    if mounting.find_mount(mountpoint) is None:
        return
    mounter = None if succession is None else succession.mounter
    if mounter is not None:
        try:
            await mounter.detach()
        except OSError as failure:
            log.warning("%s could not be unmounted (%s); it answers ENOTCONN from now on", mountpoint, failure.strerror)
        return
    for command in mounting.detach_commands(mountpoint):
        # not run_process(): cancelled, that waits for a process which may wait for us
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=mounting.environment()
        )
        helpers.append(process)
        if await process.wait() == 0:
            return
    if mounting.find_mount(mountpoint) is not None:
        log.warning("%s could not be unmounted; it answers ENOTCONN from now on", mountpoint)


async def reap(helpers: list[trio.Process]) -> None:
    with trio.move_on_after(GRACE):
        for process in helpers:
            await process.wait()
