"""What a running mount says of itself: the answer to `ossmount status`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import trio

from ossmount.daemon.choice import why_no_keeper
from ossmount.daemon.components import Parts
from ossmount.daemon.kept import Kept
from ossmount.daemon.order import Order
from ossmount.daemon.processes import descendants


class Status:
    """Everything that `ossmount status` shows of one mount."""

    def __init__(self, order: Order, parts: Parts, kept: Kept | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._order = order
        self._parts = parts
        self._kept = kept
        self._now = now
        self._begin = now()

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The command `status` of the control socket."""
        channel = self._parts.channel.facts()
        fetch_pids = self._parts.fetch_pids()
        facts = {name: read() for name, read in self._parts.facts.items()}
        keeper = None if self._kept is None else self._kept.pid
        return {
            "source": str(self._order.source),
            "mountpoint": self._order.mountpoint,
            "channel": channel.get("name"),
            "channel_reason": self._parts.channel_reason,
            "uptime": round(self._now() - self._begin, 3),
            "pids": sorted({os.getpid(), *descendants(os.getpid()), *fetch_pids, *([] if keeper is None else [keeper])}),
            "daemon_pid": os.getpid(),
            "keeper_pid": keeper,
            "fetch_pids": fetch_pids,
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "log": self._order.log,
            "options": {
                name: {"value": value, "origin": origin} for name, (value, origin) in self._order.settings.shown().items()
            },
            "counters": {**self._parts.requests(), "kernel": channel.get("requests", {})},
            "facts": {"keeper": self._keeper_facts(), "channel": channel, **facts},
        }

    def _keeper_facts(self) -> dict[str, object]:
        if self._kept is None:
            return {"none": why_no_keeper(self._order.settings)}
        return self._kept.facts()
