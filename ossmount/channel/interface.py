"""What every channel offers to the daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

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


class Channel(Kernel, Protocol):
    """One mounted connection to the kernel."""

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serves until the file system is unmounted or the task is cancelled; calls ready once INIT is answered."""
        ...

    def unmount(self) -> None:
        """Detaches the mount (also a busy one, lazily) so that serve() ends. Idempotent, never blocks for a reader."""
        ...

    def facts(self) -> dict[str, object]:
        """What `ossmount status` shows: name, what was agreed in INIT, open=skip|ask and why, counters by opcode."""
        ...
