"""One method for each request of the kernel: unpack, call the filesystem, answer.

Answers that are in memory are sent at once; a coroutine goes to `start`, which runs it in a task of its own. Every request
is answered exactly once, whatever it holds and whatever the filesystem does; FORGET and the like never.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from types import CoroutineType
from typing import Any, Protocol

from ossmount.channel.interface import Ended
from ossmount.channel.kernel_channel import packing, protocol
from ossmount.channel.kernel_channel.device import Device
from ossmount.channel.kernel_channel.init import Agreement
from ossmount.channel.kernel_channel.listings import Listings, Rest
from ossmount.channel.kernel_channel.observing import Observed
from ossmount.channel.kernel_channel.protocol import UNANSWERED, WRITES, FileOpen, Opcode
from ossmount.errors import InvalidArgument, OssMountError, ReadOnly, TooSmall, errno_of
from ossmount.filesystem.interface import Attributes, DirectoryEntry, Entry, Operations

log = logging.getLogger(__name__)

LARGEST_ANSWER = 1 << 20  # bytes of one listing: what MAX_PAGES allows the kernel to ask for
LARGEST_OFFSET = (1 << 63) - 1
BODY = protocol.IN_HEADER_SIZE  # where the body begins in the request buffer

SIZED = frozenset({Opcode.READ, Opcode.READDIR, Opcode.READDIRPLUS})  # requests with an offset and a size

#: handler(unique, node, end): end is where the request ends in the buffer
Handler = Callable[[int, int, int], None]
Clock = Callable[[], float]


class Start(Protocol):
    """Runs a coroutine in a task and gives its result to finish; a failure of either is answered."""

    def __call__(self, unique: int, work: Coroutine[Any, Any, Any], finish: Callable[[int, Any], None]) -> None: ...


class PendingRead:
    """A READ that the filesystem has; calling it answers it (ossmount.filesystem.interface.ReadDone)."""

    __slots__ = ("_handlers", "_size", "answered", "began", "node", "offset", "pid", "unique")

    def __init__(self, handlers: Handlers, unique: int, node: int, offset: int, size: int) -> None:
        self._handlers = handlers
        self.node = node
        self.offset = offset
        self._size = size
        self.unique = unique
        self.pid = 0
        self.began = 0.0  # of one that is not answered at once
        self.answered = False

    def __repr__(self) -> str:
        return f"<PendingRead {self.unique} {'answered' if self.answered else 'waiting'}>"

    def __call__(self, result: Sequence[memoryview] | OssMountError) -> None:
        if self.answered:
            return  # it was interrupted, and the kernel has been told so
        self.answered = True
        handlers = self._handlers
        handlers.reads.pop(self.unique, None)
        code = 0
        try:
            if isinstance(result, OssMountError):
                code = handlers.fail(self.unique, result, self.node)
            else:
                handlers.device.write_data(self.unique, self._size, result)
        except Exception as failure:  # a defect here must not travel into the data path
            code = handlers.fail(self.unique, failure, self.node)
        if self.began:
            self._note_end(code)

    def give_up(self, code: int) -> None:
        """Answers with an errno now; what the filesystem says later is dropped."""
        if not self.answered:
            self.answered = True
            self._handlers.reads.pop(self.unique, None)
            self._handlers.device.error(self.unique, code)
            self._note_end(code)

    def _note_end(self, code: int) -> None:
        """It was not answered at once, and is now."""
        seconds = self._handlers.clock() - self.began
        request = Ended(Opcode.READ.name, self.node, b"", self.offset, self._size, seconds, code)
        self._handlers.observed.ended(request)


class Handlers:
    """The requests of one connection after INIT. `table` and `smallest` are indexed by opcode."""

    def __init__(
        self,
        operations: Operations,
        device: Device,
        agreement: Agreement,
        buffer: bytearray,
        start: Start,
        *,
        observed: Observed | None = None,
        direct_io: bool = False,
        keep_listings: bool = True,
        clock: Clock = time.monotonic,
    ) -> None:
        self._operations = operations
        self.device = device
        self._agreement = agreement
        self._buffer = buffer
        self._view = memoryview(buffer)
        self.start = start
        self.observed = observed or Observed()
        self.clock = clock
        self._answer = bytearray(protocol.OUT_HEADER_SIZE + LARGEST_ANSWER)
        self._answer_view = memoryview(self._answer)
        self._numbers = itertools.count(1)
        self._file_flags = int(FileOpen.NOFLUSH | (FileOpen.DIRECT_IO if direct_io else 0))
        self._file_flags_keep = self._file_flags | int(FileOpen.KEEP_CACHE)
        self._directory_flags = 0
        if agreement.cache_listings:
            self._directory_flags = int(FileOpen.CACHE_DIR | (FileOpen.KEEP_CACHE if keep_listings else 0))
        self.listings = Listings()
        self.reads: dict[int, PendingRead] = {}
        self.defects = 0  # failures that are nobody's deliberate errno
        self.table, self.smallest = self._tables()

    def _tables(self) -> tuple[list[Handler], list[int]]:
        """The handler of each opcode, and the least bytes that its request has with its header."""
        count = max(Opcode) + 1
        table: list[Handler] = [self._unknown] * count
        smallest = [BODY] * count
        skip_open, skip_opendir = self._agreement.skip_open, self._agreement.skip_opendir
        for opcode, handler, size in (
            (Opcode.LOOKUP, self._lookup, 2),
            (Opcode.FORGET, self._forget, protocol.FORGET_IN.size),
            (Opcode.GETATTR, self._getattr, 0),
            (Opcode.READLINK, self._readlink, 0),
            (Opcode.OPEN, self._unknown if skip_open else self._open, protocol.OPEN_IN.size),
            (Opcode.READ, self._read, protocol.READ_IN.size),
            (Opcode.STATFS, self._statfs, 0),
            (Opcode.RELEASE, self._unknown if skip_open else self._done, 0),
            (Opcode.GETXATTR, self._getxattr, protocol.GETXATTR_IN.size + 2),
            (Opcode.LISTXATTR, self._listxattr, protocol.GETXATTR_IN.size),
            (Opcode.OPENDIR, self._unknown if skip_opendir else self._opendir, protocol.OPEN_IN.size),
            (Opcode.READDIR, self._readdir, protocol.READ_IN.size),
            (Opcode.RELEASEDIR, self._unknown if skip_opendir else self._done, 0),
            (Opcode.IOCTL, self._ioctl, 0),
            (Opcode.DESTROY, self._done, 0),
            (Opcode.BATCH_FORGET, self._batch_forget, protocol.BATCH_FORGET_IN.size),
            (Opcode.READDIRPLUS, self._readdirplus, protocol.READ_IN.size),
        ):
            table[opcode] = handler
            smallest[opcode] = BODY + size
        for opcode in WRITES:
            table[opcode] = self._write
        for opcode in UNANSWERED - {Opcode.FORGET, Opcode.BATCH_FORGET}:
            table[opcode] = self._ignore
        return table, smallest

    def requester(self) -> int:
        """The thread (in our pid namespace, 0: not in it) that made the request in the buffer."""
        pid: int = protocol.IN_HEADER.unpack_from(self._buffer)[6]
        return pid

    def request_in_buffer(self, seconds: float = 0.0) -> Ended:
        """The request in the buffer, which took so long."""
        size, opcode, unique, node, *_ = protocol.IN_HEADER.unpack_from(self._buffer)
        operation = Opcode(opcode).name if opcode in Opcode._value2member_map_ else "UNKNOWN"
        name, offset, length = b"", 0, 0
        if opcode == Opcode.LOOKUP:
            name = bytes(self._view[BODY:size]).partition(b"\0")[0]
        elif opcode in SIZED and size >= self.smallest[opcode]:
            _, offset, length, *_ = protocol.READ_IN.unpack_from(self._buffer, BODY)
        refused, code = self.device.last_error
        return Ended(operation, node, name, offset, length, seconds, code if refused == unique else 0)

    # -- failures

    def fail(self, unique: int, failure: BaseException, node: int = 0) -> int:
        """The error boundary: answers the errno of a failure, and logs one that is not deliberate. Never raises.

        The errno. node: that the request was about, where it is known.
        """
        code = errno_of(failure)
        self.observed.failed(code, node, failure)
        if not isinstance(failure, OssMountError):
            self.defects += 1
            log.error("request failed by a defect, answered EIO: %r", failure, exc_info=failure)
        try:
            self.device.error(unique, code)
        except OSError as refused:
            log.error("the kernel refused the answer to request %d: %s", unique, refused)
        return code

    def fail_in_loop(self, opcode: int, unique: int, failure: Exception, node: int) -> None:
        """The outer end of the error boundary: nothing that one request does ends the connection."""
        if opcode in UNANSWERED:
            log.error("%s failed: %r", Opcode(opcode).name, failure, exc_info=failure)
        else:
            self.fail(unique, failure, node)

    # -- what is not served

    def _unknown(self, unique: int, node: int, end: int) -> None:
        """ENOSYS: the kernel does it by itself or reports it as unsupported, and for most requests never asks again."""
        self.device.error(unique, errno.ENOSYS)

    def _ioctl(self, unique: int, node: int, end: int) -> None:
        self.device.error(unique, errno.ENOTTY)  # what isatty() expects, which every open() of Python calls

    def _done(self, unique: int, node: int, end: int) -> None:
        self.device.error(unique, 0)

    def _ignore(self, unique: int, node: int, end: int) -> None:
        """A message without an answer."""

    def _write(self, unique: int, node: int, end: int) -> None:
        self.device.error(unique, errno.EROFS)

    # -- names and attributes

    def _name(self, begin: int, end: int) -> bytes:
        name = bytes(self._view[begin:end])
        if name.find(b"\0") != len(name) - 1 or len(name) < 2:
            raise InvalidArgument("a name that is empty or does not end in its only NUL")
        return name[:-1]

    def _lookup(self, unique: int, node: int, end: int) -> None:
        answer = self._operations.lookup(node, self._name(BODY, end))
        if isinstance(answer, Entry):
            self.device.write(packing.pack_entry(unique, answer))
        else:
            self.start(unique, answer, self._finish_lookup)

    def _finish_lookup(self, unique: int, entry: Entry) -> None:
        self.device.write(packing.pack_entry(unique, entry))

    def _getattr(self, unique: int, node: int, end: int) -> None:
        answer = self._operations.getattr(node)
        if isinstance(answer, tuple):
            self.device.write(packing.pack_attributes(unique, *answer))
        else:
            self.start(unique, answer, self._finish_getattr)

    def _finish_getattr(self, unique: int, answer: tuple[Attributes, float]) -> None:
        self.device.write(packing.pack_attributes(unique, *answer))

    def _readlink(self, unique: int, node: int, end: int) -> None:
        self._soon(unique, self._operations.readlink(node), self._finish_data)

    def _soon(self, unique: int, answer: Any, finish: Callable[[int, Any], None]) -> None:
        if isinstance(answer, CoroutineType):
            self.start(unique, answer, finish)
        else:
            finish(unique, answer)

    def _finish_data(self, unique: int, data: bytes) -> None:
        self.device.write(packing.pack_data(unique, data))

    def _statfs(self, unique: int, node: int, end: int) -> None:
        self.device.write(packing.pack_statistics(unique, self._operations.statfs()))

    def _getxattr(self, unique: int, node: int, end: int) -> None:
        size, _ = protocol.GETXATTR_IN.unpack_from(self._buffer, BODY)
        name = self._name(BODY + protocol.GETXATTR_IN.size, end)
        self._soon(unique, self._operations.getxattr(node, name), lambda u, data: self._finish_xattr(u, size, data))

    def _listxattr(self, unique: int, node: int, end: int) -> None:
        size, _ = protocol.GETXATTR_IN.unpack_from(self._buffer, BODY)
        answer = self._operations.listxattr(node)
        self._soon(unique, answer, lambda u, names: self._finish_xattr(u, size, b"".join(name + b"\0" for name in names)))

    def _finish_xattr(self, unique: int, size: int, data: bytes) -> None:
        """A size of 0 asks how long the data is."""
        if size == 0:
            self.device.write(protocol.GETXATTR_ANSWER.pack(24, 0, unique, len(data), 0))
        elif len(data) > size:
            raise TooSmall(f"{len(data)} bytes for a buffer of {size}")
        else:
            self.device.write(packing.pack_data(unique, data))

    # -- files

    def open_flags(self) -> int:
        """Of the OPEN in the buffer. Raises ReadOnly."""
        flags: int = protocol.OPEN_IN.unpack_from(self._buffer, BODY)[0]
        if flags & (os.O_ACCMODE | os.O_TRUNC) != os.O_RDONLY:
            raise ReadOnly("opened for writing")
        return flags

    def file_flags(self, *, keep: bool) -> int:
        """Of an answer to OPEN. keep: the pages that the kernel holds of the file."""
        return self._file_flags_keep if keep else self._file_flags

    def handle(self) -> int:
        """Of the RELEASE in the buffer."""
        handle: int = protocol.RELEASE_IN.unpack_from(self._buffer, BODY)[0]
        return handle

    def _open(self, unique: int, node: int, end: int) -> None:
        self._soon(unique, self._operations.open(node, self.open_flags()), self._finish_open)

    def _finish_open(self, unique: int, keep: bool) -> None:
        self.device.write(packing.pack_open(unique, next(self._numbers), self.file_flags(keep=keep)))

    def _read(self, unique: int, node: int, end: int) -> None:
        _handle, offset, size, _flags, _owner, _open_flags, _ = protocol.READ_IN.unpack_from(self._buffer, BODY)
        if not offset:
            self.observed.files += 1
        elif offset > LARGEST_OFFSET:
            raise InvalidArgument(f"offset {offset}")
        read = PendingRead(self, unique, node, offset, size)
        # it must be findable before the filesystem has it: done may be called at once or much later
        self.reads[unique] = read
        try:
            self._operations.read(node, offset, size, read)
        except Exception as failure:
            if read.answered:
                self.defects += 1
                log.error("a READ failed after it was answered: %r", failure, exc_info=failure)
            else:
                read.answered = True
                del self.reads[unique]
                self.fail(unique, failure, node)
            return
        if not read.answered:
            self.observed.pended += 1
            read.pid = self.requester()
            read.began = self.clock()

    # -- directories

    def _opendir(self, unique: int, node: int, end: int) -> None:
        self.device.write(packing.pack_open(unique, next(self._numbers), self._directory_flags))

    def _readdir(self, unique: int, node: int, end: int) -> None:
        self._read_directory(unique, node, plus=False)

    def _readdirplus(self, unique: int, node: int, end: int) -> None:
        self._read_directory(unique, node, plus=True)

    def _read_directory(self, unique: int, node: int, *, plus: bool) -> None:
        _handle, offset, size, _flags, _owner, _open_flags, _ = protocol.READ_IN.unpack_from(self._buffer, BODY)
        if offset > LARGEST_OFFSET:
            raise InvalidArgument(f"offset {offset}")
        rest = self.listings.take(node, offset) if offset else None
        if rest is not None:
            self._send_listing(unique, node, size, rest, plus=plus)
            return
        made = self.clock()

        def finish(unique: int, names: Sequence[DirectoryEntry]) -> None:
            self._send_listing(unique, node, size, Rest(names, 0, made), plus=plus)

        self._soon(unique, self._operations.list(node, offset), finish)

    def _send_listing(self, unique: int, node: int, size: int, rest: Rest, *, plus: bool) -> None:
        names, index, made = rest
        age = self.clock() - made
        buffer, position = self._answer, protocol.OUT_HEADER_SIZE
        limit = position + min(size, LARGEST_ANSWER)
        count, first = len(names), index
        if plus:
            position, index = packing.put_directory_entries_plus(buffer, position, limit, names, index, age)
        else:
            position, index = packing.put_directory_entries(buffer, position, limit, names, index)
        if first == index < count:  # an empty answer would say that the directory ends here
            raise InvalidArgument(f"{size} bytes are too few for a name")
        protocol.OUT_HEADER.pack_into(buffer, 0, position, 0, unique)
        self.device.write(self._answer_view[:position])
        if index < count:
            self.listings.keep(node, names[index - 1].next_offset, Rest(names, index, made))

    # -- forgotten nodes

    def _forget(self, unique: int, node: int, end: int) -> None:
        (count,) = protocol.FORGET_IN.unpack_from(self._buffer, BODY)
        self._operations.forget(node, count)

    def _batch_forget(self, unique: int, node: int, end: int) -> None:
        count, _ = protocol.BATCH_FORGET_IN.unpack_from(self._buffer, BODY)
        begin = BODY + protocol.BATCH_FORGET_IN.size
        stop = begin + count * protocol.FORGET_ONE.size
        if stop > end:
            raise InvalidArgument(f"BATCH_FORGET of {count} nodes in {end - begin} bytes")
        for forgotten, lookups in protocol.FORGET_ONE.iter_unpack(self._view[begin:stop]):
            self._operations.forget(forgotten, lookups)
