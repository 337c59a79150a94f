"""`ossmount trace`: the requests that a mount is asked, as they are answered."""

from __future__ import annotations

import argparse
import json
import sys
import time

from ossmount.cli.asking import record_of
from ossmount.control.client import ControlError, listen
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.options.units import POSITIVE_SECONDS

DESCRIPTION = """Prints a line of JSON for each request that the kernel makes to a mount, as it is answered:
operation, path, offset, size, how long it took, and its errno. What the kernel answers out of
its own caches is not seen. It costs the mount nothing while nobody traces, and some 20
microseconds for each request while somebody does."""

EPILOG = """Examples:
  ossmount trace /mnt/train --for 10s > requests.jsonl
  ossmount trace /mnt/train --slower-than 50ms"""

_PATIENCE = 5.0  # seconds for the daemon's first word


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint", metavar="MOUNT", help="the mount to look at")
    parser.add_argument("--for", dest="seconds", metavar="TIME", help="end after so long: 10s (without it: at Ctrl-C)")
    parser.add_argument("--slower-than", metavar="TIME", help="only requests that take as long: 50ms")


def run(arguments: argparse.Namespace) -> int:
    seconds = _time("--for", arguments.seconds)
    slower_than = _time("--slower-than", arguments.slower_than) or 0.0
    record = record_of(arguments.mountpoint)
    lost = 0
    end = None
    try:
        for message in listen(record.socket, "trace", timeout=_PATIENCE, slower_than=slower_than):
            if end is None and seconds is not None and "tracing" in message:
                end = time.monotonic() + seconds
            for request in message.get("requests", ()):
                print(json.dumps(request))
            lost += message.get("lost", 0)
            sys.stdout.flush()
            if end is not None and time.monotonic() >= end:
                break
        else:
            raise CommandError(ExitCode.NOT_MOUNTED, f"{arguments.mountpoint}: the daemon has ended")
    except ControlError as error:
        raise CommandError(ExitCode.UNEXPECTED, f"{arguments.mountpoint}: {error}") from None
    if lost:
        print(f"ossmount: {lost:,} requests were more than could be printed", file=sys.stderr)
    return ExitCode.OK


def _time(flag: str, text: str | None) -> float | None:
    """Seconds; None where nothing is given. Raises CommandError."""
    if text is None:
        return None
    try:
        return POSITIVE_SECONDS.parse(text)
    except ValueError as error:
        raise CommandError(ExitCode.USAGE, f"{flag}: {error}") from None
