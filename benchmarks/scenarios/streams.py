"""Large files: sequential, random, strided and interleaved reads, and page faults."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import data
from benchmarks.access import Place, source
from benchmarks.crew import Outcome
from benchmarks.scenarios.base import (
    ALL,
    DATA,
    FILES,
    MB_PER_SECOND,
    NULL,
    Context,
    Phase,
    Scenario,
    big_key,
    cold_and_warm,
    rate,
)
from benchmarks.worker import Record

CHUNK = 1 << 20  # bytes of each sequential read(2)
STEP = 128 << 10  # bytes of each strided and interleaved read
STRIDE = 1 << 20


def read_at(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """Reads of one size at the given offsets, through one descriptor, until they or the time is used up."""
    files = source(place)
    key, name = arguments["key"], place.digest(arguments["key"])
    offsets = _offsets(arguments)
    buffer = memoryview(bytearray(arguments["size"]))
    record.begin()
    end = time.monotonic() + arguments["seconds"]
    handle = files.open(key)
    for offset in offsets:
        wanted = min(len(buffer), arguments["length"] - offset)
        count = files.pread(handle, buffer[:wanted], offset)
        if count != wanted:
            raise ValueError(f"{key}: {count} bytes at {offset}, wanted {wanted}")
        data.check(name, offset, buffer[:count])
        record.done(count)
        if time.monotonic() > end:
            break
    files.close(handle)


def _offsets(arguments: dict[str, Any]) -> Iterator[int]:
    """Where to read: given one by one, or by the name of a pattern."""
    length, size, pattern = arguments["length"], arguments["size"], arguments["pattern"]
    if pattern == "sequential":
        yield from range(0, length, size)
    elif pattern == "strided":
        yield from range(0, length, STRIDE)
    elif pattern == "interleaved":
        half = length // 2 // size * size
        for offset in range(0, half, size):
            yield offset
            yield half + offset
    else:
        yield from arguments["offsets"]


def map_sequential(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """Copies the whole file out of a mapping, as loaders of tensors do."""
    key, length = arguments["key"], arguments["length"]
    name = place.digest(key)
    record.begin()
    descriptor = os.open(f"{place.root}/{key}", os.O_RDONLY)
    with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as mapping:
        os.close(descriptor)
        for offset in range(0, length, 4 * CHUNK):
            part = mapping[offset : offset + 4 * CHUNK]
            data.check(name, offset, part)
            record.done(len(part))


def map_random(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """Touches 4 KiB blocks of a mapping at random offsets: one page fault each."""
    key = arguments["key"]
    name = place.digest(key)
    record.begin()
    end = time.monotonic() + arguments["seconds"]
    descriptor = os.open(f"{place.root}/{key}", os.O_RDONLY)
    with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as mapping:
        os.close(descriptor)
        for offset in arguments["offsets"]:
            data.check(name, offset, mapping[offset : offset + data.STAMP.size])
            record.done(data.BLOCK)
            if time.monotonic() > end:
                break


def _whole(pattern: str, size: int) -> Callable[[Context], Outcome]:
    def measure(context: Context) -> Outcome:
        one = {"key": big_key(context), "length": context.scale.big, "size": size, "pattern": pattern, "seconds": context.limit}
        return context.run(f"{__name__}:read_at", [one])

    return measure


def _four(context: Context) -> Outcome:
    return context.run(
        f"{__name__}:read_at",
        [
            {
                "key": f"medium/{number}.bin",
                "length": context.scale.medium,
                "size": CHUNK,
                "pattern": "sequential",
                "seconds": context.limit,
            }
            for number in range(4)
        ],
    )


def _random(size: int) -> Callable[[Context], Outcome]:
    def measure(context: Context) -> Outcome:
        return context.run(f"{__name__}:read_at", _random_tasks(context, size))

    return measure


def _random_tasks(context: Context, size: int) -> list[dict[str, Any]]:
    scale, source_ = context.scale, context.random(f"random/{size}")
    places = (scale.big - size) // data.BLOCK
    return [
        {
            "key": big_key(context),
            "length": scale.big,
            "size": size,
            "pattern": "given",
            "offsets": [source_.randint(0, places) * data.BLOCK for _ in range(scale.reads)],
            "seconds": scale.seconds,
        }
        for _ in range(scale.readers)
    ]


def _map_sequential(context: Context) -> Outcome:
    return context.run(f"{__name__}:map_sequential", [{"key": "medium/0.bin", "length": context.scale.medium}])


def _map_random(context: Context) -> Outcome:
    return context.run(f"{__name__}:map_random", _random_tasks(context, data.BLOCK))


def _cold(measure: Callable[[Context], Outcome], kinds: frozenset[str] = ALL) -> tuple[Phase, ...]:
    return (Phase("cold", measure, kinds),)


SCENARIOS = (
    Scenario("sequential", "one large file, one reader", MB_PER_SECOND, ("big",), cold_and_warm(_whole("sequential", CHUNK))),
    Scenario("sequential-4", "four large files, a reader each", MB_PER_SECOND, ("medium",), cold_and_warm(_four, ALL - {NULL})),
    Scenario("random-4k", "random reads of 4 KiB, 8 readers", rate("reads"), ("big",), _cold(_random(4 << 10))),
    Scenario("random-64k", "random reads of 64 KiB, 8 readers", rate("reads"), ("big",), _cold(_random(64 << 10))),
    Scenario("random-1m", "random reads of 1 MiB, 8 readers", rate("reads"), ("big",), _cold(_random(1 << 20))),
    Scenario("strided", "128 KiB of each MiB, one reader", rate("reads"), ("big",), _cold(_whole("strided", STEP))),
    Scenario(
        "interleaved",
        "two sequential streams through one descriptor",
        MB_PER_SECOND,
        ("big",),
        _cold(_whole("interleaved", STEP)),
    ),
    Scenario("mmap-seq", "one file copied out of a mapping", MB_PER_SECOND, ("medium",), cold_and_warm(_map_sequential, DATA)),
    Scenario("mmap-random", "random page faults, 8 readers", rate("faults"), ("big",), _cold(_map_random, FILES)),
)
