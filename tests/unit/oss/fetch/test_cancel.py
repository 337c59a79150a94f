"""cancel() and promote() through a real fetch process."""

from __future__ import annotations

import threading

import trio

from ossmount.config import FetchConfig
from ossmount.errors import OssMountError, Unavailable
from ossmount.model import Version
from ossmount.oss.fetch.pool import FetchPool
from ossmount.oss.interface import FetchRequest
from tests.unit.oss.fetch.scripted import HANG, Action, Request, Slab, Wanted, honest, serving, source

SMALL = bytes(1000)
LARGE = bytes(4 << 20)


class Client:
    """A pool and a record of the order in which its fetches ended."""

    def __init__(self, pool: FetchPool) -> None:
        self._pool = pool
        self.ended: dict[bytes, OssMountError | None] = {}
        self._changed = trio.Event()

    def fetch(self, key: bytes, data: bytes, slab: Slab, *, demand: bool = True) -> int:
        def done(failure: OssMountError | None) -> None:
            assert key not in self.ended
            self.ended[key] = failure
            self._changed.set()
            self._changed = trio.Event()

        request = FetchRequest(Version(key, "E1", len(data)), 0, len(data), ((0, len(data)),), demand)
        return self._pool.fetch(request, done)

    async def until_ended(self, *keys: bytes) -> None:
        with trio.fail_after(60):
            while not self.ended.keys() >= set(keys):
                await self._changed.wait()


def test_cancelled_fetches_end_and_free_their_connections() -> None:
    """Of two connections, both carry a large body that never ends; behind them wait a cancelled and a wanted small one."""

    def script(request: Request) -> list[Action]:
        if request.key.startswith(b"large"):
            return [honest(LARGE, "E1", request)[:100_000], HANG]
        return [honest(SMALL, "E1", request)]

    async def main() -> None:
        pool = FetchPool(source(server.url), FetchConfig(1, 2), slab.fd, slab.size, environment={})
        client = Client(pool)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.run, lambda: None)
            large = [client.fetch(b"large %d" % number, LARGE, slab) for number in range(2)]
            queued = client.fetch(b"queued", SMALL, slab)
            client.fetch(b"wanted", SMALL, slab)
            with trio.fail_after(60):
                while len(server.requests) < 2:
                    await trio.sleep(0.01)
            pool.cancel(queued)
            await client.until_ended(b"queued")
            assert isinstance(client.ended[b"queued"], Unavailable)
            assert b"wanted" not in client.ended
            for number in large:
                pool.cancel(number)
            await client.until_ended(b"large 0", b"large 1", b"wanted")
            assert isinstance(client.ended[b"large 0"], Unavailable)
            assert client.ended[b"wanted"] is None
            pool.cancel(queued)  # over already: nothing happens
            pool.promote(queued)
            nursery.cancel_scope.cancel()
        assert {request.key for request in server.requests} == {b"large 0", b"large 1", b"wanted"}

    slab = Slab([Wanted(b"", LARGE)])
    with serving(script) as server:
        trio.run(main)
    slab.close()


def test_demand_comes_before_readahead_and_promote_makes_demand() -> None:
    """With one connection, answers come one after the other, in the order in which they were taken up."""
    release = threading.Event()

    def script(request: Request) -> list[Action]:
        return [release, honest(SMALL, "E1", request)]

    async def main() -> None:
        pool = FetchPool(source(server.url), FetchConfig(1, 1), slab.fd, slab.size, environment={})
        client = Client(pool)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.run, lambda: None)
            client.fetch(b"first", SMALL, slab)
            with trio.fail_after(60):
                while not server.requests:
                    await trio.sleep(0.01)
            client.fetch(b"ahead 1", SMALL, slab, demand=False)
            second = client.fetch(b"ahead 2", SMALL, slab, demand=False)
            client.fetch(b"demand", SMALL, slab)
            pool.promote(second)
            release.set()
            await client.until_ended(b"ahead 1", b"ahead 2", b"demand")
            nursery.cancel_scope.cancel()
        assert [request.key for request in server.requests] == [b"first", b"demand", b"ahead 2", b"ahead 1"]

    slab = Slab([Wanted(b"", SMALL)])
    with serving(script) as server:
        trio.run(main)
    slab.close()


def test_the_end_of_the_pool_ends_its_fetches() -> None:
    async def main() -> None:
        pool = FetchPool(source(server.url), FetchConfig(2, 2), slab.fd, slab.size, environment={})
        client = Client(pool)
        async with trio.open_nursery() as nursery:
            started = trio.Event()
            nursery.start_soon(pool.run, started.set)
            client.fetch(b"before", SMALL, slab)
            await started.wait()
            client.fetch(b"under way", SMALL, slab)
            nursery.cancel_scope.cancel()
        assert isinstance(client.ended[b"before"], Unavailable)
        assert isinstance(client.ended[b"under way"], Unavailable)
        client.fetch(b"after", SMALL, slab)
        assert isinstance(client.ended[b"after"], Unavailable)
        assert pool.pids() == []

    slab = Slab([Wanted(b"", SMALL)])
    with serving(lambda request: [HANG]) as server:
        trio.run(main)
    slab.close()


def test_a_callback_that_raises_harms_no_other_fetch() -> None:
    async def main() -> None:
        pool = FetchPool(source(server.url), FetchConfig(1, 1), slab.fd, slab.size, environment={})
        client = Client(pool)

        def broken(_failure: OssMountError | None) -> None:
            raise RuntimeError("a defect above")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.run, lambda: None)
            pool.fetch(FetchRequest(Version(b"a", "E1", len(SMALL)), 0, len(SMALL), ((0, len(SMALL)),)), broken)
            client.fetch(b"b", SMALL, slab)
            await client.until_ended(b"b")
            nursery.cancel_scope.cancel()
        assert client.ended[b"b"] is None

    slab = Slab([Wanted(b"", SMALL)])
    with serving(lambda request: [honest(SMALL, "E1", request)]) as server:
        trio.run(main)
    slab.close()
