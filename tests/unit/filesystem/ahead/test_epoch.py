"""Epoch mode: the unread rest of a tree that is visited in random order."""

from __future__ import annotations

import random

import pytest

from ossmount.filesystem.ahead.epoch import AGAIN, PROBES, START
from ossmount.filesystem.ahead.pace import TRIAL
from ossmount.filesystem.ahead.targets import LOST, target_of
from ossmount.model import Node, Version
from tests.unit.filesystem.ahead.fake_tree import Station, target


def tree(station: Station, folders: int = 20, files: int = 50) -> list[Node]:
    train = station.tree.folder("train")
    nodes = []
    for folder in range(folders):
        nodes += station.tree.files(station.tree.folder(f"{folder:03d}", train), files)
    random.Random(1).shuffle(nodes)
    return nodes


def versions(nodes: list[Node]) -> set[Version]:
    return {target(node).version for node in nodes}


def test_begins_within_the_first_hundred_reads_and_fetches_each_file_once() -> None:
    station = Station()
    nodes = tree(station)
    for node in nodes[:100]:
        station.read(node)
    assert station.fact("epoch") is True
    assert station.asked
    while station.prefetcher.under_way:
        station.settle()
    assert len(station.asked) == len(set(station.asked))
    assert len(station.asked) >= 900
    assert set(station.asked) <= versions(nodes)
    station.read(*nodes[100:])
    station.settle()
    assert len(station.asked) == len(set(station.asked))


def test_most_go_to_the_kernel_and_some_stay_as_probes() -> None:
    station = Station()
    nodes = tree(station)
    station.read(*nodes[:100])
    station.settle()
    probes = [node for _, node in station.prefetcher.asked if node == 0]
    assert 0 < len(probes) < 2 * len(station.asked) / PROBES
    assert station.kernel_wanted == 1
    assert station.fact("stored") == len(station.asked) - len(probes)


def test_other_trees_are_left_alone() -> None:
    station = Station()
    other = station.tree.files(station.tree.folder("validation"), 100)
    nodes = tree(station)
    station.read(*nodes[:200])
    station.settle()
    assert not set(station.asked) & versions(other)


def test_at_no_latency_or_before_it_is_known_only_where_files_get_into_the_kernel() -> None:
    for latency in (0.001, None):
        for knows in (True, False):
            station = Station(latency=latency)
            station.prefetcher.knows = knows
            station.read(*tree(station)[:200])
            while station.prefetcher.under_way:
                station.settle()
            assert len(station.asked) > 700 if knows else len(station.asked) <= TRIAL + TRIAL // 4


def test_it_ends_when_the_store_comes_near() -> None:
    station = Station()
    nodes = tree(station)
    station.prefetcher.knows = False
    station.prefetcher.room = 8_000_000
    station.read(*nodes[:100])
    station.settle()
    station.latency = 0.001
    station.prefetcher.room = 1 << 40
    before = len(station.asked)
    station.read(*nodes[100:300])
    assert len(station.asked) == before


def test_not_more_is_stored_than_memory_can_hold() -> None:
    station = Station(memory=20_000_000, room=5_000_000)
    nodes = tree(station)
    station.read(*nodes[:100])
    station.settle()
    stored = station.fact("stored")
    assert isinstance(stored, int)
    assert 8_000_000 <= stored * 100_000 <= 10_000_000
    fetched = len(station.asked)
    assert fetched * 100_000 <= 16_000_000
    for node in nodes[100:600]:  # the probes that are read tell of the rest
        station.read(node)
        station.settle()
    assert len(station.asked) > fetched + 50


def test_files_read_once_more_begin_another_epoch() -> None:
    station = Station(memory=4_000_000)  # 2 MB of files are taken to be in the kernel's page cache
    nodes = tree(station)
    station.prefetcher.knows = False
    station.prefetcher.room = 0
    station.read(*nodes)
    assert station.asked == []
    station.prefetcher.room = 1 << 40
    station.settle()
    station.read(*nodes[: AGAIN + START])
    while station.prefetcher.under_way:
        station.settle()
    assert len(set(station.asked)) > 800


def test_a_page_cache_that_was_emptied_is_filled_once_more() -> None:
    station = Station()  # memory for all of them
    nodes = tree(station)
    station.prefetcher.room = 0
    station.read(*nodes)
    station.prefetcher.room = 1 << 40
    for node in nodes[: LOST + AGAIN + START]:  # had the kernel kept them, there would be no READs
        station.read(node)
    while station.prefetcher.under_way:
        station.settle()
    assert len(station.asked) > 800
    assert len(station.asked) == len(set(station.asked))


def test_what_nobody_wanted_of_a_pass_gives_way_to_the_next_one() -> None:
    station = Station(room=20_000_000)  # 200 files
    nodes = tree(station)
    station.prefetcher.knows = False
    station.read(*nodes[:100])
    while station.prefetcher.under_way:
        station.settle()
    assert len(station.prefetcher.staged) == 200
    station.read(*nodes[: LOST + AGAIN + START])  # they are read once more, and not what was guessed
    before = len(station.asked)
    while station.prefetcher.under_way:
        station.settle()
    assert len(station.asked) > before
    assert len(station.prefetcher.given_back) == len(set(station.prefetcher.given_back)) > 0


def test_nobody_looks_for_an_order_where_no_guess_would_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    station = Station(latency=0.001)
    nodes = tree(station)
    station.prefetcher.knows = False
    station.read(*nodes[:100])
    station.settle()
    looked: list[int] = []
    monkeypatch.setattr(station.tree, "parent_of", looked.append)
    station.read(*nodes[100:300])
    assert looked == []
    monkeypatch.undo()
    station.latency = 0.015  # now it would
    asked = len(station.asked)
    station.read(*nodes[300:400])
    station.settle()
    assert len(station.asked) > asked


def test_large_and_empty_files_are_left_out() -> None:
    station = Station()
    nodes = tree(station, folders=3, files=40)
    odd = [station.tree.file(station.tree.parent_of(nodes[0].id), f"odd {size}", size) for size in (0, 2 << 20)]
    assert [target_of(node) for node in odd] == [None, None]
    station.read(*nodes[:100])
    while station.prefetcher.under_way:
        station.settle()
    assert not {node.key for node in odd} & {version.key for version in station.asked}


def test_a_directory_that_is_gone_does_not_stop_it() -> None:
    station = Station()
    nodes = tree(station)
    gone = station.tree.file(station.tree.folder("gone"), "x")
    del station.tree.parents[gone.id]
    station.read(gone, *nodes[:100])
    assert station.asked
