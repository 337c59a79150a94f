"""Faults of OSS and of the network, each against each operation: no wrong byte, no hang, the documented errno, and recovery."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mount.fault_matrix import HEADING, KINDS, World, delays, problems, run, table
from tests.mount.support import Mount, Workshop

ASK_EACH_TIME = ("-o", "attr_timeout=0,entry_timeout=0,negative_timeout=0")


@pytest.fixture
def world(plain_shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("OSSMOUNT_STATE_DIR", plain_shop.environment["OSSMOUNT_STATE_DIR"])  # for the Prefetcher
    return World(plain_shop, rounds=50)


def _mounted(world: World, timeout: float) -> Iterator[Mount]:
    with world.shop.mounted(*ASK_EACH_TIME, "--timeout", f"{timeout:g}") as mount:
        for operation in world.operations(mount).values():
            assert operation() == ""
        yield mount


def test_one_request_that_fails(world: World) -> None:
    for mount in _mounted(world, timeout=60.0):
        for name in ("reset", "cut off", "500 InternalError", "403 AccessDenied", "412 PreconditionFailed"):
            cells = run(world, mount, KINDS[name], "once", 0.0, times=2)
            assert list(problems(KINDS[name], "once", cells)) == []
            assert all(cell.met for cell in cells.values())


def test_an_outage_that_is_shorter_than_the_timeout_is_a_pause(world: World) -> None:
    for mount in _mounted(world, timeout=60.0):
        kind = KINDS["503 ServiceUnavailable"]
        cells = run(world, mount, kind, "always", 1.5, times=0)
        assert {operation: dict(cell.errnos) for operation, cell in cells.items() if cell.errnos} == {}
        assert list(problems(kind, "always", cells)) == []
        assert any(cell.met for cell in cells.values())


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("how", ["once", "10 %", "always"])
def test_all_faults(world: World, how: str) -> None:
    found: list[str] = []
    timeout = 8.0
    print("\n" + HEADING)
    for kind in KINDS.values():
        for mount in _mounted(world, timeout):
            cells = run(world, mount, kind, how, 30.0, times=12)
            found += [*problems(kind, how, cells), *delays(kind, how, cells, timeout, 5.0)]
        print(table(kind.name, how, cells), flush=True)
    assert found == []
