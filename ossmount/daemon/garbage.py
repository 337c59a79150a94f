"""How often Python's garbage collector looks for cycles."""

from __future__ import annotations

import gc

#: New objects after which the garbage collector looks at them. A LIST page makes some ten thousand, which live on.
_NEW = 10_000


def collect_rarely() -> None:
    """To be called once all is imported and made: what is there now stays.

    A full collection took 17 ms for it, in the middle of the first lookup; a build of 300,000 names is a tenth cheaper.
    """
    gc.freeze()
    gc.set_threshold(_NEW)
