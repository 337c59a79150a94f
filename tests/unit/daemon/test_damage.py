"""What the log says of damaged objects, and who is told to drop them."""

from __future__ import annotations

import pytest

from ossmount.daemon.damage import Damage
from ossmount.errors import Corrupted, Damaged
from ossmount.model import Version

NOW = [1000.0]


def version(number: int) -> Version:
    return Version(b"folder/%d" % number, "etag", 100)


def test_an_object_is_named_once_and_others_are_left_out_after_twenty(caplog: pytest.LogCaptureFixture) -> None:
    damage = Damage("oss://bucket/", clock=lambda: NOW[0])
    for _ in range(3):
        damage(version(0), Damaged("wrong"))
    for number in range(1, 30):
        damage(version(number), Damaged("wrong"))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 20
    assert lines[0] == "'oss://bucket/folder/0' (ETag etag, 100 bytes) is damaged: wrong: the read fails"
    NOW[0] += 61
    damage(version(99), Damaged("wrong"))
    assert [record.getMessage() for record in caplog.records][20:] == [
        "10 more damaged objects were not named here",
        "'oss://bucket/folder/99' (ETag etag, 100 bytes) is damaged: wrong: the read fails",
    ]
    assert damage.facts() == {"damaged_reads": 33, "damaged_objects": 31, "corrupted_objects": 0}


def test_only_what_was_given_out_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    damage = Damage("oss://bucket/")
    dropped: list[tuple[str, Version]] = []
    damage.drop_from(lambda found: dropped.append(("kernel", found)), lambda found: dropped.append(("disk", found)))
    damage(version(1), Damaged("wrong"))
    assert dropped == []
    damage(version(2), Corrupted("together"))
    assert dropped == [("kernel", version(2)), ("disk", version(2))]
    assert "all copies are dropped" in caplog.text


def test_what_cannot_be_dropped_in_one_place_is_dropped_in_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """And whoever reads it is answered."""
    damage, dropped = Damage("oss://bucket/"), list[Version]()

    def fail(found: Version) -> None:
        raise KeyError(found)

    damage.drop_from(fail, dropped.append)
    damage(version(1), Corrupted("together"))
    assert dropped == [version(1)] and "could not be dropped" in caplog.text
