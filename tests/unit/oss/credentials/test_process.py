from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from ossmount.config import Credentials
from ossmount.oss.credentials.interface import CredentialsError, Issued
from ossmount.oss.credentials.process import ProcessProvider

KEYS = {"AccessKeyId": "id", "AccessKeySecret": "s3cret", "SecurityToken": "t", "Expiration": "2026-11-21T15:47:04Z"}


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def test_what_a_program_prints() -> None:
    provider = ProcessProvider(python(f"print({json.dumps(KEYS)!r})"))
    assert provider.obtain() == Issued(Credentials("id", "s3cret", "t"), 1795276024.0)
    assert provider.obtain() == provider.obtain()
    assert provider.name == f"process ({sys.executable})" and provider.renewable


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('hello')", "what the credential process .* prints is no JSON"),
        ("", "is no JSON"),
        ("import sys; sys.exit('vault is sealed')", "ended with status 1: vault is sealed"),
        ("import sys; sys.exit(3)", "ended with status 3: it said nothing"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by signal 9"),
        ("import sys; sys.stderr.write('+ export SECRET=8bUkGq2wEXAMPLEp0Vd7rX1yZ2aB3c'); sys.exit(1)", r"\+ export \*\*\*"),
        ("while True: print('x' * 10000)", "prints more than 65536 bytes"),
    ],
)
def test_programs_that_give_none(code: str, message: str) -> None:
    with pytest.raises(CredentialsError, match=message) as caught:
        ProcessProvider(python(code)).obtain()
    assert "8bUkGq2w" not in str(caught.value)


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(CredentialsError, match="/nowhere/at-all cannot be started: No such file"):
        ProcessProvider(["/nowhere/at-all"]).obtain()


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen(['/bin/sleep', '600'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)"
    )
    with pytest.raises(CredentialsError, match=r"did not end within 3 s"):
        ProcessProvider(python(code), limit=3.0).obtain()
    deadline = time.monotonic() + 60
    for pid in pids.read_text().split():
        while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
            assert time.monotonic() < deadline, f"{pid} still runs"
            time.sleep(0.01)


def test_a_child_that_is_left_behind_does_not_hold_up_the_answer() -> None:
    code = f"import subprocess; subprocess.Popen(['/bin/sleep', '600']); print({json.dumps(KEYS)!r})"
    assert ProcessProvider(python(code), limit=60.0).obtain().credentials.access_key_id == "id"
