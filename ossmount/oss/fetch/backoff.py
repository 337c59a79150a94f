"""When a failed attempt is repeated: jittered exponential backoff. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ossmount.oss.fetch.trouble import Retry

#: Seconds before the first repeat, and at most, by the kind of trouble.
FIRST: Final = {Retry.SOON: 0.02, Retry.LATER: 0.2}
MOST: Final = {Retry.SOON: 2.0, Retry.LATER: 2.0}
#: Attempts that may follow at once on closed keep-alive connections before that counts as a failing network.
_MAX_AT_ONCE: Final = 4


def delay(retry: Retry, attempts: int, damages: int, jitter: Callable[[], float]) -> float | None:
    """Seconds until the next attempt, None for never.

    attempts: failed ones in a row that brought no byte, this one included. damages: damaged answers so far, this one
    included. jitter: a random number in [0, 1).
    """
    if retry is Retry.NEVER or (retry is Retry.ONCE and damages > 1):
        return None
    if retry in (Retry.ONCE, Retry.RESIGNED) or (retry is Retry.AT_ONCE and attempts <= _MAX_AT_ONCE):
        return 0.0
    kind = Retry.LATER if retry is Retry.LATER else Retry.SOON
    full = min(MOST[kind], FIRST[kind] * 2.0 ** min(attempts - 1, 16))
    return full * (0.5 + 0.5 * jitter())
