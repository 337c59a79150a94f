"""The namespace and its store as a state machine against a dict of objects: listings, lookups, changes behind the mount,
expiry, refreshes, versions that turn out to be gone, pruning, restarts and crashes, in any order.

The machine's rules run on Hypothesis's thread; the namespace lives in a trio loop of its own, whose clock moves only when a
rule says so.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from unittest import mock

import outcome
import trio
import trio.testing
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ossmount.errors import StaleNode
from ossmount.metadata import pruner
from ossmount.metadata.interface import ROOT
from ossmount.metadata.namespace import TreeNamespace
from ossmount.model import Kind
from tests.property.test_namespace import (
    NEGATIVE_TTL,
    TTL,
    Model,
    check_getattr,
    check_lookup,
    check_walk,
    object_keys,
    paths,
    wait,
)
from tests.unit.metadata.fake_lister import EPOCH, FakeLister, running

LIMIT = 60.0  # seconds, against hanging only


class Mount:
    """A namespace that can be stopped, killed and started again. Used inside the loop."""

    def __init__(self, lister: FakeLister, folder: Path) -> None:
        self.lister = lister
        self.folder = folder
        self.lives = 0
        self.held: set[int] = set()  # nodes that the kernel may name
        self.namespace: TreeNamespace
        self._stack = AsyncExitStack()

    @property
    def directory(self) -> Path:
        return self.folder / str(self.lives)

    async def start(self) -> None:
        self.namespace = await self._stack.enter_async_context(
            running(
                self.lister,
                self.directory,
                attr_ttl=TTL,
                entry_ttl=TTL,
                negative_ttl=NEGATIVE_TTL,
                ram_entries=20,
                known=self._known,
                now=lambda: EPOCH + trio.current_time(),
            )
        )

    async def _known(self, nodes: Sequence[int]) -> set[int]:
        return self.held.intersection(nodes)

    async def stop(self) -> None:
        await self._stack.aclose()

    async def kill(self) -> None:
        """What is committed is there for the next one, and nothing else: no writes that wait, no orderly end."""
        store = self.namespace._store
        after = self.folder / str(self.lives + 1) / store.path.name
        after.mkdir(parents=True)
        store._env.copy(str(after))
        shutil.copy(store.path / "UNSYNCED", after)
        await self.stop()
        self.lives += 1


class Loop:
    """A trio loop in a thread. One task does all that is asked, since what it opens must be closed by it."""

    def __init__(self, mount: Mount) -> None:
        ready: SimpleQueue[trio.lowlevel.TrioToken] = SimpleQueue()
        self._send, self._receive = trio.open_memory_channel[tuple[Callable[[], Awaitable[None]], SimpleQueue[Any]]](1)

        async def main() -> None:
            await mount.start()
            ready.put(trio.lowlevel.current_trio_token())
            async for call, answer in self._receive:
                answer.put(await outcome.acapture(call))
            await mount.stop()

        self._thread = threading.Thread(target=trio.run, args=(main,), kwargs={"clock": trio.testing.MockClock()}, daemon=True)
        self._thread.start()
        self._token = ready.get(timeout=LIMIT)

    def run(self, call: Callable[..., Awaitable[Any]], *arguments: object) -> None:
        answer: SimpleQueue[outcome.Outcome[None]] = SimpleQueue()
        self._token.run_sync_soon(self._send.send_nowait, (partial(call, *arguments), answer))
        answer.get(timeout=LIMIT).unwrap()

    def end(self) -> None:
        self._token.run_sync_soon(self._send.close)
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()


class NamespaceMachine(RuleBasedStateMachine):
    """What the namespace says must have been true within the TTL; an id means one version of one key for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.loop: Loop | None = None

    @initialize(keys=st.lists(object_keys, max_size=12), page=st.sampled_from([1, 1, 2, 3, 5, 1000]))
    def start(self, keys: list[bytes], page: int) -> None:
        self.lister = FakeLister(keys, page_limit=page)
        self.model = Model(self.lister)
        self.mount = Mount(self.lister, Path(self.folder.name))
        self.loop = Loop(self.mount)
        self._do(self._note)
        self.wait(TTL + 1)

    def teardown(self) -> None:
        try:
            if self.loop is not None:
                self.loop.end()
        finally:
            self.folder.cleanup()

    def _do(self, call: Callable[..., Awaitable[Any]], *arguments: object) -> None:
        assert self.loop is not None
        self.loop.run(call, *arguments)

    async def _note(self) -> None:
        self.model.note()

    @rule(key=object_keys, size=st.integers(0, 2))
    def put(self, key: bytes, size: int) -> None:
        self.lister.put(key, b"x" * size)
        self._do(self._note)

    @precondition(lambda self: self.loop is not None and self.lister.order)
    @rule(number=st.integers(0, 20))
    def delete(self, number: int) -> None:
        self.lister.delete(self.lister.order[number % len(self.lister.order)])
        self._do(self._note)

    @rule(seconds=st.sampled_from([1.0, 4.0, 30.0, TTL + 1]))
    def wait(self, seconds: float) -> None:
        async def jump() -> None:
            wait(seconds)

        self._do(jump)

    @rule(path=paths)
    def lookup(self, path: list[bytes]) -> None:
        self._do(self._check, check_lookup, path)

    @rule()
    def walk(self) -> None:
        self._do(self._check, check_walk, ROOT, b"")

    @rule(path=paths)
    def settle(self, path: list[bytes]) -> None:
        """Everything expires: only what is true now may be said."""
        self.wait(TTL + 1)
        self.lookup(path)
        self.walk()

    async def _check(self, check: Callable[..., Awaitable[None]], *arguments: object) -> None:
        await check(self.mount.namespace, self.model, *arguments)

    @precondition(lambda self: self.loop is not None and self.model.ids)
    @rule(number=st.integers(0, 50))
    def getattr(self, number: int) -> None:
        self._do(self._getattr, self._told(number))

    async def _getattr(self, node: int) -> None:
        try:
            await check_getattr(self.mount.namespace, self.model, node)
        except StaleNode:
            assert node not in self.mount.held, "the kernel may still name it"

    @precondition(lambda self: self.loop is not None and self.model.ids)
    @rule(number=st.integers(0, 50))
    def gone(self, number: int) -> None:
        """The data path meets 412; what it says may be written, or not, when the next thing happens."""

        async def tell() -> None:
            try:
                self.mount.namespace.version_gone(self._told(number))
            except StaleNode:
                assert self._told(number) not in self.mount.held

        self._do(tell)

    @rule(path=paths)
    def refresh(self, path: list[bytes]) -> None:
        async def run() -> None:
            await self.mount.namespace.refresh(b"/".join(path))
            await self.mount.namespace.refresh()

        self._do(run)
        self.model.history = self.model.history[-1:]  # nothing that was asked before is believed
        self.walk()

    @precondition(lambda self: self.loop is not None and self.model.ids)
    @rule(number=st.integers(0, 50))
    def hold(self, number: int) -> None:
        """The kernel keeps a node by an open file; it never looked up what was pruned already."""
        node = self._told(number)

        async def look() -> None:
            try:
                self.mount.namespace.resolve(node)
            except StaleNode:
                return
            self.mount.held.add(node)

        self._do(look)

    @rule()
    def prune(self) -> None:
        async def run() -> None:
            wait(pruner.GRACE)
            with mock.patch.object(pruner, "REST", 0.0):
                await self.mount.namespace.prune()

        self._do(run)

    @rule()
    def restart(self) -> None:
        async def run() -> None:
            await self.mount.stop()
            await self.mount.start()

        self._do(run)

    @rule()
    def crash(self) -> None:
        async def run() -> None:
            await self.mount.kill()
            await self.mount.start()

        self._do(run)

    def _told(self, number: int) -> int:
        return sorted(self.model.ids)[number % len(self.model.ids)]

    @invariant()
    def what_the_kernel_holds_is_what_it_was(self) -> None:
        if self.loop is None:
            return

        async def look() -> None:
            for number in self.mount.held:
                node = self.mount.namespace.resolve(number)
                assert (node.kind, node.key, node.etag) == self.model.ids[number]
                assert node.kind is not Kind.SYMLINK

        self._do(look)


NamespaceMachine.TestCase.settings = settings(
    deadline=None,
    derandomize=True,
    max_examples=40,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestNamespaceMachine = NamespaceMachine.TestCase
