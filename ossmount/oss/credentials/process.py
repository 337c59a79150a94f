"""Credentials that a program prints: a bridge to whatever keeps them."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from ossmount.oss.credentials.documents import MAX_DOCUMENT, masked, parse_document
from ossmount.oss.credentials.interface import CredentialsError, Issued, Remote

_LIMIT = 30.0  # seconds that the program may take


class ProcessProvider(Remote):
    """Runs a program without a shell, and reads one JSON object from its standard output.

    The fields are those of the credentials file, or as the aliyun CLI spells them. What the program says on its standard
    error stands in the message when it fails, without anything that looks like a key.
    """

    def __init__(self, words: Sequence[str], limit: float = _LIMIT) -> None:
        self._words = list(words)
        self._limit = limit
        self.name = f"process ({self._words[0]})"

    def obtain(self) -> Issued:
        program = f"the credential process {self._words[0]}"
        return parse_document(output_of(self._words, program, self._limit), f"what {program} prints")


def output_of(words: Sequence[str], program: str, limit: float, environment: Mapping[str, str] | None = None) -> bytes:
    """What a program prints. program: calls it in messages; limit: seconds. Raises CredentialsError."""
    try:
        # a session of its own, so that whatever it started ends with it
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise CredentialsError(f"{program} cannot be started: {error.strerror or error}") from None
    try:
        output, said = _collect(process, time.monotonic() + limit)
    except TimeoutError:
        raise CredentialsError(f"{program} did not end within {limit:g} s") from None
    except OverflowError:
        raise CredentialsError(f"{program} prints more than {MAX_DOCUMENT} bytes: these are no credentials") from None
    finally:
        status = _end(process)
    if status:
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        raise CredentialsError(f"{program} {how}: {masked(said.decode(errors='replace')) or 'it said nothing'}")
    return output


def _collect(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes]:
    """What it printed until its end, on standard output and on standard error. Raises TimeoutError, OverflowError.

    A child that it leaves behind may hold the pipes open: what is in them when the program ends is all.
    """
    assert process.stdout is not None and process.stderr is not None
    output, said = bytearray(), bytearray()
    ended = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ, output)
            selector.register(process.stderr, selectors.EVENT_READ, said)
            selector.register(ended, selectors.EVENT_READ)
            over = False
            while True:
                ready = [key for key, _ in selector.select(0.0 if over else max(0.0, deadline - time.monotonic()))]
                streams = [key for key in ready if key.fd != ended]
                over = over or len(streams) < len(ready)
                if over and not streams:
                    break
                if not ready:
                    raise TimeoutError
                for key in streams:
                    if not _take(key.fd, key.data):
                        selector.unregister(key.fileobj)
    finally:
        os.close(ended)
    return bytes(output), bytes(said)


def _take(descriptor: int, taken: bytearray) -> bool:
    """Reads what is there; False at the end. Raises OverflowError."""
    data = os.read(descriptor, MAX_DOCUMENT)
    taken += data
    if len(taken) > MAX_DOCUMENT:
        raise OverflowError
    return bool(data)


def _end(process: subprocess.Popen[bytes]) -> int:
    """Ends it and all that it started; its exit status. Its number is its own until it was waited for."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    return process.wait()
