"""Directory order."""

from __future__ import annotations

import random

from ossmount.filesystem.ahead.folders import MOST, NEAR, SURE, Folders
from ossmount.filesystem.ahead.targets import Target
from ossmount.model import Node
from tests.unit.filesystem.ahead.fake_tree import FakeTree, Station


def taken(folders: Folders) -> list[Target]:
    found = []
    while (target := folders.next()) is not None:
        found.append(target)
    return found


def visit(folders: Folders, tree: FakeTree, node: Node) -> bool:
    return folders.read(node.id, tree.parent_of(node.id))


def test_after_some_reads_in_order_the_next_files_follow() -> None:
    tree = FakeTree()
    nodes = tree.files(tree.folder("a"), 600)
    folders = Folders(tree)
    sure = [visit(folders, tree, node) for node in nodes[: SURE + 1]]
    assert sure == [False] * SURE + [True]
    found = taken(folders)
    assert [target.node for target in found] == [node.id for node in nodes[SURE + 1 : SURE + 1 + len(found)]]
    given: list[int] = [target.node for target in found]
    for node in nodes[SURE + 1 :]:
        visit(folders, tree, node)
        given += [target.node for target in taken(folders)]
        assert len(given) <= nodes.index(node) + MOST + NEAR
    assert given == [node.id for node in nodes[SURE + 1 :]]


def test_several_readers_share_a_folder() -> None:
    tree = FakeTree()
    nodes = tree.files(tree.folder("a"), 400)
    order = [nodes[block + turn] for block in range(0, 400, 8) for turn in random.Random(block).sample(range(8), 8)]
    folders = Folders(tree)
    given: set[int] = set()
    ahead = 0
    for node in order:
        ahead += node.id in given
        visit(folders, tree, node)
        given |= {target.node for target in taken(folders)}
    assert ahead > 370


def test_random_reads_are_not_taken_for_an_order() -> None:
    tree = FakeTree()
    nodes = tree.files(tree.folder("a"), 1000)
    random.Random(3).shuffle(nodes)
    folders = Folders(tree)
    assert not any(visit(folders, tree, node) for node in nodes)
    assert taken(folders) == []


def test_the_window_is_bounded_by_bytes() -> None:
    tree = FakeTree()
    nodes = tree.files(tree.folder("a"), 200, size=1_000_000)
    folders = Folders(tree, largest_window=5_000_000)
    for node in nodes[:8]:
        visit(folders, tree, node)
    assert len(taken(folders)) == 5


def test_files_that_readers_pass_by_are_told() -> None:
    tree = FakeTree()
    nodes = tree.files(tree.folder("a"), 300)
    folders = Folders(tree)
    given = []
    for node in nodes[:100:2]:
        visit(folders, tree, node)
        given += [target.node for target in taken(folders)]
    passed = folders.passed()
    assert passed
    assert set(passed) <= set(given)
    assert folders.passed() == []


def test_in_order_everything_stays_in_our_memory_and_epoch_mode_keeps_out() -> None:
    station = Station()
    parent = station.tree.folder("train")
    for folder in range(10):
        for node in station.tree.files(station.tree.folder(f"{folder}", parent), 50):
            station.read(node)
            station.settle()
    assert station.fact("epoch") is False
    assert all(node == 0 for _, node in station.prefetcher.asked)
    assert len(station.asked) > 400
    assert station.kernel_wanted == 0
