"""The data that is read: deterministic, made once into a cache folder, each set when a scenario first wants it.

Every 4 KiB block of a plain file begins with a stamp of 16 bytes (a digest of the key, then the block's number), so that a
reader can tell wrong bytes from right ones without a second copy. All files carry one fixed mtime: the ETag that nginx
makes of mtime and size is then the same on every machine.
"""

from __future__ import annotations

import functools
import hashlib
import os
import random
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import interrupts

BUCKET = "bench"
MTIME = 1_700_000_000  # seconds since the epoch, of every file
BLOCK = 4096
PIECE = 1 << 20
STAMP = struct.Struct("<8sQ")


@dataclass(frozen=True)
class Scale:
    """How much data there is and how much of it is read. Sizes are bytes."""

    name: str
    train_files: int
    train_folders: int
    epoch_files: int  # of train_files, read in random order
    train_largest: int
    small_files: int
    big: int  # size of the one large file
    medium: int  # size of each of the four
    tensors: int  # size of the safetensors file
    shards: int
    shard_samples: int
    archive_members: int
    database_values: int
    large_listing: int  # names in the synthetic folder
    open_files: int
    seconds: float  # time box of random reads
    reads: int  # random reads of each reader at most
    readers: int


FULL = Scale(
    "full",
    10_000,
    100,
    4_000,
    600_000,
    3_000,
    2 << 30,
    512 << 20,
    256 << 20,
    4,
    1_000,
    2_000,
    2_000,
    100_000,
    1_000,
    5,
    4_000,
    8,
)
QUICK = Scale(
    "quick", 2_000, 20, 1_000, 600_000, 1_000, 512 << 20, 128 << 20, 64 << 20, 2, 400, 500, 500, 20_000, 500, 2, 1_000, 8
)
TINY = Scale("tiny", 60, 3, 40, 20_000, 40, 2 << 20, 1 << 20, 1 << 20, 2, 10, 20, 20, 1_500, 20, 0.5, 20, 2)
SCALES = {scale.name: scale for scale in (FULL, QUICK, TINY)}


class NotEnoughSpace(Exception):
    """The cache folder's file system cannot hold the data."""


def digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=8).digest()


def train_key(scale: Scale, number: int) -> str:
    return f"train/{number % scale.train_folders:03d}/{number:06d}.bin"


def small_key(number: int) -> str:
    return f"small/{number:05d}.bin"


def train_sizes(scale: Scale) -> list[int]:
    """Bytes of each training file: log-normal about 110 KB, between 8 KB and 600 KB (at most train_largest)."""
    source = random.Random(f"train/{scale.name}")
    scaling = scale.train_largest / 600_000
    return [int(scaling * min(600_000, max(8_000, source.lognormvariate(11.42, 0.6)))) for _ in range(scale.train_files)]


def small_sizes(scale: Scale) -> list[int]:
    source = random.Random(f"small/{scale.name}")
    return [source.randint(4_096, 16_384) for _ in range(scale.small_files)]


def pieces(key: str, size: int) -> Iterator[memoryview]:
    """The stamped bytes of a file, in pieces of 1 MiB. The view is overwritten by the next piece."""
    pool = _pool()
    name = digest(key)
    piece = bytearray(PIECE)
    for start in range(0, size, PIECE):
        interrupts.check()
        turn = start // PIECE * 4_093 % 65_536
        piece[:] = pool[turn : turn + PIECE]
        first = start // BLOCK
        for block in range(PIECE // BLOCK):
            STAMP.pack_into(piece, block * BLOCK, name, first + block)
        yield memoryview(piece)[: min(PIECE, size - start)]


def check(name: bytes, offset: int, data: bytes | bytearray | memoryview) -> None:
    """Holds the first whole stamp in the data against the file's digest and the offset; raises ValueError.

    An empty digest means that there is nothing to check.
    """
    skip = -offset % BLOCK
    if not name or len(data) < skip + STAMP.size:
        return
    found, block = STAMP.unpack_from(data, skip)
    if found != name or block != (offset + skip) // BLOCK:
        raise ValueError(f"wrong bytes at offset {offset + skip}: stamp {found.hex()}/{block}, wanted {name.hex()}")


@functools.lru_cache(maxsize=1)
def _pool() -> bytes:
    """Every file is a rotation of this pool: random.randbytes for all of them would take minutes."""
    return random.Random(20_240_601).randbytes(PIECE + 65_536)


def write(root: Path, key: str, size: int) -> None:
    """Writes one stamped file below root (a bucket's folder)."""
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as stream:
        for piece in pieces(key, size):
            stream.write(piece)


def _train(root: Path, scale: Scale) -> None:
    for number, size in enumerate(train_sizes(scale)):
        write(root, train_key(scale, number), size)


def _small(root: Path, scale: Scale) -> None:
    for number, size in enumerate(small_sizes(scale)):
        write(root, small_key(number), size)


def _big(root: Path, scale: Scale) -> None:
    write(root, "big/0.bin", scale.big)


def _medium(root: Path, scale: Scale) -> None:
    for number in range(4):
        write(root, f"medium/{number}.bin", scale.medium)


@dataclass(frozen=True)
class DataSet:
    """One top-level folder of the bucket and how it is made."""

    name: str
    make: Callable[[Path, Scale], None]
    size: Callable[[Scale], int]  # bytes, about


PLAIN = (
    DataSet("train", _train, lambda scale: sum(train_sizes(scale))),
    DataSet("small", _small, lambda scale: sum(small_sizes(scale))),
    DataSet("big", _big, lambda scale: scale.big),
    DataSet("medium", _medium, lambda scale: 4 * scale.medium),
)


def data_root(cache: Path, scale: Scale) -> Path:
    """The folder that the store serves: its sub-folders are the buckets. The number changes when the data does."""
    return cache / f"data-1-{scale.name}"


def ensure(cache: Path, scale: Scale, sets: dict[str, DataSet], wanted: list[str], say: Callable[[str], None]) -> Path:
    """Makes the wanted sets that are missing and returns the store's root.

    A set is made beside its place and moved there, so an interrupted run leaves no half of one.
    """
    root = data_root(cache, scale)
    bucket = root / BUCKET
    bucket.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        if (bucket / name).exists():
            continue
        made = sets[name]
        size = made.size(scale)
        free = shutil.disk_usage(root).free
        if free < size * 1.05 + (64 << 20):
            raise NotEnoughSpace(f"{root}: data set {name} needs {size >> 20} MiB, {free >> 20} MiB are free; use --cache DIR")
        say(f"making data set {name} ({size >> 20} MiB) in {root}")
        _make(root, bucket, made, scale)
    return root


def _make(root: Path, bucket: Path, made: DataSet, scale: Scale) -> None:
    with tempfile.TemporaryDirectory(dir=root, prefix=".making-") as scratch:
        made.make(Path(scratch), scale)
        for folder, _, files in os.walk(Path(scratch) / made.name):
            for file in files:
                os.utime(os.path.join(folder, file), (MTIME, MTIME))
        if not (bucket / made.name).exists():
            os.rename(Path(scratch) / made.name, bucket / made.name)


def read_once(root: Path, sets: list[str]) -> None:
    """Brings the sets into the store's page cache: the first round must not measure the machine's disk."""
    buffer = bytearray(PIECE)
    for name in sets:
        for folder, _, files in os.walk(root / BUCKET / name):
            for file in files:
                interrupts.check()
                with open(os.path.join(folder, file), "rb", buffering=0) as stream:
                    while stream.readinto(buffer):
                        pass
