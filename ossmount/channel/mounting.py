"""Mounting and unmounting: mount(2) when privileged, fusermount3 when not.

Nothing here touches the mounted file system itself (no stat, no open), so that all of it works while the daemon is dead
or busy. Sources: mount(2), umount(2), proc_pid_mountinfo(5), Documentation/filesystems/fuse of the kernel, and the
protocol between libfuse and fusermount3 (the descriptor comes over the socket named by _FUSE_COMMFD).
"""

from __future__ import annotations

import array
import ctypes
import enum
import errno
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ossmount.errors import OssMountError

DEVICE = "/dev/fuse"
FUSERMOUNT = "fusermount3"
FUSE_CONF = "/etc/fuse.conf"
SUBTYPE = "ossmount"
FUSERMOUNT_LIMIT = 30.0  # seconds that fusermount3 may take

# <sys/mount.h>
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8


class Reason(enum.Enum):
    """Why mounting or unmounting failed; each has a message and a way out of its own."""

    NO_DEVICE = "no /dev/fuse"
    NO_FUSERMOUNT = "no fusermount3"
    MISSING = "mountpoint missing"
    NOT_A_DIRECTORY = "mountpoint is not a directory"
    NOT_EMPTY = "mountpoint is not empty"
    ALREADY_MOUNTED = "already mounted"
    NOT_MOUNTED = "not mounted"
    ALLOW_OTHER = "user_allow_other is not set"
    NOT_PERMITTED = "not permitted"
    BUSY = "busy"
    FAILED = "failed"


class MountError(OssMountError):
    """Mounting or unmounting failed; str() is a sentence for the user that says what to do."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Mount(NamedTuple):
    """One line of /proc/self/mountinfo."""

    mountpoint: str
    device: str  # MAJ:MIN
    kind: str  # file system type, such as fuse.ossmount
    source: str


class Mounted(NamedTuple):
    """A mount that was made and the descriptor that serves it (close-on-exec, non-blocking)."""

    fd: int
    mountpoint: str
    how: str  # mount(2), fusermount3 or descriptor


class ReadAhead(NamedTuple):
    """The read_ahead_kb of a mount's bdi, and why it is not the wanted one ("" when it is)."""

    kb: int
    problem: str


def _unescape(field: str) -> str:
    """Undoes the kernel's octal escapes (space, tab, newline, backslash, #): each of them is one byte."""
    if "\\" not in field:
        return field
    raw = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), os.fsencode(field))
    return os.fsdecode(raw)


def parse_mountinfo(text: str) -> list[Mount]:
    """The mounts of a mountinfo file, in mount order (a later one hides an earlier one at the same place)."""
    found = []
    for line in text.split("\n"):  # not splitlines(): a path may hold its other separators
        left, _, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if len(fields) < 6 or len(rest) < 2:
            continue
        found.append(Mount(_unescape(fields[4]), fields[2], rest[0], _unescape(rest[1])))
    return found


def mounts() -> list[Mount]:
    """What is mounted in this mount namespace."""
    return parse_mountinfo(os.fsdecode(Path("/proc/self/mountinfo").read_bytes()))


def resolve(mountpoint: str | Path) -> str:
    """The absolute path without symlinks, found without touching a mount that may hang at its last component."""
    path = os.path.abspath(os.fspath(mountpoint))
    parent, name = os.path.split(path)
    resolved = os.path.join(os.path.realpath(parent), name)
    if find_mount(resolved) is not None or not os.path.islink(resolved):
        return resolved
    return os.path.realpath(resolved)


def find_mount(resolved: str) -> Mount | None:
    """The topmost mount at exactly this path, or None."""
    return next((mount for mount in reversed(mounts()) if mount.mountpoint == resolved), None)


def is_mountpoint(mountpoint: str | Path) -> bool:
    """Whether something is mounted exactly there; never touches the mount."""
    return find_mount(resolve(mountpoint)) is not None


def check_mountpoint(mountpoint: str | Path) -> str:
    """The resolved path of a directory that may be mounted on, or MountError."""
    resolved = resolve(mountpoint)
    there = find_mount(resolved)
    if there is not None and there.kind.startswith("fuse"):
        message = f"{mountpoint}: {there.source} ({there.kind}) is already mounted here; unmount it first: ossmount umount"
        raise MountError(Reason.ALREADY_MOUNTED, f"{message} {mountpoint}")
    try:
        mode = os.stat(resolved).st_mode
        if not stat.S_ISDIR(mode):
            raise MountError(Reason.NOT_A_DIRECTORY, f"{mountpoint}: not a directory; mount on an empty directory")
        with os.scandir(resolved) as entries:
            occupied = next(entries, None) is not None
    except (FileNotFoundError, NotADirectoryError):
        raise MountError(Reason.MISSING, f"{mountpoint}: no such directory; make it first: mkdir -p {mountpoint}") from None
    except PermissionError as failure:
        raise MountError(Reason.NOT_PERMITTED, f"{mountpoint}: {failure.strerror}; mount on a directory of your own") from None
    if occupied:
        raise MountError(
            Reason.NOT_EMPTY, f"{mountpoint}: not empty; the mount would hide what lies there, use an empty directory"
        )
    return resolved


def open_device() -> int:
    """A new descriptor of /dev/fuse (non-blocking, close-on-exec), or MountError."""
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as failure:
        if failure.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            message = (
                f"{DEVICE} is missing: load the kernel module (modprobe fuse), or start the container with --device {DEVICE}"
            )
            raise MountError(Reason.NO_DEVICE, message) from None
        message = f"{DEVICE}: {failure.strerror}; in a container give it --device {DEVICE} and --cap-add SYS_ADMIN"
        raise MountError(Reason.NOT_PERMITTED, message) from None


def mount(mountpoint: str | Path, source: str, *, allow_other: bool) -> Mounted:
    """Mounts a read-only FUSE file system, by mount(2) or through fusermount3. Raises MountError. May block: use a thread."""
    resolved = check_mountpoint(mountpoint)
    if os.geteuid() == 0:
        fd = open_device()
        try:
            if _mount_directly(fd, resolved, source, allow_other=allow_other):
                return Mounted(fd, resolved, "mount(2)")
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    return Mounted(_mount_by_fusermount(resolved, source, allow_other=allow_other), resolved, FUSERMOUNT)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _mount_directly(fd: int, resolved: str, source: str, *, allow_other: bool) -> bool:
    """False when the kernel says EPERM (root without CAP_SYS_ADMIN): then fusermount3 may still be allowed to."""
    options = f"fd={fd},rootmode=40000,user_id={os.geteuid()},group_id={os.getegid()},default_permissions"
    if allow_other:
        options += ",allow_other"
    flags = ctypes.c_ulong(MS_RDONLY | MS_NOSUID | MS_NODEV)
    kind = f"fuse.{SUBTYPE}".encode()
    if _libc().mount(os.fsencode(source), os.fsencode(resolved), kind, flags, options.encode()) == 0:
        return True
    code = ctypes.get_errno()
    if code == errno.EPERM:
        return False
    raise MountError(Reason.FAILED, f"{resolved}: mount failed: {os.strerror(code)}")


def user_allow_other(conf: str | Path = FUSE_CONF) -> bool:
    """Whether ordinary users may mount with allow_other on this machine."""
    try:
        lines = Path(conf).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False  # as fusermount3 reads it: without the file nothing is allowed
    return any(line.strip() == "user_allow_other" for line in lines)


def _fusermount() -> str:
    program = shutil.which(FUSERMOUNT)
    if program is None:
        message = f"{FUSERMOUNT} is not installed; it is needed without root: apt install fuse3 (or run as root)"
        raise MountError(Reason.NO_FUSERMOUNT, message)
    return program


def fusermount_options(source: str, *, allow_other: bool) -> str:
    """The -o argument for fusermount3; commas and backslashes in the source are escaped as it wants them."""
    name = source.replace("\\", "\\\\").replace(",", "\\,")
    options = f"ro,nosuid,nodev,default_permissions,subtype={SUBTYPE},fsname={name}"
    return options + ",allow_other" if allow_other else options


def _mount_by_fusermount(resolved: str, source: str, *, allow_other: bool) -> int:
    program = _fusermount()
    if not os.path.exists(DEVICE):
        open_device()  # raises the error that says what to do
    if not os.access(DEVICE, os.R_OK | os.W_OK, effective_ids=True):  # fusermount3 opens it with the user's own rights
        message = f"{DEVICE}: you may not open it; as root: chmod 666 {DEVICE} (as udev sets it), or add the user to its group"
        raise MountError(Reason.NOT_PERMITTED, message)
    if allow_other and os.geteuid() != 0 and not user_allow_other():
        message = f"allow_other needs the line user_allow_other in {FUSE_CONF}: add it (as root), or mount without allow_other"
        raise MountError(Reason.ALLOW_OTHER, message)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        command = [program, "-o", fusermount_options(source, allow_other=allow_other), "--", resolved]
        done = _run(command, env={"_FUSE_COMMFD": str(theirs.fileno())}, pass_fds=(theirs.fileno(),))
        theirs.close()
        if done.returncode == 0:
            fd = _receive_descriptor(ours)
            if fd is not None:
                os.set_blocking(fd, False)
                os.set_inheritable(fd, False)
                return fd
    said = done.stderr.decode(errors="replace").strip()
    reason = Reason.NOT_PERMITTED if os.geteuid() == 0 or "ermi" in said else Reason.FAILED
    hint = "; in a container give it --device /dev/fuse and --cap-add SYS_ADMIN" if reason is Reason.NOT_PERMITTED else ""
    raise MountError(reason, f"{resolved}: {said or 'fusermount3 failed'}{hint}")


def environment() -> dict[str, str]:
    """What fusermount3 and our own helpers see: where programs lie, messages that are read here, and no access keys."""
    return {"LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath)}


def _run(
    command: list[str], *, env: dict[str, str] | None = None, pass_fds: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            command,
            env={**environment(), **(env or {})},
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=FUSERMOUNT_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MountError(Reason.FAILED, f"{' '.join(command)}: no answer within {FUSERMOUNT_LIMIT:.0f} s") from None


def _receive_descriptor(ours: socket.socket) -> int | None:
    ours.settimeout(FUSERMOUNT_LIMIT)
    size = array.array("i").itemsize
    _data, ancillary, _flags, _address = ours.recvmsg(1, socket.CMSG_LEN(size))
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors = array.array("i", payload[:size])
            return descriptors[0]
    return None


def unmount(mountpoint: str | Path, *, lazy: bool) -> None:
    """Unmounts; works also when the daemon is dead. Raises MountError (BUSY, NOT_MOUNTED, NOT_PERMITTED).

    May block while the kernel waits for a notification in flight: the process that serves the mount must call it in
    another process (detach_command) and go on answering.
    """
    resolved = resolve(mountpoint)
    if find_mount(resolved) is None:
        raise MountError(Reason.NOT_MOUNTED, f"{mountpoint}: nothing is mounted here")
    code = _umount2(resolved, lazy=lazy)
    if code in (errno.EPERM, errno.EACCES):
        done = _run([_fusermount(), "-uz" if lazy else "-u", "--", resolved])
        if done.returncode == 0:
            return
        said = done.stderr.decode(errors="replace").strip()
        code = errno.EBUSY if "busy" in said else errno.EPERM
    if code == errno.EBUSY:
        message = f"{mountpoint}: busy, a process uses it (fuser -vm {mountpoint}); end it, or unmount with --lazy"
        raise MountError(Reason.BUSY, message)
    if code in (errno.EPERM, errno.EACCES):
        raise MountError(Reason.NOT_PERMITTED, f"{mountpoint}: not permitted; only root and who mounted it may unmount it")
    if code == errno.EINVAL:
        raise MountError(Reason.NOT_MOUNTED, f"{mountpoint}: nothing is mounted here")
    if code:
        raise MountError(Reason.FAILED, f"{mountpoint}: {os.strerror(code)}")


def _umount2(resolved: str, *, lazy: bool) -> int:
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)
    return 0 if _libc().umount2(os.fsencode(resolved), flags) == 0 else ctypes.get_errno()


_DETACH = """\
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
sys.exit(libc.umount2(os.fsencode(sys.argv[1]), int(sys.argv[2])) and ctypes.get_errno())
"""


def detach_commands(resolved: str) -> list[list[str]]:
    """Commands of which the first that succeeds detaches the mount lazily, for the process that serves it.

    In a process of their own because umount(2) may wait for a notification that waits for an answer of the caller's, and
    a thread that waits there would keep the daemon's descriptors open even after SIGKILL.
    """
    commands = []
    if os.geteuid() == 0:
        flags = str(UMOUNT_NOFOLLOW | MNT_DETACH)
        commands.append([sys.executable, "-I", "-S", "-c", _DETACH, resolved, flags])
    program = shutil.which(FUSERMOUNT)
    if program is not None:
        commands.append([program, "-uz", "--", resolved])
    return commands


def set_read_ahead_kb(resolved: str, kb: int, *, read: Callable[[str], Mount | None] = find_mount) -> ReadAhead:
    """Sets how far the kernel reads ahead on this mount (0: leaves it), through its bdi in sysfs; needs root."""
    there = read(resolved)
    if there is None:
        return ReadAhead(0, f"{resolved} is not mounted")
    path = Path(f"/sys/class/bdi/{there.device}/read_ahead_kb")
    problem = ""
    try:
        if kb:
            path.write_bytes(b"%d\n" % kb)
    except OSError as failure:
        problem = f"{path}: {failure.strerror}; have root write {kb} there"
    try:
        return ReadAhead(int(path.read_bytes()), problem)
    except (OSError, ValueError) as failure:
        return ReadAhead(0, problem or f"{path}: {failure}")
