"""The answers to the kernel as bytes: pure functions from the filesystem's values to structs of the protocol."""

from __future__ import annotations

from ossmount.channel.kernel_channel import protocol
from ossmount.filesystem.interface import Attributes, DirectoryEntry, Entry, FilesystemStatistics

BLOCK_SIZE = 4096  # bytes; st_blksize of every file
FOREVER = 1 << 32  # seconds; far beyond every uptime, and its jiffies still fit the kernel's 64 bits
_SECOND = 1_000_000_000  # nanoseconds


def validity(seconds: float) -> tuple[int, int]:
    """A validity as the kernel wants it: seconds and nanoseconds. Below zero (and NaN) is none, infinity is FOREVER."""
    if not seconds > 0:
        return 0, 0
    if seconds >= FOREVER:
        return FOREVER, 0
    whole = int(seconds)
    return whole, int((seconds - whole) * _SECOND)


def pack_error(unique: int, errno: int) -> bytes:
    """An answer that is an errno (0: done, without a body)."""
    return protocol.OUT_HEADER.pack(16, -errno, unique)


def pack_entry(unique: int, entry: Entry) -> bytes:
    """The answer to LOOKUP."""
    entry_s, entry_ns = validity(entry.entry_valid)
    attributes = entry.attributes
    if attributes is None:
        return protocol.ENTRY_ANSWER.pack(144, 0, unique, 0, 0, entry_s, 0, entry_ns, 0, *(0,) * 16)
    attr_s, attr_ns = validity(entry.attr_valid)
    node, mode, nlink, uid, gid, size, blocks, mtime_ns = attributes
    seconds, nanoseconds = divmod(mtime_ns, _SECOND)
    return protocol.ENTRY_ANSWER.pack(
        144, 0, unique, entry.node, 0, entry_s, attr_s, entry_ns, attr_ns,
        node, size, blocks, seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds,
        mode, nlink, uid, gid, 0, BLOCK_SIZE, 0,
    )  # fmt: skip


def pack_attributes(unique: int, attributes: Attributes, valid: float) -> bytes:
    """The answer to GETATTR."""
    valid_s, valid_ns = validity(valid)
    node, mode, nlink, uid, gid, size, blocks, mtime_ns = attributes
    seconds, nanoseconds = divmod(mtime_ns, _SECOND)
    return protocol.ATTR_ANSWER.pack(
        120, 0, unique, valid_s, valid_ns, 0,
        node, size, blocks, seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds,
        mode, nlink, uid, gid, 0, BLOCK_SIZE, 0,
    )  # fmt: skip


def pack_open(unique: int, handle: int, flags: int) -> bytes:
    """The answer to OPEN and OPENDIR."""
    return protocol.OPEN_ANSWER.pack(32, 0, unique, handle, flags, 0)


def pack_statistics(unique: int, statistics: FilesystemStatistics) -> bytes:
    """The answer to STATFS: all blocks in use, as on a full read-only disk."""
    block_size, blocks, files, name_max = statistics
    return protocol.STATFS_ANSWER.pack(96, 0, unique, blocks, 0, 0, files, 0, block_size, name_max, block_size, 0)


def pack_data(unique: int, data: bytes) -> bytes:
    """An answer that is plain bytes."""
    return protocol.OUT_HEADER.pack(16 + len(data), 0, unique) + data


def put_directory_entry(buffer: bytearray, position: int, limit: int, item: DirectoryEntry) -> int:
    """Puts a fuse_dirent; the position behind it, or 0 when it does not fit below limit."""
    name = item.name
    length = len(name)
    end = position + 24 + (length + 7 & -8)
    if end > limit:
        return 0
    attributes = item.entry.attributes
    inode, kind = (protocol.UNKNOWN_INO, 0) if attributes is None else (attributes.node, attributes.mode >> 12 & 15)
    protocol.DIRENT.pack_into(buffer, position, inode, item.next_offset, length, kind)
    buffer[position + 24 : end] = name.ljust(end - position - 24, b"\0")
    return end


def put_directory_entry_plus(buffer: bytearray, position: int, limit: int, item: DirectoryEntry, age: float) -> int:
    """Puts a fuse_direntplus whose validities began `age` seconds ago; as put_directory_entry."""
    name, entry, next_offset = item
    length = len(name)
    end = position + 152 + (length + 7 & -8)
    if end > limit:
        return 0
    entry_s, entry_ns = validity(entry.entry_valid - age)
    attributes = entry.attributes
    if attributes is None:  # a name without a node: the kernel will look it up by itself
        protocol.DIRENTPLUS.pack_into(buffer, position, *(0,) * 22, protocol.UNKNOWN_INO, next_offset, length, 0)
    else:
        attr_s, attr_ns = validity(entry.attr_valid - age)
        node, mode, nlink, uid, gid, size, blocks, mtime_ns = attributes
        seconds, nanoseconds = divmod(mtime_ns, _SECOND)
        protocol.DIRENTPLUS.pack_into(
            buffer, position, entry.node, 0, entry_s, attr_s, entry_ns, attr_ns,
            node, size, blocks, seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds,
            mode, nlink, uid, gid, 0, BLOCK_SIZE, 0,
            node, next_offset, length, mode >> 12 & 15,
        )  # fmt: skip
    buffer[position + 152 : end] = name.ljust(end - position - 152, b"\0")
    return end
