"""A process that is killed at any step of saving or dropping leaves no wrong byte, and what it left is made whole again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("action", ["save", "drop"])
def test_killed_at_every_step(action: str) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("crash_steps.py")), action],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    match = re.fullmatch(r"(\d+) crashes", lines[-1])
    assert len(lines) == 1 and match is not None, done.stdout
    assert int(match[1]) >= 20
