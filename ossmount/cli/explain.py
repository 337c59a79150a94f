"""`ossmount explain`: why reads are slow, in plain words."""

from __future__ import annotations

import argparse
import json
import textwrap
import time
from typing import Any

from ossmount.cli.asking import asked, numbers, record_of
from ossmount.cli.refresh import below
from ossmount.control.registry import Record
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.insight import rules
from ossmount.insight.finding import Finding
from ossmount.insight.looks import Looks, size
from ossmount.options.units import POSITIVE_SECONDS
from ossmount.printable import printable

DESCRIPTION = """Says why reads of a mount are slow, with the numbers that show it and what to do about it:
waiting for OSS, throttled, too little memory, expiring names, a slow disk, too little CPU,
credentials, and more; or that nothing is wrong. It looks at the last minute (a younger mount:
at all of it), with --for at the time from now on, with --since-mount at everything. With
PATH it tells what is known of that file instead: its version, what of it is cached where,
its readers, its last failures."""

EPILOG = """Examples:
  ossmount explain /mnt/train
  ossmount explain /mnt/train --for 10s
  ossmount explain /mnt/train shards/0007.tar"""

_WIDTH = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint", metavar="MOUNT", help="the mount to look at")
    parser.add_argument("path", metavar="PATH", nargs="?", help="a file of it")
    window = parser.add_mutually_exclusive_group()
    window.add_argument("--for", dest="seconds", metavar="TIME", help="look for so long from now on: 10s")
    window.add_argument("--since-mount", action="store_true", help="look at everything since this daemon of the mount began")
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")


def run(arguments: argparse.Namespace) -> int:
    record = record_of(arguments.mountpoint)
    if arguments.path is not None:
        return _explain_file(record, below(record.mountpoint, arguments.path), as_json=arguments.json)
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


def _explain_file(record: Record, path: str, *, as_json: bool) -> int:
    if not path:
        raise CommandError(ExitCode.USAGE, "that is the mount itself: give a file of it, or no PATH")
    answer = asked(record, "explain", below=path)
    if "unknown" in answer:
        raise CommandError(ExitCode.UNEXPECTED, f"{printable(path)}: {answer['unknown']}")
    print(json.dumps(answer, indent=2) if as_json else file_text(answer))
    return ExitCode.OK


def file_text(answer: dict[str, Any]) -> str:
    """What is known of a file, for people."""
    lines = [f"{answer['path']}: {answer['kind']}, object {answer['key']}"]
    if "etag" in answer:
        modified = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(answer["modified"]))
        kinds = f"{answer['type']}, {answer['storage_class']}"
        lines.append(f"version   ETag {answer['etag']}, {answer['size']:,} bytes, modified {modified} ({kinds})")
        memory = answer["memory"]
        coming = f", {size(memory['on_their_way'])} on their way" if memory["on_their_way"] else ""
        lines.append(f"memory    {size(memory['bytes'])} in {memory['pages']} pages{coming}")
        lines.append(f"disk      {_disk_text(answer['disk'])}")
        for stream in answer["streams"]:
            ahead = f", read ahead to {stream['ahead_to']:,}" if stream["read_ahead"] else ", not read ahead"
            lines.append(f"reader    bytes {stream['from']:,} to {stream['to']:,} in {stream['reads']:,} READs{ahead}")
    for failure in answer["failures"]:
        when = time.strftime("%H:%M:%S", time.localtime(failure["time"]))
        lines.append(f"failure   {when} {failure['errno']}: {failure['error']}")
    lines.append("What the kernel has of it in its page cache is not known here.")
    return "\n".join(map(printable, lines))


def _disk_text(disk: dict[str, Any] | None) -> str:
    if disk is None:
        return "the mount has no cache on disk (--cache-dir)"
    if "problem" in disk:
        return str(disk["problem"])
    return f"{size(disk['bytes'])} cached ({', '.join(disk['files'])})" if disk["files"] else "nothing cached"


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
