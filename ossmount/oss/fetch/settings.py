"""What a fetch process is told at its start: made in the daemon, sent over the socket, never in argv or the environment."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class WorkerSettings:
    """Plain values only: they go through marshal."""

    bucket: str
    endpoint: tuple[str, int, bool, str, str]  # the fields of ossmount.oss.endpoint.Endpoint
    region: str
    connections: int  # of this process
    connect_timeout: float
    timeout: float
    prepaid: int  # bytes of each request that are paid when it starts, where bytes are limited; else 0
    proxy: tuple[str, int, str] | None  # host, port, value of Proxy-Authorization
    slow_after: float = math.inf  # seconds from which a fetch is reported as slow

    def packed(self) -> dict[str, Any]:
        return asdict(self)
