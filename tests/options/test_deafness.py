"""The tests that are marked with an option fail when ossmount is deaf to it: each option has an effect, and a test sees it.

This runs those tests once more for each option, with every process of the mounts deaf to it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.options import deaf
from tests.options.proofs import ROOT, proofs

PROOFS = proofs()


@pytest.mark.stress
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", sorted(PROOFS))
def test_a_test_notices_when_the_option_has_no_effect(name: str, tmp_path: Path) -> None:
    deaf.write(tmp_path, name, ROOT)
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=line", *PROOFS[name]]
    environment = {**os.environ, deaf.VARIABLE: str(tmp_path)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, cwd=ROOT, timeout=1700)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, f"{PROOFS[name]} pass without {name}:\n{done.stdout}{done.stderr}"
    assert "sitecustomize" not in done.stdout + done.stderr, f"the deafness itself failed:\n{done.stdout}{done.stderr}"
