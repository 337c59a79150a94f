"""What a program sees of a read-only file system, asked with system calls: `python posix_probes.py ROOT SCRATCH`.

Prints one JSON object: for each probe its outcome, a value or the name of an errno. A program of its own, so that it can run
as any user and die of SIGBUS. ROOT holds the tree of test_posix.py, SCRATCH is a writable folder elsewhere.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import json
import mmap
import os
import select
import signal
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

ROOT, SCRATCH = [*sys.argv, "", ""][1:3]
LIBC = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE
PROBES: dict[str, Callable[[], Any]] = {}


def probe(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def add(function: Callable[[], Any]) -> Callable[[], Any]:
        assert name not in PROBES, name
        PROBES[name] = function
        return function

    return add


def at(name: str) -> str:
    return os.path.join(ROOT, name)


def opened(name: str = "small.txt", flags: int = os.O_RDONLY) -> int:
    return os.open(at(name), flags, 0o644)


def opens(flags: int) -> str:
    os.close(opened(flags=flags))
    return "opened"


def tell(action: Callable[[], Any]) -> Any:
    """What came of it."""
    try:
        found = action()
    except OSError as failure:
        return errno.errorcode.get(failure.errno or 0, str(failure.errno))
    return found.decode("latin-1") if isinstance(found, bytes) else found


def checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def in_child(action: Callable[[], object]) -> str:
    """How a process ends that does it: "done", or the signal that ended it."""
    pid = os.fork()
    if not pid:
        action()
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return "done" if status == 0 else signal.Signals(-status).name if status < 0 else str(status)


def simple() -> None:
    """Probes that are one call each."""
    names = "O_RDONLY O_WRONLY O_RDWR O_APPEND O_CREAT O_TRUNC O_DIRECTORY O_NOFOLLOW O_PATH O_NOATIME O_SYNC O_NONBLOCK"
    for name in [*names.split(), "O_TMPFILE", "O_DIRECT"]:
        PROBES[f"open {name}"] = functools.partial(opens, getattr(os, name))
    more: dict[str, Callable[[], Any]] = {
        "open O_CREAT|O_EXCL": lambda: opened(flags=os.O_CREAT | os.O_EXCL),
        "open O_CREAT of a new file": lambda: opened("new", os.O_CREAT | os.O_WRONLY),
        "open O_RDWR of a new file": lambda: opened("new", os.O_RDWR),
        "open O_TMPFILE of a folder": lambda: opened("dir", os.O_TMPFILE | os.O_RDWR),
        "open O_NOFOLLOW of a link": lambda: opened("link", os.O_NOFOLLOW),
        "open O_PATH|O_NOFOLLOW of a link": lambda: stat.S_ISLNK(os.fstat(opened("link", os.O_PATH | os.O_NOFOLLOW)).st_mode),
        "open O_DIRECTORY of a folder": lambda: opened("dir", os.O_DIRECTORY) and "opened",
        "open a folder for writing": lambda: opened("dir", os.O_WRONLY),
        "open a dangling link": lambda: opened("dangling"),
        "open through a link": lambda: os.read(opened("link"), 10),
        "openat below O_PATH": lambda: os.read(os.open("sub/deep", os.O_RDONLY, dir_fd=opened("dir", os.O_PATH)), 10),
        "read from O_PATH": lambda: os.read(opened(flags=os.O_PATH), 1),
        "read from a folder": lambda: os.read(opened("dir"), 1),
        "open with a slash behind it": lambda: opened("small.txt/"),
        "open by a way around": lambda: os.read(opened("dir//sub/../../small.txt"), 10),
        "open below a file": lambda: opened("small.txt/x"),
        "open below what is missing": lambda: opened("missing/x"),
        "open a missing file": lambda: opened("missing"),
        "open in the wrong case": lambda: opened("SMALL.txt"),
        "open a name of 255 bytes": lambda: opened("n" * 255),
        "open a name of 256 bytes": lambda: opened("n" * 256),
        "open a path of 5,000 bytes": lambda: opened("d/" * 2500),
        "open a name that is not UTF-8": lambda: opened("\udcff"),
        "execute a file": lambda: os.execv(at("small.txt"), ["x"]),
        "access F_OK": lambda: checked(LIBC.access(at("small.txt").encode(), os.F_OK)),
        "access R_OK": lambda: checked(LIBC.access(at("small.txt").encode(), os.R_OK)),
        "access W_OK": lambda: checked(LIBC.access(at("small.txt").encode(), os.W_OK)),
        "access W_OK of a folder": lambda: checked(LIBC.access(at("dir").encode(), os.W_OK)),
        "access X_OK": lambda: checked(LIBC.access(at("small.txt").encode(), os.X_OK)),
        "access X_OK of a folder": lambda: checked(LIBC.access(at("dir").encode(), os.X_OK)),
        "access of what is missing": lambda: checked(LIBC.access(at("missing").encode(), os.R_OK)),
        "readlink": lambda: os.readlink(at("link")),
        "readlink of a file": lambda: os.readlink(at("small.txt")),
        "lstat of a link": lambda: [os.lstat(at("link")).st_size, oct(os.lstat(at("link")).st_mode)],
        "getxattr of a name that nobody gave": lambda: os.getxattr(at("small.txt"), "user.none"),
        "getxattr of an ACL": lambda: os.getxattr(at("small.txt"), "system.posix_acl_access"),
        "listxattr": lambda: os.listxattr(at("small.txt")),
        "statvfs flags": lambda: os.statvfs(at("")).f_flag & (os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV),
        "statvfs namemax": lambda: os.statvfs(at("")).f_namemax,
        "statvfs space to write": lambda: os.statvfs(at("")).f_bavail > 0,
        "statvfs files": lambda: os.statvfs(at("")).f_files > 0,
        "syncfs": lambda: checked(LIBC.syncfs(opened("dir"))),
        "fsync": lambda: os.fsync(opened()),
        "fdatasync": lambda: os.fdatasync(opened()),
        "ioctl FIONREAD": lambda: struct.unpack("i", fcntl.ioctl(opened(), 0x541B, b"\0" * 4))[0],
        "ioctl FS_IOC_GETFLAGS": lambda: len(fcntl.ioctl(opened(), 0x80086601, b"\0" * 8)),
        "name_to_handle_at": lambda: handle(at("small.txt")),
    }
    PROBES.update(more)


def handle(path: str) -> str:
    """An NFS server asks so."""
    room = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
    mount = ctypes.c_int()
    checked(LIBC.name_to_handle_at(-100, path.encode(), room, ctypes.byref(mount), 0))
    return "given"


def refusals() -> None:
    """Everything that would change something."""
    changes: dict[str, Callable[[], Any]] = {
        "mkdir": lambda: os.mkdir(at("new")),
        "mkdir of what is there": lambda: os.mkdir(at("dir")),
        "mkdir below what is missing": lambda: os.mkdir(at("missing/new")),
        "rmdir": lambda: os.rmdir(at("dir/sub")),
        "rmdir of a file": lambda: os.rmdir(at("small.txt")),
        "unlink": lambda: os.unlink(at("small.txt")),
        "unlink of what is missing": lambda: os.unlink(at("missing")),
        "unlink of a folder": lambda: os.unlink(at("dir")),
        "rename": lambda: os.rename(at("small.txt"), at("new")),
        "rename of what is missing": lambda: os.rename(at("missing"), at("new")),
        "rename to elsewhere": lambda: os.rename(at("small.txt"), os.path.join(SCRATCH, "new")),
        "link": lambda: os.link(at("small.txt"), at("new")),
        "link to what is there": lambda: os.link(at("small.txt"), at("empty")),
        "symlink": lambda: os.symlink("small.txt", at("new")),
        "mkfifo": lambda: os.mkfifo(at("new")),
        "mknod": lambda: os.mknod(at("new")),
        "chmod": lambda: os.chmod(at("small.txt"), 0o600),
        "chmod of what is missing": lambda: os.chmod(at("missing"), 0o600),
        "fchmod": lambda: os.fchmod(opened(), 0o600),
        "chown": lambda: os.chown(at("small.txt"), 1, 1),
        "lchown of a link": lambda: os.lchown(at("link"), 1, 1),
        "utime": lambda: os.utime(at("small.txt"), (1, 1)),
        "truncate": lambda: os.truncate(at("small.txt"), 1),
        "truncate of a folder": lambda: os.truncate(at("dir"), 1),
        "ftruncate": lambda: os.ftruncate(opened(), 1),
        "write": lambda: os.write(opened(), b"x"),
        "pwrite": lambda: os.pwrite(opened(), b"x", 0),
        "fallocate": lambda: os.posix_fallocate(opened(), 0, 10),
        "setxattr": lambda: os.setxattr(at("small.txt"), "user.x", b"x"),
        "removexattr": lambda: os.removexattr(at("small.txt"), "user.x"),
        "copy_file_range into it": lambda: os.copy_file_range(opened("big.bin"), opened(), 5),
    }
    PROBES.update({f"change: {name}": change for name, change in changes.items()})


@probe("stat of a file")
def _stat() -> Any:
    found = os.stat(at("big.bin"))
    return [oct(found.st_mode), found.st_size, found.st_nlink, found.st_uid, found.st_gid, found.st_mtime_ns, found.st_rdev]


@probe("stat of a folder: mode")
def _stat_folder() -> Any:
    return oct(os.stat(at("dir")).st_mode)


@probe("stat of a folder: links")
def _links() -> Any:
    return os.stat(at("dir")).st_nlink


@probe("stat of a folder: size")
def _size() -> Any:
    return os.stat(at("dir")).st_size


@probe("stat: atime and ctime are mtime")
def _times() -> Any:
    found = os.stat(at("small.txt"))
    return found.st_atime_ns == found.st_ctime_ns == found.st_mtime_ns


@probe("stat: block size")
def _block_size() -> Any:
    return os.stat(at("big.bin")).st_blksize


@probe("stat: blocks hold the size")
def _blocks() -> Any:
    found = os.stat(at("big.bin"))
    return 0 <= found.st_blocks * 512 - found.st_size < PAGE


@probe("stat: one device, numbers of their own")
def _numbers() -> Any:
    found = [os.lstat(at(name)) for name in ("", "dir", "small.txt", "link", "dir/sub/deep")]
    return [len({each.st_dev for each in found}), len({each.st_ino for each in found})]


@probe("stat through a descriptor, a link and a path agree")
def _agree() -> Any:
    return os.stat(at("small.txt")) == os.fstat(opened()) == os.stat(at("link"))


@probe("read to the end and behind it")
def _read_end() -> Any:
    file = opened()
    return [os.read(file, 3).decode(), os.read(file, 9).decode(), os.read(file, 9).decode(), os.lseek(file, 0, os.SEEK_CUR)]


@probe("pread: inside, across the end, at it, behind it, far behind it")
def _pread() -> Any:
    file = opened()
    return [os.pread(file, 9, place).decode() for place in (1, 4, 5, 6, 1 << 40)]


@probe("pread before the beginning")
def _pread_negative() -> Any:
    return os.pread(opened(), 1, -1)


@probe("pread of nothing")
def _pread_nothing() -> Any:
    return os.pread(opened(), 0, 2)


@probe("pread does not move, dup shares the place")
def _place() -> Any:
    file = opened()
    os.pread(file, 3, 1)
    os.read(os.dup(file), 2)
    return os.lseek(file, 0, os.SEEK_CUR)


@probe("readv and preadv fill piece after piece")
def _vectors() -> Any:
    pieces = [bytearray(2), bytearray(2), bytearray(9)]
    return [os.readv(opened(), pieces), os.preadv(opened(), pieces, 1), *[bytes(one).decode("latin-1") for one in pieces]]


@probe("read into memory that is not there")
def _fault() -> Any:
    return checked(LIBC.read(opened(), ctypes.c_void_p(8), 5))


@probe("lseek")
def _lseek() -> Any:
    file = opened()
    return [os.lseek(file, -2, os.SEEK_END), os.lseek(file, 1, os.SEEK_CUR), os.lseek(file, 1 << 40, os.SEEK_SET)]


@probe("lseek before the beginning")
def _lseek_negative() -> Any:
    return os.lseek(opened(), -1, os.SEEK_SET)


@probe("lseek SEEK_DATA and SEEK_HOLE")
def _holes() -> Any:
    file = opened("big.bin")
    return [os.lseek(file, place, how) for place in (0, 70_000) for how in (os.SEEK_DATA, os.SEEK_HOLE)]


@probe("lseek SEEK_DATA at the end")
def _data_end() -> Any:
    return os.lseek(opened(), 5, os.SEEK_DATA)


@probe("lseek SEEK_HOLE behind the end")
def _hole_end() -> Any:
    return os.lseek(opened(), 6, os.SEEK_HOLE)


@probe("read with O_DIRECT: whole, and across the end")
def _direct() -> Any:
    file = opened("big.bin", os.O_DIRECT)
    room = mmap.mmap(-1, 64 * PAGE)
    end = os.fstat(file).st_size // PAGE * PAGE
    return [os.preadv(file, [room], 0), sum(room[:]), os.preadv(file, [room], end)]


@probe("read with O_DIRECT: to an odd place in memory")
def _direct_odd() -> Any:
    return os.preadv(opened("big.bin", os.O_DIRECT), [memoryview(mmap.mmap(-1, 2 * PAGE))[1 : PAGE + 1]], 0)


@probe("readahead and fadvise")
def _advice() -> Any:
    file = opened("big.bin")
    done = [tell(lambda advice=advice: os.posix_fadvise(file, 0, 1 << 20, advice)) for advice in range(6)]  # type: ignore[misc]
    return [*done, tell(lambda: checked(LIBC.readahead(file, ctypes.c_int64(0), ctypes.c_size_t(1 << 20))))]


@probe("poll")
def _poll() -> Any:
    poll = select.poll()
    poll.register(opened())
    return [event for _, event in poll.poll(0)]


@probe("epoll")
def _epoll() -> Any:
    with select.epoll() as poll:
        poll.register(opened())


# -- folders


class Dirent(ctypes.Structure):
    _fields_ = (
        ("number", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("length", ctypes.c_uint16),
        ("type", ctypes.c_uint8),
        ("name", ctypes.c_char * 256),
    )


LIBC.opendir.restype = ctypes.c_void_p
LIBC.readdir.restype = ctypes.POINTER(Dirent)
LIBC.telldir.restype = ctypes.c_long


def entries(folder: ctypes.c_void_p) -> list[tuple[str, int, int]]:
    found = []
    while entry := LIBC.readdir(folder):
        found.append((entry.contents.name.decode(), entry.contents.type, entry.contents.number))
    return found


def opendir(name: str) -> ctypes.c_void_p:
    return ctypes.c_void_p(LIBC.opendir(at(name).encode()))


@probe("readdir: names, dots and types")
def _readdir() -> Any:
    return sorted((name, kind) for name, kind, _ in entries(opendir("")) if name != "lost+found")


@probe("readdir: numbers are those of stat")
def _readdir_numbers() -> Any:
    return all(number == os.lstat(at(f"dir/{name}")).st_ino for name, _, number in entries(opendir("dir")) if name != "..")


@probe("readdir: the dots are the folder and the one above")
def _dots() -> Any:
    found = {name: number for name, _, number in entries(opendir("dir"))}
    return [found["."] == os.stat(at("dir")).st_ino, found[".."] == os.stat(at("")).st_ino]


@probe("readdir: no name twice, none left out, however far it is read at once")
def _all_names() -> Any:
    return sorted(name for name, _, _ in entries(opendir("dir")))


@probe("telldir, seekdir and rewinddir")
def _seekdir() -> Any:
    folder = opendir("dir")
    whole = entries(folder)
    LIBC.rewinddir(folder)
    again = []
    for _ in range(10):
        again.append(LIBC.readdir(folder).contents.name.decode())
    place = LIBC.telldir(folder)
    rest = entries(folder)
    LIBC.seekdir(folder, ctypes.c_long(place))
    return [again == [name for name, _, _ in whole[:10]], entries(folder) == rest == whole[10:]]


@probe("getdents into too little room")
def _getdents() -> Any:
    room = ctypes.create_string_buffer(8)
    return checked(LIBC.syscall(217, opened("dir"), room, 8))


@probe("getdents of a file")
def _getdents_file() -> Any:
    room = ctypes.create_string_buffer(800)
    return checked(LIBC.syscall(217, opened(), room, 800))


@probe("chdir, fchdir and getcwd")
def _chdir() -> Any:
    before = os.getcwd()
    try:
        os.chdir(at("dir/sub"))
        first = os.path.relpath(os.getcwd(), ROOT)
        os.fchdir(opened("dir"))
        return [first, os.path.relpath(os.getcwd(), ROOT), os.path.exists("sub/deep")]
    finally:
        os.chdir(before)


@probe("chdir to a file")
def _chdir_file() -> Any:
    os.chdir(at("small.txt"))


# -- mappings


def mapped(name: str, flags: int, prot: int, size: int = 0) -> mmap.mmap:
    return mmap.mmap(opened(name), size, flags=flags, prot=prot)


@probe("mmap: shared and private reads")
def _mmap() -> Any:
    return [mapped("small.txt", flags, mmap.PROT_READ)[:].decode() for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE)]


@probe("mmap: a private write stays private")
def _mmap_private() -> Any:
    view = mapped("small.txt", mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    view[:2] = b"JJ"
    return [view[:].decode(), os.read(opened(), 9).decode()]


@probe("mmap: shared for writing")
def _mmap_write() -> Any:
    mapped("small.txt", mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


@probe("mmap: executable")
def _mmap_exec() -> Any:
    return len(mapped("small.txt", mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC))


LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64)


def raw_map(name: str, size: int) -> int:
    found = LIBC.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, opened(name), 0)
    if found == ctypes.c_void_p(-1).value:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(found)


@probe("mmap: zeroes between the end of the file and that of its page")
def _mmap_tail() -> Any:
    return ctypes.string_at(raw_map("small.txt", PAGE), PAGE).rstrip(b"\0")


@probe("mmap: a page behind the end")
def _mmap_beyond() -> Any:
    place = raw_map("small.txt", 2 * PAGE)
    return in_child(lambda: ctypes.string_at(place + PAGE, 1))


@probe("mmap: of an empty file")
def _mmap_empty() -> Any:
    place = raw_map("empty", PAGE)
    return in_child(lambda: ctypes.string_at(place, 1))


@probe("mmap: of no length")
def _mmap_nothing() -> Any:
    raw_map("small.txt", 0)


@probe("mmap: of a folder")
def _mmap_folder() -> Any:
    raw_map("dir", PAGE)


@probe("mmap: madvise, msync, mlock")
def _madvise() -> Any:
    view = mapped("big.bin", mmap.MAP_SHARED, mmap.PROT_READ)
    for advice in (mmap.MADV_WILLNEED, mmap.MADV_SEQUENTIAL, mmap.MADV_DONTNEED):
        view.madvise(advice)
    place = raw_map("small.txt", PAGE)
    size = ctypes.c_size_t(PAGE)
    return [LIBC.msync(ctypes.c_void_p(place), size, 4), LIBC.mlock(ctypes.c_void_p(place), size), sum(view[:PAGE])]


# -- from file to elsewhere


@probe("sendfile to a socket, a pipe and a file")
def _sendfile() -> Any:
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    there = os.open(os.path.join(SCRATCH, "sent"), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    sent = [os.sendfile(target, opened(), 1, 100) for target in (ours.fileno(), writing, there)]
    return [sent, theirs.recv(9).decode(), os.read(reading, 9).decode(), os.pread(there, 9, 0).decode()]


@probe("splice to a pipe")
def _splice() -> Any:
    reading, writing = os.pipe()
    moved = checked(LIBC.splice(opened(), None, writing, None, ctypes.c_size_t(100), 0))
    return [moved, os.read(reading, 9).decode()]


@probe("copy_file_range to another file system")
def _copy() -> Any:
    there = os.open(os.path.join(SCRATCH, "copied"), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    return [os.copy_file_range(opened("big.bin"), there, 70_000), sum(os.pread(there, 70_000, 0))]


# -- locks and watches


@probe("flock: shared twice, exclusive once")
def _flock() -> Any:
    first, second = opened(), opened()
    fcntl.flock(first, fcntl.LOCK_SH)
    fcntl.flock(second, fcntl.LOCK_SH | fcntl.LOCK_NB)
    refused = tell(lambda: fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB))
    fcntl.flock(second, fcntl.LOCK_UN)
    return [refused, tell(lambda: fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB))]


def lock(file: int, command: int, kind: int) -> Any:
    record = fcntl.fcntl(file, command, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0))
    return struct.unpack("hhqqi4x", record)[0]


@probe("fcntl: a read lock")
def _read_lock() -> Any:
    return lock(opened(), fcntl.F_SETLK, fcntl.F_RDLCK)


@probe("fcntl: a write lock of a file open for reading")
def _write_lock() -> Any:
    return lock(opened(), fcntl.F_SETLK, fcntl.F_WRLCK)


@probe("fcntl: read locks of open files, and who is in the way")
def _ofd_lock() -> Any:
    first, second = opened(), opened()
    lock(first, 37, fcntl.F_RDLCK)  # F_OFD_SETLK
    return [lock(second, 37, fcntl.F_RDLCK), lock(second, 36, fcntl.F_WRLCK)]  # F_OFD_GETLK


@probe("fcntl: a lease")
def _lease() -> Any:
    return fcntl.fcntl(opened(), fcntl.F_SETLEASE, fcntl.F_RDLCK)


@probe("inotify tells of opening, reading and closing")
def _inotify() -> Any:
    watch = checked(LIBC.inotify_init1(os.O_NONBLOCK))
    checked(LIBC.inotify_add_watch(watch, at("dir").encode(), 0x20 | 0x1 | 0x10))  # IN_OPEN, IN_ACCESS, IN_CLOSE_NOWRITE
    file = opened("dir/00")
    os.read(file, 1)
    os.close(file)
    time.sleep(0)
    told, events = os.read(watch, 4096), []
    while told:
        _, mask, _, size = struct.unpack_from("iIII", told)
        events.append([mask, told[16 : 16 + size].rstrip(b"\0").decode()])
        told = told[16 + size :]
    return events


def main() -> None:
    simple()
    refusals()
    print(json.dumps({name: tell(ask) for name, ask in sorted(PROBES.items())}))


if __name__ == "__main__":
    main()
