"""The records of the metadata store. Changing any layout here means a new SCHEMA: an older store is then rebuilt.

    meta      text name                            the schema, the identity and the next node id
    children  directory id, stored name, 0, d or f  Child: what a directory's name stands for now
    nodes     node id                              Location, or for a replaced version Location and its last Child
    coverage  directory id                         Coverage.pack()
    retired   node id of a Location with `last`    when it was retired, seconds since the epoch

Ids are 8 bytes, big-endian in keys so that LMDB sorts them. Names hold no NUL, so the 0 ends them and sorts first.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from ossmount.model import Kind, Node, ObjectInfo

SCHEMA = 2
_ID = struct.Struct(">Q")
_CHILD = struct.Struct("<Qqqd")
_LOCATION = struct.Struct("<QBB")
_TIME = struct.Struct("<d")
_DIRECTORY = b"\0d"
_FILE = b"\0f"


class Child(NamedTuple):
    """What one side of a name stands for: the current version of an object, or a directory."""

    id: int
    size: int
    mtime_ns: int
    validated: float  # when it was last seen outside of covered listings, seconds since the epoch; -inf: not to be believed
    etag: str = ""
    object_type: str = ""  # "" is Normal
    storage_class: str = ""  # "" is Standard
    link_etag: str = ""  # the ETag of the OSS symlink itself when the other fields describe what it points to


class Retired(NamedTuple):
    """A node id that names nothing any more."""

    id: int
    time: float  # since when, seconds since the epoch
    parent: int  # the directory that it was in


class Location(NamedTuple):
    """Where a node id belongs. `last` is set when it names nothing any more: what it was."""

    parent: int
    directory: bool
    name: bytes  # stored name
    last: Child | None = None


def child_of(number: int, info: ObjectInfo, validated: float) -> Child:
    return Child(
        number,
        info.size,
        info.mtime_ns,
        validated,
        info.etag,
        "" if info.object_type == "Normal" else info.object_type,
        "" if info.storage_class == "Standard" else info.storage_class,
    )


def new_children(
    first: int, parent: int, files: Sequence[tuple[bytes, ObjectInfo]], validated: float
) -> list[tuple[bytes, bytes]]:
    """Keys and records of child_of() for objects of one directory, whose ids count up from `first`."""
    start, pack = _ID.pack(parent), _CHILD.pack
    rows: list[tuple[bytes, bytes]] = []
    for number, (name, info) in enumerate(files, first):
        _, size, mtime_ns, etag, object_type, storage_class, _ = info
        if object_type == "Normal" and storage_class == "Standard":
            record = pack(number, size, mtime_ns, validated) + etag.encode()
        else:
            record = pack_child(child_of(number, info, validated))
        rows.append((start + name + _FILE, record))
    return rows


def new_nodes(first: int, parent: int, files: Sequence[tuple[bytes, ObjectInfo]]) -> list[tuple[bytes, bytes]]:
    """Keys and records of the Locations of the same objects."""
    pack, heads = _ID.pack, {}
    for length in {len(name) for name, _ in files}:
        heads[length] = _LOCATION.pack(parent, 0, length)
    return [(pack(number), heads[len(name)] + name) for number, (name, _) in enumerate(files, first)]


def node_of(child: Child, key: bytes, *, directory: bool, symlinks: bool) -> Node:
    """The node of a child; `key` ends in "/" for a directory."""
    if directory:
        return Node(child.id, Kind.DIRECTORY, key, 0, child.mtime_ns, "")
    kind = Kind.SYMLINK if symlinks and child.object_type == "Symlink" else Kind.FILE
    object_type = child.object_type or "Normal"
    return Node(child.id, kind, key, child.size, child.mtime_ns, child.etag, object_type, child.storage_class or "Standard")


def pack_id(number: int) -> bytes:
    return _ID.pack(number)


def unpack_id(data: bytes) -> int:
    return int(_ID.unpack_from(data)[0])


def child_key(parent: int, name: bytes, directory: bool) -> bytes:
    return _ID.pack(parent) + name + (_DIRECTORY if directory else _FILE)


def split_child_key(key: bytes) -> tuple[bytes, bool]:
    """Stored name, and whether it is the directory's side."""
    return key[8:-2], key.endswith(_DIRECTORY)


def pack_child(child: Child) -> bytes:
    tail = child.etag
    if child.object_type or child.storage_class or child.link_etag:
        tail = f"{tail}\0{child.object_type}\0{child.storage_class}\0{child.link_etag}"
    return _CHILD.pack(child.id, child.size, child.mtime_ns, child.validated) + tail.encode()


def unpack_child(data: bytes) -> Child:
    number, size, mtime_ns, validated = _CHILD.unpack_from(data)
    tail = data[_CHILD.size :].decode()
    if "\0" not in tail:
        return Child(number, size, mtime_ns, validated, tail)
    etag, object_type, storage_class, link_etag = tail.split("\0")
    return Child(number, size, mtime_ns, validated, etag, object_type, storage_class, link_etag)


def unpack_listed(data: bytes) -> tuple[int, int, int, bool]:
    """Id, size and mtime_ns of a packed child, and whether it is of a type or class of its own."""
    number, size, mtime_ns, _ = _CHILD.unpack_from(data)
    return number, size, mtime_ns, data.find(b"\0", _CHILD.size) >= 0


def unpack_plain(
    pairs: Sequence[tuple[bytes, bytes]],
) -> tuple[list[bytes], tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """Names, ids, sizes and mtimes of children (keys and records, at least one); None when they are not all plain objects."""
    if {key[-2:] for key, _ in pairs} != {_FILE} or b"\0" in b"".join([data[_CHILD.size :] for _, data in pairs]):
        return None
    numbers, sizes, mtimes, _ = zip(*[_CHILD.unpack_from(data) for _, data in pairs], strict=True)
    return [key[8:-2] for key, _ in pairs], numbers, sizes, mtimes


def child_id(data: bytes) -> int:
    """The id of a packed child."""
    number: int = _CHILD.unpack_from(data)[0]
    return number


def pack_location(location: Location) -> bytes:
    last = b"" if location.last is None else pack_child(location.last)
    flags = location.directory | (location.last is not None) << 1
    return _LOCATION.pack(location.parent, flags, len(location.name)) + location.name + last


def unpack_location(data: bytes) -> Location:
    parent, flags, length = _LOCATION.unpack_from(data)
    end = _LOCATION.size + length
    last = unpack_child(data[end:]) if flags & 2 else None
    return Location(parent, bool(flags & 1), data[_LOCATION.size : end], last)


def pack_time(seconds: float) -> bytes:
    return _TIME.pack(seconds)


def unpack_time(data: bytes) -> float:
    return float(_TIME.unpack_from(data)[0])
