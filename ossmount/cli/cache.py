"""`ossmount cache`: looks after cache folders, whether they are in use or not."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ossmount.data.disk import inspection, store
from ossmount.data.disk.inventory import Entry, drop, entries, evict
from ossmount.data.disk.keeper import Limits, Untrusted, check_owner, root_of
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.options.declarations import CACHE_DIR, CACHE_FREE_SPACE, CACHE_SIZE, CONFIG
from ossmount.options.gathering import gather
from ossmount.options.settings import Settings, UsageError
from ossmount.printable import printable

DESCRIPTION = """Looks after the folders that mounts with --cache-dir keep file data in. Mounts may use them
meanwhile.

  ls      what is cached: bytes on the disk, last use, object
  usage   how much is cached in each folder
  verify  reads everything, compares checksums and drops what is damaged; ends with 1 if anything was
  prune   drops what was not used for longest, as --cache-size and --cache-free-space say; what is pinned
          (`ossmount warm --pin`) stays
  clear   drops everything, also what is pinned"""

EPILOG = """The folders and limits are those of the mount's options, also as OSSMOUNT_CACHE_DIR,
OSSMOUNT_CACHE_SIZE and OSSMOUNT_CACHE_FREE_SPACE, or those of a --config file.

Examples:
  ossmount cache usage --cache-dir /nvme0/cache:/nvme1/cache
  ossmount cache usage --config imagenet
  ossmount cache prune --cache-dir /nvme0/cache --cache-size 500G"""

_OPTIONS = (CONFIG, CACHE_DIR, CACHE_SIZE, CACHE_FREE_SPACE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=_ACTIONS, metavar="ls|usage|verify|prune|clear", help="what to do")
    for option in _OPTIONS:
        text = f"{option.help} (default: {option.default_text})".replace("%", "%%")
        parser.add_argument(option.flag, dest=option.name, metavar=option.unit.metavar, help=text)
    parser.add_argument("--json", action="store_true", help="for programs: one JSON value")


def run(arguments: argparse.Namespace) -> int:
    flags = {option.name: text for option in _OPTIONS if (text := getattr(arguments, option.name)) is not None}
    environ = {name: text for name, text in os.environ.items() if name in [option.variable for option in _OPTIONS]}
    try:
        settings = Settings(gather(flags, [], environ))
    except UsageError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None
    directories = settings[CACHE_DIR]
    if not directories:
        raise CommandError(ExitCode.USAGE, "which folder? Give --cache-dir, as for the mount, or set OSSMOUNT_CACHE_DIR")
    for directory in directories:
        _check(directory)
    try:
        return _ACTIONS[arguments.action](directories, settings, arguments.json)
    except OSError as error:
        raise CommandError(ExitCode.UNEXPECTED, f"{error.filename or directories[0]}: {error.strerror}") from None


def _check(directory: Path) -> None:
    try:
        os.stat(directory)
        check_owner(root_of(str(directory)))
    except FileNotFoundError:
        if not directory.exists():
            raise CommandError(ExitCode.USAGE, f"--cache-dir: there is no folder {directory}") from None
    except Untrusted:
        return  # it may be looked at, and must be possible to clear
    except OSError as error:
        raise CommandError(ExitCode.UNEXPECTED, f"--cache-dir: {directory}: {error.strerror}") from None


def _list(directories: tuple[Path, ...], settings: Settings, as_json: bool) -> int:
    lines = (_shown(entry) for directory in directories for entry in entries(root_of(str(directory))))
    if as_json:
        before = "["
        for line in lines:
            print(before, json.dumps(line), sep="\n", end="")
            before = ","
        print("\n]" if before == "," else "[]")
        return ExitCode.OK
    for line in lines:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(line["used"]))
        pinned = "pinned" if line["pinned"] else "      "
        print(f"{line['disk']:>14,}  {used}  {pinned}  {line['store'] or '?'}/{printable(line['key'] or '?')}")
    return ExitCode.OK


def _shown(entry: Entry) -> dict[str, Any]:
    described = inspection.describe(entry)
    label = None if described is None else described.label
    return {
        "store": None if label is None else label.store,
        "key": None if label is None else os.fsdecode(label.key),
        "etag": None if label is None else label.etag,
        "size": None if described is None else described.size,
        "disk": entry.size,
        "used": entry.used // 10**9,
        "pinned": bool(entry.pinned),
        "file": entry.stem,
    }


def _usage(directories: tuple[Path, ...], settings: Settings, as_json: bool) -> int:
    found = []
    for directory in directories:
        count = size = pins = pinned = 0
        for entry in entries(root_of(str(directory))):
            count, size = count + 1, size + entry.size
            pins, pinned = pins + bool(entry.pinned), pinned + entry.pinned
        disk = os.statvfs(directory)
        free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        found.append(
            {
                "directory": str(directory),
                "objects": count,
                "bytes": size,
                "pinned_objects": pins,
                "pinned_bytes": pinned,
                "disk_free": free,
                "disk_size": total,
            }
        )
    if as_json:
        print(json.dumps(found, indent=2))
        return ExitCode.OK
    for one in found:
        print(
            f"{one['directory']}: {one['objects']:,} objects, {one['bytes']:,} bytes; "
            f"pinned: {one['pinned_objects']:,} objects of {one['pinned_bytes']:,} bytes; "
            f"{one['disk_free']:,} of {one['disk_size']:,} bytes of the disk are free"
        )
    return ExitCode.OK


def _verify(directories: tuple[Path, ...], settings: Settings, as_json: bool) -> int:
    buffer = memoryview(bytearray(store.BUFFER))
    totals = {"objects": 0, "bytes": 0, "bad_blocks": 0, "dropped": 0}
    for entry in _all(directories):
        verdict = inspection.verify(entry, buffer)
        totals["objects"] += 1
        totals["bytes"] += verdict.good
        totals["bad_blocks"] += verdict.bad
        totals["dropped"] += verdict.dropped
    text = "{objects:,} objects, {bytes:,} good bytes; {bad_blocks:,} bad blocks, {dropped:,} objects dropped".format_map(
        totals
    )
    print(json.dumps(totals) if as_json else text)
    return ExitCode.UNEXPECTED if totals["bad_blocks"] or totals["dropped"] else ExitCode.OK


def _prune(directories: tuple[Path, ...], settings: Settings, as_json: bool) -> int:
    limits = Limits((settings[CACHE_SIZE] or 0) // len(directories), settings[CACHE_FREE_SPACE])
    objects = freed = 0
    for directory in directories:
        root = root_of(str(directory))
        while os.path.isdir(root):
            census = evict(root, _excess(root, limits))
            objects, freed = objects + census.dropped, freed + census.freed
            if not census.dropped:
                break
    return _dropped(objects, freed, as_json)


def _excess(root: str, limits: Limits) -> Callable[[int], int]:
    return lambda used: limits.over(root, used)


def _clear(directories: tuple[Path, ...], settings: Settings, as_json: bool) -> int:
    objects = freed = 0
    for entry in _all(directories):
        if drop(entry, always=True):
            objects, freed = objects + 1, freed + entry.size
    return _dropped(objects, freed, as_json)


def _all(directories: tuple[Path, ...]) -> Iterator[Entry]:
    for directory in directories:
        yield from entries(root_of(str(directory)))


def _dropped(objects: int, freed: int, as_json: bool) -> int:
    print(json.dumps({"objects": objects, "bytes": freed}) if as_json else f"dropped {objects:,} objects, {freed:,} bytes")
    return ExitCode.OK


_ACTIONS = {"ls": _list, "usage": _usage, "verify": _verify, "prune": _prune, "clear": _clear}
