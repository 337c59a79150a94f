"""Listings as bytes: what is packed from two shared pieces and a name is the kernel's struct, field by field."""

from __future__ import annotations

import math

import hypothesis
from hypothesis import strategies as st

from ossmount.channel.kernel_channel import packing, protocol
from ossmount.channel.kernel_channel.packing import BLOCK_SIZE, FOREVER
from ossmount.filesystem.interface import Common, DirectoryEntry

BIG = st.integers(0, (1 << 63) - 1)
VALID = st.sampled_from((0.0, 1.25, 60.0, math.inf))
COMMONS = st.lists(
    st.builds(
        Common, st.sampled_from((0o100644, 0o40755, 0o120777)), st.just(1), st.integers(0, 9), st.integers(0, 9), VALID, VALID
    ),
    min_size=1,
    max_size=3,
)
AGE = 0.25  # seconds


@st.composite
def listings(draw: st.DrawFn) -> list[DirectoryEntry]:
    """Entries of which many share their common part, as one object and as equal ones."""
    commons = draw(COMMONS)
    entry = st.builds(
        DirectoryEntry,
        st.binary(min_size=1, max_size=255),
        BIG,
        BIG.map(lambda size: size >> 1),
        st.integers(-(10**18), 10**18),
        BIG,
        st.sampled_from(commons),
    )
    return draw(st.lists(entry, max_size=12))


def left(seconds: float) -> tuple[int, int]:
    return (FOREVER, 0) if seconds == math.inf else packing.validity(seconds - AGE)


@hypothesis.settings(deadline=None)
@hypothesis.given(listings(), st.integers(0, 3), st.integers(0, 4000))
def test_readdirplus(names: list[DirectoryEntry], first: int, room: int) -> None:
    buffer = bytearray(b"\xaa" * 8000)
    position, index = packing.put_directory_entries_plus(buffer, 16, 16 + room, names, first, AGE)
    at = 16
    for name, node, size, mtime_ns, following, common in names[first:index]:
        fields = protocol.DIRENTPLUS.unpack_from(buffer, at)
        entry_s, entry_ns = left(common.entry_valid)
        attr_s, attr_ns = left(common.attr_valid)
        seconds, rest = divmod(mtime_ns, 10**9)
        assert fields[:6] == (node, 0, entry_s, attr_s, entry_ns, attr_ns)
        assert fields[6:15] == (node, size, -(-size // 512), *(seconds,) * 3, *(rest,) * 3)
        assert fields[15:22] == (common.mode, common.nlink, common.uid, common.gid, 0, BLOCK_SIZE, 0)
        assert fields[22:] == (node, following, len(name), common.mode >> 12)
        padded = -(-len(name) // 8) * 8
        assert buffer[at + 152 : at + 152 + padded] == name.ljust(padded, b"\0")
        at += 152 + padded
    assert at == position <= 16 + room
    if index < len(names):
        assert at + 152 + len(names[index].name) > 16 + room - 8  # the next one has no room
    assert buffer[position:] == b"\xaa" * (8000 - position)


@hypothesis.settings(deadline=None)
@hypothesis.given(listings(), st.integers(0, 3), st.integers(0, 1000))
def test_readdir(names: list[DirectoryEntry], first: int, room: int) -> None:
    buffer = bytearray(b"\xaa" * 8000)
    position, index = packing.put_directory_entries(buffer, 16, 16 + room, names, first)
    at = 16
    for name, node, _, _, following, common in names[first:index]:
        assert protocol.DIRENT.unpack_from(buffer, at) == (node, following, len(name), common.mode >> 12)
        padded = -(-len(name) // 8) * 8
        assert buffer[at + 24 : at + 24 + padded] == name.ljust(padded, b"\0")
        at += 24 + padded
    assert at == position <= 16 + room
    if index < len(names):
        assert at + 24 + len(names[index].name) > 16 + room - 8
    assert buffer[position:] == b"\xaa" * (8000 - position)
