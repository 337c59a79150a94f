from __future__ import annotations

import pytest

from ossmount.data.failures import MOST, Failures
from ossmount.errors import Archived, DeadlineExceeded, OssMountError, Throttled
from ossmount.model import Version

VERSION = Version(b"object", "1", 1 << 30)


def test_only_overlapping_ranges_of_the_same_version_for_two_seconds() -> None:
    now = 10.0
    failures = Failures(lambda: now)
    error = Throttled("slow down")
    failures.remember(VERSION, 4096, 8192, error)
    assert failures.recall(VERSION, 8191, 9000) is error
    assert failures.recall(VERSION, 0, 4097) is error
    assert failures.recall(VERSION, 0, 4096) is None
    assert failures.recall(VERSION, 8192, 9000) is None
    assert failures.recall(VERSION._replace(etag="2"), 4096, 8192) is None
    now = 12.0
    assert failures.recall(VERSION, 4096, 8192) is None


def test_quick_refusals_are_asked_again() -> None:
    failures = Failures(lambda: 0.0)
    failures.remember(VERSION, 0, 4096, Archived("restore it first"))
    assert failures.recall(VERSION, 0, 4096) is None


@pytest.mark.parametrize("error", [Archived("restore it first"), DeadlineExceeded("no answer")])
def test_how_much_failed_is_known_for_long(error: OssMountError) -> None:
    now = 10.0
    failures = Failures(lambda: now)
    failures.remember(VERSION, 4096, 1 << 20, error)
    assert failures.rest(VERSION, 4096) == failures.rest(VERSION, 8192) == 1 << 20
    assert failures.rest(VERSION, 0) == 0
    assert failures.rest(VERSION._replace(etag="2"), 4096) == 4096
    now = 609.0
    assert failures.rest(VERSION, 4096) == 1 << 20
    now = 610.0
    assert failures.rest(VERSION, 4096) == 4096


def test_a_bounded_number_is_remembered() -> None:
    failures = Failures(lambda: 0.0)
    for number in range(MOST + 1):
        failures.remember(VERSION, number * 4096, number * 4096 + 4096, DeadlineExceeded("no answer"))
    assert failures.recall(VERSION, 0, 4096) is None
    assert failures.recall(VERSION, 4096, 8192) is not None
