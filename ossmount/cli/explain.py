"""`ossmount explain`: why reads are slow, in plain words."""

from __future__ import annotations

import argparse
import json
import textwrap
import time
from typing import Any

from ossmount.cli.asking import numbers, printable, record_of
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.insight import rules
from ossmount.insight.finding import Finding
from ossmount.insight.looks import Looks
from ossmount.options.units import POSITIVE_SECONDS

DESCRIPTION = """Says why reads of a mount are slow, with the numbers that show it and what to do about it:
waiting for OSS, throttled, too little memory, expiring names, a slow disk, too little CPU,
credentials, and more; or that nothing is wrong. It looks at the last minute (a younger mount:
at all of it), with --for at the time from now on, with --since-mount at everything."""

EPILOG = """Examples:
  ossmount explain /mnt/train
  ossmount explain /mnt/train --for 10s"""

_WIDTH = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint", metavar="MOUNT")
    window = parser.add_mutually_exclusive_group()
    window.add_argument("--for", dest="seconds", metavar="TIME", help="look for so long from now on: 10s")
    window.add_argument("--since-mount", action="store_true", help="look at everything since this daemon of the mount began")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace) -> int:
    record = record_of(arguments.mountpoint)
    if arguments.seconds is not None:
        try:
            seconds = POSITIVE_SECONDS.parse(arguments.seconds)
        except ValueError as error:
            raise CommandError(ExitCode.USAGE, f"--for: {error}") from None
        before = numbers(record)
        time.sleep(seconds)
        looks = Looks(before, numbers(record))
    else:
        after = numbers(record, before=not arguments.since_mount)
        looks = Looks(after.get("before"), after)
    found = rules.findings(looks)
    print(json.dumps(_as_json(looks, found), indent=2) if arguments.json else text_of(looks, found))
    return ExitCode.OK


def _as_json(looks: Looks, found: list[Finding]) -> dict[str, Any]:
    return {
        "mountpoint": looks.after["mountpoint"],
        "seconds": round(looks.seconds, 3),
        "since_mount": looks.since_mount,
        "findings": [finding._asdict() for finding in found],
    }


def text_of(looks: Looks, found: list[Finding]) -> str:
    """The findings, the weightiest first."""
    lines = [f"{printable(looks.after['mountpoint'])}, {looks.window}:"]
    for number, finding in enumerate(found, start=1):
        head = f"{number}. " if len(found) > 1 else ""
        lines += ["", f"{head}{finding.title}"]
        for title, texts in (("evidence", finding.evidence), ("what helps", finding.advice)):
            for index, text in enumerate(texts):
                lead = f"   {title if not index else '':<12}"
                lines += textwrap.wrap(printable(text), _WIDTH, initial_indent=lead, subsequent_indent=" " * 15)
    return "\n".join(lines)
