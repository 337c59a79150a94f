"""The limits of the machine as peers: plain GETs, local files, and a file system that does nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.access import Place
from benchmarks.peers import Mounted, Peer, Target


@dataclass(frozen=True)
class LocalPeer:
    """The data's own folder, read without any of us: the kernel's page cache is the limit of everything warm."""

    name: str = "local"
    kind: str = "local"

    def missing(self) -> str:
        return ""

    @contextlib.contextmanager
    def mounted(self, target: Target) -> Iterator[Mounted]:
        yield Mounted(Place(str(target.data / target.bucket)), list, 0.0)


@dataclass(frozen=True)
class RawPeer:
    """Ranged GETs from plain sockets with as many connections as there are readers: no FUSE, no client library."""

    name: str = "raw"
    kind: str = "gets"

    def missing(self) -> str:
        return ""

    @contextlib.contextmanager
    def mounted(self, target: Target) -> Iterator[Mounted]:
        yield Mounted(Place("", int(target.url.rpartition(":")[2]), target.bucket), list, 0.0)


def known() -> list[Peer]:
    return [RawPeer(), LocalPeer()]
