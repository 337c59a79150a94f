"""The daemon's log: lines on stderr, which is a file of the state directory when it runs in the background."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from ossmount.printable import printable

_LARGEST = 16 << 20  # bytes of a log that the next mount still appends to


def open_log(path: Path) -> int:
    """A descriptor for appending to the log, which only its owner may read. A large one is kept as .old and begun anew."""
    if path.exists() and path.stat().st_size > _LARGEST:
        path.replace(path.with_suffix(".log.old"))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def set_up(level: str) -> None:
    """Log lines of ours from this level on, of libraries from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("ossmount").setLevel(level.upper())


class _Formatter(logging.Formatter):
    """One message is one line, whatever names are in it; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = printable(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), lines=True)
