"""Pages that are kept in memory for somebody beside the readers: the disk cache, while it writes them."""

from __future__ import annotations

from collections.abc import Callable

from ossmount.data.page_cache import PageCache
from ossmount.model import Version


def hold(cache: PageCache, version: Version, start: int, end: int, freed: Callable[[], None]) -> Callable[[], None] | None:
    """Holds the pages of a range and returns what ends that, once; None when not all of it has a page.

    freed is called after the end: memory may have come free.
    """
    pages, gaps = cache.find(version, start, end)
    if gaps:
        return None
    for page in pages:
        cache.hold(page)

    def release() -> None:
        for page in pages:
            cache.release(page)
        freed()

    return release
