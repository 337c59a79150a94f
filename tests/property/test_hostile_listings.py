"""Listings that no store should give: whatever they hold, whoever asks gets an answer or an error, nothing hangs, and the store
stays in order."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ossmount.errors import OssMountError
from ossmount.metadata.interface import ROOT
from ossmount.metadata.namespace import TreeNamespace
from ossmount.model import ListPage, ObjectInfo
from tests.unit.metadata.crashes import audit
from tests.unit.metadata.fake_lister import EPOCH, FakeLister, running, soon, walk

PREFIX = b"p/"
MOST = 300  # requests for one question of a tree of some ten keys

names = st.sampled_from([b"a", b"b", b"a-", b"a0", b"", b".", b"..", b"\xff", b"x" * 300, b"nul\0", "é".encode(), b"\n"])
keys = st.builds(
    lambda outside, parts: outside + b"/".join(parts),
    st.sampled_from([PREFIX, PREFIX, PREFIX, b"", b"q/"]),
    st.lists(names, min_size=1, max_size=4),
)
objects = st.builds(
    ObjectInfo,
    keys,
    st.sampled_from([0, 1, 2**40, 2**62, -1]),
    st.sampled_from([0, 10**18, -1, 2**62]),
    st.sampled_from(["e" * 32, "f" * 32, "", "x" * 5000, "\u20ac"]),
    st.sampled_from(["Normal", "Symlink", "Odd\u20ac"]),
    st.sampled_from(["Standard", "IA", ""]),
)
pages = st.builds(
    ListPage,
    st.one_of(
        st.lists(objects, max_size=8), st.lists(objects, max_size=8).map(lambda found: sorted(found, key=lambda info: info.key))
    ),
    st.one_of(st.just([]), st.lists(keys.map(lambda key: key + b"/"), max_size=4), st.lists(keys, max_size=2)),
    st.sampled_from(["", "", "more", "more"]),
)


class HostileLister(FakeLister):
    """Answers the truth or, in turn, one of some pages."""

    def __init__(self, hostile: list[ListPage | None]) -> None:
        super().__init__([PREFIX + key for key in (b"a", b"a/b", b"a/c/d", b"b/e", b"z")], page_limit=2)
        self.hostile = hostile

    async def list_page(
        self, prefix: bytes, *, delimiter: bytes = b"", start_after: bytes = b"", token: str = "", max_keys: int = 1000
    ) -> ListPage:
        page = await super().list_page(prefix, delimiter=delimiter, start_after=start_after, token=token, max_keys=max_keys)
        return self.hostile[len(self.requests) % len(self.hostile)] or page


async def ask_everything(namespace: TreeNamespace, lister: HostileLister) -> None:
    for question in (
        lambda: walk(namespace),
        lambda: soon(namespace.lookup(ROOT, b"a")),
        lambda: soon(namespace.lookup(ROOT, b"none")),
        lambda: namespace.revalidate(ROOT),
        lambda: namespace.build(),
        lambda: walk(namespace),
    ):
        before = len(lister.requests)
        with contextlib.suppress(OssMountError):
            await question()
        assert len(lister.requests) - before < MOST
        trio.lowlevel.current_clock().jump(61)  # type: ignore[attr-defined]


@settings(
    deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.lists(st.one_of(st.none(), pages), min_size=1, max_size=5))
def test_nothing_that_a_listing_holds_does_harm(hostile: list[ListPage | None]) -> None:
    async def main(directory: Path) -> None:
        lister = HostileLister(hostile)
        async with running(lister, directory, prefix=PREFIX, now=lambda: EPOCH + trio.current_time()) as namespace:
            await ask_everything(namespace, lister)
            audit(namespace._store)
            lister.hostile = [None]
            trio.lowlevel.current_clock().jump(61)  # type: ignore[attr-defined]
            wanted = {b"a", b"a.~file~", b"a/b", b"a/c", b"a/c/d", b"b", b"b/e", b"z"}
            assert (await walk(namespace)).keys() == wanted

    with tempfile.TemporaryDirectory() as directory:
        trio.run(main, Path(directory), clock=trio.testing.MockClock())
