"""Manifests: a mount that shows exactly the keys of a list.

read_manifest() understands what data sets come with; ManifestLister stands before the real lister and lets only these keys
through, so that everything above sees a bucket with nothing else in it.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import hashlib
import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ossmount.errors import NotFound
from ossmount.metadata import keys as naming
from ossmount.metadata.flights import together
from ossmount.model import ListPage, ObjectInfo
from ossmount.oss.interface import ObjectLister

FIELDS = ("source", "uri", "url", "key", "object_key", "path")  # where records and CSV columns have the key
SPARSE = 8  # of 1,000 keys that a LIST shows: where fewer are wanted, HEADs are tried
HEADS = 64  # of so many keys before the next LIST is tried
TOGETHER = 16
_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_REGION = re.compile(r"(?:^|\.)(oss-(?!accelerate)[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com$")


class ManifestError(Exception):
    """The file cannot be read, or names what this mount cannot show. The message says where."""


class Manifest(NamedTuple):
    """What a list names."""

    buckets: tuple[str, ...]
    keys: list[bytes]  # each once and in order; of several buckets BUCKET/KEY

    @property
    def several(self) -> bool:
        return len(self.buckets) > 1


def read_manifest(path: Path, bucket: str, prefix: bytes, endpoint: str = "") -> Manifest:
    """The keys of a list for a mount of oss://`bucket`/`prefix` at an endpoint. Raises ManifestError.

    One for each line: a key, oss://BUCKET/KEY or oss://BUCKET.ENDPOINT/KEY, or a record ({…}, JSON or as Python prints it)
    with one of FIELDS, also inside of "data". A file named *.csv has one of FIELDS in its first line, else keys in its first
    column. Empty lines and records with an empty source are passed over.
    """
    found: dict[str, set[bytes]] = {}
    shown = prefix.decode("utf-8", "backslashreplace")
    wanted = _Wanted(bucket, endpoint)
    try:
        with open(path, encoding="utf-8-sig", newline="") as lines:
            for number, text in _texts(path, lines):
                if text:
                    name, key = wanted.parted(f"{path}, line {number}", text)
                    if name == bucket and not key.startswith(prefix):
                        raise ManifestError(f"{path}, line {number}: {text[:80]} does not lie below {shown}, which is mounted")
                    found.setdefault(name, set()).add(key)
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ManifestError(f"{path} is not UTF-8, as every key of OSS is") from None
    except csv.Error as error:
        raise ManifestError(f"{path} is no CSV: {error}") from None
    if not found:
        raise ManifestError(f"{path} names no key")
    if len(found) == 1 and bucket not in found:
        other = next(iter(found))
        raise ManifestError(f"{path} names the bucket {other!r}, this is a mount of {bucket!r}: mount oss://{other}")
    if len(found) > 1:
        if prefix:
            raise ManifestError(f"{path} names several buckets, which a mount of {shown} cannot show: mount oss://{bucket}")
        return Manifest(tuple(sorted(found)), sorted(name.encode() + b"/" + key for name in found for key in found[name]))
    return Manifest((bucket,), sorted(found[bucket]))


class _Wanted:
    """Takes apart what lines name, against the bucket and the endpoint of the mount."""

    def __init__(self, bucket: str, endpoint: str) -> None:
        self._bucket = bucket
        self._region = _region(endpoint)
        self._places: dict[str, str] = {}  # to the bucket, from what stands behind oss://: most lines name the same

    def parted(self, where: str, text: str) -> tuple[str, bytes]:
        """Bucket and key."""
        bucket = self._bucket
        if text.startswith("oss://"):
            place, _, text = text.removeprefix("oss://").partition("/")
            if place not in self._places:
                self._places[place] = self._check(where, place)
            bucket = self._places[place]
        key = text.encode("utf-8", "surrogatepass")
        if not 0 < len(key) <= naming.KEY_MAX or not naming.is_utf8(key):
            raise ManifestError(f"{where} is no key: 1 to {naming.KEY_MAX} bytes of UTF-8")
        return bucket, key

    def _check(self, where: str, place: str) -> str:
        bucket, _, endpoint = place.partition(".")
        if not _BUCKET.fullmatch(bucket):
            raise ManifestError(f"{where} names the bucket {bucket!r}: 3 to 63 lower-case letters, digits and hyphens")
        region = _region(endpoint)
        if self._region and region and region != self._region:
            raise ManifestError(f"{where} lies at {endpoint}, this mount asks {self._region}: mount what lies there by itself")
        return bucket


def _region(endpoint: str) -> str:
    """The public domain of an endpoint of a region, which is the same inside of it; "" for others, that tell of no region."""
    host = endpoint.rpartition("://")[2].partition("/")[0].partition(":")[0].lower()
    found = _REGION.search(host)
    return f"{found[1]}.aliyuncs.com" if found is not None else ""


def digest(keys: Sequence[bytes]) -> str:
    """What tells the metadata of one list from that of another."""
    made = hashlib.sha256()
    for key in keys:
        made.update(len(key).to_bytes(2, "big") + key)
    return made.hexdigest()


def _texts(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The number of each line and what it names."""
    if path.suffix.lower() == ".csv":
        yield from _csv(lines)
        return
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        yield number, _record(f"{path}, line {number}", text) if text.lstrip().startswith("{") else text


def _csv(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    column: int | None = None
    for number, row in enumerate(csv.reader(lines), 1):
        if column is None:
            names = [name.strip().lower() for name in row]
            known = [names.index(field) for field in FIELDS if field in names]
            column = known[0] if known else 0
            if known:
                continue
        yield number, row[column] if len(row) > column else ""


def _record(where: str, text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        try:
            value = ast.literal_eval(text.strip())  # literals only: nothing is executed
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise ManifestError(f"{where} is neither JSON nor a Python literal: {text[:80]}") from None
    for record in (value, value.get("data") if isinstance(value, dict) else None):
        if isinstance(record, dict):
            for field in FIELDS:
                if isinstance(record.get(field), str):
                    return str(record[field])
    raise ManifestError(f"{where} has none of {', '.join(FIELDS)}: {text[:80]}")


class ManifestLister:
    """Implements ObjectLister for the keys of a list. Keys that the bucket does not have are left out."""

    def __init__(self, lister: ObjectLister, keys: Sequence[bytes]) -> None:
        """`keys`: sorted, each once."""
        self._lister = lister
        self._keys = keys

    async def list_page(
        self, prefix: bytes, *, delimiter: bytes = b"", start_after: bytes = b"", token: str = "", max_keys: int = 1000
    ) -> ListPage:
        start = max(start_after, bytes.fromhex(token))
        at = max(bisect_left(self._keys, prefix), bisect_right(self._keys, start))
        while True:
            objects, folders, at = self._slice(prefix, delimiter, start, at, max_keys)
            more = at < len(self._keys) and self._keys[at].startswith(prefix)
            described = await self._describe(objects)
            prefixes = await self._existing(folders)
            if described or prefixes or not more:  # else none of them exists, and the page goes on behind them
                return ListPage(described, prefixes, self._keys[at - 1].hex() if more else "")

    def _slice(
        self, prefix: bytes, delimiter: bytes, start: bytes, at: int, most: int
    ) -> tuple[list[bytes], list[tuple[int, int, bytes]], int]:
        """The next keys, the next common prefixes with the indices of their keys, and the index behind all of them."""
        objects: list[bytes] = []
        folders: list[tuple[int, int, bytes]] = []
        while at < len(self._keys) and self._keys[at].startswith(prefix) and len(objects) + len(folders) < most:
            key = self._keys[at]
            slash = key.find(delimiter, len(prefix)) if delimiter else -1
            if slash < 0:
                objects.append(key)
                at += 1
                continue
            common = key[: slash + 1]
            first = at
            at = bisect_left(self._keys, common[:-1] + bytes([common[-1] + 1]), at)
            if common > start:
                folders.append((first, at, common))
        return objects, folders, at

    async def _existing(self, folders: Sequence[tuple[int, int, bytes]]) -> list[bytes]:
        """The common prefixes of which at least one key exists: most often the first of each."""
        firsts = {info.key for info in await self._describe([self._keys[first] for first, _, _ in folders])}
        found: list[bytes] = []
        for first, end, common in folders:
            exists = self._keys[first] in firsts
            for at in range(first + 1, end, HEADS):
                exists = exists or bool(await self._describe(list(self._keys[at : min(end, at + HEADS)])))
                if exists:
                    break
            if exists:
                found.append(common)
        return found

    async def head(self, key: bytes) -> ObjectInfo:
        if not self._has(key):
            raise NotFound(f"{key!r} is not in the manifest")
        return await self._lister.head(key)

    async def symlink_target(self, key: bytes) -> bytes:
        return await self._lister.symlink_target(key)

    def _has(self, key: bytes) -> bool:
        at = bisect_left(self._keys, key)
        return at < len(self._keys) and self._keys[at] == key

    async def _describe(self, wanted: list[bytes]) -> list[ObjectInfo]:
        """The objects among these keys that exist: by LISTs where they stand close together, else by HEADs."""
        found: dict[bytes, ObjectInfo] = {}
        at = 0
        while at < len(wanted):
            if len(wanted) - at == 1:
                await self._head_all(wanted[at:], found)
                break
            page = await self._lister.list_page(b"", start_after=naming.start_before(wanted[at]))
            found.update({info.key: info for info in page.objects})
            end = bisect_right(wanted, page.objects[-1].key) if page.next_token and page.objects else len(wanted)
            sparse = end - at < SPARSE
            at = max(end, at + 1)
            if sparse and at < len(wanted):
                await self._head_all(wanted[at : at + HEADS], found)
                at += HEADS
        return [found[key] for key in wanted if key in found]

    async def _head_all(self, keys: Sequence[bytes], found: dict[bytes, ObjectInfo]) -> None:
        async def one(key: bytes) -> None:
            with contextlib.suppress(NotFound):  # named by the list and not (or no more) in the bucket
                found[key] = await self._lister.head(key)

        for first in range(0, len(keys), TOGETHER):
            await together([partial(one, key) for key in keys[first : first + TOGETHER]])
