"""A store that refuses or dawdles, through a real mount: what a person is told, and what a reader does not notice."""

from __future__ import annotations

import errno
import os

import pytest

from ossmount.emulator.faults import Fault
from tests.mount.support import BUCKET, Workshop

MANY = 120


def test_an_archived_object_on_a_machine_whose_clock_is_wrong(plain_shop: Workshop) -> None:
    """The clock costs a refused request and is named in the log; the archived object is named once, with what restores it."""
    server = plain_shop.server
    server.store.put(BUCKET, b"cold.bin", b"cold" * 1000, storage_class="Archive")
    server.store.put(BUCKET, b"warm.bin", b"warm" * 1000)
    server.accounts.ahead = 7200.0
    with plain_shop.mounted() as mount:
        assert (mount.path / "warm.bin").read_bytes() == b"warm" * 1000
        for _ in range(3):
            with pytest.raises(OSError) as refused:
                (mount.path / "cold.bin").read_bytes()
            assert refused.value.errno == errno.ENODATA
        assert os.getxattr(mount.path / "cold.bin", "user.oss.storage_class") == b"Archive"
        log = mount.log
    assert log.count(f"`ossutil restore oss://{BUCKET}/cold.bin`") == 1
    assert log.count("s from this machine's: requests are signed with OSS's time") == 1


@pytest.mark.stress
def test_a_request_that_is_late_is_made_a_second_time(plain_shop: Workshop) -> None:
    store = plain_shop.server.store
    for number in range(MANY):
        store.put(BUCKET, f"quick/{number:03}".encode(), b"q" * 5000)
    store.put(BUCKET, b"late", b"l" * 5000)
    plain_shop.server.faults.add(Fault(operations=("GetObject",), keys="late", hang=True, count=1))
    with plain_shop.mounted("--hedge-above", "50ms") as mount:
        for number in range(MANY):
            assert (mount.path / f"quick/{number:03}").read_bytes() == b"q" * 5000
        assert (mount.path / "late").read_bytes() == b"l" * 5000
        fetch = mount.status()["facts"]["fetch"]
    assert fetch["hedges_won"] >= 1
    assert fetch["hedged"] <= 0.03 * fetch["requests"] + 1
