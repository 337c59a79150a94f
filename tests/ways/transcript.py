"""What the ways of use show while they are run: each step in words, each command with what it said."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PATIENCE = 900.0  # seconds for one command: it may fetch packages


class Failed(Exception):
    """A way does not do what is promised; the message says what, with the output."""


class Transcript:
    """Goes to stdout. Also how a way says what has to hold."""

    def step(self, text: str) -> None:
        print(f"\n# {text}", flush=True)

    def command(self, prompt: str, text: str) -> None:
        print(f"{prompt} {text}", flush=True)

    def said(self, text: str) -> None:
        if text.strip():
            print(text.rstrip("\n"), flush=True)

    def holds(self, condition: object, what: str) -> None:
        """Raises Failed."""
        if not condition:
            raise Failed(f"not so: {what}")
        print(f"  ✓ {what}", flush=True)

    def eventually(self, condition: Callable[[], object], what: str, limit: float = 120.0) -> None:
        """The same, once it holds. Looks a few times a second: a look may be a process in a container. Raises Failed."""
        deadline = time.monotonic() + limit
        while not condition():
            if time.monotonic() > deadline:
                raise Failed(f"not within {limit:g} s: {what}")
            time.sleep(0.3)
        self.holds(True, what)


class Terminal:
    """A shell in which commands are typed one after the other: on this machine, in a namespace or in a container.

    words: what starts bash there.
    """

    def __init__(
        self, transcript: Transcript, words: Sequence[str], prompt: str = "$", env: Mapping[str, str] | None = None
    ) -> None:
        self._transcript = transcript
        self._prompt = prompt
        self._mark = f"@@{uuid.uuid4().hex}"
        self._unread = b""
        self._shell = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever was started in it and stays, stays: that is for the namespace or container around it."""
        assert self._shell.stdin is not None and self._shell.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._shell.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait()
        self._shell.stdout.close()

    def run(self, command: str, code: int = 0) -> str:
        """To its end; its output. Raises Failed when it ends with another code."""
        self._transcript.command(self._prompt, command)
        self._type(f"{{\n{command}\n}} </dev/null\nprintf '\\n%s %d\\n' {self._mark} $?\n")
        output, ended = self._until(self._mark)
        self._transcript.said(output)
        if ended != code:
            raise Failed(f"`{command}` ended with {ended}:\n{output[-4000:]}")
        return output

    def begin(self, command: str, until: str) -> str:
        """A program that stays, up to the line with these words; interrupt() ends it."""
        self._transcript.command(self._prompt, command)
        self._type(f"{{ exec {command}\n}} </dev/null &\n")
        output = self._lines_until(until)
        self._transcript.said(output)
        return output

    def interrupt(self) -> str:
        """What Ctrl-C does; the rest of the output. Raises Failed when it does not end with 0."""
        self._transcript.command(self._prompt, "^C")
        self._type(f"kill -INT $!; wait $!; printf '\\n%s %d\\n' {self._mark} $?\n")
        output, ended = self._until(self._mark)
        self._transcript.said(output)
        if ended:
            raise Failed(f"interrupted, it ended with {ended}:\n{output}")
        return output

    def _type(self, text: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(text.encode())
        self._shell.stdin.flush()

    def _until(self, mark: str) -> tuple[str, int]:
        text = self._lines_until(mark)
        output, _, code = text.rpartition(mark)
        return output.rstrip("\n"), int(code)

    def _lines_until(self, words: str) -> str:
        """All that comes up to the end of the line with these words."""
        assert self._shell.stdout is not None
        deadline = time.monotonic() + PATIENCE
        while True:
            place = self._unread.find(words.encode())
            end = self._unread.find(b"\n", place) if place >= 0 else -1
            if end >= 0:
                text, self._unread = self._unread[: end + 1], self._unread[end + 1 :]
                return text.decode(errors="replace")
            readable, _, _ = select.select([self._shell.stdout], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self._shell.stdout.fileno(), 1 << 16) if readable else b""
            if not data:
                said = self._unread.decode(errors="replace")[-4000:]
                raise Failed(f"{'the shell has ended' if readable else 'nothing more came'} before {words!r}:\n{said}")
            self._unread += data


def main(way: Callable[[Transcript], Any], last: str = "All of it held.") -> int:
    """Runs a way as a program: exit code 0 when all of it held, 1 when not. It cleans up also at SIGTERM and Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        way(Transcript())
    except Failed as failure:
        print(f"\nFAILED: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    if last:
        print(f"\n{last}")
    return 0
