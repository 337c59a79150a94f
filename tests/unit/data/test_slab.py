from __future__ import annotations

import mmap
import os

import pytest

from ossmount.data.slab import Slab


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
