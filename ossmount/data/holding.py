"""Pages that are kept in memory for somebody beside the readers: the disk cache, while it writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ossmount.data.page_cache import PageCache
from ossmount.data.slab import cut
from ossmount.model import Version


def hold(
    cache: PageCache, version: Version, start: int, targets: Sequence[tuple[int, int]], freed: Callable[[], None]
) -> Callable[[], None] | None:
    """Holds the pages that lie in the targets, from `start` of the version on, and returns what ends that, once.

    None when the pages of that range lie elsewhere by now: they were forgotten while they were fetched, and another fetch is
    under way. The targets are free memory then, or somebody else's. freed is called after the end: memory may have come free.
    """
    end = start + sum([length for _, length in targets])
    pages, gaps = cache.find(version, start, end)
    if gaps or [piece for page in pages for piece in cut(page.pieces, page.start, start, end)] != list(targets):
        return None
    for page in pages:
        cache.hold(page)

    def release() -> None:
        for page in pages:
            cache.release(page)
        freed()

    return release
