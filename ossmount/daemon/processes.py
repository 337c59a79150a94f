"""The processes of a mount."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """The children of a process, their children and so on, from /proc; without those that end meanwhile."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                children = Path(f"/proc/{pid}/task/{task}/children").read_text("ascii").split()
                found += [int(child) for child in children]
    return found + [one for child in found for one in descendants(child)]
