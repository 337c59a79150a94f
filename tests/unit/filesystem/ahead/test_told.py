"""Told orders."""

from __future__ import annotations

import random

from ossmount.data.interface import Outcome
from ossmount.filesystem.ahead.pace import FIRST, TRIAL
from ossmount.filesystem.ahead.told import PROBES, SLACK, STRANGERS, ToldList
from ossmount.model import Node
from tests.unit.filesystem.ahead.fake_tree import Station, target


def world(count: int = 1000, **options: int) -> tuple[Station, list[Node]]:
    station = Station(**options)
    nodes = station.tree.files(station.tree.folder("a"), count)
    random.Random(5).shuffle(nodes)
    return station, nodes


def tell(station: Station, nodes: list[Node]) -> ToldList:
    told = station.scheduler.open_list()
    told.add([target(node) for node in nodes])
    station.scheduler.told()
    return told


def test_everything_in_its_order_and_nothing_else() -> None:
    station, nodes = world()
    told = tell(station, nodes[:300])
    station.settle()
    assert station.asked == [target(node).version for node in nodes[:300]]
    told.ended = True
    assert told.done
    assert told.fetched == 300
    assert 0 < sum(node == 0 for _, node in station.prefetcher.asked) < 300 * 2 / PROBES


def test_also_at_no_latency_and_before_it_is_known() -> None:
    for latency in (0.0001, None):
        station, nodes = world()
        station.latency = latency
        tell(station, nodes[:50])
        assert station.asked


def test_while_somebody_tells_nobody_guesses() -> None:
    station, nodes = world()
    tell(station, nodes[:10])
    station.read(*nodes[100:300])
    station.settle()
    assert set(station.asked) <= {target(node).version for node in nodes[:10]}


def test_a_bounded_distance_ahead_of_the_readers() -> None:
    station, nodes = world(memory=20_000_000, room=2_000_000)  # 10 MB stored, 2 MB staged
    told = tell(station, nodes)
    for node in nodes:
        station.settle()
        at = nodes.index(node)
        assert len(station.asked) <= at + SLACK + 10 + (12_000_000 // 100_000)
        station.read(node)
    station.settle()
    told.ended = True
    assert told.done
    assert len(station.asked) > 900


def test_it_waits_while_nobody_reads() -> None:
    station, nodes = world(memory=20_000_000, room=2_000_000)
    tell(station, nodes)
    station.settle()
    before = len(station.asked)
    assert before <= 120
    for _ in range(20):
        station.now += 1.0
        station.scheduler.turn()
    assert len(station.asked) == before


def test_readers_that_are_ahead_of_the_list_are_followed() -> None:
    station, nodes = world(room=0)
    tell(station, nodes)
    station.read(*nodes[:500])
    station.prefetcher.room = 1 << 40
    station.read(nodes[500])
    first = station.asked[0]
    assert nodes.index(next(node for node in nodes if node.key == first.key)) > 500 - SLACK - 2


def test_files_that_were_read_just_now_are_left_out() -> None:
    station, nodes = world()
    station.read(*nodes[:40])  # too few for anybody to guess
    told = tell(station, nodes[:140])
    station.settle()
    assert set(station.asked) == {target(node).version for node in nodes[40:140]}
    assert told.left_out == 40


def test_several_lists_take_turns() -> None:
    station, nodes = world()
    one, other = tell(station, nodes[:200]), tell(station, nodes[200:400])
    for _ in range(100):
        station.prefetcher.end()
    assert min(one.fetched, other.fetched) > 20
    station.settle()
    assert (one.fetched, other.fetched) == (200, 200)


def test_a_client_that_leaves_gives_everything_back() -> None:
    station, nodes = world(room=3_000_000)
    station.prefetcher.knows = False
    told = tell(station, nodes)
    for _ in range(5):
        station.prefetcher.end()
    held = {*station.prefetcher.staged, *station.prefetcher.under_way}
    station.scheduler.close_list(told)
    assert set(station.prefetcher.given_back) == held
    while station.prefetcher.under_way:
        station.prefetcher.end(Outcome.FAILED)
    assert station.fact("staged") == station.fact("failed") == 0
    assert len(station.asked) == len(held)


def test_a_client_that_is_done_leaves_what_it_told() -> None:
    station, nodes = world()
    told = tell(station, nodes[:50])
    station.settle()
    told.ended = True
    station.scheduler.close_list(told)
    assert station.prefetcher.given_back == []


def test_a_wrong_list_gives_way_as_readers_go_on() -> None:
    station, nodes = world(room=4_000_000)
    station.prefetcher.knows = False
    told = tell(station, nodes)
    for node in nodes[::5]:  # four of five are never read
        station.settle()
        station.read(node)
    station.settle()
    told.ended = True
    assert told.done or len(station.asked) > 700


def test_the_same_file_twice() -> None:
    station, nodes = world()
    told = tell(station, [*nodes[:10], *nodes[:10]])
    station.settle()
    told.ended = True
    assert told.done
    assert len(station.asked) == 10


def test_readers_that_drift_apart_find_what_they_were_told() -> None:
    station, nodes = world()
    station.prefetcher.knows = False
    tell(station, nodes)
    station.settle()
    for reader in range(8):  # each reads all of its share before the next one begins
        station.read(*nodes[reader::8])
        station.settle()
    assert station.prefetcher.given_back == []
    assert station.asked == [target(node).version for node in nodes]


def test_where_room_is_short_what_readers_have_passed_gives_way_first() -> None:
    station, nodes = world(room=20_000_000)
    station.prefetcher.knows = False
    tell(station, nodes)
    station.settle()
    assert len(station.asked) == 200
    station.read(*nodes[100:120])
    station.settle()
    assert station.prefetcher.given_back == []
    for node in nodes[120:500]:  # as if the readers of the first hundred never came
        station.read(node)
        station.settle()
    assert station.prefetcher.given_back[:50] == [target(node).version for node in nodes[:50]]
    assert len(set(station.asked)) == len(station.asked)


def test_what_was_told_speaks_for_no_guess_also_when_its_client_is_done() -> None:
    station, nodes = world()
    station.prefetcher.knows = False
    station.read(*nodes[500:540])
    told = tell(station, nodes[:300])
    station.settle()
    told.ended = True
    station.scheduler.close_list(told)
    for node in nodes[:300]:
        station.read(node)
        station.settle()
    assert station.asked == [target(node).version for node in nodes[:300]]
    station.read(*nodes[540:600])  # now somebody reads what was not told
    station.settle()
    assert len(station.asked) > 300


def test_a_list_whose_readers_do_not_come_gives_way_to_others() -> None:
    station, nodes = world()
    station.prefetcher.knows = False
    told = tell(station, nodes[:50])
    station.settle()
    told.ended = True
    station.scheduler.close_list(told)
    others = nodes[50 : 51 + STRANGERS]
    station.read(*others[:-1])
    assert set(station.prefetcher.given_back) == {target(node).version for node in nodes[:50]}
    station.read(others[-1])


def test_what_the_kernel_does_not_know_is_not_offered_to_it_for_long() -> None:
    station, nodes = world()
    station.prefetcher.knows = False
    tell(station, nodes)
    station.settle()
    assert len(station.asked) == len(nodes)
    assert 0 < sum(node != 0 for _, node in station.prefetcher.asked) <= TRIAL + FIRST
