"""Text from elsewhere (keys, answers of a server, what another user wrote) before it is shown on a terminal or in a log."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TextIO

#: Control characters (C0, DEL, C1: a terminal obeys them), what turns the direction of writing around, and what is no text.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, *, lines: bool = False) -> str:
    r"""The same with each such character written as \x1b, \n or \u202e. lines: line feeds and tabs stay.

    Bytes that are not UTF-8, as os.fsdecode() gives them, become \xff.
    """
    return _UNSAFE.sub(lambda match: match[0] if lines and match[0] in "\n\t" else _escape(match[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # of surrogateescape
        code -= 0xDC00
    short = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(character)
    return short or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


#: What commands colour with, on a terminal. Each is written alone, see Shown.
RED, GREEN, YELLOW, PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"


class Shown:
    """A stream for people: whatever is written to it is printable. What a command itself needs for its line of progress and
    for colours passes when it is written alone.
    """

    _OWN = frozenset({"\r", "\x1b[K", RED, GREEN, YELLOW, PLAIN})

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(text if text in self._OWN else printable(text, lines=True))

    def writelines(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
