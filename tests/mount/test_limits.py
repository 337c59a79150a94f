"""Limits and throttling through a real mount. How fast it is then is not for a test: the unit tests have simulated time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ossmount.emulator.faults import Fault
from tests.mount.support import BUCKET, Mount, Workshop

FILES = 120
READERS = 64


def name(number: int) -> str:
    return f"part-{number % 6}/{number:04}.bin"


def content(number: int) -> bytes:
    return bytes([number % 251]) * (3_000 + number * 100)


def fill(shop: Workshop) -> None:
    for number in range(FILES):
        shop.server.store.put(BUCKET, name(number).encode(), content(number))


def read_all(mount: Mount) -> list[bytes]:
    """All files by many readers at once."""
    with ThreadPoolExecutor(READERS) as readers:
        return list(readers.map(lambda number: (mount.path / name(number)).read_bytes(), range(FILES)))


def rates(mount: Mount) -> dict[str, Any]:
    facts: dict[str, Any] = mount.status()["facts"]["rates"]
    return facts


@pytest.mark.option("limit_requests", "limit_bandwidth", "fetch_workers")
def test_every_request_and_byte_is_within_what_the_limits_granted(shop: Workshop) -> None:
    fill(shop)
    with shop.mounted("--limit-requests", "200", "--limit-bandwidth", "2M", "--fetch-workers", "2") as mount:
        assert read_all(mount) == [content(number) for number in range(FILES)]
        status = mount.status()
        assert len(status["fetch_pids"]) == 2
        counters, facts = status["counters"], status["facts"]["rates"]
    asked = counters["list"] + counters["head"] + counters["get"]
    assert counters["get"] >= FILES
    assert counters["list"] > 0
    assert facts["granted_requests"] >= asked
    owed = 2 * len(content(FILES))  # each of the two processes may have begun its last object on its last bytes
    assert facts["granted_bytes"] >= sum(len(content(number)) for number in range(FILES)) - owed
    assert (facts["limit_requests"], facts["limit_bandwidth"]) == (200, 2 << 20)


def test_readers_of_a_throttling_store_see_no_error(shop: Workshop) -> None:
    fill(shop)
    for code in ("QpsLimitExceeded", "DownloadTrafficRateLimitExceeded"):
        shop.server.faults.add(Fault(operations=("GET", "LIST"), code=code, probability=0.2))
    with shop.mounted("--fetch-workers", "2") as mount:
        assert read_all(mount) == [content(number) for number in range(FILES)]
        assert rates(mount)["refused"] > 0


def test_without_a_limit_nothing_is_granted(plain_shop: Workshop) -> None:
    fill(plain_shop)
    with plain_shop.mounted() as mount:
        read_all(mount)
        assert rates(mount)["granted_requests"] == rates(mount)["limit_requests"] == 0
