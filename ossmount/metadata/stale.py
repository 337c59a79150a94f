"""Answers that are a little too old, given at once while OSS is asked again in the background (--metadata-stale)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from ossmount.config import MetadataConfig
from ossmount.errors import OssMountError, StaleNode
from ossmount.metadata.answers import Answers, Requests
from ossmount.metadata.interface import Named
from ossmount.metadata.keys import Target
from ossmount.metadata.tree import Tree
from ossmount.model import Absent, Found

log = logging.getLogger(__name__)

KEPT = 1.0  # seconds for which the kernel may keep such an answer: by then the new one is there, or is asked for again
MOST = 32  # revalidations under way; beyond them the next use of a name starts one
_NEVER = float("inf")

Ask = Callable[[], Awaitable[object]]


class Background(Requests, Protocol):
    """Who runs what nobody waits for."""

    def start(self, ask: Callable[[], Awaitable[None]]) -> bool:
        """False when the mount is being stopped."""
        ...


class Stale:
    """Names that do not exist are never answered from here: a new file appears within negative_ttl."""

    def __init__(
        self,
        tree: Tree,
        config: MetadataConfig,
        clock: Callable[[], float],
        requests: Background,
        gone: set[int],
    ) -> None:
        self._on = config.stale > 0 and min(config.attr_ttl, config.entry_ttl) > 0
        longer = config._replace(attr_ttl=config.attr_ttl + config.stale, entry_ttl=config.entry_ttl + config.stale)
        self._answers = Answers(tree, longer, clock, requests)
        self._answers.gone = gone
        self._start = requests.start
        self._asked: set[object] = set()
        self.given = 0

    def name(self, parent: int, target: Target, ask: Ask) -> Found | None:
        answer = self._answers.name(parent, target, _NEVER) if self._on else None
        if answer is None or isinstance(answer, Absent):
            return None
        self._again((parent, target), ask)
        return _shortly(answer)

    def node(self, node: int, ask: Ask) -> Found | None:
        answer = self._answers.node(node, _NEVER) if self._on else None
        if answer is None:
            return None
        self._again(node, ask)
        return _shortly(answer)

    def names(self, node: int, after: bytes, ask: Ask) -> Sequence[Named] | None:
        rows = self._answers.names(node, after, _NEVER, []) if self._on else None
        if rows is None:
            return None
        self._again((node, after), ask)
        return [named._replace(fresh_for=min(named.fresh_for, KEPT)) for named in rows]

    def _again(self, what: object, ask: Ask) -> None:
        """Asks in the background, once at a time for each question."""
        self.given += 1
        if what in self._asked or len(self._asked) >= MOST:
            return

        async def revalidate() -> None:
            try:
                await ask()
            except StaleNode:
                pass  # that is what was to be found out; the kernel was told
            except OssMountError as failure:  # the old answer stands until it is too old for that too
                log.info("could not be asked again yet: %s", failure)
            finally:
                self._asked.discard(what)

        if self._start(revalidate):
            self._asked.add(what)


def _shortly(found: Found) -> Found:
    return found._replace(fresh_for=min(found.fresh_for, KEPT))
