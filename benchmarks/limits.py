"""The limits of the machine as peers: plain GETs, local files, and a file system that does nothing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.access import Place
from benchmarks.peers import CommandPeer, Mounted, Peer, Target
from benchmarks.processes import CHECKOUT
from benchmarks.scenarios.base import NULL_FILES, NULL_SIZE


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


def _null(name: str, channel: str) -> CommandPeer:
    """benchmarks/null_filesystem.py: what FUSE and one of our channels can do when every answer is in memory."""
    command = (sys.executable, "-m", "benchmarks.null_filesystem", "{mountpoint}", "--channel", channel)
    size = ("--files", str(NULL_FILES), "--size", str(NULL_SIZE))
    return CommandPeer(name, (*command, *size), {"PYTHONPATH": str(CHECKOUT)}, kind="null")


def known() -> list[Peer]:
    return [_null("null", "kernel"), _null("null-pyfuse3", "pyfuse3"), _null("null-bare", "bare"), RawPeer(), LocalPeer()]
