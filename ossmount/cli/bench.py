"""`ossmount bench`: how fast a bucket, or a mount that there is, can be listed and read from this machine."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ossmount.channel.mounting import find_mount, resolve
from ossmount.cli.asking import numbers, record_of
from ossmount.cli.mount import add_options, given_options
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.options.declarations import OPTIONS
from ossmount.printable import printable

DESCRIPTION = """Measures a walk over the names, small files in random order (cold, and again), one large file from its
beginning, and random parts of it, each for a few seconds; prints a table and a chart. It only reads.

For a source a mount of its own is made for the time, with the options of `ossmount mount`. What
a bucket has no files for is left out."""

EPILOG = """Examples:
  ossmount bench /mnt/imagenet
  ossmount bench oss://my-bucket/train --png train.png --region cn-hangzhou --memory-limit 2G"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="oss://BUCKET[/PREFIX]|MOUNTPOINT", help="what is read")
    parser.add_argument("--readers", type=int, default=8, metavar="N", help="how many threads read (default 8)")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="of each phase, at most (default 10)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--png", metavar="FILE", type=Path, help="draw the chart into a file (needs matplotlib)")
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.readers < 1 or arguments.seconds <= 0:
        raise CommandError(ExitCode.USAGE, "--readers and --seconds must be above 0")
    from ossmount.bench.measure import phases
    from ossmount.bench.report import bars, line, picture

    done = []
    with _mounted(arguments.what, _words(arguments)) as folder:
        mount = _mount_of(folder)
        before = _requests(mount)
        for phase in phases(folder, arguments.readers, arguments.seconds):
            done.append(phase)
            if not arguments.json:
                print(line(phase), flush=True)
        asked = {kind: count - before.get(kind, 0) for kind, count in _requests(mount).items()}
    asked = {kind: count for kind, count in asked.items() if count}
    if arguments.json:
        found = [{**each._asdict(), "rate": each.rate, "bandwidth": each.bandwidth} for each in done]
        print(
            json.dumps({"source": arguments.what, "readers": arguments.readers, "phases": found, "requests": asked}, indent=2)
        )
    else:
        made = ", ".join(f"{count:,} {kind.upper()}" for kind, count in asked.items())
        print(f"\n{bars(done)}\n\nrequests to OSS: {made or 'none'}")
    if arguments.png:
        try:
            picture(done, printable(arguments.what), arguments.png)
        except ImportError:
            raise CommandError(ExitCode.USAGE, "--png needs matplotlib: pip install matplotlib") from None
        except OSError as error:
            raise CommandError(ExitCode.USAGE, f"--png {arguments.png}: {error.strerror}") from None
    return ExitCode.OK


def _words(arguments: argparse.Namespace) -> list[str]:
    """The options of the mount, as they were written."""
    flags = {option.name: option for option in OPTIONS}
    words = [word for each in arguments.mount_options for word in ("-o", each)]
    for name, text in given_options(arguments).items():
        words += [flags[name].flag] if flags[name].is_switch else [flags[name].flag, text]
    return words


@contextlib.contextmanager
def _mounted(what: str, options: list[str]) -> Iterator[str]:
    """The folder to read: of a mount that there is, or of one that is made and taken away."""
    if "://" not in what:
        if options:
            raise CommandError(ExitCode.USAGE, "options of a mount go with oss://BUCKET; the mount that is there has its own")
        if not os.path.isdir(what):
            raise CommandError(
                ExitCode.USAGE, f"{what}: no such folder; give a mountpoint, a folder in one, or oss://BUCKET[/PREFIX]"
            )
        yield what
        return
    ossmount = [sys.executable, "-m", "ossmount"]
    with tempfile.TemporaryDirectory(prefix="ossmount-bench-") as folder:
        mountpoint = os.path.join(folder, "mount")
        os.mkdir(mountpoint)
        # Its own store of names: what an earlier mount has listed would make the walk look better than it is.
        own = ["--metadata-dir", os.path.join(folder, "metadata")]
        done = subprocess.run([*ossmount, "mount", what, mountpoint, *own, *options], check=False)
        if done.returncode:
            raise CommandError(ExitCode(done.returncode), f"{printable(what)} could not be mounted")
        try:
            yield mountpoint
        finally:
            subprocess.run([*ossmount, "umount", "--force", mountpoint], check=False)


def _mount_of(folder: str) -> str | None:
    """The mountpoint that the folder lies in; None where it is no mount of ours."""
    place = Path(resolve(folder))
    for each in (place, *place.parents):
        mount = find_mount(str(each))
        if mount is not None:
            return str(each) if mount.kind == "fuse.ossmount" else None
    return None


def _requests(mount: str | None) -> dict[str, int]:
    """Requests to OSS so far, by kind."""
    if mount is None:
        return {}
    counters = numbers(record_of(mount))["counters"]
    return {kind: count for kind, count in counters.items() if isinstance(count, int)}
