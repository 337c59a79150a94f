"""What people really start: container formats opened by header, by tail and through mmap, and Python's own imports."""

from __future__ import annotations

import importlib.util
import json
import mmap
import os
import random
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from typing import Any

import lmdb

from benchmarks import data, formats
from benchmarks.access import Place
from benchmarks.crew import Outcome
from benchmarks.scenarios.base import DATA, MB_PER_SECOND, MILLISECONDS, Context, Phase, Scenario, cold_and_warm, rate
from benchmarks.worker import Record

IMPORT = "import sys, numpy; sys.exit(not numpy.__file__.startswith(sys.argv[1]))"


def import_numpy(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """A fresh interpreter without site-packages that finds numpy in the data only."""
    folder = f"{place.root}/packages"
    environment = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
    record.begin()
    done = subprocess.run([sys.executable, "-s", "-S", "-c", IMPORT, folder], env=environment, capture_output=True, check=False)
    if done.returncode:
        raise ValueError(f"import numpy failed: {done.stderr.decode(errors='replace').strip()[-300:] or 'found elsewhere'}")
    record.done(0)


def load_safetensors(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """The header, then every tensor copied out of a mapping."""
    descriptor = os.open(f"{place.root}/safetensors/model.safetensors", os.O_RDONLY)
    with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as mapping:
        os.close(descriptor)
        (length,) = struct.unpack("<Q", mapping[:8])
        name = data.digest("safetensors/model.safetensors")
        for tensor in json.loads(mapping[8 : 8 + length]).values():
            first, last = tensor["data_offsets"]
            content = mapping[8 + length + first : 8 + length + last]
            data.check(name, first, content)
            record.done(len(content))


def stream_shard(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """Every member of a tar, in order, without seeking."""
    with tarfile.open(f"{place.root}/webdataset/shard-{arguments['shard']:06d}.tar", "r|") as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream is None:
                raise ValueError(f"{member.name} is no file")
            content = stream.read()
            data.check(data.digest(member.name), 0, content)
            record.done(len(content))


def read_zip(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """Opens a zip by its tail and reads a few members; zipfile verifies their CRC."""
    for names in arguments["members"]:
        size = 0
        with zipfile.ZipFile(f"{place.root}/zip/archive.zip") as archive:
            for name in names:
                content = archive.read(name)
                data.check(data.digest(name), 0, content)
                size += len(content)
        record.done(size)


def read_parquet(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """Opens a table by its tail, reads the footer and then one column of each row group."""
    key = "parquet/table.parquet"
    for column in arguments["columns"]:
        size = 0
        with open(f"{place.root}/{key}", "rb", buffering=0) as stream:
            end = stream.seek(-8, os.SEEK_END) + 8
            length, magic = struct.unpack("<I4s", stream.read(8))
            if magic != b"PAR1":
                raise ValueError(f"{key} ends in {magic!r}")
            stream.seek(end - 8 - length)
            for group, columns in enumerate(json.loads(stream.read(length))):
                offset, wanted = columns[column]
                stream.seek(offset)
                content = stream.read(wanted)
                data.check(data.digest(f"{key}/{group}/{column}"), 0, content)
                size += len(content)
        record.done(size)


def get_values(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """Random gets from an LMDB data set without readahead: page faults one after the other."""
    with (
        lmdb.open(f"{place.root}/lmdb/data.mdb", subdir=False, readonly=True, lock=False, readahead=False) as environment,
        environment.begin(buffers=True) as transaction,
    ):
        record.begin()
        end = time.monotonic() + arguments["seconds"]
        for number in arguments["numbers"]:
            value = transaction.get(formats.database_key(number))
            if value is None or len(value) != formats.VALUE:
                raise ValueError(f"value {number} is not there whole")
            content = bytes(value)
            data.check(formats.database_digest(number), 0, content)
            record.done(len(content))
            if time.monotonic() > end:
                break


def _import(context: Context) -> Outcome:
    return context.run(f"{__name__}:import_numpy", [{}])


def _safetensors(context: Context) -> Outcome:
    return context.run(f"{__name__}:load_safetensors", [{}])


def _webdataset(context: Context) -> Outcome:
    return context.run(f"{__name__}:stream_shard", [{"shard": shard} for shard in range(context.scale.shards)])


def _zip(context: Context) -> Outcome:
    source = context.random("zip")
    return context.run(f"{__name__}:read_zip", [{"members": [_members(context, source) for _ in range(4)]} for _ in range(4)])


def _members(context: Context, source: random.Random) -> list[str]:
    return [f"{source.randrange(context.scale.archive_members):05d}.bin" for _ in range(10)]


def _parquet(context: Context) -> Outcome:
    return context.run(f"{__name__}:read_parquet", [{"columns": [column]} for column in range(formats.COLUMNS)])


def _lmdb(context: Context) -> Outcome:
    scale, source = context.scale, context.random("lmdb")
    numbers = [[source.randrange(scale.database_values) for _ in range(scale.reads)] for _ in range(scale.readers)]
    return context.run(f"{__name__}:get_values", [{"numbers": each, "seconds": scale.seconds} for each in numbers])


def _no_numpy() -> str:
    return "" if importlib.util.find_spec("numpy") else "numpy is not installed: pip install 'ossmount[bench]'"


def _cold(measure: Any) -> tuple[Phase, ...]:
    return (Phase("cold", measure, DATA),)


SCENARIOS = (
    Scenario(
        "import-numpy",
        "python -c 'import numpy', numpy in the bucket",
        MILLISECONDS,
        ("packages",),
        cold_and_warm(_import, DATA),
        missing=_no_numpy,
    ),
    Scenario("safetensors", "a safetensors file loaded through mmap", MB_PER_SECOND, ("safetensors",), _cold(_safetensors)),
    Scenario("webdataset", "tar shards streamed, a reader each", MB_PER_SECOND, ("webdataset",), _cold(_webdataset)),
    Scenario("zip-tail", "a zip opened by its tail, 10 members read", rate("opens"), ("zip",), _cold(_zip)),
    Scenario("parquet-tail", "a table opened by its tail, one column read", MB_PER_SECOND, ("parquet",), _cold(_parquet)),
    Scenario("lmdb-get", "random gets of 100 KB values from LMDB, 8 readers", rate("gets"), ("lmdb",), _cold(_lmdb)),
)
