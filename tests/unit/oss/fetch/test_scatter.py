from __future__ import annotations

import pytest
from fastcrc import crc64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ossmount.oss.fetch.scatter import Scatter

GAPS_AND_LENGTHS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 20)), min_size=1, max_size=400)


def _layout(gaps: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], int]:
    targets, at = [], 0
    for gap, length in gaps:
        targets.append((at + gap, length))
        at += gap + length
    return targets, at


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100)
@given(GAPS_AND_LENGTHS, st.lists(st.integers(1, 50), max_size=50))
def test_bytes_go_where_they_belong(gaps: list[tuple[int, int]], writes: list[int]) -> None:
    """Written or received in any pieces, into any targets."""
    targets, size = _layout(gaps)
    slab = bytearray(b"\xee" * size)
    scatter = Scatter(memoryview(slab), targets[::-1])
    data = bytes(index % 200 for index in range(scatter.length))
    at = 0
    for index, amount in enumerate([*writes, *[scatter.length] * (2 + len(targets))]):
        piece = data[at : at + amount]
        if index % 2:
            scatter.write(memoryview(piece))
        elif piece:
            window = scatter.windows()[0]
            piece = piece[: len(window)]
            window[: len(piece)] = piece
            scatter.received += len(piece)
        at += len(piece)
        assert scatter.received == at
    assert at == scatter.length
    assert b"".join(slab[offset : offset + length] for offset, length in targets[::-1]) == data
    assert slab.count(0xEE) == size - len(data)
    assert scatter.crc64() == crc64.xz(data)


def test_windows_cover_the_rest_and_adjacent_targets_are_joined() -> None:
    slab = memoryview(bytearray(100))
    scatter = Scatter(slab, [(0, 10), (10, 10), (50, 5), (55, 5)])
    scatter.received = 12
    assert [len(window) for window in scatter.windows()] == [8, 10]


def test_too_much_is_refused() -> None:
    scatter = Scatter(memoryview(bytearray(10)), [(0, 5)])
    with pytest.raises(ValueError, match="more bytes"):
        scatter.write(memoryview(bytes(6)))


@pytest.mark.parametrize("target", [(-1, 5), (6, 5), (0, 0), (0, 11), (1 << 60, 1)])
def test_targets_outside_the_slab_are_refused(target: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="does not lie"):
        Scatter(memoryview(bytearray(10)), [target])
