"""The CRC-64 of bytes that came in parts, from the CRC-64 of each part.

A CRC is the remainder of a polynomial over GF(2). Bytes in front of others are multiplied by x^8 for each byte behind them, so
the remainder of both together is that of the first, multiplied by that power of x, plus that of the second. The start value and
the final inversion of CRC-64/XZ (what OSS calls CRC64-ECMA) cancel each other out in the sum.

Bit 63 of a word is the coefficient of x^0, bit 0 that of x^63: the bits come in the order in which the CRC takes them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_X63: Final = 1  # the coefficient of x^63: multiplied by x once more it is reduced
_REDUCTION: Final = 0xC96C5795D7870F42  # x^64 modulo the polynomial of ECMA-182
_ONE: Final = 1 << 63
_BITS: Final = tuple(1 << bit for bit in range(63, -1, -1))


def _times(first: int, second: int) -> int:
    """The product modulo the polynomial. 10 microseconds."""
    product = 0
    for bit in _BITS:
        if first & bit:
            product ^= second
        second = second >> 1 ^ _REDUCTION if second & _X63 else second >> 1
    return product


@lru_cache(maxsize=64)
def _power(bit: int) -> int:
    """x to the power of 8 * 2^bit."""
    return _ONE >> 8 if bit == 0 else _times(_power(bit - 1), _power(bit - 1))


@lru_cache(maxsize=1024)  # readahead's windows have few lengths
def _behind(length: int) -> int:
    """x to the power of 8 * length. 0.1 ms for a length that is asked for the first time."""
    product = _ONE
    for bit in range(length.bit_length()):
        if length >> bit & 1:
            product = _times(product, _power(bit))
    return product


def combined(first: int, second: int, length: int) -> int:
    """The CRC-64 of two parts, from that of the first and that of the second, which has `length` bytes."""
    return _times(first, _behind(length)) ^ second
