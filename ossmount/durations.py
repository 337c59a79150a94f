"""How long things took: counts by powers of two of microseconds.

Bucket n counts what took less than 2**n microseconds and at least half of that (bucket 0: less than one). Adding one costs
0.2 microseconds and no memory; a quantile is right to within its bucket, which is what it takes to tell 2 ms from 20.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

BUCKETS = 48  # the last one is years: no value is ever beyond


class Durations:
    """One histogram. Hot loops write `buckets[int(seconds * 1e6).bit_length()] += 1` themselves, which saves the call."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * BUCKETS
        self.seconds = 0.0  # of all together

    def __repr__(self) -> str:
        return f"<Durations: {sum(self.buckets)} in {self.seconds:.3f} s>"

    def add(self, seconds: float) -> None:
        self.buckets[int(seconds * 1e6).bit_length()] += 1
        self.seconds += seconds

    def facts(self) -> dict[str, Any]:
        return as_facts(self.buckets, self.seconds)


def as_facts(buckets: Sequence[int], seconds: float) -> dict[str, Any]:
    """As `ossmount status --json` has them, without zeros at the end: {"count": 3, "seconds": 0.5, "buckets": [0, 0, 3]}."""
    used = len(buckets)
    while used and not buckets[used - 1]:
        used -= 1
    return {"count": sum(buckets), "seconds": round(seconds, 6), "buckets": list(buckets[:used])}


def merged(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Several, as facts() gives them, in one."""
    total = Durations()
    for part in parts:
        for index, count in enumerate(part["buckets"]):
            total.buckets[index] += count
        total.seconds += part["seconds"]
    return total.facts()


def merged_tables(tables: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Tables of histograms by name, in one."""
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: merged([table[name] for table in tables if name in table]) for name in names}


def between(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What came since. All of `after` where it is of a daemon that began anew."""
    if before.get("count", 0) > after["count"]:
        return dict(after)
    former = before.get("buckets", ())
    buckets = [count - (former[index] if index < len(former) else 0) for index, count in enumerate(after["buckets"])]
    return {"count": sum(buckets), "seconds": max(0.0, after["seconds"] - before.get("seconds", 0.0)), "buckets": buckets}


def quantile(facts: Mapping[str, Any], share: float) -> float | None:
    """Seconds below which this share of all lies, as if each bucket were filled evenly; None when there are none."""
    count = facts["count"]
    if not count:
        return None
    wanted, below = share * count, 0
    for index, inside in enumerate(facts["buckets"]):
        if inside and below + inside >= wanted:
            lower = (1 << index >> 1) / 1e6 if index else 0.0
            return float(lower + ((1 << index) / 1e6 - lower) * (wanted - below) / inside)
        below += inside
    return None
