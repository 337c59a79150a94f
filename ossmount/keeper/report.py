"""What the first daemon reports: to the command that waits for it, or, in the foreground, to the user."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

from ossmount.keeper.plan import Plan

_UNEXPECTED = 1  # exit code, as ossmount.exit_codes has it


def log(message: str, level: str = "INFO") -> None:
    """A line as the daemon's log has them."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    say(f"{stamp},{int(now * 1000) % 1000:03d} {level} ossmount.keeper: {message}")


def say(line: str) -> None:
    """To stderr, which may be a terminal that is gone or a file on a full disk: the mount goes on all the same."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        return


class Report:
    """In the foreground the keeper is the command, and says what the daemon reports."""

    def __init__(self, plan: Plan, watch: Callable[[int, Callable[[], None] | None], None]) -> None:
        self._greeting = plan.greeting
        self._watch = watch
        self._reading = -1
        self._received = b""
        self.code: int | None = None  # the exit code that the daemon reported; 0: the mount answers
        if plan.greeting:
            self._reading, plan.report = os.pipe()
            os.set_blocking(self._reading, False)
            watch(self._reading, self._read)

    def handed_on(self, plan: Plan) -> None:
        """The first daemon has what is meant for it: its end must be seen by whoever reads."""
        for descriptor in (plan.report, *plan.inherited):
            if descriptor >= 0:
                os.close(descriptor)
        plan.report, plan.inherited = -1, []

    def _read(self) -> None:
        try:
            piece = os.read(self._reading, 1 << 16)
        except BlockingIOError:
            return
        self._received += piece
        if self._received.endswith(b"\n") and self.code is None:
            code, message = json.loads(self._received)
            self.code = int(code)
            say(f"ossmount: {message}" if self.code else self._greeting)
        if not piece or self.code is not None:
            self._watch(self._reading, None)
            os.close(self._reading)
            self._reading = -1

    def finish(self) -> int:
        """The exit code of a mount that never was: its daemon has ended."""
        if self._reading >= 0:
            self._read()
        if self.code is None:
            self.code = _UNEXPECTED
            if self._greeting:
                say("ossmount: the daemon ended before the mount was ready")
        return self.code
