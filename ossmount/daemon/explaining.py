"""The command `explain` of the control socket: what is known of one file, without reading it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import trio

from ossmount.channel.interface import Channel, Observable
from ossmount.control.server import BadRequest
from ossmount.data.reader import ObjectReader
from ossmount.filesystem.ahead.paths import PathFinder
from ossmount.metadata.interface import Namespace
from ossmount.model import Kind, Version

if TYPE_CHECKING:
    from ossmount.data.disk.places import Places


class ExplainCommand:
    """{"below": "a/b"} to its version, what is cached of it where, its readers, and its last failures."""

    def __init__(
        self,
        namespace: Namespace,
        reader: ObjectReader,
        channel: Channel,
        disk: Places | None,
        store: str,
    ) -> None:
        """store: under which name the cache on disk keeps this source."""
        self._namespace = namespace
        self._reader = reader
        self._channel = channel
        self._disk = disk
        self._store = store

    async def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        path = request.get("below")
        if not isinstance(path, str) or not path or "\0" in path or ".." in path.split("/"):
            raise BadRequest("explain: the path of a file, relative to the mount, without '..'")
        (node,) = await PathFinder(self._namespace).nodes([os.fsencode(path)])
        if node is None:
            return {"path": path, "unknown": "nothing has this name, or OSS could not be asked for it"}
        failures = self._channel.observed.last_failures() if isinstance(self._channel, Observable) else ()
        answer: dict[str, Any] = {
            "path": path,
            "node": node.id,
            "kind": node.kind.name.lower(),
            "key": os.fsdecode(node.key),
            "failures": [failure for failure in failures if failure["node"] == node.id],
        }
        if node.kind is not Kind.FILE:
            return answer
        version = Version(node.key, node.etag, node.size)
        answer |= {
            "etag": node.etag,
            "size": node.size,
            "modified": node.mtime_ns / 1e9,
            "type": node.object_type,
            "storage_class": node.storage_class,
            **self._reader.facts_of(version),
        }
        return answer | {"disk": None if self._disk is None else await self._on_disk(self._disk, version)}

    async def _on_disk(self, places: Places, version: Version) -> dict[str, object]:
        """In a thread: a disk may hang."""
        from ossmount.data.disk.layout import name_of  # only mounts with a cache on disk load what belongs to it

        base = places.path_of(name_of(self._store, version))
        with trio.move_on_after(2):
            return await trio.to_thread.run_sync(_look, base, abandon_on_cancel=True)
        return {"problem": "the disk does not answer within 2 s"}


def _look(base: str) -> dict[str, object]:
    """What lies there; bytes as the disk counts them, holes not."""
    from ossmount.data.disk.layout import DATA_SUFFIX, PIN_SUFFIX, SUFFIXES, WHOLE_SUFFIX

    files, total = [], 0
    for suffix in (*SUFFIXES, PIN_SUFFIX) if base else ():
        try:
            status = os.stat(base + suffix)
        except OSError:
            continue
        files.append(suffix.removeprefix("."))
        if suffix in (WHOLE_SUFFIX, DATA_SUFFIX):
            total += min(status.st_size, status.st_blocks * 512)
    return {"bytes": total, "files": files}
