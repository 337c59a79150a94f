"""The data sets that are container formats: what loaders open by header, by tail or through mmap."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import random
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import lmdb

from benchmarks.data import MTIME, PLAIN, DataSet, Scale, digest, pieces

VALUE = 100_000  # bytes of each value in the LMDB data set
TENSOR = 4 << 20  # bytes of each tensor but the last
ROW_GROUPS = 8
COLUMNS = 4


class Unavailable(Exception):
    """A set needs something that this machine does not have; the message names it."""


def _safetensors(root: Path, scale: Scale) -> None:
    """8 bytes of header length, a JSON header, then the tensors, as the safetensors format has them."""
    count = max(1, scale.tensors // TENSOR)
    each = scale.tensors // count
    header = {
        f"layers.{number}.weight": {"dtype": "F16", "shape": [each // 2], "data_offsets": [number * each, (number + 1) * each]}
        for number in range(count)
    }
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 8)
    path = root / "safetensors/model.safetensors"
    path.parent.mkdir(parents=True)
    with open(path, "wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for piece in pieces("safetensors/model.safetensors", count * each):
            stream.write(piece)


def _content(key: str, size: int) -> bytes:
    return b"".join(bytes(piece) for piece in pieces(key, size))


def _webdataset(root: Path, scale: Scale) -> None:
    folder = root / "webdataset"
    folder.mkdir()
    sizes = random.Random(f"webdataset/{scale.name}")
    for shard in range(scale.shards):
        with tarfile.open(folder / f"shard-{shard:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            for sample in range(scale.shard_samples):
                for ending, size in (("jpg", sizes.randint(scale.train_largest // 10, scale.train_largest // 3)), ("cls", 4)):
                    member = tarfile.TarInfo(f"{shard:04d}{sample:06d}.{ending}")
                    member.size, member.mtime = size, MTIME
                    archive.addfile(member, io.BytesIO(_content(member.name, size)))


def _zip(root: Path, scale: Scale) -> None:
    (root / "zip").mkdir()
    sizes = random.Random(f"zip/{scale.name}")
    with zipfile.ZipFile(root / "zip/archive.zip", "w", zipfile.ZIP_STORED) as archive:
        for number in range(scale.archive_members):
            member = zipfile.ZipInfo(f"{number:05d}.bin", (2023, 11, 14, 22, 13, 20))
            archive.writestr(member, _content(member.filename, sizes.randint(4_096, 65_536)))


def _parquet(root: Path, scale: Scale) -> None:
    """Shaped like parquet, read like parquet (tail, footer, one column of each row group); the footer is JSON, not Thrift."""
    (root / "parquet").mkdir()
    chunk = max(4_096, scale.medium // (ROW_GROUPS * COLUMNS))
    key = "parquet/table.parquet"
    groups = []
    with open(root / key, "wb") as stream:
        stream.write(b"PAR1")
        for group in range(ROW_GROUPS):
            offsets = []
            for column in range(COLUMNS):
                offsets.append([stream.tell(), chunk])
                stream.write(_content(f"{key}/{group}/{column}", chunk))
            groups.append(offsets)
        footer = json.dumps(groups).encode()
        stream.write(footer + struct.pack("<I", len(footer)) + b"PAR1")


def _lmdb(root: Path, scale: Scale) -> None:
    path = root / "lmdb/data.mdb"
    path.parent.mkdir()
    with lmdb.open(
        str(path), subdir=False, map_size=2 * scale.database_values * (VALUE + 8_192) + (8 << 20), lock=False
    ) as environment:
        for first in range(0, scale.database_values, 100):
            with environment.begin(write=True) as transaction:
                for number in range(first, min(first + 100, scale.database_values)):
                    transaction.put(database_key(number), _content(f"lmdb/{number}", VALUE))


def database_key(number: int) -> bytes:
    return b"%08d" % number


def database_digest(number: int) -> bytes:
    return digest(f"lmdb/{number}")


def _packages(root: Path, scale: Scale) -> None:
    """The installed numpy as an unpacked wheel: `pip install` leaves exactly these files."""
    found = importlib.util.find_spec("numpy")
    if found is None or found.origin is None:
        raise Unavailable("numpy is not installed: pip install 'ossmount[bench]'")
    source = Path(found.origin).parent
    for folder in (source, source.parent / "numpy.libs"):
        if folder.is_dir():
            skip = shutil.ignore_patterns("__pycache__", "*.pyi", "tests")
            shutil.copytree(folder, root / "packages" / folder.name, ignore=skip)
    for folder_name, _, files in os.walk(root / "packages"):
        for file in files:
            os.chmod(os.path.join(folder_name, file), 0o644)


SETS: dict[str, DataSet] = {
    made.name: made
    for made in (
        *PLAIN,
        DataSet("safetensors", _safetensors, lambda scale: scale.tensors),
        DataSet("webdataset", _webdataset, lambda scale: scale.shards * scale.shard_samples * scale.train_largest // 4),
        DataSet("zip", _zip, lambda scale: scale.archive_members * 36_000),
        DataSet("parquet", _parquet, lambda scale: scale.medium),
        DataSet("lmdb", _lmdb, lambda scale: scale.database_values * (VALUE + 8_192)),
        DataSet("packages", _packages, lambda scale: 80 << 20),
    )
}
