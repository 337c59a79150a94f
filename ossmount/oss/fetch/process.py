"""Starts one fetch process and ends it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Final

from ossmount.children.process import ChildProcess
from ossmount.oss.fetch import wire
from ossmount.oss.fetch.in_hand import Record
from ossmount.oss.fetch.settings import WorkerSettings

#: All of the environment that a fetch process sees: certificates and the resolver's settings, and no credentials.
_ENVIRONMENT: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH", "RES_OPTIONS", "LOCALDOMAIN", "HOSTALIASES")


class FetchProcess:
    """A running fetch process, and the record of what it has in hand."""

    def __init__(self, settings: WorkerSettings, slab_fd: int, slab_size: int, environment: Mapping[str, str]) -> None:
        """Starts the process and sends its settings. Raises OSError."""
        self._record = Record(settings.connections)
        try:
            self._child = ChildProcess(
                "ossmount.oss.fetch.child",
                (slab_fd, slab_size, self._record.fd),
                kind=socket.SOCK_STREAM,
                first=wire.pack([(wire.CONFIGURE, settings.packed())]),
                descriptors=(slab_fd, self._record.fd),
                environment={name: environment[name] for name in _ENVIRONMENT if name in environment},
            )
        except BaseException:
            self._record.close()
            raise
        self.control = self._child.control
        self.pid = self._child.pid

    def kill(self) -> None:
        self._child.kill()

    async def end(self) -> tuple[int | None, set[int]]:
        """Kills the process and waits until it is gone and writes the slab no more. Not cancellable.

        Its exit status, and the numbers of the fetches that it had on a connection then.
        """
        status = await self._child.end()
        return status, self._record.close()
