"""Coverage against a plain model: a time for each single position."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ossmount.metadata.coverage import Coverage, Reach

letters = [bytes([c]) for c in b"abcdefgh"]
steps = st.tuples(st.booleans(), st.integers(0, 7), st.integers(1, 8), st.integers(1, 9))


@settings(deadline=None, derandomize=True, max_examples=120)
@given(st.lists(steps, max_size=12))
def test_agrees_with_a_model(script: list[tuple[bool, int, int, int]]) -> None:
    coverage = Coverage()
    model: dict[bytes, float] = {}
    for known, low, length, time in script:
        high = low + length
        ends = letters[high] if high < 8 else None
        if known:
            coverage = coverage.including(letters[low], ends, time)
            model.update(dict.fromkeys(letters[low:high], time))
        else:
            coverage = coverage.without(letters[low], ends)
            for letter in letters[low:high]:
                model.pop(letter, None)
        assert Coverage.unpack(coverage.pack()) == coverage
        for letter in letters:
            assert coverage.at(letter) == model.get(letter, -float("inf"))
            assert coverage.at(letter + b"x") == coverage.at(letter)
            assert coverage.overlaps(letter, letter + b"\0") == (letter in model)


def test_reach_stops_at_a_gap_and_at_what_is_too_old() -> None:
    coverage = Coverage().including(b"a", b"c", 5).including(b"c", b"f", 7).including(b"g", None, 9)
    assert coverage.reach(b"a", 0) == Reach(b"f", 5)
    assert coverage.reach(b"d", 6) == Reach(b"f", 7)
    assert coverage.reach(b"a", 5) is None
    assert coverage.reach(b"f", 0) is None
    assert coverage.reach(b"zz", 0) == Reach(None, 9)
    assert Coverage().reach(b"", 0) is None


def test_neighbours_of_about_the_same_time_become_one_interval() -> None:
    coverage = Coverage()
    for i in range(100):
        coverage = coverage.including(b"%03d" % i, b"%03d" % (i + 1), 10 + i / 100, slack=2.0)
    assert len(coverage.intervals) == 1
    assert coverage.at(b"050") == 10.0  # the oldest
    assert coverage.including(b"100", b"101", 20.0, slack=2.0).at(b"050") == 10.0
