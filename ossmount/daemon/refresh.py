"""The command `refresh` of the control socket."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from ossmount.control.server import BadRequest, Command
from ossmount.errors import OssMountError


def refresh_command(refresh: Callable[[bytes], Awaitable[int]]) -> Command:
    """Answers how many names are asked again at their next use, also by the kernel; `refresh` is given a path of the mount."""

    async def answer(request: dict[str, Any]) -> dict[str, Any]:
        path = request.get("below", "")
        if not isinstance(path, str) or "\0" in path or ".." in path.split("/"):
            raise BadRequest("refresh: the path is a text, below the mount, without '..'")
        try:
            return {"names": await refresh(os.fsencode(path))}
        except OssMountError as failure:
            raise BadRequest(f"refresh: {failure}") from failure

    return answer
