"""The namespace against a dict of objects: lookups, listings, changes behind its back, expiry, restarts.

What it answers must have been true, each side of a name for itself, at some time within the TTL; an id means one version of
one key for ever.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ossmount.errors import StaleNode
from ossmount.metadata import keys
from ossmount.metadata.interface import ROOT
from ossmount.metadata.keys import SUFFIX
from ossmount.metadata.namespace import TreeNamespace
from ossmount.model import Absent, Found, Kind
from tests.unit.metadata.fake_lister import EPOCH, FakeLister, list_all, running, soon

TTL = 60.0
NEGATIVE_TTL = 5.0

components = st.sampled_from([b"a", b"a", b"b", b"b", b"a-x", b"a.b", b"a0", b"-", "é".encode(), b"a" + SUFFIX, b"", b"."])
object_keys = st.lists(components, min_size=1, max_size=3).map(b"/".join).filter(bool)
paths = st.lists(st.sampled_from([b"a", b"b", b"a-x", b"a.b", b"a0", b"-", b"a" + SUFFIX, b"zz"]), min_size=1, max_size=3)
steps = st.one_of(
    st.tuples(st.just("put"), object_keys, st.integers(0, 2)),
    st.tuples(st.just("put"), object_keys, st.integers(0, 2)),
    st.tuples(st.just("delete"), st.integers(0, 20)),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 4.0, 30.0, 61.0, 61.0, 61.0])),
    st.tuples(st.just("settle"), paths),
    st.tuples(st.just("lookup"), paths),
    st.tuples(st.just("lookup"), paths),
    st.tuples(st.just("walk")),
    st.tuples(st.just("getattr"), st.integers(0, 50)),
    st.tuples(st.just("gone"), st.integers(0, 50)),
    st.tuples(st.just("restart")),
)
State = tuple[float, dict[bytes, str]]  # from this time on: key -> ETag


class Model:
    """Everything that was true within the TTL, and every id that was ever given out."""

    def __init__(self, lister: FakeLister) -> None:
        self.lister = lister
        self.history: list[State] = [(0.0, {})]
        self.ids: dict[int, tuple[Kind, bytes, str]] = {}

    def note(self) -> None:
        self.history.append((trio.current_time(), {key: info.etag for key, info in self.lister.objects.items()}))

    def states(self, ttl: float) -> Iterator[dict[bytes, str]]:
        """The states that were true at some time within the last ttl seconds."""
        start = trio.current_time() - ttl
        ends = [time for time, _ in self.history[1:]] + [float("inf")]
        for (_, state), end in zip(self.history, ends, strict=True):
            if end >= start:
                yield state

    def files(self, key: bytes, ttl: float) -> set[str | None]:
        return {state.get(key) for state in self.states(ttl)}

    def directories(self, prefix: bytes, ttl: float) -> set[bool]:
        return {any(key.startswith(prefix) for key in state) for state in self.states(ttl)}

    def check_found(self, parent: bytes, name: bytes, found: Found) -> None:
        node = found.node
        target = keys.target_of(name)
        assert target is not None
        key = parent + target.stored
        if node.kind is Kind.DIRECTORY:
            assert target.directory and node.key == key + b"/"
            assert True in self.directories(node.key, TTL)
        else:
            assert target.file and node.key == key
            assert node.etag in self.files(key, TTL)
            if target.directory:
                assert False in self.directories(key + b"/", TTL)
            if target.shadowed:
                assert True in self.directories(key + b"/", TTL)
        self.check_id(found)

    def check_id(self, found: Found) -> None:
        node = found.node
        assert 0 <= found.fresh_for <= TTL or node.id == ROOT
        assert self.ids.setdefault(node.id, (node.kind, node.key, node.etag)) == (node.kind, node.key, node.etag)

    def check_absent(self, parent: bytes, name: bytes, ttl: float) -> None:
        target = keys.target_of(name)
        if target is None:
            return
        key = parent + target.stored
        maybe_directory = self.directories(key + b"/", ttl)
        maybe_file = {etag is not None for etag in self.files(key, ttl)}
        if target.directory:
            assert False in maybe_directory
        if target.file and not target.shadowed:
            assert False in maybe_file or (target.directory and True in maybe_directory)
        if target.shadowed:
            assert False in maybe_file or False in maybe_directory


async def check_lookup(namespace: TreeNamespace, model: Model, path: list[bytes]) -> None:
    parent, prefix = ROOT, b""
    for name in path:
        try:
            answer: Found | Absent = await soon(namespace.lookup(parent, name))
        except StaleNode:
            assert False in model.directories(prefix, TTL)
            return
        if isinstance(answer, Absent):
            assert 0 <= answer.fresh_for <= NEGATIVE_TTL or answer.fresh_for == float("inf")
            model.check_absent(prefix, name, NEGATIVE_TTL)
            return
        model.check_found(prefix, name, answer)
        if answer.node.kind is not Kind.DIRECTORY:
            return
        parent, prefix = answer.node.id, answer.node.key


async def check_walk(namespace: TreeNamespace, model: Model, node: int, prefix: bytes) -> None:
    try:
        rows = await list_all(namespace, node)
    except StaleNode:
        assert False in model.directories(prefix, TTL)
        return
    names = [row.name for row in rows]
    assert len(names) == len(set(names))
    for row in rows:
        model.check_found(prefix, row.name, row.found)
        if row.found.node.kind is Kind.DIRECTORY:
            await check_walk(namespace, model, row.found.node.id, row.found.node.key)
    for key in {key for state in model.states(TTL) for key in state if key.startswith(prefix)}:
        position = keys.position_of(key[len(prefix) :])
        stored = position.rstrip(b"/")
        if keys.showable(stored) and stored not in [n.rstrip(b"/") for n in names]:
            kind = Kind.DIRECTORY if position.endswith(b"/") else Kind.FILE
            for shadowed in (False, True):
                shown = keys.shown_name(stored, kind, shadowed=shadowed)
                if shown is not None and shown not in names:
                    model.check_absent(prefix, shown, TTL)


async def check_getattr(namespace: TreeNamespace, model: Model, number: int) -> None:
    kind, key, etag = model.ids[number]
    node = namespace.resolve(number)
    assert (node.kind, node.key, node.etag) == (kind, key, etag)
    try:
        found = await soon(namespace.getattr(number))
    except StaleNode:
        return
    model.check_id(found)
    if kind is Kind.DIRECTORY:
        assert True in model.directories(key, TTL)
    else:
        assert etag in model.files(key, TTL)


async def play(first: list[bytes], script: list[tuple[object, ...]], page_limit: int, directory: Path) -> None:
    lister = FakeLister(first, page_limit=page_limit)
    model = Model(lister)
    model.note()
    wait(61.0)
    async with AsyncExitStack() as stack:

        async def start() -> TreeNamespace:
            return await stack.enter_async_context(
                running(
                    lister,
                    directory,
                    attr_ttl=TTL,
                    entry_ttl=TTL,
                    negative_ttl=NEGATIVE_TTL,
                    ram_entries=20,
                    now=lambda: EPOCH + trio.current_time(),
                )
            )

        namespace = await start()
        for step, *arguments in script:
            match step, arguments:
                case "put", [bytes(key), int(data)]:
                    lister.put(key, b"x" * data)
                    model.note()
                case "delete", [int(index)] if lister.order:
                    lister.delete(lister.order[index % len(lister.order)])
                    model.note()
                case "wait", [float(seconds)]:
                    wait(seconds)
                case "settle", [list(path)]:
                    wait(61.0)
                    await check_lookup(namespace, model, path)
                    await check_walk(namespace, model, ROOT, b"")
                case "lookup", [list(path)]:
                    await check_lookup(namespace, model, path)
                case "walk", []:
                    await check_walk(namespace, model, ROOT, b"")
                case "getattr", [int(index)] if model.ids:
                    await check_getattr(namespace, model, sorted(model.ids)[index % len(model.ids)])
                case "gone", [int(index)] if model.ids:
                    namespace.version_gone(sorted(model.ids)[index % len(model.ids)])
                case "restart", []:
                    await stack.aclose()
                    namespace = await start()
        wait(61.0)  # now only what is true now may be said
        await check_walk(namespace, model, ROOT, b"")


def wait(seconds: float) -> None:
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    clock.jump(seconds)


@settings(
    deadline=None, derandomize=True, max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.lists(object_keys, max_size=12), st.lists(steps, min_size=3, max_size=30), st.sampled_from([1, 1, 2, 3, 5, 1000]))
def test_answers_were_true_within_the_ttl(first: list[bytes], script: list[tuple[object, ...]], page_limit: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        trio.run(play, first, script, page_limit, Path(directory), clock=trio.testing.MockClock())
