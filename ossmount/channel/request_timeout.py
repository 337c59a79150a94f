"""The kernel's own limit for requests: /proc/sys/fs/fuse/max_request_timeout and default_request_timeout (Linux 6.15).

A connection whose request waits longer is aborted: every reader gets ECONNABORTED, and the mount is lost, also with a keeper.
Source: Documentation/admin-guide/sysctl/fs.rst and fs/fuse/dev.c of the kernel. Standard library only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

SYSCTLS: Final = Path("/proc/sys/fs/fuse")
DEADLINES: Final = 3  # that a request may take before its daemon counts as stuck (ossmount.daemon.watchdog)
RESTART: Final = (
    90.0  # seconds: a silent daemon (10), writing down its state (1), the next one's start (60), and a busy machine
)


def limit(sysctls: Path = SYSCTLS) -> int:
    """Seconds that the kernel gives a request of a daemon that asked for nothing; 0: no limit."""
    default, most = (_read(sysctls / name) for name in ("default_request_timeout", "max_request_timeout"))
    return min(default, most) if default and most else default or most


def warning(deadline: float, sysctls: Path = SYSCTLS) -> str:
    """What is wrong with the limit for mounts whose requests to OSS have this deadline (seconds); "" when nothing is."""
    seconds, needed = limit(sysctls), DEADLINES * deadline + RESTART
    if not seconds or seconds >= needed:
        return ""
    return (
        f"the kernel ends a mount of which a request takes longer than {seconds} s; with --timeout {deadline:g} one may need "
        f"{needed:.0f} s, a restart included: sysctl fs.fuse.max_request_timeout=0 fs.fuse.default_request_timeout=0"
    )


def _read(path: Path) -> int:
    """0 where the kernel has no such limit."""
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return 0
