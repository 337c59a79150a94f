"""How a background daemon tells the command that started it that it is ready, or why it is not."""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from ossmount.exit_codes import CommandError, ExitCode


class Report(NamedTuple):
    """The only line that goes over the pipe."""

    code: int  # an ExitCode; 0: the mount answers
    message: str = ""


class Reporter:
    """The daemon's end of the pipe. Only the first report counts."""

    def __init__(self, descriptor: int) -> None:
        """descriptor: -1 where nobody waits for a report."""
        self._descriptor = None if descriptor < 0 else descriptor
        if descriptor >= 0:
            os.set_inheritable(descriptor, False)

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for a report, and will say what it says."""
        return self._descriptor is not None

    def report(self, report: Report) -> None:
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            os.write(descriptor, json.dumps(report).encode() + b"\n")
        except BrokenPipeError:
            pass  # the command was killed meanwhile; the mount is good without it
        finally:
            os.close(descriptor)


def receive(descriptor: int) -> Report:
    """Waits for the report; raises CommandError when the daemon ends without one."""
    received = bytearray()
    while not received.endswith(b"\n"):
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            raise CommandError(ExitCode.UNEXPECTED, "the daemon ended before the mount was ready")
        received += piece
    return Report(*json.loads(received))
