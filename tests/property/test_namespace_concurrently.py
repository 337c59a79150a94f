"""Several users of one namespace at once while the bucket changes: whatever the order of requests, commits and answers,
an id means one version of one key, and when things have settled the tree is what the bucket is."""

from __future__ import annotations

import contextlib
import logging
import random
from pathlib import Path

import pytest
import trio
import trio.testing

from ossmount.errors import OssMountError
from ossmount.metadata.interface import ROOT
from ossmount.metadata.keys import SUFFIX
from ossmount.metadata.namespace import TreeNamespace
from ossmount.model import Absent, Found, Kind, ListPage
from tests.property.test_namespace import Model, check_walk
from tests.unit.metadata.fake_lister import EPOCH, FakeLister, list_all, running, soon

NAMES = [b"a", b"b", b"a-x", b"a.b", b"a0", b"a" + SUFFIX]


class SlowLister(FakeLister):
    """Answers after random delays, with what was true somewhere between question and answer."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(page_limit=chance.choice([1, 2, 3, 7, 1000]))
        self.chance = chance

    def _page(self, prefix: bytes, delimiter: bytes, start_after: bytes, max_keys: int) -> ListPage:
        self.latency = self.chance.random()
        return super()._page(prefix, delimiter, start_after, max_keys)


class Users:
    """Random lookups, listings, getattrs and versions that turn out to be gone."""

    def __init__(self, namespace: TreeNamespace, model: Model, chance: random.Random) -> None:
        self.namespace = namespace
        self.model = model
        self.chance = chance

    async def use(self) -> None:
        for _ in range(30):
            with contextlib.suppress(OssMountError):  # what it wanted is gone
                await self.chance.choice([self.walk, self.stat, self.lookup, self.lookup, self.lookup])()
            await trio.sleep(self.chance.random())

    def note(self, found: Found) -> Found:
        node = found.node
        assert self.model.ids.setdefault(node.id, (node.kind, node.key, node.etag)) == (node.kind, node.key, node.etag)
        return found

    async def walk(self) -> None:
        for row in await list_all(self.namespace, ROOT):
            if self.note(row.found).node.kind is Kind.DIRECTORY:
                await list_all(self.namespace, row.found.node.id)

    async def stat(self) -> None:
        if self.model.ids:
            number = self.chance.choice(sorted(self.model.ids))
            if self.chance.random() < 0.5:
                self.namespace.version_gone(number)
            else:
                self.note(await soon(self.namespace.getattr(number)))

    async def lookup(self) -> None:
        parent = ROOT
        for name in self.chance.choices(NAMES, k=3):
            answer: Found | Absent = await soon(self.namespace.lookup(parent, name))
            if isinstance(answer, Absent) or self.note(answer).node.kind is not Kind.DIRECTORY:
                return
            parent = answer.node.id

    async def change(self) -> None:
        lister = self.model.lister
        for _ in range(40):
            if self.chance.random() < 0.6 or not lister.order:
                key = b"/".join(self.chance.choices([*NAMES, b""], k=self.chance.randint(1, 3)))
                if key:
                    lister.put(key, b"x" * self.chance.randint(0, 3))
            else:
                lister.delete(self.chance.choice(lister.order))
            await trio.sleep(self.chance.random())


@pytest.mark.parametrize("seed", range(4))
def test_it_settles_to_what_the_bucket_is(tmp_path: Path, caplog: pytest.LogCaptureFixture, seed: int) -> None:
    async def main() -> None:
        chance = random.Random(seed)
        model = Model(SlowLister(chance))
        ttls = {"attr_ttl": 2.0, "entry_ttl": 2.0, "negative_ttl": 1.0}
        options: dict[str, object] = {**ttls, "ram_entries": chance.choice([16, 20, 1000])}
        async with running(model.lister, tmp_path, now=lambda: EPOCH + trio.current_time(), **options) as namespace:  # type: ignore[arg-type]
            users = Users(namespace, model, chance)
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(users.use)
                nursery.start_soon(users.change)
            await trio.sleep(5)
            model.history = [(0.0, {key: info.etag for key, info in model.lister.objects.items()})]
            await check_walk(namespace, model, ROOT, b"")

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.001))
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
