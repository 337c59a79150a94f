"""Runs commands of ossmount as forks of one prepared process (command_server.py), to their end."""

from __future__ import annotations

import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_ROOT = Path(__file__).parents[2]
#: What an interpreter looks at when it starts: where it differs from the server's, a fork would not do.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "TZ")


class Commander:
    """The server of this process. It ends with it: by the end of its socket."""

    def __init__(self) -> None:
        self._start = _of_interest(os.environ)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            program = [sys.executable, str(_ROOT / "tests/mount/command_server.py"), str(theirs.fileno())]
            self._process = subprocess.Popen(
                ["/usr/bin/env", "--default-signal=INT,TERM,HUP", *program],  # as commands in a terminal have them
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # a pipe or file is what its forks write to; this is neither a terminal
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
            )

    def can(self, environment: Mapping[str, str]) -> bool:
        """Whether a fork is what a new interpreter with this environment would be."""
        return _of_interest(environment) == self._start

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """As subprocess.run() with captured text; raises subprocess.TimeoutExpired, and then the command was killed."""
        request = {"argv": [*arguments], "env": {**environment}, "cwd": str(folder), "umask": _umask()}
        ours, theirs = socket.socketpair()
        with (
            ours,
            theirs,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            open(os.devnull, "rb") as null,
        ):
            handed = [theirs.fileno(), null.fileno(), out.fileno(), err.fileno()]
            socket.send_fds(self._socket, [json.dumps(request).encode()], handed)
            theirs.close()
            ours.settimeout(timeout)
            try:
                said = ours.recv(64)
            except TimeoutError:
                raise subprocess.TimeoutExpired(["ossmount", *arguments], timeout, _text(out), _text(err)) from None
            if not said:
                raise RuntimeError("the server of commands is gone")
            return subprocess.CompletedProcess(["ossmount", *arguments], int(said), _text(out), _text(err))


def _of_interest(environment: Mapping[str, str]) -> dict[str, str]:
    ours = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}  # the server has what the first would find; nothing is imported any more
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_START) and name not in ours}


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="surrogateescape")


def _umask() -> int:
    """Of this process. os.umask() would have to set another one for a moment."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("Umask:")).split()[1], 8)


@functools.cache
def commander() -> Commander:
    """One for all tests of this process."""
    return Commander()
