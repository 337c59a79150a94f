"""Starts one disk process."""

from __future__ import annotations

import marshal
import socket
from typing import Any

from ossmount.children.environment import bare_environment
from ossmount.children.process import ChildProcess


def start_disk_process(role: str, settings: dict[str, Any], slab_fd: int, slab_size: int) -> ChildProcess:
    """Starts the process and sends its settings. role: read or write. Raises OSError."""
    return ChildProcess(
        "ossmount.data.disk.child",
        (role, slab_fd, slab_size),
        kind=socket.SOCK_SEQPACKET,
        first=marshal.dumps(settings),
        descriptors=(slab_fd,),
        environment=bare_environment(),
    )
