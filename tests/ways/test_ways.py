"""The ways of use, each run end to end by the program that anybody can run too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.ways import entrypoint, machine, mount, pod
from tests.ways.transcript import Transcript

pytestmark = [pytest.mark.stress, pytest.mark.timeout(3600)]


@pytest.mark.parametrize(
    "way", [mount.way, entrypoint.way, pod.way, machine.way], ids=lambda way: way.__module__.rpartition(".")[2]
)
def test_it_holds_what_is_promised(way: Callable[[Transcript], None]) -> None:
    way(Transcript())
