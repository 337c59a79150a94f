"""The answers to the kernel as bytes: pure functions from the filesystem's values to structs of the protocol."""

from __future__ import annotations

from collections.abc import Sequence

from ossmount.channel.kernel_channel import protocol
from ossmount.filesystem.interface import Attributes, Common, DirectoryEntry, Entry, FilesystemStatistics

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


def pack_open(unique: int, handle: int, flags: int, backing: int = 0) -> bytes:
    """The answer to OPEN and OPENDIR. backing: number of the file that is to be read instead, with FileOpen.PASSTHROUGH."""
    return protocol.OPEN_ANSWER.pack(32, 0, unique, handle, flags, backing)


def pack_statistics(unique: int, statistics: FilesystemStatistics) -> bytes:
    """The answer to STATFS: all blocks in use, as on a full read-only disk."""
    block_size, blocks, files, name_max = statistics
    return protocol.STATFS_ANSWER.pack(96, 0, unique, blocks, 0, 0, files, 0, block_size, name_max, block_size, 0)


def pack_data(unique: int, data: bytes) -> bytes:
    """An answer that is plain bytes."""
    return protocol.OUT_HEADER.pack(16 + len(data), 0, unique) + data


def put_directory_entries(
    buffer: bytearray, position: int, limit: int, names: Sequence[DirectoryEntry], index: int
) -> tuple[int, int]:
    """Puts a fuse_dirent for each name from index on that fits below limit; the position and the index behind the last."""
    pack = protocol.DIRENT.pack_into
    for name, node, _size, _mtime_ns, next_offset, common in names[index : index + (limit - position) // 24]:
        length = len(name)
        end = position + 24 + (length + 7 & -8)
        if end > limit:
            break
        pack(buffer, position, node, next_offset, length, common.mode >> 12)
        buffer[position + 24 : end] = name.ljust(end - position - 24, b"\0")
        position = end
        index += 1
    return position, index


def put_directory_entries_plus(
    buffer: bytearray, position: int, limit: int, names: Sequence[DirectoryEntry], index: int, age: float
) -> tuple[int, int]:
    """The same with a fuse_direntplus for each, whose validities began `age` seconds ago."""
    structs = protocol.DIRENTPLUS_NAMED
    packed: Common | None = None
    valid = looks = b""
    kind = 0
    for name, node, size, mtime_ns, next_offset, common in names[index : index + (limit - position) // 152]:
        length = len(name)
        struct = structs[length + 7 >> 3]
        end = position + struct.size
        if end > limit:
            break
        if common is not packed:
            packed, kind = common, common.mode >> 12
            valid, looks = _pack_common(common, age)
        seconds, nanoseconds = divmod(mtime_ns, _SECOND)
        struct.pack_into(
            buffer, position, node, valid,
            node, size, size + 511 >> 9, seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds, looks,
            node, next_offset, length, kind, name,
        )  # fmt: skip
        position = end
        index += 1
    return position, index


def _pack_common(common: Common, age: float) -> tuple[bytes, bytes]:
    """The two pieces of fuse_direntplus that entries have in common: from `generation` on, and from `mode` on."""
    mode, nlink, uid, gid, entry_valid, attr_valid = common
    entry_s, entry_ns = validity(entry_valid - age)
    attr_s, attr_ns = validity(attr_valid - age)
    valid = protocol.DIRENTPLUS_VALID.pack(0, entry_s, attr_s, entry_ns, attr_ns)
    return valid, protocol.DIRENTPLUS_LOOKS.pack(mode, nlink, uid, gid, 0, BLOCK_SIZE, 0)
