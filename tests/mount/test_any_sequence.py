"""Any sequence of reads through a real mount, and of changes of the bucket behind it, against a plain dict; over both channels.

Every timeout is 0, so that each change is to be seen by the next call.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from typing import NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from ossmount.emulator.store import Store
from tests.mount.support import BUCKET, Mount, Workshop

NOTHING_KEPT = "attr_timeout=0,entry_timeout=0,negative_timeout=0,metadata_ttl=0,negative_ttl=0"
# `-` and `.` sort before `/`, so that files stand between a folder's name and its contents
NAMES = ("a", "b", "d/x", "d/y", "d-x", "d.x", "d/e/z", "t/x")
FOLDERS = ("", "d", "d/e", "t")
SIZES = st.one_of(st.integers(0, 20_000), st.sampled_from([4096, 128 << 10, (128 << 10) + 1, 1_300_000]))


class Held(NamedTuple):
    """A file that is open."""

    descriptor: int
    name: str
    content: bytes  # when it was opened


class Sequences(RuleBasedStateMachine):
    """Each example has a folder of its own in the one bucket."""

    numbers = itertools.count()

    def __init__(self, store: Store, mount: Mount) -> None:
        super().__init__()
        self.store = store
        self.prefix = f"example-{next(self.numbers)}"
        self.root = mount.path / self.prefix
        self.objects: dict[str, bytes] = {}
        self.held: list[Held] = []

    def teardown(self) -> None:
        for held in self.held:
            os.close(held.descriptor)

    def key(self, name: str) -> bytes:
        return f"{self.prefix}/{name}".encode()

    def exists(self, folder: str) -> bool:
        return any(name.startswith(f"{folder}/" if folder else "") for name in self.objects)

    @rule(name=st.sampled_from(NAMES), size=SIZES)
    def put(self, name: str, size: int) -> None:
        stamp = b"%d of %s|" % (next(self.numbers), name.encode())
        content = (stamp * (size // len(stamp) + 1))[:size]
        self.store.put(BUCKET, self.key(name), content)
        self.objects[name] = content

    @precondition(lambda self: self.objects)
    @rule(which=st.integers(0, 99))
    def delete(self, which: int) -> None:
        name = sorted(self.objects)[which % len(self.objects)]
        self.store.delete(BUCKET, self.key(name))
        del self.objects[name]

    @rule(name=st.sampled_from(NAMES))
    def stat(self, name: str) -> None:
        content = self.objects.get(name)
        try:
            size = os.stat(self.root / name).st_size
        except FileNotFoundError:
            assert content is None
        else:
            assert content is not None and size == len(content)

    @rule(name=st.sampled_from(NAMES), offset=st.floats(0, 1.1), size=st.integers(1, 300_000))
    def read(self, name: str, offset: float, size: int) -> None:
        content = self.objects.get(name)
        try:
            descriptor = os.open(self.root / name, os.O_RDONLY)
        except FileNotFoundError:
            assert content is None
            return
        try:
            assert content is not None
            start = int(offset * len(content))
            assert os.pread(descriptor, size, start) == content[start : start + size]
        finally:
            os.close(descriptor)

    @rule(name=st.sampled_from(NAMES))
    def read_whole(self, name: str) -> None:
        content = self.objects.get(name)
        with contextlib.suppress(FileNotFoundError):
            assert (self.root / name).read_bytes() == content
            return
        assert content is None

    @rule(folder=st.sampled_from(FOLDERS))
    def list(self, folder: str) -> None:
        below = f"{folder}/" if folder else ""
        names = {name[len(below) :].partition("/")[0] for name in self.objects if name.startswith(below)}
        try:
            listed = os.listdir(self.root / folder)
        except FileNotFoundError:
            assert not names
        else:
            assert sorted(listed) == sorted(names) and names

    @precondition(lambda self: self.objects and len(self.held) < 4)
    @rule(which=st.integers(0, 99))
    def hold(self, which: int) -> None:
        name = sorted(self.objects)[which % len(self.objects)]
        self.held.append(Held(os.open(self.root / name, os.O_RDONLY), name, self.objects[name]))

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 9), offset=st.floats(0, 1), size=st.integers(1, 300_000))
    def read_held(self, which: int, offset: float, size: int) -> None:
        """What was opened stays what it was, or is stale once it is gone; never the bytes of another version."""
        held = self.held[which % len(self.held)]
        start = int(offset * len(held.content))
        try:
            assert os.pread(held.descriptor, size, start) == held.content[start : start + size]
        except OSError as failure:
            assert failure.errno == errno.ESTALE
            assert self.objects.get(held.name) is not held.content

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 9))
    def close(self, which: int) -> None:
        os.close(self.held.pop(which % len(self.held)).descriptor)


def test_any_sequence_of_reads_and_changes(shop: Workshop) -> None:
    shop.server.store.put(BUCKET, b"always", b"there")  # a bucket that was never empty
    with shop.mounted("-o", NOTHING_KEPT) as mount:
        run_state_machine_as_test(
            lambda: Sequences(shop.server.store, mount),  # type: ignore[arg-type]  # it calls what it is given
            settings=settings(
                max_examples=settings().max_examples // 10,
                stateful_step_count=30,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
