"""The command `pin` of the control socket: keeps files in the cache on disk, or lets them go.

client: {"command": "pin", "paths": ["a/b", …], "on": true, "anew": false}
daemon: {"states": ["kept", "lacking", "no room", "failed", "unknown", …], "writing": 3}, one state for each path, and how many
        writes to the disk are under way; or {"refused": why} where there is no cache on disk.
Paths are relative to the mount. anew: what is lacking is dropped from our memory, so that reading it brings it to the disk.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from ossmount.control.server import BadRequest
from ossmount.data.interface import Reader
from ossmount.filesystem.ahead.paths import PathFinder
from ossmount.metadata.interface import Namespace
from ossmount.model import Kind, Version

if TYPE_CHECKING:
    from ossmount.data.disk.cache import DiskCache

MOST_PATHS: Final = 1024  # in one request


class PinCommand:
    """A ossmount.control.server.Command."""

    def __init__(self, namespace: Namespace, reader: Reader, disk: DiskCache | None) -> None:
        self._namespace = namespace
        self._reader = reader
        self._disk = disk

    async def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        paths, on, anew = request.get("paths"), request.get("on", True), request.get("anew", False)
        if not isinstance(paths, list) or len(paths) > MOST_PATHS or not all(isinstance(path, str) for path in paths):
            raise BadRequest(f"pin: paths is a list of at most {MOST_PATHS} texts")
        if self._disk is None:
            return {"refused": "this mount has no cache on disk: mount it with --cache-dir"}
        from ossmount.data.disk.pins import State  # only mounts with a cache on disk load what belongs to it

        shown = {State.KEPT: "kept", State.LACKING: "lacking", State.NO_ROOM: "no room", State.FAILED: "failed"}
        nodes = await PathFinder(self._namespace).nodes([os.fsencode(path) for path in paths])
        states = ["unknown"] * len(paths)
        asked: list[int] = []
        versions: list[Version] = []
        for index, node in enumerate(nodes):
            if node is not None and node.kind is Kind.FILE:
                if node.size:
                    asked.append(index)
                    versions.append(Version(node.key, node.etag, node.size))
                else:
                    states[index] = shown[State.KEPT]  # there is nothing to keep
        for index, version, state in zip(asked, versions, await self._disk.pinning.pin(versions, bool(on)), strict=True):
            states[index] = shown[state]
            if anew and state is State.LACKING:
                self._reader.forget(version)
        return {"states": states, "writing": self._disk.facts()["writing"]}
