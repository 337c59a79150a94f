"""What a fetch process is told at its start: made in the daemon, sent over the socket, never in argv or the environment."""

from __future__ import annotations

import math
from typing import Any, NamedTuple


class WorkerSettings(NamedTuple):
    """Plain values only: they go through marshal."""

    bucket: str
    endpoint: tuple[str, int, bool, str, str]  # the fields of ossmount.oss.endpoint.Endpoint
    region: str
    connections: int  # of this process
    connect_timeout: float
    timeout: float
    prepaid: int  # bytes of each request that are paid when it starts, where bytes are limited; else 0
    verify: bool  # whole objects against x-oss-hash-crc64ecma
    proxy: tuple[str, int, str] | None  # host, port, value of Proxy-Authorization
    hedge_above: float = math.inf  # seconds before which no request is made twice
    slow_after: float = math.inf  # seconds from which a fetch is reported as slow

    @property
    def silence(self) -> float:
        """The longest of any attempt: a quarter of the deadline at most, so that there is time to try again."""
        return min(15.0, self.timeout / 4)

    def packed(self) -> dict[str, Any]:
        return self._asdict()
