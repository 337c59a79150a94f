"""Work that goes wrong, for reader processes started by tests."""

from __future__ import annotations

import sys
import time
from typing import Any

from benchmarks.access import Place
from benchmarks.worker import Record


def hang(place: Place, arguments: dict[str, Any], record: Record) -> None:
    time.sleep(600)


def fail(place: Place, arguments: dict[str, Any], record: Record) -> None:
    raise ValueError("as told")


def vanish(place: Place, arguments: dict[str, Any], record: Record) -> None:
    sys.exit(3)


def two(place: Place, arguments: dict[str, Any], record: Record) -> None:
    record.begin()
    record.done(arguments["bytes"])
    record.done(arguments["bytes"])
