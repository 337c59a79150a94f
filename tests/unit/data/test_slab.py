from __future__ import annotations

import mmap
import os

import pytest

from ossmount.data.slab import Slab, cut


def test_another_mapping_of_the_descriptor_sees_the_same_bytes() -> None:
    slab = Slab(10_000)
    try:
        assert slab.size == 8192 == len(slab.view)
        with mmap.mmap(slab.fd, slab.size) as other:
            other[4096:4100] = b"abcd"
            assert bytes(slab.view[4096:4100]) == b"abcd"
        assert not os.get_inheritable(slab.fd)
    finally:
        slab.close()


def test_closing_twice_and_with_a_view_in_use() -> None:
    slab = Slab(4096)
    view = slab.view[:10]
    slab.close()
    slab.close()
    assert bytes(view) == bytes(10)


@pytest.mark.parametrize("size", [0, 4095, -4096])
def test_too_small(size: int) -> None:
    with pytest.raises(ValueError, match="at least 4096"):
        Slab(size)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (100, 160, [(0, 10), (50, 30), (20, 20)]),  # all
        (105, 145, [(5, 5), (50, 30), (20, 5)]),
        (110, 140, [(50, 30)]),
        (112, 113, [(52, 1)]),
        (90, 100, []),
        (160, 200, []),
    ],
)
def test_pieces_of_a_part_of_an_object(start: int, end: int, expected: list[tuple[int, int]]) -> None:
    assert cut([(0, 10), (50, 30), (20, 20)], 100, start, end) == expected
