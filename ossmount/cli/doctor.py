"""`ossmount doctor`: looks at machine, store and disks before (or while) a mount is in trouble, and says what to do."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ossmount.cli.mount import add_options, given_options
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.options import declarations as options
from ossmount.options.gathering import gather
from ossmount.options.settings import Settings, UsageError
from ossmount.options.source import parse_source
from ossmount.printable import GREEN, PLAIN, RED, YELLOW, printable

if TYPE_CHECKING:
    from ossmount.doctor.finding import Finding
    from ossmount.doctor.store import Probe

DESCRIPTION = """Checks what a mount needs: kernel, /dev/fuse, privileges, read_ahead_kb and limits of memory, CPU and files of
this machine; with a source also name, endpoint (on an ECS instance: whether it is the one of its region), clock,
credentials and what they permit, latency and bandwidth; with --cache-dir the disks. Reads only, but for a file
of 64 MiB in each folder of --cache-dir, which it removes.

The options are those of `ossmount mount`. Exit code 0: a mount will work; 1: something has to be mended first."""

_COLOURS = {"ok": GREEN, "note": YELLOW, "bad": RED}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="oss://BUCKET[/PREFIX]", nargs="?", help="what is to be mounted")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    from ossmount.doctor import disk, machine

    try:
        settings = Settings(gather(given_options(arguments), arguments.mount_options, os.environ))
        source = None if arguments.source is None else parse_source(arguments.source)
    except UsageError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None
    found = [
        *machine.findings(settings[options.TIMEOUT], settings[options.READ_AHEAD_KB], allow_other=settings[options.ALLOW_OTHER])
    ]
    probe = None
    if source is not None:
        from ossmount.doctor.source import examine

        try:
            more, probe = examine(source, settings, os.environ)
        except (UsageError, ValueError) as error:
            raise CommandError(ExitCode.USAGE, str(error)) from None
        found += more
    found += disk.findings([str(each) for each in settings[options.CACHE_DIR]], settings[options.CACHE_FREE_SPACE])
    if arguments.json:
        print(as_json(found, probe))
    else:
        sys.stdout.writelines(table(found, colours=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    return ExitCode.UNEXPECTED if any(each.level.value == "bad" for each in found) else ExitCode.OK


def table(found: list[Finding], *, colours: bool) -> Iterator[str]:
    """A line for each finding, and below it what to do about it; colours are pieces of their own."""
    width = max(len(each.subject) for each in found)
    for each in found:
        level = f"{each.level.value:<4}"
        yield from (_COLOURS[each.level.value], level, PLAIN) if colours else (level,)
        yield f"  {each.subject:<{width}}  {printable(each.text)}\n"
        if each.remedy:
            yield f"{'':4}  {'':{width}}  -> {each.remedy}\n"
    count = sum(each.level.value == "bad" for each in found)
    yield f"{count} to be mended first.\n" if count else "A mount will work.\n"


def as_json(found: list[Finding], probe: Probe | None) -> str:
    findings = [{**each._asdict(), "level": each.level.value} for each in found]
    return json.dumps({"findings": findings, "probe": None if probe is None else probe._asdict()}, indent=2)
