"""What limits look-ahead, and what it does when something goes wrong."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from ossmount.data.interface import Outcome
from ossmount.filesystem.ahead.pace import FIRST
from ossmount.filesystem.ahead.scheduler import FAILURES, IDLE, PAUSE, TICK
from ossmount.model import Node
from tests.unit.filesystem.ahead.fake_tree import Station, target


def told(station: Station, count: int = 500) -> list[Node]:
    nodes = station.tree.files(station.tree.folder("a"), count)
    made = station.scheduler.open_list()
    made.add([target(node) for node in nodes])
    station.scheduler.told()
    return nodes


def test_fetches_under_way_grow_while_they_are_quick() -> None:
    station = Station()
    told(station, 2000)
    assert len(station.prefetcher.under_way) == FIRST
    for _ in range(500):
        station.now += 0.0001
        station.prefetcher.end()
    assert 2 * FIRST <= len(station.prefetcher.under_way) <= 56  # seven eighths of the connections


def test_failures_pause_it_and_it_goes_on() -> None:
    station = Station()
    told(station)
    for _ in range(FAILURES):
        station.prefetcher.end(Outcome.FAILED)
    under_way = len(station.prefetcher.under_way)
    while station.prefetcher.under_way:
        station.prefetcher.end(Outcome.FAILED)
    assert under_way < FIRST
    before = len(station.asked)
    station.scheduler.turn()
    assert len(station.asked) == before
    station.now += PAUSE[0] + 1
    station.scheduler.turn()
    assert len(station.asked) > before


def test_a_list_that_is_told_during_a_pause_begins_after_it_though_nobody_reads() -> None:
    async def main() -> None:
        station = Station()
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: station.scheduler.run(task_status.started))
            await trio.sleep(10.0)
            targets = [target(node) for node in station.tree.files(station.tree.folder("a"), 500)]
            first = station.scheduler.open_list()
            first.add(targets)
            station.scheduler.told()
            while station.prefetcher.under_way:
                station.prefetcher.end(Outcome.FAILED)
            station.scheduler.close_list(first)
            await trio.sleep(10.0)  # nothing is there to be looked at
            second = station.scheduler.open_list()
            second.add(targets)
            station.scheduler.told()
            before = len(station.asked)
            station.now += PAUSE[1]
            await trio.sleep(3 * TICK)
            assert len(station.asked) > before
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_defect_pauses_it_and_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    station = Station()

    def fail(directory: int, start: bytes, limit: int) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(station.tree, "known", fail)
    folders = [station.tree.folder(f"{number}") for number in range(50)]
    station.read(*[station.tree.file(folder, "x") for folder in folders])
    assert "a defect" in caplog.text
    assert station.asked == []
    monkeypatch.undo()
    station.read(*[station.tree.file(folder, "y") for folder in folders])
    assert station.asked == []


def test_what_is_staged_and_never_read_is_given_back_after_a_while() -> None:
    station = Station()
    nodes = told(station, 20)
    station.prefetcher.knows = False
    station.settle()
    station.now += IDLE / 2
    station.scheduler.turn()
    assert station.prefetcher.given_back == []
    station.now += IDLE
    station.scheduler.turn()
    assert set(station.prefetcher.given_back) == {target(node).version for node in nodes}
    assert station.fact("staged") == 0


def test_an_order_that_is_told_takes_the_room_of_a_guess() -> None:
    station = Station(room=2_000_000)
    station.prefetcher.knows = False
    parent = station.tree.folder("train")
    guessed = [node for number in range(10) for node in station.tree.files(station.tree.folder(f"{number}", parent), 20)]
    station.read(*guessed[::4], *guessed[1::4])
    station.settle()
    assert len(station.prefetcher.staged) == 20
    told(station, 20)
    station.settle()
    assert len(station.prefetcher.given_back) == 20
    assert {version.key[:2] for version in station.prefetcher.staged} == {b"a/"}


def test_nothing_is_guessed_while_readers_are_served_by_local_disks() -> None:
    station = Station()
    folders = [station.tree.folder(f"{number}") for number in range(4)]
    files = [station.tree.files(folder, 100) for folder in folders]
    station.served = True
    station.read(*[each[number] for number in range(0, 60, 3) for each in files])
    assert station.asked == []
    station.served = False
    station.read(*[each[number] for number in range(1, 60, 3) for each in files])
    assert station.asked != []


def test_a_told_order_is_obeyed_also_where_local_disks_serve() -> None:
    station = Station()
    station.served = True
    told(station, 20)
    station.settle()
    assert len(station.asked) == 20


def test_run_looks_at_what_was_noted_and_ends_when_cancelled() -> None:
    station = Station()
    nodes = station.tree.files(station.tree.folder("a"), 100)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: station.scheduler.run(task_status.started))
            for node in nodes[:10]:
                station.scheduler.note(node)
            with trio.fail_after(60):
                while not station.asked:
                    await trio.sleep(0.001)
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert station.asked[0] == target(nodes[10]).version
