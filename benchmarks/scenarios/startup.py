"""Beginnings: the mount itself, the first byte, and very many open files."""

from __future__ import annotations

import array
from typing import Any

from benchmarks import data
from benchmarks.access import Place, source
from benchmarks.crew import Outcome
from benchmarks.scenarios.base import ALL, FILES, MILLISECONDS, MOUNTS, NULL_SIZE, Context, Phase, Scenario, epoch_order, rate
from benchmarks.worker import Record


def first_byte(place: Place, arguments: dict[str, Any], record: Record) -> None:
    files = source(place)
    buffer = memoryview(bytearray(data.BLOCK))
    record.begin()
    handle = files.open(arguments["key"])
    count = files.pread(handle, buffer[: arguments["size"]], 0)
    files.close(handle)
    record.done(count)
    data.check(place.digest(arguments["key"]), 0, buffer[:count])


def open_many(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """Opens every file and keeps it open, then reads the first half of each."""
    files = source(place)
    record.begin()
    handles = [files.open(key) for key, _ in arguments["files"]]
    for handle, (key, size) in zip(handles, arguments["files"], strict=True):
        buffer = memoryview(bytearray(max(1, size // 2)))
        count = files.pread(handle, buffer, 0)
        if count != len(buffer):
            raise ValueError(f"{key}: {count} bytes, wanted {len(buffer)}")
        data.check(place.digest(key), 0, buffer)
        record.done(count)
    for handle in handles:
        files.close(handle)


def _mount(context: Context) -> Outcome:
    seconds = context.mounted.seconds
    return Outcome(1, 0, seconds, array.array("Q", [int(seconds * 1e9)]), ())


def _first_byte(context: Context) -> Outcome:
    key, size = epoch_order(context)[0]
    return context.run(f"{__name__}:first_byte", [{"key": key, "size": min(size, data.BLOCK)}])


def _open_many(context: Context) -> Outcome:
    if context.mounted.place.null:
        files = [(f"f{number}", NULL_SIZE) for number in range(context.scale.open_files)]
    else:
        files = [(data.train_key(context.scale, number), size) for number, size in enumerate(data.train_sizes(context.scale))]
    return context.run(f"{__name__}:open_many", [{"files": files[: context.scale.open_files]}])


SCENARIOS = (
    Scenario("mount-time", "from the mount command to the first answer", MILLISECONDS, (), (Phase("cold", _mount, MOUNTS),)),
    Scenario("ttfb", "first 4 KiB of one file in a fresh mount", MILLISECONDS, ("train",), (Phase("cold", _first_byte, ALL),)),
    Scenario(
        "open-1000",
        "1,000 files open at once (at full scale), each half read",
        rate("files"),
        ("train",),
        (Phase("cold", _open_many, FILES),),
    ),
)
