"""What is wrong with a database, by LMDB's exceptions. One that cannot be used is kept for whoever wants to know why."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import lmdb


class ForeignStore(Exception):
    """The database is of another schema or source."""


DAMAGE = (ForeignStore, lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError, lmdb.PageNotFoundError)
#: Mistakes of ours, which say nothing of the disk.
DEFECTS = (lmdb.BadValsizeError, lmdb.InvalidParameterError, lmdb.BadTxnError, lmdb.BadDbiError, lmdb.KeyExistsError)


def set_aside(path: Path, time: int) -> Path:
    """Moves the files of the environment in a folder away; returns where they are. Lock files of ours stay."""
    aside = path.with_name(f"{path.name}.damaged-{time}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700)
    for name in ("data.mdb", "lock.mdb"):
        if (path / name).exists():
            os.replace(path / name, aside / name)
    return aside
