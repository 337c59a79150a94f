"""`ossmount metadata`: lists a source without mounting it, and carries what is known of it to other machines."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ossmount.cli.mount import add_option
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.metadata.snapshot import File, Header, check
from ossmount.options import declarations as options
from ossmount.options.declared.option import IDENTITY, SOURCE
from ossmount.options.gathering import gather
from ossmount.options.places import ObjectPlace, parse_place
from ossmount.options.settings import DEFAULT, Given, Settings, UsageError
from ossmount.options.source import Source, parse_source
from ossmount.oss.credentials.environment import FAMILIES

if TYPE_CHECKING:
    from ossmount.config import SourceConfig
    from ossmount.daemon.offline import Offline
    from ossmount.metadata.builder import Progress

DESCRIPTION = """Lists a bucket, or a folder of it, once for many machines:

  ossmount metadata build oss://BUCKET[/PREFIX]           list all of it, many requests at once
  ossmount metadata export oss://BUCKET[/PREFIX] FILE     the same, then write it to FILE
  ossmount metadata export MOUNTPOINT FILE                what a mount knows
  ossmount metadata import FILE                           take it over into this machine's store
  ossmount metadata info FILE                             what FILE is of
  ossmount mount --metadata-snapshot FILE ...             take it over and mount

FILE may lie in OSS everywhere: oss://BUCKET/KEY, at the endpoint and with the keys of the other options."""

#: The options of mount that say which source and which store it is.
TAKEN = (
    options.CONFIG,
    *(option for option in options.OPTIONS if option.group in (SOURCE, IDENTITY) and option is not options.MANIFEST),
    options.NO_SYMLINK,
    options.METADATA,
    options.METADATA_DIR,
)
_CREDENTIALS = {option.name for option in TAKEN if option.group == IDENTITY}


_PLACE = "FILE|oss://BUCKET/KEY"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="build|export|import|info", required=True)

    def add(name: str, summary: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary + ".", allow_abbrev=False)
        command.set_defaults(action_run=run)
        return command

    build = add("build", "list a source into this machine's store", _build)
    build.add_argument("source", metavar="oss://BUCKET[/PREFIX]", help="what to list")
    export = add("export", "write all names and attributes of a source to a file", _export)
    export.add_argument("source", metavar="MOUNTPOINT|oss://BUCKET[/PREFIX]", help="what to write down")
    export.add_argument("file", metavar=_PLACE, help="where to write it")
    load = add("import", "take a file of export over into this machine's store", _import)
    load.add_argument("file", metavar=_PLACE, help="what export has written")
    load.add_argument("source", metavar="oss://BUCKET[/PREFIX]", nargs="?", help="what it must be of; else what it says")
    info = add("info", "tell what a file of export is of", _info)
    info.add_argument("file", metavar=_PLACE, help="what export has written")
    for command in (build, export, load, info):
        command.add_argument("--json", action="store_true", help="for programs: one JSON object")
    for command in (build, export, load, info):
        for option in TAKEN:
            add_option(command, option)


def run(arguments: argparse.Namespace) -> int:
    from ossmount.daemon.failures import command_error

    try:
        return int(arguments.action_run(arguments))
    except (CommandError, KeyboardInterrupt, BrokenPipeError):
        raise
    except BaseException as failure:
        raise command_error(failure) from None


def _build(arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    source, store, (files, lists, _) = _list(_offline(arguments, parse_source(arguments.source), {}))
    seconds = time.monotonic() - began
    if arguments.json:
        facts = {"source": source, "store": str(store), "files": files, "lists": lists, "seconds": round(seconds, 3)}
        print(json.dumps(facts))
    else:
        print(f"{source} is listed: {files:,} files, {lists:,} LISTs in {seconds:.1f} s, kept in {store}")
    return ExitCode.OK


def _export(arguments: argparse.Namespace) -> int:
    from ossmount.daemon.offline import Stored, export

    target = _place(arguments.file)
    if isinstance(target, Path) and target.is_dir():
        raise UsageError(f"{target} is a folder; name the file to write")
    offline: Offline | None = None
    used: dict[str, str] = {}
    if "://" in arguments.source:
        offline = _offline(arguments, parse_source(arguments.source), {})
        source = offline.source
    else:
        store, source, used = _mounted(arguments.source)
    stored = None
    if not isinstance(target, Path):
        stored = Stored(target, _settings(arguments, used), os.environ)
        stored.check(source)  # before all is listed
    if offline is not None:
        store = _list(offline).store
    if stored is not None:
        header, size = stored.export(store, source)
    else:
        assert isinstance(target, Path)
        header = export(store, source, target)
        size = target.stat().st_size
    _tell(header, target, size, arguments.json)
    return ExitCode.OK


def _mounted(mountpoint: str) -> tuple[Path, SourceConfig, dict[str, str]]:
    """Store and source of a mount, and the options with which it reaches OSS."""
    from ossmount.channel.mounting import resolve
    from ossmount.cli.refresh import serving
    from ossmount.config import SourceConfig
    from ossmount.control.client import ControlError, ask

    record = serving(resolve(mountpoint), mountpoint)
    try:
        status = ask(record.socket, "status", timeout=30.0)
    except ControlError as error:
        raise CommandError(ExitCode.UNEXPECTED, f"{mountpoint}: {error}") from None
    shown = {name: setting["value"] for name, setting in status["options"].items()}
    if shown[options.MANIFEST.name]:
        raise UsageError(f"{mountpoint} shows the keys of {shown[options.MANIFEST.name]} only: a snapshot is of all keys")
    source = parse_source(status["source"])
    endpoint = shown[options.ENDPOINT.name]
    kept = (options.ENDPOINT, options.REGION, options.PATH_STYLE)
    used = {option.name: shown[option.name] for option in kept}
    if not any(os.environ.get(family[0]) for family in FAMILIES):  # who exports has no keys; the mount's may only read
        used |= {name: shown[name] for name in _CREDENTIALS if status["options"][name]["origin"] != DEFAULT}
    config = SourceConfig(
        source.bucket,
        source.prefix,
        endpoint if "://" in endpoint else f"https://{endpoint}",
        path_style=shown[options.PATH_STYLE.name] == "true",
    )
    store = Path(status["facts"]["metadata"]["store"]["path"])
    return store, config, {name: text for name, text in used.items() if text}


def _import(arguments: argparse.Namespace) -> int:
    with _received(arguments) as file:
        header = check(file)
        source = Source(header.bucket, header.prefix) if arguments.source is None else parse_source(arguments.source)
        header, count = _offline(arguments, source, {"endpoint": header.endpoint}, signed=False).load(file)
    if arguments.json:
        print(json.dumps({"keys": count}))
    else:
        print(f"{count:,} keys taken over" if count else "this store has it already")
    return ExitCode.OK


def _info(arguments: argparse.Namespace) -> int:
    with _received(arguments) as file:
        _tell(check(file), file, file.path.stat().st_size, arguments.json)
    return ExitCode.OK


def _place(text: str) -> Path | ObjectPlace:
    try:
        return parse_place(text)
    except ValueError as error:
        raise UsageError(f"{text}: {error}") from None


def _received(arguments: argparse.Namespace) -> AbstractContextManager[File]:
    """The snapshot that a command is given, on this machine."""
    place = _place(arguments.file)
    if isinstance(place, Path):
        return nullcontext(File(place))
    from ossmount.daemon.offline import Stored

    return Stored(place, _settings(arguments, {}), os.environ).received()


def _offline(arguments: argparse.Namespace, source: Source, otherwise: dict[str, str], *, signed: bool = True) -> Offline:
    from ossmount.daemon.offline import Offline

    return Offline(source, _settings(arguments, otherwise, signed=signed), os.environ)


def _settings(arguments: argparse.Namespace, otherwise: dict[str, str], *, signed: bool = True) -> Settings:
    """`otherwise`: options that are used when the user gave none. Not signed: no request will be made."""
    flags = {option.name: getattr(arguments, f"option_{option.name}") for option in TAKEN}
    given = gather({name: text for name, text in flags.items() if text is not None}, [], os.environ)
    taken = {option.name for option in TAKEN}
    given = {name: value for name, value in given.items() if name in taken}
    if _CREDENTIALS & given.keys():  # then nothing of the mount's
        otherwise = {name: text for name, text in otherwise.items() if name not in _CREDENTIALS}
    if options.REGION.name not in given:  # it has an endpoint of its own
        given = {**{name: Given(text, str(arguments.file)) for name, text in otherwise.items()}, **given}
    if not signed:
        given = {name: value for name, value in given.items() if name not in _CREDENTIALS}
        given["anonymous"] = Given("true", "import")
    return Settings(given)


class _Built(NamedTuple):
    """A source that was listed."""

    source: str
    store: Path
    progress: Progress


def _list(offline: Offline) -> _Built:
    """Lists all of a source; a terminal sees how far it is."""
    from ossmount.metadata.builder import Progress

    began = time.monotonic()
    live = sys.stderr.isatty()
    latest = Progress(0, 0, 0.0)

    def show(progress: Progress) -> None:
        nonlocal latest
        latest = progress
        if not live:
            return
        seconds = max(time.monotonic() - began, 0.001)
        left = seconds * (1 - progress.fraction) / progress.fraction if progress.fraction else 0.0
        eta = f", about {left:,.0f} s left" if 0 < progress.fraction < 1 else ""
        text = f"{progress.files:,} files, {progress.files / seconds:,.0f}/s, {progress.lists:,} LISTs{eta}"
        print("\r", text, "\x1b[K", sep="", end="", file=sys.stderr, flush=True)

    try:
        store = offline.build(show)
        return _Built(str(Source(offline.source.bucket, offline.source.prefix)), store, latest)
    finally:
        if live:
            print(file=sys.stderr)


def _tell(header: Header, name: object, size: int, as_json: bool) -> None:
    shown = Source(header.bucket, header.prefix)
    when = datetime.fromtimestamp(header.time, timezone.utc).isoformat(" ", "seconds")
    if as_json:
        facts = {"file": str(name), "source": str(shown), "endpoint": header.endpoint, "keys": header.keys, "bytes": size}
        print(json.dumps({**facts, "listed": header.time}))
        return
    print(f"{name}: {shown} at {header.endpoint}\nlisted {when}, {header.keys:,} keys, {size:,} bytes")
