"""What a program sees otherwise on ours than on a read-only ext4: all of it. `python -m tests.mount.posix_differences` prints
it as a table."""

from __future__ import annotations

from typing import Any, NamedTuple


class Difference(NamedTuple):
    """One probe of posix_probes.py whose outcome is another one."""

    probe: str
    ext4: Any
    ours: Any
    reason: str
    channels: tuple[str, ...] = ("kernel", "pyfuse3")
    users: tuple[str, ...] = ("root", "nobody")


_XATTRS = ["user.oss.etag", "user.oss.storage_class", "user.oss.object_type", "user.oss.crc64"]

DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "stat of a folder: links",
        3,
        1,
        "Sub-folders are not counted: that would list every folder; 1 tells find(1) and others not to rely on it.",
    ),
    Difference("stat of a folder: size", 4096, 0, "A folder is no file that takes room."),
    Difference(
        "stat: atime and ctime are mtime",
        False,
        True,
        "OSS keeps one time of an object, Last-Modified; all three are that.",
    ),
    Difference(
        "lstat of a link",
        [9, "0o120777"],
        [0, "0o120777"],
        "A listing does not tell how long a link's target is, and a HEAD for each link would cost; readlink(2) tells it.",
    ),
    Difference(
        "statvfs files",
        True,
        False,
        "Nobody knows how many objects a bucket has without listing it: the number is 0.",
    ),
    Difference(
        "statvfs space to write", True, False, "There is no room to write: it is all used, as it cannot be written at all."
    ),
    Difference("listxattr", [], _XATTRS, "Every file has the attributes user.oss.*, which tell of its object."),
    Difference(
        "getxattr of a name that nobody gave",
        "ENODATA",
        "ENOTSUP",
        "Only user.oss.* exists; told so, the kernel and programs that copy attributes need not ask for each file.",
    ),
    Difference("getxattr of an ACL", "ENODATA", "ENOTSUP", "There are no ACLs: the mode bits are all there is."),
    Difference(
        "read with O_DIRECT: to an odd place in memory",
        "EINVAL",
        4096,
        "The data come from a socket, not from a disk with sectors: any place in memory will do.",
    ),
    Difference(
        "ioctl FS_IOC_GETFLAGS",
        8,
        "ENOTTY",
        "Objects have no such flags (immutable, append-only and so on of lsattr).",
    ),
    Difference(
        "epoll",
        "EPERM",
        None,
        "Every FUSE file can be polled, as far as the kernel knows; ours are always ready, as poll(2) says.",
    ),
)


def table() -> str:
    """For the documents."""
    lines = ["| call | ext4, read-only | ossmount | why |", "|---|---|---|---|"]
    lines += [f"| {one.probe} | `{one.ext4}` | `{one.ours}` | {one.reason} |" for one in DIFFERENCES]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
