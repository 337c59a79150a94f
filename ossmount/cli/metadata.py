"""`ossmount metadata`: lists a source without mounting it, and carries what is known of it to other machines."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ossmount.cli.mount import add_option
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.metadata.snapshot import Header, SnapshotError, check
from ossmount.options import declarations as options
from ossmount.options.settings import Given, Settings, UsageError, gather
from ossmount.options.source import Source, parse_source

if TYPE_CHECKING:
    from ossmount.daemon.offline import Offline
    from ossmount.metadata.builder import Progress

DESCRIPTION = """Lists a bucket, or a folder of it, once for many machines:

  ossmount metadata build oss://BUCKET[/PREFIX]           list all of it, many requests at once
  ossmount metadata export oss://BUCKET[/PREFIX] FILE     the same, then write it to FILE
  ossmount metadata export MOUNTPOINT FILE                what a mount knows
  ossmount metadata import FILE                           take it over into this machine's store
  ossmount metadata info FILE                             what FILE is of
  ossmount mount --metadata-snapshot FILE ...             take it over and mount"""

#: The options of mount that say which source and which store it is.
TAKEN = (
    *(option for option in options.OPTIONS if option.group == options.SOURCE and option is not options.MANIFEST),
    options.NO_SYMLINK,
    options.METADATA,
    options.METADATA_DIR,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="build|export|import|info", required=True)

    def add(name: str, summary: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary + ".", allow_abbrev=False)
        command.set_defaults(action_run=run)
        return command

    build = add("build", "list a source into this machine's store", _build)
    build.add_argument("source", metavar="oss://BUCKET[/PREFIX]")
    export = add("export", "write all names and attributes of a source to a file", _export)
    export.add_argument("source", metavar="MOUNTPOINT|oss://BUCKET[/PREFIX]")
    export.add_argument("file", metavar="FILE", type=Path)
    load = add("import", "take a file of export over into this machine's store", _import)
    load.add_argument("file", metavar="FILE", type=Path)
    load.add_argument("source", metavar="oss://BUCKET[/PREFIX]", nargs="?", help="what it must be of; else what it says")
    for command in (build, export, load):
        for option in TAKEN:
            add_option(command, option)
    info = add("info", "tell what a file of export is of", _info)
    info.add_argument("file", metavar="FILE", type=Path)


def run(arguments: argparse.Namespace) -> int:
    try:
        return int(arguments.action_run(arguments))
    except UsageError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None
    except SnapshotError as error:
        raise CommandError(ExitCode.BAD_SNAPSHOT, str(error)) from None


def _build(arguments: argparse.Namespace) -> int:
    _list(_offline(arguments, parse_source(arguments.source), {}))
    return ExitCode.OK


def _export(arguments: argparse.Namespace) -> int:
    from ossmount.daemon.offline import export

    if arguments.file.is_dir():
        raise UsageError(f"{arguments.file} is a folder; name the file to write")
    if "://" in arguments.source:
        offline = _offline(arguments, parse_source(arguments.source), {})
        store = _list(offline)
        bucket, prefix, endpoint = offline.source.bucket, offline.source.prefix, offline.source.endpoint
    else:
        store, bucket, prefix, endpoint = _mounted(arguments.source)
    _tell(export(store, bucket, prefix, endpoint, arguments.file), arguments.file)
    return ExitCode.OK


def _mounted(mountpoint: str) -> tuple[Path, str, bytes, str]:
    """Store, bucket, prefix and endpoint of a mount."""
    from ossmount.channel.mounting import resolve
    from ossmount.cli.refresh import serving
    from ossmount.control.client import ControlError, ask

    record = serving(resolve(mountpoint), mountpoint)
    try:
        status = ask(record.socket, "status", timeout=30.0)
    except ControlError as error:
        raise CommandError(ExitCode.UNEXPECTED, f"{mountpoint}: {error}") from None
    source = parse_source(status["source"])
    endpoint = status["options"]["endpoint"]["value"]
    store = Path(status["facts"]["metadata"]["store"]["path"])
    return store, source.bucket, source.prefix, endpoint if "://" in endpoint else f"https://{endpoint}"


def _import(arguments: argparse.Namespace) -> int:
    header = check(arguments.file)
    source = Source(header.bucket, header.prefix) if arguments.source is None else parse_source(arguments.source)
    header, count = _offline(arguments, source, {"endpoint": header.endpoint}, signed=False).load(arguments.file)
    print(f"{count:,} keys taken over" if count else "this store has it already")
    return ExitCode.OK


def _info(arguments: argparse.Namespace) -> int:
    _tell(check(arguments.file), arguments.file)
    return ExitCode.OK


def _offline(arguments: argparse.Namespace, source: Source, otherwise: dict[str, str], *, signed: bool = True) -> Offline:
    """`otherwise`: options that are used when the user gave none. Not signed: no request will be made."""
    from ossmount.daemon.offline import Offline

    flags = {option.name: getattr(arguments, f"option_{option.name}") for option in TAKEN}
    given = gather({name: text for name, text in flags.items() if text is not None}, [], os.environ)
    taken = {option.name for option in TAKEN}
    given = {name: value for name, value in given.items() if name in taken}
    if "region" not in given:
        given = {**{name: Given(text, str(arguments.file)) for name, text in otherwise.items()}, **given}
    if not signed:
        given.pop("credentials", None)
        given["anonymous"] = Given("true", "import")
    return Offline(source, Settings(given), os.environ)


def _list(offline: Offline) -> Path:
    began = time.monotonic()
    live = sys.stderr.isatty()

    def show(progress: Progress) -> None:
        seconds = max(time.monotonic() - began, 0.001)
        left = seconds * (1 - progress.fraction) / progress.fraction if progress.fraction else 0.0
        eta = f", about {left:,.0f} s left" if 0 < progress.fraction < 1 else ""
        text = f"{progress.keys:,} keys, {progress.keys / seconds:,.0f}/s, {progress.lists:,} LISTs{eta}"
        print(f"\r{text}\x1b[K" if live else text, end="" if live else "\n", file=sys.stderr, flush=True)

    from ossmount.daemon.failures import command_error

    try:
        return offline.build(show)
    except KeyboardInterrupt:
        raise
    except BaseException as failure:
        raise command_error(failure) from None
    finally:
        if live:
            print(file=sys.stderr)


def _tell(header: Header, path: Path) -> None:
    shown = Source(header.bucket, header.prefix)
    when = datetime.fromtimestamp(header.time, timezone.utc).isoformat(" ", "seconds")
    print(f"{path}: {shown} at {header.endpoint}\nlisted {when}, {header.keys:,} keys, {path.stat().st_size:,} bytes")
