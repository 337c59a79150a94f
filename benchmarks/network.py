"""How far away the store seems to be."""

from __future__ import annotations

from typing import NamedTuple


class Network(NamedTuple):
    """Latencies in milliseconds, bandwidth of one connection in bytes a second (0: unlimited)."""

    name: str
    object_ms: int
    list_ms: int
    bandwidth: int

    def __str__(self) -> str:
        if not self.object_ms and not self.list_ms:
            return f"{self.name}: no latency"
        limit = f", {self.bandwidth // 1_000_000} MB/s per connection" if self.bandwidth else ""
        return f"{self.name}: {self.object_ms} ms per object, {self.list_ms} ms per LIST{limit}"


NETWORKS = {
    network.name: network
    for network in (
        Network("none", 0, 0, 0),
        Network("region", 15, 30, 80_000_000),  # about what OSS gives inside a region
    )
}


REAL = Network("real", 0, 0, 0)  # OSS itself, with whatever lies between


def parse(text: str) -> Network:
    """A name, or OBJECT_MS/LIST_MS/MB_PER_SECOND such as 5/10/200; raises ValueError."""
    if text in NETWORKS:
        return NETWORKS[text]
    parts = text.split("/")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        names = ", ".join(NETWORKS)
        raise ValueError(f"--latency {text}: use one of {names}, or OBJECT_MS/LIST_MS/MB_PER_SECOND such as 5/10/200")
    return Network(text, int(parts[0]), int(parts[1]), int(parts[2]) * 1_000_000)
