"""The FUSE kernel protocol, version 7: opcodes, flags and structs under their kernel names.

Source: include/uapi/linux/fuse.h of the Linux kernel (5.4: minor 31, 6.18: minor 45). A request is fuse_in_header and a
body, an answer fuse_out_header and a body, each one read or write on /dev/fuse. Everything is in the machine's byte order.
"""

from __future__ import annotations

import enum
from struct import Struct

KERNEL_VERSION = 7  # FUSE_KERNEL_VERSION
KERNEL_MINOR_VERSION = 45  # the newest minor that this module describes
OLDEST_MINOR_VERSION = 31  # Linux 5.4

UNIQUE_RESEND = 1 << 63  # FUSE_UNIQUE_RESEND: set in `unique` of a request that is sent again
DEV_IOC_CLONE = 0x8004E500  # FUSE_DEV_IOC_CLONE, _IOR(229, 0, uint32_t)


class Opcode(enum.IntEnum):
    """enum fuse_opcode."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    GETLK = 31
    SETLK = 32
    SETLKW = 33
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    BMAP = 37
    DESTROY = 38
    IOCTL = 39
    POLL = 40
    NOTIFY_REPLY = 41
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46
    COPY_FILE_RANGE = 47
    SETUPMAPPING = 48
    REMOVEMAPPING = 49
    SYNCFS = 50
    TMPFILE = 51
    STATX = 52
    COPY_FILE_RANGE_64 = 53


#: Opcodes that the kernel expects no answer to.
UNANSWERED = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT, Opcode.NOTIFY_REPLY})

#: Opcodes that would change something.
WRITES = frozenset(
    {
        Opcode.SETATTR,
        Opcode.SYMLINK,
        Opcode.MKNOD,
        Opcode.MKDIR,
        Opcode.UNLINK,
        Opcode.RMDIR,
        Opcode.RENAME,
        Opcode.LINK,
        Opcode.WRITE,
        Opcode.SETXATTR,
        Opcode.REMOVEXATTR,
        Opcode.CREATE,
        Opcode.FALLOCATE,
        Opcode.RENAME2,
        Opcode.COPY_FILE_RANGE,
        Opcode.TMPFILE,
        Opcode.COPY_FILE_RANGE_64,
    }
)


class Init(enum.IntFlag):
    """The flags of INIT that this channel knows; bits 32 and up travel in flags2."""

    ASYNC_READ = 1 << 0
    POSIX_LOCKS = 1 << 1
    ATOMIC_O_TRUNC = 1 << 3
    EXPORT_SUPPORT = 1 << 4
    BIG_WRITES = 1 << 5
    AUTO_INVAL_DATA = 1 << 12
    DO_READDIRPLUS = 1 << 13
    READDIRPLUS_AUTO = 1 << 14
    ASYNC_DIO = 1 << 15
    NO_OPEN_SUPPORT = 1 << 17
    PARALLEL_DIROPS = 1 << 18
    ABORT_ERROR = 1 << 21
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    NO_OPENDIR_SUPPORT = 1 << 24
    EXPLICIT_INVAL_DATA = 1 << 25
    INIT_EXT = 1 << 30
    HAS_EXPIRE_ONLY = 1 << 35
    DIRECT_IO_ALLOW_MMAP = 1 << 36
    PASSTHROUGH = 1 << 37
    HAS_RESEND = 1 << 39


class FileOpen(enum.IntFlag):
    """open_flags of fuse_open_out (FOPEN_*)."""

    DIRECT_IO = 1 << 0
    KEEP_CACHE = 1 << 1
    CACHE_DIR = 1 << 3
    NOFLUSH = 1 << 5
    PASSTHROUGH = 1 << 7


class Notify(enum.IntEnum):
    """enum fuse_notify_code: what the daemon sends unasked, with unique 0 and the code in `error`."""

    INVAL_INODE = 2
    INVAL_ENTRY = 3
    STORE = 4
    RESEND = 7


EXPIRE_ONLY = 1 << 0  # FUSE_EXPIRE_ONLY, in fuse_notify_inval_entry_out.flags

# fuse_in_header: len, opcode, unique, nodeid, uid, gid, pid, total_extlen (in units of 8 bytes), padding
IN_HEADER = Struct("=IIQQIIIHH")
# fuse_out_header: len, error (0 or a negative errno), unique
OUT_HEADER = Struct("=IiQ")
# fuse_attr: ino, size, blocks, atime, mtime, ctime, atimensec, mtimensec, ctimensec, mode, nlink, uid, gid, rdev, blksize,
# flags. The times are declared unsigned, and read by the kernel as signed.
_ATTR = "QQQqqqIIIIIIIIII"
# fuse_entry_out without its attr: nodeid, generation, entry_valid, attr_valid, entry_valid_nsec, attr_valid_nsec
_ENTRY = "QQQQII"
# fuse_dirent without its name: ino, off, namelen, type. The name is padded to 8 bytes.
_DIRENT = "QQII"
ATTR = Struct("=" + _ATTR)
ENTRY_OUT = Struct("=" + _ENTRY + _ATTR)  # fuse_entry_out
DIRENT = Struct("=" + _DIRENT)  # fuse_dirent
DIRENTPLUS = Struct("=" + _ENTRY + _ATTR + _DIRENT)  # fuse_direntplus
# The same with its name, by the number of 8 bytes that the name takes, and with two runs of fields that many entries share
# as bytes: an entry is packed by one call with 16 values.
DIRENTPLUS_VALID = Struct("=QQQII")  # generation, entry_valid, attr_valid, entry_valid_nsec, attr_valid_nsec
DIRENTPLUS_LOOKS = Struct("=IIIIIII")  # mode, nlink, uid, gid, rdev, blksize, flags
DIRENTPLUS_NAMED = [Struct(f"=Q32sQQQqqqIII28s{_DIRENT}{words * 8}s") for words in range(33)]  # names up to 256 bytes
ATTR_OUT = Struct("=QII" + _ATTR)  # fuse_attr_out: attr_valid, attr_valid_nsec, dummy, attr
GETATTR_IN = Struct("=IIQ")  # fuse_getattr_in: getattr_flags, dummy, fh
FORGET_IN = Struct("=Q")  # fuse_forget_in: nlookup
BATCH_FORGET_IN = Struct("=II")  # fuse_batch_forget_in: count, dummy
FORGET_ONE = Struct("=QQ")  # fuse_forget_one: nodeid, nlookup
OPEN_IN = Struct("=II")  # fuse_open_in: flags, open_flags
OPEN_OUT = Struct("=QIi")  # fuse_open_out: fh, open_flags, backing_id
READ_IN = Struct("=QQIIQII")  # fuse_read_in: fh, offset, size, read_flags, lock_owner, flags, padding
RELEASE_IN = Struct("=QIIQ")  # fuse_release_in: fh, flags, release_flags, lock_owner
GETXATTR_IN = Struct("=II")  # fuse_getxattr_in: size, padding
GETXATTR_OUT = Struct("=II")  # fuse_getxattr_out: size, padding
STATFS_OUT = Struct("=QQQQQIIII24x")  # fuse_kstatfs: blocks, bfree, bavail, files, ffree, bsize, namelen, frsize, padding
INTERRUPT_IN = Struct("=Q")  # fuse_interrupt_in: unique
INIT_IN = Struct("=IIII")  # fuse_init_in up to 7.35: major, minor, max_readahead, flags
INIT_IN_FLAGS2 = Struct("=I")  # fuse_init_in.flags2, behind INIT_IN from 7.36 on
# fuse_init_out: major, minor, max_readahead, flags, max_background, congestion_threshold, max_write, time_gran, max_pages,
# map_alignment, flags2, max_stack_depth, request_timeout
INIT_OUT = Struct("=IIIIHHIIHHIIH22x")
NOTIFY_INVAL_INODE_OUT = Struct("=Qqq")  # fuse_notify_inval_inode_out: ino, off, len
NOTIFY_INVAL_ENTRY_OUT = Struct("=QII")  # fuse_notify_inval_entry_out: parent, namelen, flags; the name and a NUL follow

IN_HEADER_SIZE = IN_HEADER.size
OUT_HEADER_SIZE = OUT_HEADER.size

# fuse_out_header and a body of fixed size in one piece, so that an answer is packed and written at once
ENTRY_ANSWER = Struct("=IiQ" + _ENTRY + _ATTR)
ATTR_ANSWER = Struct("=IiQQII" + _ATTR)
OPEN_ANSWER = Struct("=IiQQIi")
GETXATTR_ANSWER = Struct("=IiQII")
STATFS_ANSWER = Struct("=IiQQQQQQIIII24x")
