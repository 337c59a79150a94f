from __future__ import annotations

import pytest
import trio

from ossmount.errors import Denied, NotFound
from ossmount.model import ListPage, ObjectInfo
from ossmount.oss.following import FollowingLister

FILE = ObjectInfo(b"file", 5, 1, "F")
LINK = ObjectInfo(b"link", 0, 1, "L", "Symlink")
DANGLING = ObjectInfo(b"lost", 0, 1, "D", "Symlink")
TARGET = ObjectInfo(b"link", 9, 2, "T", "Symlink")


class Lister:
    def __init__(self, failure: Exception) -> None:
        self.failure = failure
        self.heads: list[bytes] = []

    async def list_page(
        self, prefix: bytes, *, delimiter: bytes = b"", start_after: bytes = b"", token: str = "", max_keys: int = 1000
    ) -> ListPage:
        return ListPage([FILE, LINK, DANGLING], [b"folder/"], "next")

    async def head(self, key: bytes) -> ObjectInfo:
        self.heads.append(key)
        if key == LINK.key:
            return TARGET
        raise self.failure

    async def symlink_target(self, key: bytes) -> bytes:
        return b"target of " + key


def test_links_are_listed_as_their_targets_and_lost_ones_not_at_all() -> None:
    inner = Lister(NotFound("x"))
    page = trio.run(FollowingLister(inner).list_page, b"")
    assert page == ListPage([FILE, TARGET], [b"folder/"], "next")
    assert sorted(inner.heads) == [b"link", b"lost"]


def test_a_head_that_fails_otherwise_fails_the_listing() -> None:
    with pytest.raises(Denied):
        trio.run(FollowingLister(Lister(Denied("x"))).list_page, b"")
