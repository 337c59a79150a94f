"""Which channel a mount has, and whether it has a keeper: decided by the command before anything heavy is imported."""

from __future__ import annotations

import platform
import re

from ossmount.options import declarations as options
from ossmount.options.settings import Settings

OLDEST_KERNEL = (5, 4)
#: A socket: the daemons are started by who listens there, in another container (ossmount/node/starter.py).
STARTER = "OSSMOUNT_STARTER"


def choose_channel(wanted: str, release: str) -> tuple[str, str]:
    """kernel or pyfuse3, and why. release: of the running kernel, as uname(2) gives it."""
    if wanted != "auto":
        return wanted, "asked for"
    match = re.match(r"(\d+)\.(\d+)", release)
    needed = ".".join(map(str, OLDEST_KERNEL))
    if match is not None and (int(match[1]), int(match[2])) < OLDEST_KERNEL:
        return "pyfuse3", f"kernel {release} is older than {needed}, which the kernel channel needs"
    return "kernel", f"kernel {release} has what it needs ({needed} or newer)"


def why_no_keeper(settings: Settings) -> str:
    """Why the mount has no keeper; "" when it has one."""
    if settings[options.NO_KEEPER]:
        return f"{settings.origin(options.NO_KEEPER)} was given"
    if choose_channel(settings[options.CHANNEL], platform.release())[0] != "kernel":
        return "the pyfuse3 channel cannot go on with a connection: libfuse wants to see its beginning"
    return ""
