"""What `ossmount warm` says while it reads."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from ossmount.cli import warm


def test_progress_tells_files_bytes_rate_and_the_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "_AGAIN", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    files = [(str(tmp_path / f"{number}"), 3_000_000) for number in range(4)]
    for path, size in files:
        Path(path).write_bytes(bytes(size))
    assert warm._warm(files, 0, quiet=False) == {}
    *lines, last = capsys.readouterr().err.replace("\x1b[K", "").strip("\r\n").split("\r")
    pattern = r"(\d) of 4 files, (\d+) of 12 MB, [\d,]+ MB/s, [\d,]+ s left"
    seen = [tuple(map(int, match.groups())) for line in lines if (match := re.fullmatch(pattern, line))]
    assert len(seen) == len(lines) and seen == sorted(seen) and seen[-1] == (4, 12)
    assert re.fullmatch(r"4 files, 12 MB in [\d.]+ s; 0 failed", last)


@pytest.mark.parametrize(("terminal", "quiet"), [(True, True), (False, False)])
def test_quiet_and_without_a_terminal_only_the_result_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool, quiet: bool
) -> None:
    monkeypatch.setattr(warm, "_AGAIN", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    (tmp_path / "a").write_bytes(b"123")
    assert warm._warm([(str(tmp_path / "a"), 3), (str(tmp_path / "b"), 3)], 0, quiet=quiet) == {
        str(tmp_path / "b"): "No such file or directory"
    }
    assert len(capsys.readouterr().err.splitlines()) == 1
