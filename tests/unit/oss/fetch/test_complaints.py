"""What is logged of failures that somebody has to do something about."""

from __future__ import annotations

import pytest

from ossmount.errors import Archived, Changed, Damaged, Denied, Unavailable
from ossmount.oss.fetch.complaints import Complaints


class Log:
    """Complaints in simulated time."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self.now = 0.0
        self.complaints = Complaints("bucket", lambda: self.now)

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self._caplog.records]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    return Log(caplog)


def test_an_archived_object_is_told_once_with_what_restores_it(log: Log) -> None:
    for _ in range(5):
        log.complaints.failed(b"a b/c.bin", Archived("403"))
    assert len(log.lines) == 1
    assert "a b/c.bin is archived" in log.lines[0]
    assert "`ossutil restore 'oss://bucket/a b/c.bin'`" in log.lines[0]


def test_ten_thousand_of_them_are_ten_lines_a_minute(log: Log) -> None:
    for number in range(10_000):
        log.complaints.failed(b"%d" % number, Archived("403"))
    assert len(log.lines) == 10
    log.now = 61.0
    log.complaints.failed(b"one more", Archived("403"))
    assert len(log.lines) == 11
    assert "and 9990 failures more" in log.lines[-1]


def test_a_refusal_of_all_objects_is_one_line(log: Log) -> None:
    for number in range(100):
        log.complaints.failed(b"%d" % number, Denied("SecurityTokenExpired"))
    assert log.lines == ["SecurityTokenExpired"]


def test_each_kind_is_told_of_by_itself(log: Log) -> None:
    for failure in (Archived("403"), Damaged("CRC64"), Denied("no")):
        log.complaints.failed(b"a", failure)
    assert len(log.lines) == 3


def test_what_passes_or_is_ordinary_is_not_told(log: Log) -> None:
    for failure in (Unavailable("reset"), Changed("412")):
        log.complaints.failed(b"a", failure)
    assert log.lines == []


def test_a_key_cannot_speak_to_the_terminal(log: Log) -> None:
    log.complaints.failed(b"a\x1b[31m\n\xff'; rm -rf", Archived("403"))
    assert len(log.lines) == 1
    assert log.lines[0].isprintable()
