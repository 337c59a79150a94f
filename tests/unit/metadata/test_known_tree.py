"""What the store knows, read without asking OSS."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from ossmount.errors import StaleNode
from ossmount.model import Found, Kind, Node
from tests.unit.metadata.fake_lister import FakeLister, running, soon, walk


def names(nodes: list[Node]) -> list[bytes]:
    return [node.key for node in nodes]


def test_known_nodes_come_in_pieces_in_order_and_cost_no_request(tmp_path: Path) -> None:
    keys = [b"d/%03d" % number for number in range(50)] + [b"d/007/inner", b"d/sub/x"]

    async def main() -> None:
        lister = FakeLister(keys)
        async with running(lister, tmp_path) as namespace:
            await walk(namespace)
            asked = lister.lists
            directory = await soon(namespace.lookup(1, b"d"))
            assert isinstance(directory, Found)
            nodes: list[Node] = []
            start: bytes | None = b""
            while start is not None:
                some, start = namespace.known(directory.node.id, start, 7)
                assert len(some) in range(9)  # both sides of a name come together
                nodes += some
            wanted = {*keys, b"d/007/", b"d/sub/"} - {b"d/007/inner", b"d/sub/x"}
            assert set(names(nodes)) == wanted
            assert len(nodes) == len(wanted)
            assert [node for node in names(nodes) if not node.endswith(b"/")] == sorted(wanted - {b"d/007/", b"d/sub/"})
            (tenth,) = [node for node in nodes if node.key == b"d/010"]
            assert names(list(namespace.known_behind(tenth.id, 3))) == [b"d/011", b"d/012", b"d/013"]
            assert namespace.parent_of(tenth.id) == directory.node.id
            assert namespace.parent_of(directory.node.id) == namespace.parent_of(1) == 1
            (sub,) = [node for node in nodes if node.key == b"d/sub/"]
            assert sub.kind is Kind.DIRECTORY
            with pytest.raises(StaleNode):
                namespace.parent_of(12345)
            assert lister.lists == asked

    trio.run(main, clock=trio.testing.MockClock())


def test_a_version_that_is_gone_is_not_known(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(FakeLister([b"a", b"b"]), tmp_path) as namespace:
            found = await soon(namespace.lookup(1, b"a"))
            assert isinstance(found, Found)
            namespace.version_gone(found.node.id)
            assert names(list(namespace.known(1, b"", 10)[0])) == [b"b"]

    trio.run(main, clock=trio.testing.MockClock())
