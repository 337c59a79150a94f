"""`ossmount doctor` on a terminal and elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from ossmount.cli import main as cli


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "no_color", "coloured"), [(Terminal, False, True), (Terminal, True, False), (io.StringIO, False, False)]
)
def test_colours_are_for_terminals(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], no_color: bool, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", "1") if no_color else monkeypatch.delenv("NO_COLOR", raising=False)
    out = stream()
    monkeypatch.setattr(sys, "stdout", out)
    cli.main(["doctor"])
    text = out.getvalue()
    assert "kernel" in text and r"\x1b" not in text
    assert ("\x1b[0m  kernel" in text) == coloured == ("\x1b" in text)
