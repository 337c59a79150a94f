"""Making the mount: by ourselves, or by the keeper for a daemon that may not (--user)."""

from __future__ import annotations

import errno
import functools
import os

import trio

from ossmount.channel import mounting
from ossmount.channel.interface import Mounter, Succession
from ossmount.channel.mounting import Mounted, MountError, ReadAhead, Reason
from ossmount.config import ChannelConfig


async def attach(config: ChannelConfig, succession: Succession | None) -> Mounted:
    """Raises MountError."""
    mounter = None if succession is None else succession.mounter
    if mounter is not None:
        return await _attach_through(mounter, config)
    mount = functools.partial(mounting.mount, config.mountpoint, config.source, allow_other=config.allow_other)
    return await trio.to_thread.run_sync(mount)


async def _attach_through(mounter: Mounter, config: ChannelConfig) -> Mounted:
    mountpoint = mounting.resolve(config.mountpoint)
    device = mounting.open_device()
    try:
        await mounter.mount(device, allow_other=config.allow_other)
    except OSError as failure:
        os.close(device)
        reason = Reason.NOT_PERMITTED if failure.errno in (errno.EPERM, errno.EACCES) else Reason.FAILED
        hint = "; mounting needs CAP_SYS_ADMIN, in a container --cap-add SYS_ADMIN" if reason is Reason.NOT_PERMITTED else ""
        raise MountError(reason, f"{mountpoint}: mount failed: {failure.strerror}{hint}") from None
    return Mounted(device, mountpoint, "the keeper")


async def set_read_ahead(mountpoint: str, kb: int, succession: Succession | None) -> ReadAhead:
    """After INIT, whose answer sets it as well; 0 leaves it."""
    mounter = None if succession is None else succession.mounter
    if mounter is None:
        return mounting.set_read_ahead_kb(mountpoint, kb)
    problem = ""
    try:
        await mounter.set_read_ahead(kb)
    except OSError as failure:
        problem = f"the keeper could not set it: {failure.strerror}"
    return ReadAhead(mounting.set_read_ahead_kb(mountpoint, 0).kb, problem)
