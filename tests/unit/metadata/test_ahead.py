"""Guesses of where the next pages begin."""

from __future__ import annotations

from ossmount.metadata.ahead import MOST, Stream, guess


def test_numbered_files_are_guessed_exactly() -> None:
    names = [b"img-%06d.jpg" % i for i in range(1000)]
    made = guess(names)
    assert made is not None
    assert (made.prefix, made.step, made.tail) == (b"img-", 1000, b".jpg")
    planned = list(Stream(made).plan(names[-1]))
    assert planned == [(b"img-001999.jpg", b"img-002999.jpg"), (b"img-002999.jpg", b"img-003999.jpg")]


def test_every_second_number() -> None:
    made = guess([b"%08d" % i for i in range(0, 2000, 2)])
    assert made is not None and made.step == 2000


def test_hashes_are_guessed_with_some_overlap() -> None:
    names = sorted(b"%016x" % (i * 0x9E3779B97F4A7C15 % 2**64) for i in range(100_000))[:1000]
    made = guess(names)
    assert made is not None
    assert made.alphabet == b"0123456789abcdef"
    start, end = next(iter(Stream(made).plan(names[-1])))
    first, last = int(names[0], 16), int(names[-1], 16)
    assert 1.8 < int(start.ljust(16, b"0"), 16) / (last - first) < 2
    assert 2.7 < int(end.ljust(16, b"0"), 16) / (last - first) < 3


def test_the_window_grows_and_no_page_is_planned_twice() -> None:
    made = guess([b"%08d" % i for i in range(1000)])
    assert made is not None
    stream = Stream(made)
    planned: list[bytes] = []
    for page in range(20):
        planned += [name for name, _ in stream.plan(b"%08d" % (999 + 1000 * page))]
    assert len(planned) == len(set(planned))
    assert planned == [b"%08d" % (1999 + 1000 * i) for i in range(len(planned))]
    assert 20 <= len(planned) <= 20 + MOST


def test_nothing_is_guessed_from_nothing() -> None:
    assert guess([]) is None
    assert guess([b"a"] * 3) is None
    assert guess([b"same%s" % suffix for suffix in (b"", b"!")] * 100) is None
    made = guess([b"%02d" % (i // 10) + b"x" * (i % 10) for i in range(1000)])
    assert made is not None
    assert list(Stream(made).plan(b"99")) == []  # beyond the last number
    assert list(Stream(made).plan(b"other")) == [] or made.prefix == b""
