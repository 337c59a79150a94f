"""`ossmount prefetch`: tells a mount in which order files will be read. ossmount.hints does the talking."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO

from ossmount.exit_codes import CommandError, ExitCode
from ossmount.hints import NotMounted, Prefetcher

DESCRIPTION = """Tells a mount which files will be read next, in their order: they are fetched before they
are opened, a bounded distance ahead of their readers. Returns when everything in the list is
fetched or was read already. Ending the command earlier (Ctrl-C) takes the rest of the list back.
Several lists may be told at the same time, one for each rank. Only files up to 1 MiB are fetched;
paths that name something else, or nothing, are left out."""

EPILOG = """Example:
  ossmount prefetch /mnt/train --from-list epoch-3.txt
  generate-order | ossmount prefetch /mnt/train --from-list -"""

_LINES = 500  # told at once


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint", metavar="MOUNT", help="the mountpoint; or a folder in it, where relative paths begin")
    parser.add_argument(
        "--from-list",
        metavar="FILE",
        required=True,
        help="one path in a line, absolute or relative to MOUNT; - reads standard input",
    )
    parser.add_argument("--null", "-0", action="store_true", help="paths end in NUL instead of a line feed")
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")


def run(arguments: argparse.Namespace) -> int:
    separator = b"\0" if arguments.null else b"\n"
    try:
        with _open(arguments.from_list) as stream, Prefetcher(arguments.mountpoint) as prefetcher:
            for paths in _batches(stream, separator):
                prefetcher.feed(paths)
            result = prefetcher.finish()
            unknown = prefetcher.unknown
    except NotMounted as error:
        raise CommandError(ExitCode.NOT_MOUNTED, str(error)) from None
    if arguments.json:
        print(json.dumps({"fetched": result["fetched"], "there_already": result["left_out"], "left_out": unknown}))
        return ExitCode.OK
    print(f"{result['fetched']:,} files fetched, {result['left_out']:,} were there or read already, {unknown:,} left out")
    return ExitCode.OK


def _open(name: str) -> BinaryIO:
    if name == "-":
        return open(sys.stdin.fileno(), "rb", closefd=False)
    try:
        return open(name, "rb")
    except OSError as error:
        raise CommandError(ExitCode.USAGE, f"--from-list {name}: {error.strerror}") from None


def _batches(stream: BinaryIO, separator: bytes) -> Iterator[list[str]]:
    """The paths, some at a time, as they come."""
    rest = b""
    while piece := os.read(stream.fileno(), 1 << 16):
        *whole, rest = (rest + piece).split(separator)
        for first in range(0, len(whole), _LINES):
            yield [os.fsdecode(path) for path in whole[first : first + _LINES] if path]
    if rest:
        yield [os.fsdecode(rest)]
