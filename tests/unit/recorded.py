"""A status as a real mount with a cache on disk gave it, and changes to it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any


def recorded(**changes: Any) -> dict[str, Any]:
    """The recorded answer; changes are by path, "." written as "__": facts__data__hits=7."""
    status: dict[str, Any] = json.loads(Path(__file__).with_name("recorded_status.json").read_text())
    for path, value in changes.items():
        set_at(status, path.split("__"), value)
    return status


def set_at(status: dict[str, Any], names: list[str], value: Any) -> None:
    *way, last = names
    for name in way:
        status = status.setdefault(name, {})
    status[last] = copy.deepcopy(value)
