"""What a check has found."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Level(enum.Enum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"  # it works, and could be better
    BAD = "bad"  # a mount will not work, or not for long


class Finding(NamedTuple):
    """One line of the table."""

    subject: str
    level: Level
    text: str
    remedy: str = ""


def good(subject: str, text: str) -> Finding:
    return Finding(subject, Level.OK, text)


def note(subject: str, text: str, remedy: str) -> Finding:
    return Finding(subject, Level.NOTE, text, remedy)


def bad(subject: str, text: str, remedy: str) -> Finding:
    return Finding(subject, Level.BAD, text, remedy)
