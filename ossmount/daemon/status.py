"""What a running mount says of itself: the answer to `ossmount status`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import trio

from ossmount.daemon.choice import why_no_keeper
from ossmount.daemon.components import Parts
from ossmount.daemon.dump import tree_lines
from ossmount.daemon.history import History
from ossmount.daemon.kept import Kept
from ossmount.daemon.order import Order
from ossmount.daemon.processes import cpu_by_part, descendants


class Status:
    """Everything that `ossmount status` shows of one mount."""

    def __init__(self, order: Order, parts: Parts, kept: Kept | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._order = order
        self._parts = parts
        self._kept = kept
        self._now = now
        self._begin = now()
        self.history = History(self._numbers)

    def lines(self) -> Iterator[str]:
        """Counters and facts, for a dump: each is asked for when it is its turn, since one may wait for what is stuck."""
        channel = self._parts.channel.facts()
        yield from tree_lines({**self._parts.requests(), "channel": channel, "keeper": self._keeper_facts()})
        for name, read in self._parts.facts.items():
            yield from tree_lines({name: read()})

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The command `status` of the control socket; with "before": true also the numbers of a minute ago."""
        answer = self._numbers()
        options = self._order.settings.shown().items()
        answer["options"] = {name: {"value": value, "origin": origin} for name, (value, origin) in options}
        return {**answer, "before": self.history.before()} if request.get("before") else answer

    def _numbers(self) -> dict[str, Any]:
        """All but the options, which do not change."""
        channel = self._parts.channel.facts()
        fetch_pids = self._parts.fetch_pids()
        facts = {"channel": channel, "loop": self.history.facts()}
        facts |= {name: read() for name, read in self._parts.facts.items()}
        keeper = None if self._kept is None else self._kept.pid
        children = descendants(os.getpid())
        return {
            "source": str(self._order.source),
            "mountpoint": self._order.mountpoint,
            "channel": channel.get("name"),
            "channel_reason": self._parts.channel_reason,
            "uptime": round(self._now() - self._begin, 3),
            "pids": sorted({os.getpid(), *children, *fetch_pids, *([] if keeper is None else [keeper])}),
            "daemon_pid": os.getpid(),
            "keeper_pid": keeper,
            "fetch_pids": fetch_pids,
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "log": self._order.log,
            "counters": {**self._parts.requests(), "kernel": channel.get("requests", {})},
            "facts": {"keeper": self._keeper_facts(), "cpu": self._cpu(children), **facts},
        }

    def _cpu(self, children: list[int]) -> dict[str, object]:
        fetch = set(self._parts.fetch_pids())
        return cpu_by_part({"daemon": [os.getpid()], "fetch": fetch, "others": [pid for pid in children if pid not in fetch]})

    def _keeper_facts(self) -> dict[str, object]:
        if self._kept is None:
            return {"none": why_no_keeper(self._order.settings)}
        return self._kept.facts()
