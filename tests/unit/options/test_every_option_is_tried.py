"""Every option has a test that observes its effect. That such a test fails when ossmount is deaf to the option is shown by
tests/options/test_deafness.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ossmount.options.declarations import BY_NAME
from tests.options import deaf
from tests.options.proofs import ROOT, proofs


def test_some_test_is_marked_with_each_option() -> None:
    assert proofs().keys() == BY_NAME.keys()


def test_an_ossmount_can_be_made_deaf_to_an_option_and_shows_it_all_the_same(tmp_path: Path) -> None:
    deaf.write(tmp_path, "umask", ROOT)
    code = (
        "from ossmount.options import declarations as o; from ossmount.options.settings import Given, Settings\n"
        "s = Settings({'umask': Given('027', '-o umask'), 'uid': Given('7', '--uid')})\n"
        "print(s[o.UMASK], s[o.UID], s.shown()['umask'], s.given()['umask'].text, Settings(s.given())[o.UMASK])"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{0o022} 7 ('027', '-o umask') 027 {0o022}\n"
