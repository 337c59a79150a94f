"""The services that issue credentials."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.identity import IdentityServer


@pytest.fixture
def identity() -> Iterator[IdentityServer]:
    with IdentityServer() as running:
        yield running
