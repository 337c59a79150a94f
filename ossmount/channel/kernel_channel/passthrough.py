"""Passthrough: OPEN answered with a file of a local disk, which the kernel then reads by itself.

An inode is open in one way at a time (open_files.py). Which one is decided when nothing has it open: from a local copy if
there is a whole one, else as ever. A copy that becomes whole meanwhile is read from once the last RELEASE has come. The kernel
sends that when nothing refers to the open file any more, mappings of its page cache included, and after it has left the
inode's mode (fuse_file_put). A mapping in passthrough is one of the local file itself, and may outlive the RELEASE.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import NamedTuple

import trio

from ossmount.channel.interface import Backer, LocalCopies, Succession
from ossmount.channel.kernel_channel import packing, protocol
from ossmount.channel.kernel_channel.handlers import BODY, Handlers
from ossmount.channel.kernel_channel.open_files import CACHED, OpenFiles
from ossmount.channel.kernel_channel.protocol import FileOpen, Opcode
from ossmount.config import ChannelConfig
from ossmount.filesystem.interface import Operations
from ossmount.keeper.backing import Backings
from ossmount.model import Soon

log = logging.getLogger(__name__)

_NEVER = {
    errno.EPERM: "it needs CAP_SYS_ADMIN",
    errno.EOPNOTSUPP: "the kernel was built without it",
    errno.ENOTTY: "the kernel does not know it",
    errno.EINVAL: "the kernel refuses it",
    errno.ELOOP: "the cache lies on a file system that is stacked too deeply: use a folder of an ordinary one for cache_dir",
}


class DirectBacker:
    """A Backer for a mount without a keeper."""

    def __init__(self, device: int) -> None:
        self._device = device
        self._backings = Backings()

    def backings(self) -> set[int]:
        return set(self._backings.numbers)

    async def back(self, file: int) -> int:
        backing, error = self._backings.open(self._device, [os.dup(file)])
        if error:
            raise OSError(error, os.strerror(error))
        return backing

    def unback(self, backing: int) -> None:
        self._backings.close(self._device, backing)


class _Way(NamedTuple):
    """How an OPEN is to be answered."""

    node: int
    keep: bool  # the pages that the kernel holds of it
    unaligned: bool  # the reader asks for O_DIRECT, as to which we promise less than a disk demands
    backing: int  # or CACHED


class Passthrough:
    """Answers OPEN and RELEASE of one connection. Runs on the event loop's thread."""

    def __init__(
        self, operations: Operations, copies: LocalCopies, backer: Backer, files: OpenFiles, problem: str = ""
    ) -> None:
        """problem: why no more files are to be opened so; those that are open stay."""
        self._operations = operations
        self._copies = copies
        self._backer = backer
        self._files = files
        self._handlers: Handlers | None = None
        self._deciding: dict[int, trio.Event] = {}  # nodes whose way is not decided yet
        self._problem = problem
        self._left = False
        self._opens = {"passthrough": 0, "cached": 0}
        for backing in backer.backings() - files.backings():  # asked for by a daemon that died before it used them
            backer.unback(backing)

    def __repr__(self) -> str:
        return f"<Passthrough {self._problem or 'on'}: {self._files!r}>"

    async def try_out(self) -> None:
        """Finds out whether the kernel gives numbers at all, before somebody opens a file."""
        probe = os.memfd_create("ossmount-probe")
        try:
            self._backer.unback(await self._backer.back(probe))
        except OSError as failure:
            self._turn_off(_NEVER.get(failure.errno or 0, str(failure.strerror)))
        finally:
            os.close(probe)

    def attach(self, handlers: Handlers) -> None:
        self._handlers = handlers
        handlers.table[Opcode.OPEN] = self._open
        handlers.table[Opcode.RELEASE] = self._release
        handlers.smallest[Opcode.RELEASE] = BODY + protocol.RELEASE_IN.size

    def leave(self) -> None:
        """The connection is another daemon's, and the table of open files too."""
        self._left = True

    def facts(self) -> dict[str, object]:
        direct, cached = self._files.counts()
        facts: dict[str, object] = {"state": "off" if self._problem else "on"}
        if self._problem:
            facts["why"] = self._problem
        return {**facts, "opens": dict(self._opens), "open_files": {"passthrough": direct, "cached": cached}}

    # -- OPEN

    def _open(self, unique: int, node: int, end: int) -> None:
        assert self._handlers is not None
        flags = self._handlers.open_flags()
        self._forget(self._files.unanswered(unique))
        known = self._operations.open(node, flags)
        unaligned = bool(flags & os.O_DIRECT)
        if not isinstance(known, bool):
            self._handlers.start(unique, self._way(node, known, unaligned=unaligned), self._answer)
        elif not self._copies.may_have(node):
            self._answer(unique, known)
        elif (opened := self._files.opened(node)) is not None and node not in self._deciding:
            self._answer(unique, _Way(node, known, unaligned, opened.backing))
        else:
            self._handlers.start(unique, self._way(node, known, unaligned=unaligned), self._answer)

    async def _way(self, node: int, known: Soon[bool], *, unaligned: bool) -> _Way | bool:
        keep = known if isinstance(known, bool) else await known
        if not self._copies.may_have(node):
            return keep
        return _Way(node, keep, unaligned, await self._decide(node, unaligned=unaligned))

    async def _decide(self, node: int, *, unaligned: bool) -> int:
        """Between its return and the answer there is no checkpoint: whoever waits for it finds the open written down."""
        while (decided := self._deciding.get(node)) is not None:
            await decided.wait()
        opened = self._files.opened(node)
        if opened is not None:
            return opened.backing
        if unaligned or self._problem:
            return CACHED
        self._deciding[node] = trio.Event()
        try:
            return await self._back(node)
        finally:
            self._deciding.pop(node).set()

    def _turn_off(self, why: str) -> None:
        """No more files are opened so; those that are stay."""
        if not self._problem:
            self._problem = why
            log.warning("no passthrough: %s; reading goes on without", why)

    async def _back(self, node: int) -> int:
        descriptor = await self._copies.open(node)
        if descriptor is None:
            return CACHED
        try:
            return await self._backer.back(descriptor)
        except OSError as failure:
            if failure.errno in _NEVER:
                self._turn_off(_NEVER[failure.errno])
            else:
                log.warning("node %d cannot be opened in passthrough: %s", node, failure)
            return CACHED
        finally:
            os.close(descriptor)

    def _answer(self, unique: int, way: _Way | bool) -> None:
        assert self._handlers is not None
        if self._left:
            return  # the kernel asks the next daemon
        if isinstance(way, bool):
            self._handlers.device.write(packing.pack_open(unique, 0, self._handlers.file_flags(keep=way)))
            return
        handle = self._files.add(unique, way.node, way.backing)
        answer = self._packed(unique, handle, way)
        taken = False
        try:
            taken = self._handlers.device.write(answer)
        finally:
            if not taken:  # no RELEASE will come
                self._forget(handle)
        self._opens["cached" if way.backing == CACHED else "passthrough"] += taken

    def _packed(self, unique: int, handle: int, way: _Way) -> bytes:
        assert self._handlers is not None
        if way.backing == CACHED:
            return packing.pack_open(unique, handle, self._handlers.file_flags(keep=way.keep))
        flags = FileOpen.PASSTHROUGH | FileOpen.NOFLUSH
        if way.unaligned:  # reads come to us, mappings go to the file
            flags |= FileOpen.DIRECT_IO
        return packing.pack_open(unique, handle, flags, way.backing)

    # -- RELEASE

    def _release(self, unique: int, node: int, end: int) -> None:
        assert self._handlers is not None
        self._forget(self._handlers.handle())
        self._handlers.device.error(unique, 0)

    def _forget(self, handle: int) -> None:
        backing = self._files.remove(handle)
        if backing != CACHED:
            self._backer.unback(backing)


def without(config: ChannelConfig) -> dict[str, object]:
    """The facts of a connection that has none."""
    why = "the kernel does not offer it (Linux 6.9 or newer does)" if config.passthrough else config.why_no_passthrough
    return {"state": "off", "why": why}


def begin(
    config: ChannelConfig, operations: Operations, copies: LocalCopies, succession: Succession | None, device: int
) -> Passthrough:
    """For a connection on which passthrough was agreed; the table of open files is the keeper's, where there is one.

    A daemon that follows may be told otherwise (--verify full): then no more files are opened so.
    """
    table = os.memfd_create("ossmount-open-files") if succession is None else os.dup(succession.journal)
    try:
        files = OpenFiles(table)
    finally:
        os.close(table)
    why = "" if config.passthrough else config.why_no_passthrough
    return Passthrough(operations, copies, succession or DirectBacker(device), files, why)
