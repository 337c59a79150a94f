"""The scheduler of look-ahead: asks the sources for files and has them fetched, within what memory and network leave free.

Everything runs on the event loop's thread. A READ costs it an append (note()); the READs are looked at in turns of a few
milliseconds by run(). What ends a fetch starts the next one at once. Nothing here waits for anything that a reader needs,
and nothing that goes wrong here is told to a reader: it is counted, and look-ahead pauses.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

import trio

from ossmount.data.interface import Outcome, Prefetcher
from ossmount.errors import OssMountError
from ossmount.filesystem.ahead.epoch import Epoch
from ossmount.filesystem.ahead.folders import Folders
from ossmount.filesystem.ahead.pace import Gate, Landing, Pace
from ossmount.filesystem.ahead.targets import Kept, Source, Target
from ossmount.filesystem.ahead.told import ToldList
from ossmount.metadata.interface import KnownTree
from ossmount.model import Node

log = logging.getLogger(__name__)

TURN = 0.005  # seconds between two looks at what was read
IDLE_TURN = 0.05  # the same while nobody tells and no guess pays: there is nothing to be quick with
TICK = 1.0  # seconds between two looks at memory and latency
NOTED = 1 << 14  # READs remembered for a turn
FAILURES = 16  # in a row; then look-ahead pauses
PAUSE = (0.5, 2.0)  # seconds, at first and at most: a told list goes on soon after an outage has ended
DEFECT = 60.0  # seconds of pause after a failure that is our own
RANKS = 3  # of sources
IDLE = 300.0  # seconds after which what was fetched for readers that never came gives way

Ticket = tuple[Source, Target, float, bool]  # when it began, and whether it is for the kernel


class Scheduler:
    """Look-ahead across files of one mount."""

    def __init__(
        self,
        tree: KnownTree,
        prefetcher: Prefetcher,
        *,
        connections: int,
        latency: Callable[[], float | None],
        memory: Callable[[], int],
        want_kernel: Callable[[], None],
        served: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        """connections: that fetches may use at all. latency: of the store, in seconds. memory: bytes that are available to
        this process now. want_kernel: called once, when files are going to be stored in the kernel's page cache. served:
        whether what readers ask for comes from local disks anyway."""
        self._tree = tree
        self._prefetcher = prefetcher
        self._latency = latency
        self._memory = memory
        self._want_kernel = want_kernel
        self._served = served
        self._kernel_wanted = False
        self._guesses = True  # a guess paid when that was last looked at
        self._clock = clock
        self._budget = memory() // 2  # bytes stored in the kernel's page cache and not read
        self._kept = Kept(self._budget)
        self._gate = Gate()
        self._landing = Landing()
        self._pace = Pace(connections * 7 // 8)
        self._epoch = Epoch(tree, self._kept)
        self._pass = (self._epoch.passes, 0.0)  # its number, and when it was first seen
        self._folders = Folders(tree)
        self._lists: list[ToldList] = []
        self._left: list[ToldList] = []  # whose clients are done, and whose files are not all read yet
        self._noted: deque[Node] = deque(maxlen=NOTED)
        self._wake = trio.Event()
        self._waking = False
        self._under_way = 0
        self._for_kernel = 0  # bytes of those under way that are to be stored
        # What lies in the slab: for each rank the nodes, oldest first.
        self._staged: tuple[OrderedDict[int, Ticket], ...] = tuple(OrderedDict() for _ in range(RANKS))
        self._advancing = False
        self._blocked: dict[Source, Target] = {}  # what there was no room for
        self._returning: set[int] = set()  # nodes whose fetch was ended because nobody wants them any more
        self._next_tick = 0.0
        self._failures = 0
        self._pause = PAUSE[0]
        self._paused_until = 0.0
        self._counts = dict.fromkeys(("fetched", "stored", "failed", "given_back", "staged_read"), 0)

    # -- what READs and clients tell

    def note(self, node: Node) -> None:
        """A READ of the first bytes of a small file. Must cost nothing: 0.2 microseconds."""
        self._noted.append(node)
        if not self._waking:
            self._rouse()

    def _rouse(self) -> None:
        """The task looks at what is there: from now on as often as that demands."""
        self._waking = True
        self._wake.set()

    def open_list(self) -> ToldList:
        """A client begins to tell an order. Close it with close_list()."""
        told = ToldList(self._kept)
        self._lists.append(told)
        self._epoch.reads = 0  # what spoke for a guess is what they know better now
        self._rouse()
        return told

    def told(self) -> None:
        """A list has got more files."""
        self._advance()

    def close_list(self, told: ToldList) -> None:
        """The client is gone. Of a list that is not done everything is given back."""
        self._lists.remove(told)
        self._blocked.pop(told, None)
        if told.done:
            self._left.append(told)
            self._sort_out()
        else:
            self._abandon(told)
        self._advance()

    def _abandon(self, told: ToldList) -> None:
        for target in told.abandon():
            self._give_back(target)

    def _sort_out(self) -> None:
        """Parts from the lists that readers are done with."""
        for told in [told for told in self._left if not told.awaited]:
            self._left.remove(told)
            self._abandon(told)

    # -- the task

    async def run(self, started: Callable[[], None]) -> None:
        """Looks at READs, memory and latency until it is cancelled."""
        started()
        while True:
            with trio.move_on_after(TICK if self._under_way or self._lists or any(self._staged) else float("inf")):
                await self._wake.wait()
            self.turn()
            await trio.sleep(TURN if self._guesses or self._lists or self._left else IDLE_TURN)

    def turn(self) -> None:
        """Looks at what was read since the last turn."""
        self._wake = trio.Event()
        self._waking = False
        try:
            self._gate.update(self._latency())
            self._look(self._clock())
            if self._clock() >= self._next_tick:
                self._tick()
        except Exception:
            self._defect()
        self._advance()

    def _defect(self) -> None:
        """Guesses that fail must not end a mount that works."""
        log.exception("look-ahead failed; it pauses")
        self._paused_until = self._clock() + DEFECT

    def _look(self, now: float) -> None:
        noted, self._noted = self._noted, deque(maxlen=NOTED)
        guess = self._guesses = self._may_guess(now)  # if not, nobody looks for an order: much of the work for a file
        staged, told = any(self._staged), bool(self._lists or self._left)
        for node in noted:
            number = node.id
            self._kept.read(number, node.size)
            if staged and self._unstage(number) is not None:
                self._counts["staged_read"] += 1
            if (told and self._is_told(number)) or not guess:
                continue  # what was told says nothing about what else will be read
            try:
                directory = self._tree.parent_of(number)
                self._epoch.read(number, directory, self._folders.read(number, directory))
            except OssMountError:
                continue  # the node is gone meanwhile
        if self._epoch.passes != self._pass[0]:
            self._pass = (self._epoch.passes, now)
        self._sort_out()
        for number in self._folders.passed() if guess else ():
            # Perhaps it is read later, at random: it stays as long as nobody needs the room.
            ticket = self._staged[self._folders.rank].pop(number, None)
            if ticket is not None:
                self._staged[-1][number] = ticket

    def _may_guess(self, now: float) -> bool:
        """Guesses are for what OSS would have to be asked for: a file in the cache on disk comes as soon without."""
        return not self._served() and (self._gate.open or self._landing.pays(now))

    def _is_told(self, node: int) -> bool:
        found = False
        for told in (*self._lists, *self._left):  # one file may be in several
            found = told.read(node) or found
        return found

    def _unstage(self, node: int) -> Ticket | None:
        for staged in self._staged:
            if node in staged:
                return staged.pop(node)
        return None

    def _tick(self) -> None:
        self._next_tick = self._clock() + TICK
        self._budget = self._memory() // 2
        self._kept.size = self._budget
        idle = self._clock() - IDLE
        for staged in self._staged:
            while staged:
                _, target, since, _ = next(iter(staged.values()))
                if since > idle:
                    break
                self._give_back(target)

    # -- fetching

    def _sources(self, now: float) -> Sequence[Source]:
        """In the order in which they are served. While somebody tells, nobody guesses."""
        if self._lists:
            self._lists.append(self._lists.pop(0))
        if self._lists or self._left:
            return self._lists  # obeyed also where guessing does not pay
        if self._served():
            return ()
        if self._gate.open:
            return (self._folders, self._epoch)
        return (self._epoch,) if self._landing.pays(now) else ()

    def _advance(self) -> None:
        """Fetches as much as may be under way. Cheap when there is nothing to do."""
        if self._advancing or self._under_way >= self._pace.limit:
            return
        now = self._clock()
        if now < self._paused_until:
            return
        self._advancing = True
        try:
            while self._under_way < self._pace.limit and now >= self._paused_until and self._next(now):
                pass
        except Exception:
            self._defect()
        finally:
            self._advancing = False

    def _next(self, now: float) -> bool:
        """Starts one fetch; False when there is nothing to fetch or no room."""
        room = self._budget - self._stored_unread() - self._for_kernel
        for source in self._sources(now):
            target = self._blocked.pop(source, None)
            if target is not None and not source.wants(target):
                source.missed(target)
                target = None
            target = target or source.next()
            if target is not None and self._start(source, target, room, now):
                return True
        return False

    def _stored_unread(self) -> int:
        stored = self._epoch.stored_unread()
        for told in (*self._lists, *self._left):
            stored += told.stored_unread()
        return stored

    def _start(self, source: Source, target: Target, room: int, began: float) -> bool:
        probe = source.probes == 1 or target.node % source.probes == 0 or target.version.size > room
        probe = probe or not self._landing.pays(began)
        if not probe and not self._kernel_wanted:
            self._kernel_wanted = True
            self._want_kernel()

        def done(outcome: Outcome) -> None:
            self._ended((source, target, began, not probe), outcome)

        self._epoch.fetched(target.node)
        self._under_way += 1
        if not probe:
            self._for_kernel += target.version.size
            self._landing.started()
        while not self._prefetcher.prefetch(target.version, 0 if probe else target.node, done):
            if not self._make_room(source):
                self._leave(target, not probe)
                if not probe:
                    self._landing.undone()
                self._blocked[source] = target
                return False
        return True

    def _leave(self, target: Target, for_kernel: bool) -> None:
        self._under_way -= 1
        if for_kernel:
            self._for_kernel -= target.version.size

    def _make_room(self, source: Source) -> bool:
        """Gives back a told file that its readers have passed by, or the oldest staged one of a source after this one.

        Where there is none, one that was guessed in a former pass and that nobody wanted.
        """
        for told in (*self._lists, *self._left):
            spare = told.spare()
            if spare is not None:
                self._give_back(spare)
                return True
        for staged in self._staged[: source.rank : -1]:
            for _, target, *_ in staged.values():
                self._give_back(target)
                return True
        for _, target, since, _ in self._staged[self._epoch.rank].values():
            if since < self._pass[1]:
                self._give_back(target)
                return True
            break
        return False

    def _give_back(self, target: Target) -> None:
        self._counts["given_back"] += 1
        ticket = self._unstage(target.node)
        if ticket is None:
            self._returning.add(target.node)
        else:
            ticket[0].returned(target)
        self._prefetcher.give_back(target.version)

    def _ended(self, ticket: Ticket, outcome: Outcome) -> None:
        source, target, began, for_kernel = ticket
        now = self._clock()
        self._leave(target, for_kernel)
        if for_kernel and outcome in (Outcome.STORED, Outcome.STAGED):
            self._landing.ended(outcome is Outcome.STORED, now)
        elif for_kernel:
            self._landing.undone()
        returned = target.node in self._returning
        self._returning.discard(target.node)
        if outcome is Outcome.FAILED and returned:
            source.missed(target)
        elif outcome is Outcome.FAILED:
            self._failed(source, target)
        elif outcome is Outcome.LEFT_OUT:
            source.missed(target)
        else:
            self._failures = 0
            self._pause = PAUSE[0]
            self._pace.took(now - began)
            self._counts["fetched"] += 1
            stored = outcome is Outcome.STORED
            source.took(target, stored)
            if stored:
                self._counts["stored"] += 1
                self._kept.add(target.node, target.version.size)
            elif outcome is Outcome.STAGED:
                self._staged[source.rank][target.node] = (source, target, now, for_kernel)
        self._advance()

    def _failed(self, source: Source, target: Target) -> None:
        self._counts["failed"] += 1
        source.missed(target)
        self._pace.failed()
        self._failures += 1
        if self._failures >= FAILURES:
            self._failures = 0
            self._paused_until = self._clock() + self._pause
            self._pause = min(PAUSE[1], self._pause * 2)

    # -- what it says of itself

    def facts(self) -> dict[str, object]:
        return {
            **self._counts,
            "on": self._gate.open,
            "epoch": self._epoch.active,
            "under_way": self._under_way,
            "at_most": self._pace.limit,
            "staged": sum(map(len, self._staged)),
            "stored_unread": self._stored_unread(),
            "kernel_budget": self._budget,
            "lists": len(self._lists),
        }
