"""Ranges in any order and with overlaps: the checksum of the whole comes out exactly when they cover it."""

from __future__ import annotations

import itertools
import random

from fastcrc import crc64
from hypothesis import given
from hypothesis import strategies as st

from ossmount.data.coverage import Coverages
from ossmount.model import Version

SIZE = 10_000
DATA = random.Random(3).randbytes(SIZE)
VERSION = Version(b"key", "etag", SIZE)


def put(coverages: Coverages, start: int, end: int, version: Version = VERSION) -> int | None:
    return coverages.add(version, start, end, crc64.xz(DATA[start:end]))


@given(st.sets(st.integers(1, SIZE - 1), max_size=30), st.randoms(use_true_random=False))
def test_parts_in_any_order(cuts: set[int], chance: random.Random) -> None:
    edges = [0, *sorted(cuts), SIZE]
    parts = list(itertools.pairwise(edges))
    chance.shuffle(parts)
    coverages = Coverages()
    answers = [put(coverages, start, end) for start, end in parts]
    assert answers[:-1] == [None] * (len(parts) - 1)
    assert answers[-1] == crc64.xz(DATA)
    assert len(coverages) == 0


@given(st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE)), max_size=40))
def test_ranges_that_overlap(ranges: list[tuple[int, int]]) -> None:
    """Whatever came before, an answer is right, and the parts that are still missing bring one."""
    coverages = Coverages()
    missing = set(range(0, SIZE, 100))
    for start, length in [*ranges, *((start, 100) for start in sorted(missing)), *((start, 100) for start in missing)]:
        assert put(coverages, start, min(start + length, SIZE)) in (None, crc64.xz(DATA))


def test_a_wrong_part_is_told() -> None:
    coverages = Coverages()
    assert put(coverages, 0, 5000) is None
    assert coverages.add(VERSION, 5000, SIZE, crc64.xz(DATA[5000:-1] + b"x")) not in (None, crc64.xz(DATA))


def test_the_last_range_is_known() -> None:
    coverages = Coverages()
    assert not coverages.lacks_only(VERSION, 4096, 8192)
    put(coverages, 0, 4096)
    assert coverages.lacks_only(VERSION, 4096, SIZE) and not coverages.lacks_only(VERSION, 4096, 8192)
    put(coverages, 8192, SIZE)
    assert coverages.lacks_only(VERSION, 4096, 8192)
    assert not coverages.lacks_only(VERSION, 4096, 8000) and not coverages.lacks_only(VERSION, 4000, 8192)


def test_objects_are_covered_again_and_again() -> None:
    coverages = Coverages()
    for _ in range(3):
        assert put(coverages, 4096, SIZE) is None
        assert put(coverages, 0, 4096) == crc64.xz(DATA)


def test_versions_do_not_meet() -> None:
    coverages = Coverages()
    other = VERSION._replace(etag="other")
    assert put(coverages, 0, 5000) is None
    assert put(coverages, 5000, SIZE, other) is None
    assert put(coverages, 5000, SIZE) == put(coverages, 0, 5000, other) == crc64.xz(DATA)


def test_memory_is_bounded() -> None:
    coverages = Coverages(objects=3, stretches=10)
    for number in range(5):
        put(coverages, 0, 10, VERSION._replace(key=b"%d" % number))
    assert len(coverages) == 3 and coverages.given_up == 2
    for start in range(0, 2 * 11, 2):
        put(coverages, start, start + 1)
    assert len(coverages) == 2 and coverages.given_up == 4  # the last one gave way to this one, and this one to nobody
