"""The kernel's table of mounts, read without touching any mount (a hung one must not hang us), and the hard way out."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

UMOUNT_LIMIT = 15.0  # seconds


def device_of(mountpoint: Path) -> str:
    """The device number MAJOR:MINOR of the mount on this path, "" when nothing is mounted there (proc(5): mountinfo)."""
    wanted = str(mountpoint)
    found = ""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[4].replace("\\040", " ") == wanted:
            found = fields[2]
    return found


def answers(mountpoint: Path, limit: float) -> bool:
    """Whether stat(2) of the mount's root is answered; asked by another process, which may hang."""
    with subprocess.Popen(["stat", str(mountpoint)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as asking:
        try:
            return asking.wait(limit) == 0
        except subprocess.TimeoutExpired:
            abort(mountpoint)
            asking.kill()
            return False


def unmount(mountpoint: Path) -> bool:
    """Unmounts as a user would; False when that fails or hangs."""
    command = ["umount", str(mountpoint)] if os.geteuid() == 0 else ["fusermount3", "-u", str(mountpoint)]
    try:
        return subprocess.run(command, timeout=UMOUNT_LIMIT, capture_output=True, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def abort(mountpoint: Path) -> None:
    """Ends every request of a FUSE mount with an error and detaches it. Does nothing where nothing is mounted."""
    device = device_of(mountpoint)
    if not device:
        return
    switch = Path(f"/sys/fs/fuse/connections/{device.partition(':')[2]}/abort")
    with contextlib.suppress(FileNotFoundError, PermissionError):  # no FUSE mount, or another user's: detaching must do
        switch.write_text("1")
    lazily = ["umount", "-l", str(mountpoint)] if os.geteuid() == 0 else ["fusermount3", "-uz", str(mountpoint)]
    subprocess.run(lazily, timeout=UMOUNT_LIMIT, capture_output=True, check=False)
