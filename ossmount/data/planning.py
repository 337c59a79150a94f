"""How far ahead each object's readers may be read: their readahead machines, within a common budget of memory."""

from __future__ import annotations

from ossmount.config import DataConfig
from ossmount.data.blocks import aligned
from ossmount.data.budget import Budget
from ossmount.data.page_cache import PAGE, PageCache
from ossmount.data.readahead import Plan, Readahead
from ossmount.data.transfers import Range
from ossmount.model import Version

MACHINES = 1024  # objects whose streams are remembered, about 3 KB each
LEAST_REACH = 64 << 10  # bytes; too few to fetch anything ahead, until about 180 reads lost nothing and have doubled it


class Planning:
    """The machines of the objects that were read last."""

    def __init__(self, cache: PageCache, budget: Budget, config: DataConfig) -> None:
        self._cache = cache
        self._budget = budget
        self._config = config
        self._machines: dict[Version, Readahead] = {}  # least recently used first
        self._known = budget.ahead
        self._reach = budget.ahead  # bytes that one stream may be ahead; follows what is lost

    def forget(self, version: Version) -> None:
        self._machines.pop(version, None)

    def extended(self, version: Version, end: int, gaps: list[Range], plan: Plan) -> list[Range]:
        """The gaps of a read to `end`, the last of them as long as the plan says, where one fetch serves better than two."""
        start, stop = gaps[-1]
        if stop < end:
            return gaps
        extend = plan.extend
        if plan.windows and plan.windows[0][0] == stop and plan.windows[0][1] - stop <= PAGE:
            extend = plan.windows[0][1]
        _, beyond = self._cache.find(version, stop, aligned(stop, extend, version.size)[1])
        if not beyond or beyond[0][0] != stop:
            return gaps
        return [*gaps[:-1], (start, beyond[0][1])]

    def streams(self, version: Version) -> list[dict[str, object]]:
        """The readers that were seen in an object, the last one to read last (bytes)."""
        machine = self._machines.get(version)
        return [] if machine is None else machine.streams()

    def plan(self, version: Version, offset: int, end: int, missing: bool) -> Plan | None:
        """Notes a read; what to fetch beyond it. missing: some of it is neither in memory nor under way."""
        machine = self._machines.pop(version, None)
        if machine is None:
            machine = Readahead(version.size, self._config.readahead_size, self._config.readahead_count)
            if len(self._machines) >= MACHINES:
                del self._machines[next(iter(self._machines))]
        self._machines[version] = machine
        budget = self._budget.ahead
        if budget != self._known:  # memory has become less or more: the reach follows at once
            self._reach = min(budget, max(LEAST_REACH, self._reach * budget // max(1, self._known)))
            self._known = budget
        share = budget // max(1, self._cache.accounts)
        limit = min(self._reach, max(share, (budget - self._cache.unread) // 2))
        if not (self._config.readahead_size and self._config.readahead_count):
            limit = 0
        plan = machine.read(offset, end, missing, limit)
        if machine.lost:  # memory is too small for so many readers: all of them reach less far
            self._reach = max(LEAST_REACH, limit // 2)
        else:
            self._reach = min(budget, self._reach + (self._reach >> 8))
        return plan
