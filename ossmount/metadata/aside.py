"""A database that cannot be used is kept for whoever wants to know why, beside the one that is begun instead."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def set_aside(path: Path, time: int) -> Path:
    """Moves the files of the environment in a folder away; returns where they are. Lock files of ours stay."""
    aside = path.with_name(f"{path.name}.damaged-{time}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700)
    for name in ("data.mdb", "lock.mdb"):
        if (path / name).exists():
            os.replace(path / name, aside / name)
    return aside
