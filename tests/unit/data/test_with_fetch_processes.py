"""The reader over the real fetch processes and the embedded server: the seam between the two."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from ossmount.config import Credentials, DataConfig, FetchConfig, SourceConfig
from ossmount.data.reader import ObjectReader
from ossmount.data.slab import Slab
from ossmount.emulator.server import EmulatedServer
from ossmount.errors import Changed, OssMountError
from ossmount.model import Version
from ossmount.oss.buckets import Bucket
from ossmount.oss.fetch.pool import FetchPool

MIB = 1 << 20


async def read(reader: ObjectReader, version: Version, offset: int, size: int) -> bytes:
    finished = trio.Event()
    answers: list[bytes | OssMountError] = []

    def done(result: Sequence[memoryview] | OssMountError) -> None:
        answers.append(result if isinstance(result, OssMountError) else b"".join(result))
        finished.set()

    reader.read(version, offset, size, done)
    await finished.wait()
    (answer,) = answers
    if isinstance(answer, OssMountError):
        raise answer
    return answer


async def read_everything(source: SourceConfig, server: EmulatedServer, objects: dict[bytes, bytes]) -> None:
    order = random.Random(11)
    slab = Slab(4 * MIB)  # less than the objects together
    pool = FetchPool(source, FetchConfig(workers=1, connections=4), slab.fd, slab.size)
    reader = ObjectReader(slab, pool, DataConfig(slab.size, MIB, 4))
    try:
        with trio.fail_after(90):
            async with trio.open_nursery() as nursery:
                running = trio.Event()
                nursery.start_soon(pool.run, running.set)
                await running.wait()
                page = await Bucket(source).list_page(b"")
                versions = [Version(info.key, info.etag, info.size) for info in page.objects]

                async def reader_of(place: int) -> None:
                    for _ in range(30):
                        version = order.choice(versions)
                        offset, size = order.choice([0, order.randrange(version.size)]), order.choice([4096, 131072, 400_000])
                        assert await read(reader, version, offset, size) == objects[version.key][offset : offset + size]
                    version = versions[place]
                    for offset in range(0, version.size, 131072):
                        assert await read(reader, version, offset, 131072) == objects[version.key][offset : offset + 131072]

                async with trio.open_nursery() as readers:
                    for place in range(4):
                        readers.start_soon(reader_of, place)
                version = versions[0]
                reader.forget(version)
                server.store.put("bucket", version.key, b"other bytes")
                with pytest.raises(Changed):
                    await read(reader, version, 0, 4096)
                nursery.cancel_scope.cancel()
    finally:
        slab.close()


def test_every_byte_of_random_reads_and_a_changed_object(tmp_path: Path) -> None:
    order = random.Random(7)
    objects = {b"big": order.randbytes(5 * MIB + 77), b"middle": order.randbytes(900_001)}
    objects |= {b"small/%d" % number: order.randbytes(order.randint(1, 200_000)) for number in range(10)}
    with EmulatedServer(tmp_path) as server:
        for key, data in objects.items():
            server.store.put("bucket", key, data)
        source = SourceConfig(
            "bucket",
            endpoint=server.url,
            region="cn-hangzhou",
            path_style=True,
            credentials=lambda: Credentials("test-id", "test-secret"),
        )
        trio.run(read_everything, source, server, objects)
