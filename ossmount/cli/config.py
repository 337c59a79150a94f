"""`ossmount config`: shows, checks, writes and translates configurations, without mounting anything."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ossmount.cli.mount import add_options, given_options
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.options.declarations import CONFIG, OPTIONS
from ossmount.options.files import Problem, look
from ossmount.options.gathering import gather, misspelled, without_effect
from ossmount.options.importing import import_text
from ossmount.options.profiles import explicit, with_profile
from ossmount.options.settings import DEFAULT, Given, Settings, UsageError, parse
from ossmount.options.template import template

DESCRIPTION = """Looks after configurations. Nothing is mounted and nothing is asked of OSS.
  show    what a mount with these options would get, and where each value comes from
  check   names everything that is wrong in a configuration file
  init    writes a configuration file in which every option is explained
  import  translates a configuration of JindoFuse or ossfs 2.0"""

EPILOG = """Examples:
  ossmount config init imagenet --source oss://my-bucket/imagenet --mountpoint /mnt/imagenet --profile training
  ossmount config check imagenet
  ossmount config show --config imagenet -o attr_timeout=1h
  ossmount config import jindo.json > imagenet.toml"""

_LONGEST = 1 << 20  # bytes that are read of a file to translate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="show|check|init|import", required=True)

    def add(name: str, summary: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=f"{summary.capitalize()}.", allow_abbrev=False)
        command.set_defaults(action_run=run)
        return command

    show = add("show", "show what a mount with these options would get, and where each value comes from", _show)
    show.add_argument("--given", action="store_true", help="only what is not a default")
    show.add_argument("--json", action="store_true", help="for programs: one JSON object")
    add_options(show)
    check = add("check", "name everything that is wrong in a configuration file", _check)
    check.add_argument("file", metavar="FILE|NAME", help="NAME alone is /etc/ossmount/NAME.toml")
    check.add_argument("--json", action="store_true", help="for programs: one JSON object")
    init = add("init", "write a configuration file in which every option is explained", _init)
    init.add_argument("file", metavar="FILE|NAME", help="NAME alone is /etc/ossmount/NAME.toml; - is standard output")
    init.add_argument("--source", metavar="oss://BUCKET[/PREFIX]", default="", help="what to mount")
    init.add_argument("--mountpoint", metavar="DIR", default="", help="where to mount it")
    init.add_argument("--json", action="store_true", help="for programs: one JSON object instead of what to do next")
    add_options(init)
    load = add("import", "translate a configuration of JindoFuse or ossfs 2.0, and print it", _import)
    load.add_argument(
        "file", metavar="FILE", help="JSON, jindosdk.cfg, a file of ossfs2, or a line of arguments; - is standard input"
    )
    load.add_argument("--json", action="store_true", help="for programs: one JSON object")


def run(arguments: argparse.Namespace) -> int:
    try:
        return int(arguments.action_run(arguments))
    except UsageError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None


def _show(arguments: argparse.Namespace) -> int:
    for warning in (*misspelled(os.environ), *without_effect(arguments.mount_options)):
        print(f"ossmount: {warning}", file=sys.stderr)
    settings = Settings(gather(given_options(arguments), arguments.mount_options, os.environ))
    shown = {
        name: {"value": value, "origin": origin}
        for name, (value, origin) in settings.shown().items()
        if origin != DEFAULT or not arguments.given
    }
    if arguments.json:
        print(json.dumps(shown, indent=2))
        return ExitCode.OK
    for option in OPTIONS:
        if option.name in shown:
            value, origin = shown[option.name].values()
            print(f"{option.name} = {value if origin != DEFAULT else option.default_text or 'none'}  ({origin})")
    return ExitCode.OK


def _path(text: str) -> Path:
    found: Path = parse(CONFIG, Given(text, CONFIG.flag)).value
    return found


def _check(arguments: argparse.Namespace) -> int:
    path = _path(arguments.file)
    file = look(path, arguments.file)
    problems = list(file.problems)
    try:
        Settings(with_profile(file.given))
    except UsageError as error:
        problems += [Problem(0, line) for line in str(error).split("\n")]
    if arguments.json:
        print(json.dumps({"file": str(path), "problems": [problem._asdict() for problem in problems]}, indent=2))
    else:
        for line, message in problems:
            print(f"{path}:{line}: {message}" if line else f"{path}: {message}")
        if not problems:
            print(f"{path}: good; it sets {', '.join(file.given) or 'nothing'}")
    return ExitCode.USAGE if problems else ExitCode.OK


def _init(arguments: argparse.Namespace) -> int:
    settings = Settings(gather(given_options(arguments), arguments.mount_options, {}))
    written = {name: one.text for name, one in explicit(settings.given()).items()}
    written.pop(CONFIG.name, None)
    text = "\n".join(template(written, arguments.source, arguments.mountpoint)) + "\n"
    if arguments.file == "-":
        if arguments.json:
            raise UsageError("--json: to standard output goes the file itself; name a FILE")
        print(text, end="")
        return ExitCode.OK
    path = _path(arguments.file)
    try:
        path.parent.mkdir(mode=0o755, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} is there already; remove it, or name another file") from None
    except OSError as error:
        raise CommandError(ExitCode.UNEXPECTED, f"{path} cannot be written: {error.strerror}") from None
    problems = look(path, str(path)).problems
    for line, message in problems:
        print(f"ossmount: {path}:{line}: {message}", file=sys.stderr)
    if arguments.json:
        print(json.dumps({"file": str(path), "sets": list(written), "problems": [one._asdict() for one in problems]}))
        return ExitCode.USAGE if problems else ExitCode.OK
    print(f"wrote {path}; edit it, then: ossmount config check {arguments.file} && ossmount mount --config {arguments.file}")
    return ExitCode.USAGE if problems else ExitCode.OK


def _import(arguments: argparse.Namespace) -> int:
    told = import_text(_text(arguments.file))
    if arguments.json:
        notes: list[dict[str, Any]] = [note._asdict() for note in told.notes]
        print(json.dumps({"source": told.source, "options": told.options, "notes": notes}, indent=2))
    else:
        print("\n".join(told.lines()))
    for note in told.refused:
        print(f"ossmount: {note.name} was not taken over: {note.why}", file=sys.stderr)
    return ExitCode.USAGE if told.refused else ExitCode.OK


def _text(name: str) -> str:
    try:
        if name == "-":
            return sys.stdin.read(_LONGEST)
        with open(name, encoding="utf-8") as file:
            return file.read(_LONGEST)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{name}: {why}") from None
