"""The daemon's side of pins: asks the writing process, which knows how much is pinned, and hands out its answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Final

import trio

from ossmount.data.disk import messages
from ossmount.data.disk.layout import name_of
from ossmount.data.disk.pins import State
from ossmount.data.disk.places import Place, Places
from ossmount.model import Version

_AT_ONCE: Final = 8  # packets that the process is given before it has answered

Object = tuple[bytes, int]  # name, bytes


class Pinning:
    """Everything runs on the event loop's thread."""

    def __init__(self, store: str, places: Places, send: Callable[[messages.Message], bool]) -> None:
        self._store = store
        self._places = places
        self._send = send
        self._numbers = itertools.count(1)
        self._limit = trio.CapacityLimiter(_AT_ONCE)
        self._asked: dict[int, trio.Event] = {}
        self._answers: dict[int, list[int]] = {}

    async def pin(self, versions: Sequence[Version], on: bool) -> list[State]:
        """Pins each version where there is room for it, or (on: False) lets it be evicted; in their order what came of it."""
        states = [State.FAILED] * len(versions)
        by_place: dict[Place, list[int]] = {}
        names = [name_of(self._store, version) for version in versions]
        for index, version in enumerate(versions):
            place = self._places.choose(names[index]) if version.etag else None
            if place is not None:
                by_place.setdefault(place, []).append(index)

        async def ask(place: Place, indexes: list[int]) -> None:
            found = await self._ask(place, on, [(names[index], versions[index].size) for index in indexes])
            for index, state in zip(indexes, found, strict=False):  # nothing is found when the process has ended
                states[index] = State(state)

        async with trio.open_nursery() as nursery:
            for place, indexes in by_place.items():
                for first in range(0, len(indexes), messages.MOST_PINS):
                    nursery.start_soon(ask, place, indexes[first : first + messages.MOST_PINS])
        return states

    async def _ask(self, place: Place, on: bool, objects: list[Object]) -> list[int]:
        async with self._limit:
            number = next(self._numbers)
            if not self._send((messages.PIN, number, place.index, on, objects)):
                return []
            event = self._asked[number] = trio.Event()
            try:
                await event.wait()
                return self._answers.pop(number, [])
            finally:
                self._asked.pop(number, None)

    def answered(self, number: int, states: list[int]) -> None:
        event = self._asked.get(number)
        if event is not None:  # who asked may have gone
            self._answers[number] = states
            event.set()

    def lost(self) -> None:
        """The process has ended: what it was asked is not answered any more."""
        for event in self._asked.values():
            event.set()
