from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ossmount import errors
from ossmount.oss.fetch import wire

VALUES = st.one_of(
    st.integers(-(1 << 70), 1 << 70), st.binary(max_size=20), st.text(max_size=20), st.booleans(), st.floats(0, 1)
)
MESSAGES = st.lists(st.lists(VALUES, max_size=5).map(tuple), max_size=5)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100)
@given(st.lists(MESSAGES, max_size=5), st.lists(st.integers(1, 50), max_size=50))
def test_frames_are_put_together_however_they_are_cut(batches: list[list[wire.Message]], sizes: list[int]) -> None:
    stream = b"".join(wire.pack(batch) for batch in batches)
    unpacker, messages, at = wire.Unpacker(), [], 0
    for size in [*sizes, len(stream)]:
        messages += unpacker.feed(stream[at : at + size])
        at += size
    assert messages == [message for batch in batches for message in batch]


def test_every_failure_of_the_data_plane_has_a_name() -> None:
    assert wire.FAILURES["Changed"] is errors.Changed
    assert all(issubclass(failure, errors.OssMountError) for failure in wire.FAILURES.values())
