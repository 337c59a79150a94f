"""Starts one fetch process."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Final

from ossmount.children.process import ChildProcess
from ossmount.oss.fetch import wire
from ossmount.oss.fetch.settings import WorkerSettings

#: All of the environment that a fetch process sees: certificates and the resolver's settings, and no credentials.
_ENVIRONMENT: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH", "RES_OPTIONS", "LOCALDOMAIN", "HOSTALIASES")


def start_fetch_process(settings: WorkerSettings, slab_fd: int, slab_size: int, environment: Mapping[str, str]) -> ChildProcess:
    """Starts the process and sends its settings. Raises OSError."""
    return ChildProcess(
        "ossmount.oss.fetch.child",
        (slab_fd, slab_size),
        kind=socket.SOCK_STREAM,
        first=wire.pack([(wire.CONFIGURE, settings.packed())]),
        descriptors=(slab_fd,),
        environment={name: environment[name] for name in _ENVIRONMENT if name in environment},
    )
