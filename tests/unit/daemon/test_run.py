"""Whose record a daemon may replace."""

from __future__ import annotations

import os
from collections.abc import Collection

import pytest

from ossmount.control.registry import Record, process_start
from ossmount.daemon.run import _is_ours

FIRST, SECOND, OTHER = 2**22 + 1, 2**22 + 2, 2**22 + 3  # keepers; no process has such a number
DAEMON = 2**22 + 4


def record(keeper: int, *, lives: bool) -> Record:
    pid = os.getpid()
    started = (process_start(pid) or 0) + (0 if lives else 1)
    return Record(
        mountpoint="/mnt", source="oss://data", pid=pid, pid_started=started, started=0.0, socket="", log="", keeper_pid=keeper
    )


@pytest.mark.parametrize(
    ("found", "keepers", "ours"),
    [
        (None, {FIRST}, True),
        (record(FIRST, lives=True), {FIRST}, True),
        (record(FIRST, lives=True), {FIRST, SECOND}, True),  # its keeper was killed while it left
        (record(OTHER, lives=True), {FIRST, SECOND}, False),  # mounted at the same place since
        (record(OTHER, lives=False), {FIRST}, True),
    ],
)
def test_the_record_of_the_daemon_before_us_is_replaced_and_another_mounts_is_not(
    found: Record | None, keepers: Collection[int], ours: bool
) -> None:
    assert _is_ours(found, DAEMON, keepers) is ours
