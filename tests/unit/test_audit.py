"""`make audit` does not take silence for good news."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "tools/audit.sh"


def test_a_service_that_cannot_be_reached_is_said_and_is_no_success() -> None:
    environment = {"VENV": sys.prefix, "AUDIT_SERVICE": "http://127.0.0.1:1/", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert (
        done.stderr == "audit: nothing was found out: the advisory service (http://127.0.0.1:1/) cannot be reached from here\n"
    )
