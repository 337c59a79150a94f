"""Kills a process that writes to a store, again and again, at random moments, and audits what the next one finds.

usage: python -m tests.unit.metadata.crashes FOLDER ROUNDS SEED

Forks, so that a round takes some 50 ms: this process itself never runs trio, has no thread and no environment open while it
forks. Prints how many ids were told, pruned and replaced. A defect is an AssertionError.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import trio

from ossmount.metadata import records
from ossmount.metadata.coverage import Coverage
from ossmount.metadata.pages import split_page
from ossmount.metadata.records import Child, Location
from ossmount.metadata.store import ROOT, Store
from ossmount.metadata.transaction import NEXT_ID, Transaction
from ossmount.model import ListPage, ObjectInfo

NOW = 1_700_000_000.0  # the clock stands still, so that only the store knows which id is next
MAP = 64 << 10  # bytes: it has to grow as well
KEYS = [b"%s%03d" % (folder, i) for folder in (b"", b"a/", b"a/b/", b"c/") for i in range(40)]


class Told(NamedTuple):
    """What the kernel would have been told, or what was about to be pruned."""

    id: int
    key: bytes
    etag: str
    pruned: bool = False

    def to_line(self) -> bytes:
        return b"%d %s %s %d\n" % (self.id, self.key.hex().encode(), self.etag.encode(), self.pruned)

    @classmethod
    def from_line(cls, line: bytes) -> Told:
        number, key, etag, pruned = line.split(b" ")
        return cls(int(number), bytes.fromhex(key.decode()), etag.decode(), bool(int(pruned)))


# -- the process that is killed


async def write_for_ever(folder: Path, pipe: int, chance: random.Random, round_number: int) -> None:
    it = Store(folder, "source", now=lambda: NOW, map_size=MAP)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.run)
        version = 0
        while True:
            version += 1
            objects = [
                ObjectInfo(key, 1, 2, f"{round_number:x}-{version if chance.random() < 0.3 else 0:x}")
                for key in KEYS
                if chance.random() < 0.8
            ]
            await write_once(it, objects, pipe, chance, NOW + round_number + version / 1e6)


async def write_once(it: Store, objects: list[ObjectInfo], pipe: int, chance: random.Random, when: float) -> None:
    """Some writes in one transaction or several, then what they say is told."""
    split = split_page(b"", b"", b"", ListPage(sorted(objects), [], ""))
    writes: list[Any] = [it.queue(partial(Transaction.merge, root=ROOT, split=split, time=when))]
    if chance.random() < 0.3:
        writes.append(it.queue(partial(Transaction.note, name=b"note", data=b"x" * chance.randrange(5000))))
    retired = [row.id for row in it.retired(None, 30)]
    files = [number for number in retired if not located(it, number).directory]
    if files and chance.random() < 0.5:
        for number in files:
            os.write(pipe, Told(number, b"", "", pruned=True).to_line())
        writes.append(it.queue(partial(Transaction.prune, numbers=files)))
    for write in writes:
        await write.done.wait()
        assert write.failure is None, write.failure
    for info in chance.sample(objects, 5):
        child = find(it, info.key)
        if child is not None:
            os.write(pipe, Told(child.id, info.key, child.etag).to_line())
            if chance.random() < 0.1:
                location = located(it, child.id)
                forget = partial(Transaction.forget_version, parent=location.parent, name=location.name, number=child.id)
                await it.write(forget)


def located(it: Store, number: int) -> Location:
    location = it.location(number)
    assert location is not None
    return location


def find(it: Store, key: bytes) -> Child | None:
    *folders, name = key.split(b"/")
    parent = ROOT
    for folder in folders:
        directory = it.children(parent, folder).directory
        if directory is None:
            return None
        parent = directory.id
    return it.children(parent, name).file


# -- the audit


def audit(it: Store) -> int:
    """Every record is whole and agrees with the others; the next id."""
    with it._begin() as txn:
        dbs = it._db
        nodes = {records.unpack_id(key): records.unpack_location(value) for key, value in txn.cursor(db=dbs.nodes)}
        retired = {records.unpack_id(key) for key, _ in txn.cursor(db=dbs.retired)}
        children: dict[tuple[int, bytes, bool], Child] = {}
        for key, value in txn.cursor(db=dbs.children):
            child = records.unpack_child(value)
            assert records.pack_child(child) == bytes(value)
            name, directory = records.split_child_key(bytes(key))
            children[records.unpack_id(key), name, directory] = child
        for key, value in txn.cursor(db=dbs.coverage):
            number = records.unpack_id(key)
            coverage = Coverage.unpack(bytes(value))
            assert coverage.pack() == bytes(value)
            assert number == ROOT or (nodes[number].directory and nodes[number].last is None)
        following = records.unpack_id(txn.get(NEXT_ID, db=dbs.meta))
    for (parent, name, directory), child in children.items():
        assert nodes[child.id] == Location(parent, directory, name)
        assert parent == ROOT or (nodes[parent].directory and nodes[parent].last is None)
    for number, location in nodes.items():
        assert number < following
        standing = children.get((location.parent, location.name, location.directory))
        if location.last is not None:
            assert location.last.id == number and number in retired
            assert standing is None or standing.id != number
        elif number != ROOT:
            assert standing is not None and standing.id == number
    assert retired <= nodes.keys()
    return following


def check(it: Store, told: dict[int, Told], pruned: set[int]) -> int:
    """Each id that was told is resolved to what it was told for; the next id."""
    following = audit(it)
    assert following > max(told, default=0)
    for number, (_, key, etag, _) in told.items():
        location = it.location(number)
        if location is None:
            assert number in pruned, f"{number} of {key!r} is lost"
            continue
        child = location.last or it.children(location.parent, location.name).file
        assert child is not None and (child.id, child.etag) == (number, etag)
        assert path_of(it, location) == key
    return following


def path_of(it: Store, location: Location) -> bytes:
    parts = [location.name]
    while location.parent != ROOT:
        location = located(it, location.parent)
        parts.append(location.name)
    return b"/".join(reversed(parts))


def crash_once(folder: Path, chance: random.Random, round_number: int) -> list[Told]:
    """What a process told until it was killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            trio.run(write_for_ever, folder, writing, chance, round_number)
        finally:
            os._exit(1)
    os.close(writing)
    with open(reading, "rb") as pipe:
        lines = [pipe.readline() for _ in range(chance.choice([0, 1, 1, 5, 20, 60]))]
        time.sleep(chance.uniform(0, 0.02))
        os.kill(pid, signal.SIGKILL)
        lines += pipe.readlines()
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "the writer ended by itself"
    return [Told.from_line(line) for line in lines]


def main(folder: Path, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    told: dict[int, Told] = {}
    pruned: set[int] = set()
    following = 0
    for round_number in range(rounds):
        for each in crash_once(folder, random.Random(chance.random()), round_number):
            if each.pruned:
                pruned.add(each.id)
            else:
                assert told.setdefault(each.id, each) == each, f"{each.id} was given out twice"
        it = Store(folder, "source", now=lambda: NOW, map_size=MAP)
        try:
            assert not it.warnings, it.warnings
            before, following = following, check(it, told, pruned)
            assert following >= before
        finally:
            it.close()
    print(len(told), len(pruned & told.keys()), len({each.key for each in told.values()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
