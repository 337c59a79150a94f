"""Pages of listings that are asked for before anybody waits for them: for walks, for long listings, for lookups.

Which ones is decided by Walks, Stream and Filler; here they are made requests of the refresher's, and found again by whoever
comes to need them while they are under way. A wrong guess costs a request, never a name.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from cachetools import LRUCache

from ossmount.metadata import keys
from ossmount.metadata.ahead import Stream, guess
from ossmount.metadata.filler import Filler, Landed, Shown
from ossmount.metadata.flights import Flight
from ossmount.metadata.pages import Split
from ossmount.metadata.store import ROOT
from ossmount.metadata.tree import Tree
from ossmount.metadata.walks import Chunk, Walks

log = logging.getLogger(__name__)

Ask = Callable[[], Awaitable[None]]


class Requests(Protocol):
    """Who makes the requests."""

    def asking(
        self, directory: int, start_after: bytes, delimiter: bytes, what: str, wanted: int = 0, shown: Shown | None = None
    ) -> Ask:
        """One LIST below a directory, for the sake of the directory `wanted`; `what` names in the counters what it was for."""
        ...

    def begin(self, flight: Flight, ask: Ask, ended: Callable[[], None]) -> bool:
        """Runs a request and sets the flight's `done`, after calling `ended`; False when the mount is being stopped."""
        ...


class PagesAhead:
    """Owned by the refresher. Implements filler.Pages."""

    def __init__(self, tree: Tree, requests: Requests) -> None:
        self._tree = tree
        self._requests = requests
        self._flights: list[Flight] = []  # under way
        self._streams: LRUCache[int, Stream] = LRUCache(256)
        self._walks = Walks(tree, self._begins)
        self._filler = Filler(self)
        self._newer_than = -math.inf  # what was asked before is not believed any more

    def learn(self, split: Split) -> None:
        """Notes what a flat page tells of the tree."""
        self._walks.learn(split)

    def learn_names(self, directory: int, names: Sequence[bytes]) -> None:
        """Notes how the names of a directory go on that is larger than a page."""
        made = guess(names)
        if made is None:
            return
        stream = self._streams.get(directory)
        if stream is None:
            self._streams[directory] = Stream(made)
        else:
            stream.adjust(made)

    def is_stream(self, directory: int) -> bool:
        """Whether the directory is large and its names let guess how they go on."""
        return directory in self._streams

    def under_way(self, directory: int, start_after: bytes, delimiter: bytes) -> Flight | None:
        """A page under way that should show what a listing of the directory from start_after on begins with."""
        return next((flight for flight in self._flights if flight.shows(directory, start_after, delimiter)), None)

    # -- somebody uses names

    def listed(self, directory: int) -> None:
        """Somebody lists a directory whose beginning is unknown."""
        self._walk(directory, missed=True)

    def read_on(self, directory: int, high: bytes | None, newer_than: float) -> None:
        """Somebody lists the directory and it is known up to the position high: asks for pages that come soon."""
        self._newer_than = newer_than
        self._walk(directory, missed=False)
        stream = self._streams.get(directory)
        if stream is None or high is None:
            return
        prefix = self._tree.prefix(directory)
        coverage = self._tree.coverage(directory)
        for name, end in stream.plan(high.rstrip(b"\0")):
            if coverage.reach(name + b"\0", newer_than) is None:
                flight = Flight(directory, prefix + name, prefix + end, b"/")
                self._launch(flight, self._requests.asking(directory, flight.start, b"/", "listing_ahead"))

    def missed(self, directory: int, newer_than: float) -> None:
        """A lookup in the directory is about to cost a page: asks for what the next ones will need."""
        self._newer_than = newer_than
        branches = self._walks.branches(directory)
        self._filler.missed(directory, branches=branches)
        if not branches and directory != ROOT and not self._begins(directory):
            parent = self._tree.location(directory).parent
            if self._walks.branches(parent):
                self._filler.missed(parent, branches=True)

    def _begins(self, directory: int) -> bool:
        return self._tree.coverage(directory).reach(b"", self._newer_than) is not None

    # -- filler.Pages

    def flat(self, directory: int, start_after: bytes, shown: Shown, landed: Landed) -> None:
        start = start_after or self.start_of(directory)
        ask = self._requests.asking(directory, start, b"", "lookup_ahead", shown=shown)
        self._launch(Flight(directory, start, start), ask, landed)

    def names(self, directory: int, start_after: bytes, shown: Shown, landed: Landed) -> None:
        start = start_after or self.start_of(directory)
        if start.endswith(b"/"):
            start = keys.start_behind(start)
        ask = self._requests.asking(directory, start, b"/", "lookup_ahead", shown=shown)
        self._launch(Flight(directory, start, self._end_of(directory), b"/"), ask, landed)

    def below(self, directory: int, most: int, landed: Landed, *, renewed: bool) -> int:
        chunks = list(self._walks.unlisted(directory, most, renewed=renewed))
        for chunk in chunks:
            self._launch_chunk(directory, chunk, "lookup_ahead", landed)
        return len(chunks)

    # -- requests

    def start_of(self, directory: int) -> bytes:
        """The start-after that lists a directory from its beginning."""
        return keys.start_before(self._tree.prefix(directory)) if directory != ROOT else b""

    def _end_of(self, directory: int) -> bytes:
        """What every key below a directory sorts before: "0" is what follows "/"."""
        prefix = self._tree.prefix(directory)
        return prefix[:-1] + b"0" if prefix else b"\xff"

    def _walk(self, directory: int, *, missed: bool) -> None:
        """Somebody lists the directory: asks for the directories that a walk comes to next."""
        for parent, chunk in self._walks.listed(directory, missed=missed):
            self._launch_chunk(parent, chunk, "walk_ahead")

    def _launch_chunk(self, parent: int, chunk: Chunk, what: str, landed: Landed = lambda answered: None) -> None:
        def ended(answered: bool) -> None:
            self._walks.ended(parent, chunk)
            landed(answered)

        start = self.start_of(chunk.first)
        ask = self._requests.asking(ROOT, start, b"", what, chunk.first)
        self._launch(Flight(ROOT, start, self._end_of(chunk.last)), ask, ended)

    def _launch(self, flight: Flight, ask: Ask, landed: Landed = lambda answered: None) -> None:
        def ended() -> None:
            self._flights.remove(flight)
            try:
                landed(flight.failure is None)
            except Exception:  # a defect in what is only a help must not end the mount
                log.exception("listing ahead failed")

        self._flights.append(flight)
        if not self._requests.begin(flight, ask, ended):  # the mount is being stopped
            self._flights.remove(flight)
            flight.done.set()
