"""`ossmount refresh`: what is known of names and attributes is asked of OSS again at its next use."""

from __future__ import annotations

import argparse
import json
import os

from ossmount.channel.mounting import resolve
from ossmount.control.client import ControlError, ask
from ossmount.control.registry import Record, Registry
from ossmount.control.state import state_directory
from ossmount.exit_codes import CommandError, ExitCode

DESCRIPTION = """Makes the mount ask OSS again about PATH and everything below it, or about everything,
at its next use: for changes in the bucket that shall be seen before attr_timeout,
entry_timeout or metadata_ttl are over. What the kernel has cached of them goes too; data
of objects that have not changed stays."""

_PATIENCE = 600.0  # seconds; a million names take some


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", help="the mount that shall ask OSS again")
    parser.add_argument("path", metavar="PATH", nargs="?", default="", help="a file or folder of it; everything without it")
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")


def run(arguments: argparse.Namespace) -> int:
    mountpoint = resolve(arguments.mountpoint)
    record = serving(mountpoint, arguments.mountpoint)
    try:
        answer = ask(record.socket, "refresh", timeout=_PATIENCE, below=below(mountpoint, arguments.path))
    except ControlError as error:
        raise CommandError(ExitCode.UNEXPECTED, f"{arguments.mountpoint}: {error}") from None
    names = answer["names"]
    if arguments.json:
        print(json.dumps({"names": names}))
        return ExitCode.OK
    print("nothing of it was known" if names == 0 else f"{names:,} {'name is' if names == 1 else 'names are'} asked again")
    return ExitCode.OK


def serving(mountpoint: str, written: str) -> Record:
    """The record of a mount whose daemon runs. Raises CommandError."""
    record = Registry(state_directory(os.environ, os.geteuid())).find(mountpoint)
    if record is None:
        raise CommandError(ExitCode.NOT_MOUNTED, f"{written}: no mount of yours; `ossmount status` lists them")
    if not record.alive():
        raise CommandError(ExitCode.NOT_MOUNTED, f"{written}: its daemon is gone: ossmount umount {mountpoint}")
    return record


def below(mountpoint: str, path: str) -> str:
    """PATH relative to the mount: as it stands, or the rest of an absolute one. The mount itself is not touched."""
    if os.path.isabs(path):
        absolute = os.path.normpath(path)
        if absolute != mountpoint and not absolute.startswith(mountpoint.rstrip("/") + "/"):
            raise CommandError(ExitCode.USAGE, f"{path} does not lie below {mountpoint}; a relative path begins there")
        return absolute[len(mountpoint) :].strip("/")
    relative = os.path.normpath(path) if path else ""
    if relative.split("/")[0] == "..":
        raise CommandError(ExitCode.USAGE, f"{path} leaves the mount")
    return "" if relative == "." else relative
