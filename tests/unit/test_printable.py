"""Names from elsewhere on terminals and in logs."""

from __future__ import annotations

import io
import logging
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossmount.daemon import logs
from ossmount.printable import GREEN, PLAIN, RED, Shown, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ümlaut 日本語 \U0001f642 \\", "plain ümlaut 日本語 \U0001f642 \\"),
        ("\x1b[2J\x07\x00", r"\x1b[2J\x07\x00"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("gpj.\u202eexe\u2066", r"gpj.\u202eexe\u2066"),
        (os.fsdecode(b"\xff/\x80"), r"\xff/\x80"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_else_is_left(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable() or not any(ord(character) < 0xA0 for character in shown if not character.isprintable())
    assert printable(shown) == shown
    shown.encode()
    assert set(printable(text, lines=True)) - set(shown) <= {"\n", "\t"}


def test_a_stream_lets_through_only_what_a_progress_line_and_colours_need() -> None:
    under = io.StringIO()
    stream = Shown(under)
    print("\r", "50 %", "\x1b[K", sep="", end="", file=stream)
    print("key\x1b[K\r\x1b]0;title\x07", file=stream)
    stream.writelines([RED, "bad", PLAIN, f" {GREEN}key\n"])
    assert under.getvalue() == "\r50 %\x1b[K" + r"key\x1b[K\r\x1b]0;title\x07" + f"\n{RED}bad{PLAIN}" + r" \x1b[32mkey" + "\n"


def test_a_log_line_is_one_line_and_a_traceback_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, root = io.StringIO(), logging.getLogger()
    before, level = list(root.handlers), root.level
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        logs.set_up("info")
        log = logging.getLogger("ossmount.test")
        log.warning("no %s", "key\n2026-01-01 INFO ossmount: all is well\x1b[2J")
        try:
            raise ValueError("\x1b[31mred")
        except ValueError:
            log.exception("failed")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith(r"no key\n2026-01-01 INFO ossmount: all is well\x1b[2J")
    assert lines[1].endswith("failed") and lines[-1] == r"ValueError: \x1b[31mred" and len(lines) > 4
