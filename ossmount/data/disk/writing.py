"""Writing cache files."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

_MOST_VIEWS = 512  # of one pwritev(); the kernel takes 1,024


def create(path: str) -> int:
    """Opens a cache file for writing, made when it is not there, as it is when it is."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        return os.open(path, flags, 0o600)


def write_all(file: int, views: Sequence[memoryview], offset: int) -> None:
    """Writes all of the views, one behind the other. Raises OSError, ENOSPC when the disk takes only a part."""
    for first in range(0, len(views), _MOST_VIEWS):
        group = views[first : first + _MOST_VIEWS]
        wanted = sum(map(len, group))
        if os.pwritev(file, group, offset) != wanted:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        offset += wanted
