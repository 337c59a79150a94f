"""What a rule finds, and what several rules ask of the numbers."""

from __future__ import annotations

from typing import NamedTuple

from ossmount.insight.looks import Looks

FEW = 20  # requests from which a share or a quantile says something


class Finding(NamedTuple):
    """One reason."""

    name: str  # for programs
    title: str  # a sentence
    evidence: tuple[str, ...]  # the numbers
    advice: tuple[str, ...]  # what to do about it, naming options
    weight: int


def reads_of(looks: Looks) -> float:
    return looks.grown("facts.data.hits", "facts.data.joined", "facts.data.misses")


def gets_of(looks: Looks) -> float:
    return looks.grown("facts.fetch.requests")


def cache_overflows(looks: Looks) -> bool:
    """The cache on disk drops much of what it takes in, to make room: what it cannot take in then says nothing of the disk."""
    dropped = looks.disk_grown("evicted_bytes")
    return dropped >= 8 << 20 and dropped >= 0.1 * looks.grown("facts.fetch.bytes")


def waiting_of(looks: Looks) -> float:
    """The share of READs that waited for OSS: their bytes were neither in memory nor in the cache on disk."""
    late = looks.share(looks.grown("facts.data.misses", "facts.data.joined"), looks.grown("facts.data.hits"))
    on_disk = looks.share(looks.grown("facts.disk.hits"), looks.grown("facts.disk.misses", "facts.disk.bypassed"))
    return late * (1 - on_disk)
