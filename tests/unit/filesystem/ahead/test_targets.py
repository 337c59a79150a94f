from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ossmount.filesystem.ahead.targets import Kept, NodeSet


@settings(deadline=None, max_examples=50)
@given(st.sets(st.integers(0, 1 << 40), max_size=50), st.lists(st.integers(0, 1 << 40), max_size=50))
def test_a_node_set_is_a_set(members: set[int], asked: list[int]) -> None:
    nodes = NodeSet()
    for member in members:
        nodes.add(member)
    for number in [*members, *asked, *(member ^ 1 for member in members)]:
        assert (number in nodes) == (number in members)


def test_what_was_read_long_ago_counts_as_dropped() -> None:
    kept = Kept(1000)
    for node in range(100):
        kept.add(node, 100)
        assert node in kept
    assert 98 in kept
    assert 50 not in kept
