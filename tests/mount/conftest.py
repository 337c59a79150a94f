"""Fixtures for tests that really mount. They need root and /dev/fuse, and fail without them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.mount.support import Workshop, workshop


@pytest.fixture(autouse=True, scope="session")
def may_mount() -> None:
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.fail("the tests in tests/mount need root and /dev/fuse")


@pytest.fixture(params=["kernel", "pyfuse3"])
def channel(request: pytest.FixtureRequest) -> str:
    """Each test that asks for it runs over both channels."""
    name: str = request.param
    return name


@pytest.fixture
def shop(channel: str) -> Iterator[Workshop]:
    """A server with an empty bucket, and the means to mount it over one channel."""
    with workshop() as made:
        made.environment["OSSMOUNT_CHANNEL"] = channel
        yield made


@pytest.fixture
def plain_shop() -> Iterator[Workshop]:
    """The same with the channel that ossmount chooses."""
    with workshop() as made:
        yield made
