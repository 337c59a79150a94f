"""Fetches that OSS has denied: repeated when there are other credentials by now, or when they have come."""

from __future__ import annotations

from collections.abc import Callable

import trio

from ossmount.errors import CredentialsRefused, Denied, OssMountError, Unavailable
from ossmount.oss.fetch.pending import Pending, on_trios_clock

#: Calls the last argument once there are other credentials, or when the scope has ended: with whether there are.
Hold = Callable[[trio.CancelScope, Callable[[bool], None]], None]


class Denials:
    """Of one slot. Everything runs on the event loop's thread."""

    def __init__(
        self,
        generation: Callable[[], int],
        hold: Hold,
        start: Callable[[int, Pending], None],
        finish: Callable[[int, OssMountError], None],
    ) -> None:
        """generation: of the credentials as they are now, of which the processes were told."""
        self._generation = generation
        self._hold = hold
        self._start = start
        self._finish = finish

    def repeats(self, number: int, pending: Pending, failure: Denied) -> bool:
        """Whether a fetch that was denied goes on.

        Once only where OSS did not say that the credentials are the reason; else as often as there are others in time.
        """
        refused = isinstance(failure, CredentialsRefused)
        if pending.cancelled or (pending.denied and not refused):
            return False
        pending.denied = True
        if self._generation() != pending.generation:
            self._start_again(number, pending)
        elif refused:
            self.wait(number, pending, failure)
        else:
            return False
        return True

    def wait(self, number: int, pending: Pending, failure: OssMountError) -> None:
        """Until there are other credentials, its deadline (it fails with the failure then), or its cancellation."""
        pending.waiting = scope = trio.CancelScope(deadline=on_trios_clock(pending.deadline))

        def ended(renewed: bool) -> None:
            pending.waiting = None
            if pending.ended:
                return
            if pending.cancelled:
                self._finish(number, Unavailable("cancelled: nobody waits any more"))
            elif renewed:
                self._start_again(number, pending)
            else:
                self._finish(number, failure)

        self._hold(scope, ended)

    def _start_again(self, number: int, pending: Pending) -> None:
        pending.generation = self._generation()
        self._start(number, pending)
