from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossmount.data.blocks import Blocks


def test_a_request_is_cut_from_one_run_where_one_is_long_enough() -> None:
    blocks = Blocks(100)
    assert blocks.take(30) == [(0, 30)]
    assert blocks.take(70) == [(30, 70)]
    blocks.give(0, 30)
    blocks.give(50, 20)
    assert blocks.take(25) == [(0, 25)]


def test_neighbours_are_joined() -> None:
    blocks = Blocks(12)
    for start, count in [(run[0], 3) for run in [blocks.take(3)[0] for _ in range(4)]][::2]:
        blocks.give(start, count)
    assert blocks.runs() == [(0, 3), (6, 3)]
    blocks.give(3, 3)
    assert blocks.runs() == [(0, 9)]
    blocks.give(9, 3)
    assert blocks.runs() == [(0, 12)]


def test_scattered_blocks_serve_one_request() -> None:
    blocks = Blocks(8)
    blocks.take(8)
    for start in (0, 2, 4, 6):
        blocks.give(start, 1)
    assert sorted(blocks.take(4)) == [(0, 1), (2, 1), (4, 1), (6, 1)]


@pytest.mark.parametrize("count", [0, -1, 11])
def test_more_than_there_is_cannot_be_taken(count: int) -> None:
    blocks = Blocks(10)
    with pytest.raises(ValueError, match="of 10 free"):
        blocks.take(count)
    assert blocks.free == 10


@settings(deadline=None, max_examples=50)
@given(total=st.integers(1, 300), seed=st.integers(0, 1 << 30))
def test_every_block_belongs_to_one_owner(total: int, seed: int) -> None:
    order = random.Random(seed)
    blocks = Blocks(total)
    taken: list[list[tuple[int, int]]] = []
    for _ in range(100):
        if taken and order.random() < 0.5:
            for start, count in taken.pop(order.randrange(len(taken))):
                blocks.give(start, count)
        elif blocks.free:
            wanted = order.randint(1, blocks.free)
            taken.append(blocks.take(wanted))
            assert sum(count for _, count in taken[-1]) == wanted
        runs = sorted([run for owner in taken for run in owner] + blocks.runs())
        assert sum(count for _, count in runs) == total
        assert blocks.free == sum(count for _, count in blocks.runs())
        position = 0
        for start, count in runs:
            assert start == position
            position += count
