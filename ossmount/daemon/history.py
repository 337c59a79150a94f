"""What the mount's numbers were a moment ago, so that whoever looks once can be told of the last minute.

A look costs about 2 ms of CPU (mostly /proc) and is taken every 10 seconds; beside it the event loop's lateness is noted once a
second, which is how a mount notices that it lacks CPU.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import trio

_TICK: Final = 1.0  # seconds between two looks at the event loop's lateness
_LOOK: Final = 10  # ticks between two looks at everything
_KEPT: Final = 7  # looks: a minute


class History:
    """A component of the daemon."""

    def __init__(self, look: Callable[[], Mapping[str, Any]]) -> None:
        self._look = look
        # as text: what the parts of the mount give out may be their own tables, which change
        self._looks: deque[tuple[float, str]] = deque(maxlen=_KEPT)
        self._late: deque[float] = deque(maxlen=_KEPT * _LOOK)  # seconds, of the last ticks

    async def run(self, started: Callable[[], None]) -> None:
        started()
        ticks = 0
        due = trio.current_time()
        while True:
            due = max(due + _TICK, trio.current_time())
            await trio.sleep_until(due)
            self._late.append(trio.current_time() - due)
            ticks += 1
            if ticks % _LOOK == 0:
                self._note()

    def _note(self) -> None:
        self._looks.append((trio.current_time(), json.dumps(self._look(), default=str)))

    def before(self) -> dict[str, Any] | None:
        """A look of about a minute ago, with its age as `seconds_ago`; None where the daemon is younger."""
        if len(self._looks) < _KEPT:
            return None
        when, text = self._looks[0]
        found: dict[str, Any] = json.loads(text)
        return {**found, "seconds_ago": round(trio.current_time() - when, 3)}

    def facts(self) -> dict[str, object]:
        """How late the event loop was in the last minute, in milliseconds."""
        late = sorted(self._late)
        if not late:
            return {"worst_ms": 0.0, "median_ms": 0.0}
        return {"worst_ms": round(late[-1] * 1e3, 1), "median_ms": round(late[len(late) // 2] * 1e3, 1)}
