"""What list() reads many at a time is what it would read name by name."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from unittest import mock

import hypothesis
import trio
import trio.testing
from hypothesis import strategies as st

from ossmount.metadata import answers
from ossmount.metadata.answers import Answers
from ossmount.metadata.interface import Named
from ossmount.metadata.keys import SUFFIX
from ossmount.metadata.namespace import TreeNamespace
from tests.unit.metadata.fake_lister import FakeLister, running, soon

NAMES = st.sampled_from([b"a", b"a-", b"b", b"b!", b"c", b"cc", b"d" + SUFFIX, b"d" + SUFFIX + SUFFIX, b"e", b"f" * 255])
OBJECTS = st.dictionaries(
    NAMES | NAMES.map(lambda name: name + b"/x"),
    st.sampled_from((("Normal", "Standard"), ("Normal", "Standard"), ("Normal", "IA"), ("Symlink", "Standard"))),
    max_size=14,
)


async def pages(namespace: TreeNamespace, after: bytes) -> list[list[Named]]:
    """What list() gives from a name on until its end, batch by batch."""
    found: list[list[Named]] = []
    while batch := list(await soon(namespace.list(1, after))):
        found.append(batch)
        after = batch[-1].name
    return found


def by_name() -> AbstractContextManager[object]:
    return mock.patch.object(Answers, "_plain_rows", lambda *_: None)


@hypothesis.settings(deadline=None, max_examples=40)
@hypothesis.example(dict.fromkeys((b"a", b"a-", b"a/x"), ("Normal", "Standard")), 4, 2, True, True)  # "a" waits for "a/"
@hypothesis.given(OBJECTS, st.integers(1, 5), st.integers(1, 6), st.booleans(), st.booleans())
def test_plain_objects_are_listed_as_others_are(
    objects: dict[bytes, tuple[str, str]], batch: int, page: int, symlinks: bool, directories: bool
) -> None:
    def lister() -> FakeLister:
        made = FakeLister([b"target"], page_limit=page)
        for key, (object_type, storage_class) in objects.items():
            if directories or b"/" not in key:
                made.put(key, key, object_type=object_type, storage_class=storage_class)
                made.targets[key] = b"target"
        return made

    async def main(folder: str) -> None:
        with by_name():
            async with running(lister(), Path(folder, "by name"), symlinks=symlinks) as namespace:
                expected = [named.name for names in await pages(namespace, b"") for named in names]
        async with running(lister(), Path(folder, "many"), symlinks=symlinks) as namespace:
            every = [named for names in await pages(namespace, b"") for named in names]
            assert [named.name for named in every] == expected
            for behind, after in enumerate((b"", *expected)):
                quickly = await pages(namespace, after)
                with by_name():
                    assert await pages(namespace, after) == quickly
                assert [named for names in quickly for named in names] == every[behind:]

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(answers, "BATCH", batch):
        trio.run(main, folder, clock=trio.testing.MockClock())  # it stands still: validities are the same
