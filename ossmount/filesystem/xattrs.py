"""The extended attributes: what OSS knows of an object, under user.oss.*."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ossmount.errors import Changed, NoAttribute, NotFound, Unsupported
from ossmount.model import Kind, Node, ObjectInfo, Soon

PREFIX = b"user.oss."

#: What a listing tells already; the CRC-64 alone takes a HEAD.
_LISTED: dict[bytes, Callable[[Node], str]] = {
    b"user.oss.etag": lambda node: node.etag,
    b"user.oss.storage_class": lambda node: node.storage_class,
    b"user.oss.object_type": lambda node: node.object_type,
}
_CRC64 = b"user.oss.crc64"

Head = Callable[[bytes], Awaitable[ObjectInfo]]


def names(node: Node) -> list[bytes]:
    """The attributes that listxattr(2) shows of a node."""
    return [] if node.kind is Kind.DIRECTORY else [*_LISTED, _CRC64]


def value(node: Node, name: bytes, head: Head) -> Soon[bytes]:
    """One attribute's value.

    Every name outside user.oss.* is Unsupported rather than NoAttribute: told EOPNOTSUPP once, the kernel and `ls -l` stop
    asking (an `ls -l` of 2,000 files sends 2 GETXATTR instead of 4,003).
    """
    if not name.startswith(PREFIX):
        raise Unsupported(f"extended attribute {name!r}: only user.oss.* exist here")
    if node.kind is Kind.DIRECTORY:
        raise NoAttribute(f"{name!r}: a directory is no object")
    listed = _LISTED.get(name)
    if listed is not None:
        return listed(node).encode()
    if name == _CRC64:
        return _crc64(node, head)
    raise NoAttribute(f"there is no attribute {name!r}")


def _crc64(node: Node, head: Head) -> Coroutine[Any, Any, bytes]:
    async def ask() -> bytes:
        try:
            info = await head(node.key)
        except NotFound as gone:
            raise Changed(f"{node.key!r} was deleted") from gone
        if info.etag != node.etag:
            raise Changed(f"{node.key!r} was replaced")
        if info.crc64 is None:
            raise NoAttribute(f"OSS tells no CRC-64 of {node.key!r}")
        return str(info.crc64).encode()

    return ask()
