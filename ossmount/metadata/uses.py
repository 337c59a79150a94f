"""Counts what was answered from memory and what was not, and why."""

from __future__ import annotations

from collections import Counter


class Uses:
    """By operation: lookup, getattr, list."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self.misses: Counter[tuple[str, str]] = Counter()

    def miss(self, operation: str, *, seen: bool, given: bool = False) -> None:
        """`seen`: it was known once and is too old; `given`: the old answer was given while OSS is asked again."""
        self.misses[operation, "stale" if given else "expired" if seen else "unknown"] += 1

    def facts(self) -> dict[str, object]:
        """Operation to number for the hits; operation and cause to number for the misses."""
        causes: dict[str, dict[str, int]] = {}
        for (operation, cause), number in self.misses.items():
            causes.setdefault(operation, {})[cause] = number
        return {"hits": dict(self.hits), "misses": causes}
