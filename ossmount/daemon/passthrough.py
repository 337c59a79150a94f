"""Whether a mount reads in passthrough, and what: large files that lie whole in the cache on local disks."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ossmount.channel import mounting
from ossmount.config import DiskConfig
from ossmount.daemon.choice import choose_channel
from ossmount.errors import Changed
from ossmount.metadata.interface import Namespace
from ossmount.model import ObjectInfo, Version
from ossmount.options import declarations as options
from ossmount.options.settings import Settings

if TYPE_CHECKING:
    from ossmount.data.disk.cache import DiskCache
    from ossmount.data.disk.local import Checksum

_SYS_ADMIN = 21  # CAP_SYS_ADMIN, include/uapi/linux/capability.h
_STACKED = frozenset({"overlay", "ecryptfs"})  # file systems that lie on others: their files are one level up


def choose(settings: Settings, disk: DiskConfig | None, asking: int | str = "self") -> tuple[int, str]:
    """How deeply the mount is to count as stacked (ChannelConfig.passthrough), or 0 and why there is no passthrough.

    asking: the process that asks the kernel for it, as /proc names it.
    What only the kernel knows (whether it offers passthrough, and takes the cache's files) is found out when it is asked.
    """
    if not settings[options.PASSTHROUGH]:
        return 0, "it was not asked for (--passthrough)"
    if settings[options.VERIFY] == "full":
        return 0, "--verify full: all bytes are read through the mount, and checked"
    if choose_channel(settings[options.CHANNEL], platform.release())[0] != "kernel":
        return 0, "the pyfuse3 channel cannot: libfuse knows nothing of it"
    if disk is None:
        return 0, "there is no cache on a local disk: give --cache-dir"
    if not may_administer(Path(f"/proc/{asking}/status").read_text("ascii", "replace")):
        return 0, "it needs CAP_SYS_ADMIN, as root has it (also with --user)"
    mounts = mounting.mounts()
    return (2 if any(is_stacked(str(directory), mounts) for directory in disk.directories) else 1), ""


def may_administer(status: str) -> bool:
    """Whether a process has CAP_SYS_ADMIN, from its /proc/PID/status."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return bool(int(value, 16) >> _SYS_ADMIN & 1)
    return False


def is_stacked(directory: str, mounts: list[mounting.Mount]) -> bool:
    """Whether a folder, which need not exist yet, lies on a file system that lies on another one.

    Two such levels are refused by the kernel; then and only then passthrough is off (status says so). Where there is none,
    our mount counts as stacked once, and may be a layer of an overlay itself.
    """
    path = os.path.realpath(directory)
    under = [mount for mount in mounts if path == mount.mountpoint or path.startswith(mount.mountpoint.rstrip("/") + "/")]
    # of several at the same place the last one counts
    return max(enumerate(under), key=lambda item: (len(item[1].mountpoint), item[0]))[1].kind in _STACKED if under else False


def checksums(head: Callable[[bytes], Awaitable[ObjectInfo]]) -> Checksum:
    """From what OSS says of an object to what a whole copy of one version of it must have."""

    async def checksum(version: Version) -> int | None:
        info = await head(version.key)
        if (info.etag, info.size) != (version.etag, version.size):
            raise Changed(f"{version!r} is another version now")
        return info.crc64

    return checksum


class Copies:
    """LocalCopies (ossmount.channel.interface) of the disk cache."""

    def __init__(self, namespace: Namespace, disk: DiskCache | None) -> None:
        self._namespace = namespace
        self._disk = disk
        self._least: float = math.inf  # bytes of a file of which there may be a copy
        if disk is not None:
            from ossmount.data.disk.local import LEAST  # only mounts with a cache on disk load what belongs to it

            self._least = LEAST

    def may_have(self, node: int) -> bool:
        return self._namespace.resolve(node).size >= self._least

    async def open(self, node: int) -> int | None:
        if self._disk is None or self._disk.copies is None:
            return None
        found = self._namespace.resolve(node)
        return await self._disk.copies.open(Version(found.key, found.etag, found.size))
