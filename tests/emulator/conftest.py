"""A running server, and the official clients that talk to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ossmount.emulator.server import EmulatedServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmulatedServer]:
    with EmulatedServer(tmp_path / "served") as running:
        running.store.create_bucket("bucket")
        yield running
