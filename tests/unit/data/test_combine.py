"""The arithmetic of checksums against the checksums of the bytes themselves."""

from __future__ import annotations

from fastcrc import crc64
from hypothesis import given
from hypothesis import strategies as st

from ossmount.data.combine import combined


@given(st.binary(max_size=5000), st.binary(max_size=5000))
def test_two_parts_have_the_checksum_of_all_bytes(first: bytes, second: bytes) -> None:
    assert combined(crc64.xz(first), crc64.xz(second), len(second)) == crc64.xz(first + second)


def test_it_does_not_matter_which_parts_are_put_together_first() -> None:
    parts = [bytes([number]) * (1000 * number + 1) for number in range(3)]
    a, b, c = (crc64.xz(part) for part in parts)
    behind_a, behind_b = len(parts[1] + parts[2]), len(parts[2])
    assert combined(a, combined(b, c, behind_b), behind_a) == combined(combined(a, b, len(parts[1])), c, behind_b)


def test_the_check_value_of_the_catalogue() -> None:
    """CRC-64/XZ of "123456789" is 995DC9BBDF1939FA."""
    assert combined(crc64.xz(b"1234"), crc64.xz(b"56789"), 5) == 0x995DC9BBDF1939FA


def test_a_terabyte_of_zeros_behind_a_part() -> None:
    """Lengths far beyond what a test could sum: by doubling."""
    zeros, length = crc64.xz(b"\0"), 1
    while length < 1 << 40:
        zeros, length = combined(zeros, zeros, length), 2 * length
    assert combined(combined(crc64.xz(b"a"), zeros, length), crc64.xz(b"b"), 1) == combined(
        crc64.xz(b"a"), combined(zeros, crc64.xz(b"b"), 1), length + 1
    )
