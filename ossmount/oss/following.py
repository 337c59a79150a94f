"""OSS symlinks as the objects they point to, for mounts that show no symbolic links (no_symlink).

A listing tells nothing of a symlink's target, but HEAD and GET of the symlink's own key answer with the target's size, ETag
and bytes. So each symlink of a page costs one HEAD.
"""

from __future__ import annotations

import trio

from ossmount.errors import NotFound, OssMountError
from ossmount.model import ListPage, ObjectInfo
from ossmount.oss.interface import ObjectLister


class FollowingLister:
    """An ObjectLister whose listings show the targets of symlinks. A link whose target is missing is not listed."""

    def __init__(self, lister: ObjectLister) -> None:
        self._lister = lister

    async def list_page(
        self, prefix: bytes, *, delimiter: bytes = b"", start_after: bytes = b"", token: str = "", max_keys: int = 1000
    ) -> ListPage:
        page = await self._lister.list_page(
            prefix, delimiter=delimiter, start_after=start_after, token=token, max_keys=max_keys
        )
        targets: dict[bytes, ObjectInfo | None] = {}
        failures: list[OssMountError] = []

        async def follow(key: bytes) -> None:
            try:
                targets[key] = await self._lister.head(key)
            except NotFound:
                targets[key] = None
            except OssMountError as failure:  # out of the nursery as it is, not in a group
                failures.append(failure)

        links = [info.key for info in page.objects if info.object_type == "Symlink"]
        async with trio.open_nursery() as nursery:
            for key in links:
                nursery.start_soon(follow, key)
        if failures:
            raise failures[0]
        seen = (targets.get(info.key, info) for info in page.objects)
        return page._replace(objects=[info for info in seen if info is not None])

    async def head(self, key: bytes) -> ObjectInfo:
        return await self._lister.head(key)

    async def symlink_target(self, key: bytes) -> bytes:
        return await self._lister.symlink_target(key)
