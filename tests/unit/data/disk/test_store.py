from __future__ import annotations

import os
import random
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from ossmount.data.disk import store
from ossmount.data.disk.layout import BLOCK, WHOLE, Label, name_of
from ossmount.data.disk.pieces import Pieces
from ossmount.data.disk.quick import QuickReader
from ossmount.model import Version

KIB, MIB = 1 << 10, 1 << 20
SIZES = st.one_of(st.integers(1, 20_000), st.integers(1, 400 * KIB), st.sampled_from([MIB, MIB + 1, 3 * MIB + 5]))
ROOM = 4 * MIB

#: (first, last) as shares of the object
PARTS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6)


def scattered(length: int, order: random.Random) -> list[tuple[int, int]]:
    """Targets in the slab for so many bytes: pieces of whole blocks, or of any length, in any order, with gaps."""
    unit = order.choice([1, BLOCK, BLOCK])
    lengths: list[int] = []
    while length:
        part = min(length, order.choice([1, 3, 200]) * unit) if len(lengths) < 40 else length
        lengths.append(part)
        length -= part
    places = list(range(len(lengths)))
    order.shuffle(places)
    offsets, at = {}, 0
    for place in places:
        offsets[place] = at
        at += lengths[place] + order.choice([0, 7])
    return [(offsets[place], part) for place, part in enumerate(lengths)]


@settings(deadline=None, max_examples=60)
@given(size=SIZES, saved=PARTS, wanted=PARTS, seed=st.integers(0, 1000))
def test_parts_saved_and_loaded_in_any_way(
    size: int, saved: list[tuple[float, float]], wanted: list[tuple[float, float]], seed: int
) -> None:
    """What is loaded is right, what was saved in whole blocks is there, and what was not is missing."""
    order = random.Random(seed)
    data = order.randbytes(size)
    slab = memoryview(bytearray(ROOM))
    buffer = memoryview(bytearray(store.BUFFER))
    name = name_of("store", Version(b"key", "etag", size))
    there: set[int] = set()  # blocks
    with tempfile.TemporaryDirectory() as root:
        for share, other in saved:
            start, end = sorted((int(share * (size - 1)), 1 + int(other * (size - 1))))
            start, end = min(start, end - 1), end
            pieces = Pieces(slab, scattered(end - start, order))
            pieces.fill(0, memoryview(data)[start:end])
            written = store.save(root, name, b"label", size, start, pieces)
            if written:
                whole = range(-(-start // BLOCK), -(-size // BLOCK) if end == size else end // BLOCK)
                there |= set(whole)
        for share, other in [*wanted, (0.0, 1.0)]:
            start, end = sorted((int(share * (size - 1)), 1 + int(other * (size - 1))))
            start = min(start, end - 1)
            slab[:] = b"\xee" * ROOM
            pieces = Pieces(slab, scattered(end - start, order))
            missing, bad = store.load(root, name, size, start, pieces, buffer, 3600.0)
            assert bad == 0
            lacking = {byte // BLOCK for first, last in missing for byte in range(first, last, BLOCK)}
            lacking |= {(last - 1) // BLOCK for _, last in missing}
            assert lacking == set(range(start // BLOCK, -(-end // BLOCK))) - there
            found = bytearray(b"".join(pieces.views(0, end - start)))
            for first, last in missing:
                assert start <= first < last <= end
                found[first - start : last - start] = data[first:last]
            assert found == data[start:end]


@settings(deadline=None, max_examples=60)
@given(size=SIZES, seed=st.integers(0, 10_000), flips=st.integers(1, 4))
def test_no_flipped_bit_is_ever_delivered(size: int, seed: int, flips: int) -> None:
    order = random.Random(seed)
    data = order.randbytes(size)
    slab = memoryview(bytearray(ROOM))
    buffer = memoryview(bytearray(store.BUFFER))
    name = name_of("store", Version(b"key", "etag", size))
    with tempfile.TemporaryDirectory() as root:
        pieces = Pieces(slab, [(0, size)])
        pieces.fill(0, memoryview(data))
        store.save(root, name, b"label", size, 0, pieces)
        for folder, _, files in os.walk(root):
            for file in files:
                with open(os.path.join(folder, file), "r+b") as opened:
                    length = os.fstat(opened.fileno()).st_size
                    for at in order.sample(range(length), min(flips, length)):
                        byte = os.pread(opened.fileno(), 1, at)[0]
                        os.pwrite(opened.fileno(), bytes([byte ^ 1 << order.randrange(8)]), at)
        slab[:] = b"\xee" * ROOM
        missing, bad = store.load(root, name, size, 0, pieces, buffer, 3600.0)
        found = bytearray(pieces.views(0, size)[0])
        for first, last in missing:
            found[first:last] = data[first:last]
        assert found == data
        if size <= WHOLE:  # also where the event loop reads it by itself
            assert QuickReader(slab, 3600.0).read(root, name, size) in (None, data)
        assert bad <= sum(-(-(last - first) // BLOCK) for first, last in missing)


def test_a_name_tells_every_part_of_the_identity_apart() -> None:
    version = Version(b"key", "etag", 5)
    others = [version._replace(key=b"k"), version._replace(etag="e"), version._replace(size=6), Version(b"tag\0key", "e", 5)]
    names = [name_of("store", other) for other in [version, *others]] + [name_of("other", version)]
    assert len(set(names)) == len(names) == 6


def test_labels_of_any_key() -> None:
    for key in (b"a/b", bytes(range(256)) * 3 + b"x" * 255, "é😀".encode()):
        label = Label("oss.example.com/bucket", key, '"etag"')
        assert Label.unpack(label.pack()) == label
