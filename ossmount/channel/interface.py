"""What every channel offers to the daemon."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ossmount.filesystem.interface import Kernel


class Borrower(Protocol):
    """Other processes of the daemon that write to the kernel by themselves (FUSE_NOTIFY_STORE)."""

    def lend(self, device: int, guard: int) -> None:
        """Takes over a device of the connection and a guard; whoever has the device must have the guard as well."""
        ...

    def revoke(self) -> None:
        """Closes both, soon, everywhere."""
        ...


@runtime_checkable
class Lender(Protocol):
    """A channel through which other processes can write to the kernel as well."""

    def lend_to(self, borrower: Borrower) -> None:
        """Lends a device until the connection ends; nothing where the kernel keeps no pages."""
        ...


class Ended(NamedTuple):
    """A request of the kernel that was answered."""

    operation: str  # READ, LOOKUP, …
    node: int
    name: bytes  # within the node; of LOOKUP only
    offset: int  # of READ and of listings
    size: int  # bytes asked for
    seconds: float  # from the moment it was read from the device
    errno: int


#: Called on the event loop's thread; must neither wait nor raise.
Watcher = Callable[[Ended], None]


class Observations(Protocol):
    """What a channel knows of the requests that it answered."""

    def watch(self, watcher: Watcher, slower_than: float) -> Callable[[], None]:
        """Tells of each request that takes so many seconds or more, until the function returned is called. Costs nothing
        while nobody watches."""
        ...

    def last_failures(self) -> Sequence[Mapping[str, object]]:
        """The last ones that were answered, oldest first: time (since the epoch), node, errno, error."""
        ...


@runtime_checkable
class Observable(Protocol):
    """A channel whose requests can be watched."""

    @property
    def observed(self) -> Observations: ...


class LocalCopies(Protocol):
    """Files on local disks that hold the same bytes as files of the mount, for a kernel that can read them by itself."""

    def may_have(self, node: int) -> bool:
        """Whether a node could ever have one; always the same for a node, also after a restart with other options."""
        ...

    async def open(self, node: int) -> int | None:
        """A descriptor (the caller's) of a file that has all bytes of the node, verified, and nothing else; None: there is
        none now. Soon, or None: never waits for it to become complete."""
        ...


class Backer(Protocol):
    """Who has the kernel give numbers to files that it is to read by itself (FUSE_DEV_IOC_BACKING_OPEN)."""

    def backings(self) -> set[int]:
        """All numbers of the connection that were not given back."""
        ...

    async def back(self, file: int) -> int:
        """A number for an open file, whose descriptor stays the caller's. Raises OSError. Not cancellable, and soon done."""
        ...

    def unback(self, backing: int) -> None:
        """Gives a number back. Files that are open by it stay so."""
        ...


class Mounter(Protocol):
    """Who mounts for a daemon that may not. All raise OSError, and are soon done."""

    async def mount(self, device: int, *, allow_other: bool) -> None:
        """Mounts an open device of ours, at the mountpoint that was ordered."""
        ...

    async def set_read_ahead(self, kb: int) -> None:
        """Sets the kernel's readahead of the mount, as soon as INIT was answered, and by daemons that follow; 0 leaves it."""
        ...

    async def detach(self) -> None:
        """Takes the mount away, lazily: only the one that was made by mount()."""
        ...


class Taken(NamedTuple):
    """A connection that another daemon began and this one goes on with."""

    fd: int  # the same open device that the other one read from
    agreement: Mapping[str, Any]  # what INIT agreed, as that daemon gave it to Succession.keep()
    after_death: bool  # the other one died, and did not leave


class Owed(Protocol):
    """The requests that a channel has in hand."""

    def oldest(self) -> tuple[int, int]:
        """The numbers of the READ and of the other request that are in hand longest; 0: there is none."""
        ...

    def give_up(self, number: int) -> None:
        """Answers a request with ETIMEDOUT, whatever becomes of it."""
        ...

    def lines(self) -> Iterator[str]:
        """All of them, for people."""
        ...


@runtime_checkable
class Debtor(Protocol):
    """A channel that can tell what it has in hand."""

    @property
    def owed(self) -> Owed: ...


@runtime_checkable
class Leaver(Protocol):
    """A channel whose connection another daemon can go on with."""

    def leave(self) -> None:
        """Ends serving without ending the connection; what is in hand is answered first."""
        ...


class Succession(Backer, Protocol):
    """What lets daemons follow one another on one connection: a keeper that holds it meanwhile."""

    @property
    def mounter(self) -> Mounter | None:
        """None: the daemon mounts by itself."""
        ...

    @property
    def journal(self) -> int:
        """A memfd that outlives the daemon, for the journal of requests that were sent again."""
        ...

    @property
    def alive(self) -> int:
        """The read end of a pipe that ends with the last process that could serve the connection."""
        ...

    def taken(self) -> Taken | None:
        """The connection to go on with; None: make one. Asked once, when serving begins."""
        ...

    def keep(self, fd: int, agreement: Mapping[str, Any]) -> None:
        """Hands a connection over, with all that a successor must know. The descriptor stays the caller's."""
        ...

    def left(self) -> None:
        """The connection is not touched any more: another daemon may take it."""
        ...

    def end(self) -> None:
        """The connection ends in order: nobody is to take it, and it is to be closed now."""
        ...


class Channel(Kernel, Protocol):
    """One mounted connection to the kernel."""

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serves until the file system is unmounted or the task is cancelled; calls ready once INIT is answered."""
        ...

    def unmount(self) -> None:
        """Detaches the mount (also a busy one, lazily) so that serve() ends. Idempotent, never blocks for a reader."""
        ...

    async def known(self, nodes: Sequence[int]) -> Collection[int]:
        """Of these nodes those that the kernel may still name; all of them when it cannot be asked."""
        ...

    async def caught_up(self) -> None:
        """Returns once the kernel was told of everything so far. Whoever invalidates more than some thousands of names waits
        for it now and then, or some would be lost; but no answer to the kernel does: an invalidation may wait for that one."""
        ...

    def facts(self) -> dict[str, object]:
        """What `ossmount status` shows: name, what was agreed in INIT, open=skip|ask and why, counters by opcode."""
        ...
