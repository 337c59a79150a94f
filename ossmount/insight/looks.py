"""Two looks at a mount, and what happened between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ossmount.durations import as_facts, between, merged, quantile
from ossmount.metrics import Status, found

#: Requests of the kernel for names and attributes.
NAMES = ("LOOKUP", "GETATTR", "READDIR", "READDIRPLUS", "OPEN", "OPENDIR", "READLINK")


class Looks:
    """The second look, and how it differs from the first. Without a first one: since the mount began."""

    def __init__(self, before: Status | None, after: Status) -> None:
        began_anew = before is not None and before.get("daemon_pid") != after.get("daemon_pid")
        self._before: Status = {} if before is None or began_anew else before
        self.after = after
        self.since_mount = not self._before
        self.seconds = max(0.001, float(after.get("uptime", 0.0)) - float(self._before.get("uptime", 0.0)))

    @property
    def window(self) -> str:
        """Of what time this tells, as in "of the …"."""
        return f"{self.seconds:.0f} s since this daemon began" if self.since_mount else f"last {self.seconds:.0f} s"

    def now(self, path: str) -> Any:
        """The value at a path such as facts.data.hits; None when this mount has no such thing."""
        return found(self.after, path)

    def number(self, path: str) -> float:
        value = self.now(path)
        return float(value) if isinstance(value, int | float) else 0.0

    def grown(self, *paths: str) -> float:
        """By how much counters have grown, all together."""
        return sum(self._grown(path) for path in paths)

    def _grown(self, path: str) -> float:
        before = found(self._before, path)
        after = self.number(path)
        return after - float(before) if isinstance(before, int | float) and before <= after else after

    def rate(self, *paths: str) -> float:
        """The same for each second."""
        return self.grown(*paths) / self.seconds

    def table(self, path: str) -> dict[str, float]:
        """By how much each counter of a table has grown; those that have not are left out."""
        names = self.now(path)
        if not isinstance(names, Mapping):
            return {}
        grown = {name: self._grown(f"{path}.{name}") for name, value in names.items() if isinstance(value, int | float)}
        return {name: value for name, value in grown.items() if value}

    def causes(self, path: str) -> dict[str, float]:
        """A table of tables, added up over the outer names."""
        total: dict[str, float] = {}
        for name in self.now(path) or {}:
            for cause, value in self.table(f"{path}.{name}").items():
                total[cause] = total.get(cause, 0.0) + value
        return total

    def durations(self, path: str) -> dict[str, Any]:
        """A histogram (ossmount.durations) of what came between the looks."""
        after = self.now(path)
        if not isinstance(after, Mapping) or "buckets" not in after:
            return as_facts((), 0.0)
        return between(found(self._before, path) or {}, after)

    def all_durations(self, path: str) -> dict[str, dict[str, Any]]:
        """The histograms of a table, without empty ones."""
        tables = {name: self.durations(f"{path}.{name}") for name in self.now(path) or {}}
        return {name: facts for name, facts in tables.items() if facts["count"]}

    def disk_reads(self) -> dict[str, Any]:
        """All folders of the cache on local disks together."""
        folders: Mapping[str, Any] = self.now("facts.disk.directories") or {}
        former: Mapping[str, Any] = found(self._before, "facts.disk.directories") or {}
        parts = []
        for name, facts in folders.items():  # a folder's name may have dots in it
            after = found(facts, "durations.read")
            if after is not None:
                parts.append(between(found(former.get(name, {}), "durations.read") or {}, after))
        return merged(parts)

    def disk_grown(self, name: str) -> float:
        """By how much a counter of the folders of that cache has grown, all together."""
        folders: Mapping[str, Any] = self.now("facts.disk.directories") or {}
        former: Mapping[str, Any] = found(self._before, "facts.disk.directories") or {}
        total = 0.0
        for folder, facts in folders.items():
            before, after = former.get(folder, {}).get(name) or 0, facts.get(name) or 0
            total += after - before if before <= after else after
        return total

    def share(self, part: float, *others: float) -> float:
        """part of part + others; 0 when there is nothing."""
        total = part + sum(others)
        return part / total if total else 0.0


def size(value: float) -> str:
    """Bytes as people say them: 12 KiB, 512 MiB, 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} TiB"


def count(value: float) -> str:
    """1,234 or, below ten and no whole number, 1.5."""
    return f"{value:.1f}" if 0 < value < 9.95 and value != int(value) else f"{value:,.0f}"


def percent(share: float) -> str:
    return f"{share:.0%}" if share == 0 or share >= 0.01 else f"{share:.1%}"


def moment(seconds: float | None) -> str:
    """A duration that is short: 35 us, 1.2 ms, 3.5 s; - where there is none."""
    if seconds is None:
        return "-"
    for unit, factor in (("us", 1e6), ("ms", 1e3)):
        if seconds * factor < 1000:
            return f"{seconds * factor:.0f} {unit}" if seconds * factor >= 10 else f"{seconds * factor:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"


def spread(facts: Mapping[str, Any]) -> str:
    """Median and 99th percentile of a histogram."""
    return f"median {moment(quantile(facts, 0.5))}, 99 % within {moment(quantile(facts, 0.99))}"
