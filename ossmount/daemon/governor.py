"""How much memory and how many connections a mount may use now: a state machine, without I/O and without a clock.

The budget is what file data may take, the slab. It follows what the machine and all our cgroups leave (their limits are read
again at each look), and what the mount's processes take beside it. When there is less, whole files fetched ahead give way
first, then the windows of readers, then what is kept; demand always has its part, so that no read fails for it. It falls at
once, because the kernel kills whom it finds, and comes back in steps, one for each few calm looks.
"""

from __future__ import annotations

from typing import Final, NamedTuple

LEAST: Final = 16 << 20  # bytes of the slab; a read takes a few MiB
#: Bytes that are left to others in the tightest of machine and cgroups: a sixteenth of it, within these.
RESERVE: Final = (16 << 20, 256 << 20)
#: Bytes that the processes may take beside the slab. Measured with 1,000 files open and a list of 100,000 names: 150 MiB.
BESIDE: Final = 160 << 20
STEPS: Final = 16  # into which the limit is divided: the budget is a multiple of them
CALM: Final = 5  # looks with room for two steps more, before it grows by one
LEAST_CONNECTIONS: Final = 8


class Look(NamedTuple):
    """What was found, in bytes."""

    total: int  # memory of the machine, or of the tightest of our cgroups and their parents
    available: int  # of it, that can be had without taking anything from anybody but pages of files
    slab: int  # that the slab takes of the machine
    beside: int  # private memory of all processes of the mount


class Shares(NamedTuple):
    """What may be used. Bytes but for the connections."""

    slab: int
    ahead: int  # of it, fetched ahead and not read
    look_ahead: int  # of that, whole files before they are opened
    kernel: int  # of the kernel's page cache, for files that are stored there before they are read
    connections: int


class Governor:
    """The shares of one mount."""

    def __init__(self, limit: int, connections: int, first: Look) -> None:
        """limit: bytes that the user allows for the slab. connections: that may be used when memory is not short."""
        self._limit = limit
        self._connections = connections
        self._least = min(LEAST, limit)
        self._step = max(1, limit // STEPS)
        self._calm = 0
        self.look = first
        self.budget = limit
        self.shrunk = 0  # how often
        self.shares = self._shares()

    def __repr__(self) -> str:
        return f"<Governor: {self.budget} of {self._limit} bytes, {self.look}>"

    @property
    def reason(self) -> str:
        """Why the budget is less than the limit; "" when it is not."""
        if self.budget >= self._limit:
            return ""
        return (
            "machine or container are short of memory" if self._room() <= self._alone() else "the processes take much beside it"
        )

    def step(self, look: Look) -> Shares:
        """Takes a look into account; the shares from now on."""
        self.look = look
        target = min(self._limit, self._room(), self._alone())
        if target < self.budget:
            self._calm = 0
            fallen = max(self._least, target // self._step * self._step)
            self.shrunk += fallen < self.budget
            self.budget = min(self.budget, fallen)
        elif self.budget < self._limit and target >= min(self._limit, self.budget + 2 * self._step):
            self._calm += 1
            if self._calm >= CALM:
                self._calm = 0
                self.budget = min(self._limit, self.budget + self._step)
        else:
            self._calm = 0
        self.shares = self._shares()
        return self.shares

    def _reserve(self) -> int:
        return max(RESERVE[0], min(RESERVE[1], self.look.total // 16))

    def _room(self) -> int:
        """What the slab could take with the reserve left alone."""
        return self.look.slab + self.look.available - self._reserve()

    def _alone(self) -> int:
        """What the slab may take where the processes take much beside it. Half of the limit at least: names in memory (180 MiB
        for 200,000 of them, half of which are folders) shall not end reading ahead while the machine has room.
        """
        return max(self._limit // 2, self._limit + BESIDE - self.look.beside)

    def _shares(self) -> Shares:
        limit, budget = self._limit, self.budget
        look_ahead = max(0, budget - (limit - limit // 2))  # gone when half of the limit is
        ahead = look_ahead + min(limit // 4, budget // 2)  # then the windows shrink, with the rest
        kernel = 0 if budget < limit and not look_ahead else max(0, self.look.available - self._reserve())
        connections = max(min(self._connections, LEAST_CONNECTIONS), self._connections * budget // limit)
        return Shares(budget, ahead, look_ahead, kernel, connections)
