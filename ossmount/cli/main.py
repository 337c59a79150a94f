"""The command `ossmount`: finds the command's module and runs it. Nothing else is imported, so that each starts quickly."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn, TextIO, cast

from ossmount import __version__
from ossmount.exit_codes import MEANINGS, CommandError, ExitCode
from ossmount.printable import Shown

#: Command, its module (with add_arguments(parser) and run(arguments)), and what it does.
COMMANDS: dict[str, tuple[str, str]] = {
    "mount": ("ossmount.cli.mount", "mount a bucket, or a folder of it, as a folder"),
    "umount": ("ossmount.cli.umount", "unmount, also when the daemon of the mount is dead"),
    "restart": ("ossmount.cli.restart", "replace the daemon of a mount, for new code or options, while it is read"),
    "status": ("ossmount.cli.status", "show what is mounted, with which options, and its counters"),
    "top": ("ossmount.cli.top", "show live what a mount does: throughput, latencies, caches, requests, cost"),
    "explain": ("ossmount.cli.explain", "say why reads of a mount are slow, and what to do about it"),
    "trace": ("ossmount.cli.trace", "print the requests that a mount is asked, as they are answered"),
    "refresh": ("ossmount.cli.refresh", "make a mount see changes in the bucket now"),
    "cache": ("ossmount.cli.cache", "list, measure, verify, prune or clear the cache on local disks"),
    "metadata": ("ossmount.cli.metadata", "list a source once for many machines: build, export, import"),
    "prefetch": ("ossmount.cli.prefetch", "tell a mount which files will be read next, in which order"),
    "warm": ("ossmount.cli.warm", "read files and folders of a mount once, so that they are in memory"),
    "config": ("ossmount.cli.config", "show, check, write and translate configurations"),
    "completion": ("ossmount.cli.completion", "print what lets bash, zsh or fish complete ossmount's commands and options"),
    "install-mount-helper": ("ossmount.cli.install_mount_helper", "let mount(8) and fstab mount buckets"),
    "doctor": ("ossmount.cli.doctor", "check machine, store, credentials and disks, and say what to do"),
    "bench": ("ossmount.cli.bench", "measure how fast a bucket, or a mount, is listed and read from here"),
    "serve": ("ossmount.cli.serve", "serve a local folder as OSS, for trying things out and for tests"),
}

EXAMPLE = """Example:
  export OSS_ACCESS_KEY_ID=... OSS_ACCESS_KEY_SECRET=...
  ossmount mount oss://my-bucket/train /mnt/train --endpoint oss-cn-hangzhou.aliyuncs.com
  ls /mnt/train
  ossmount umount /mnt/train"""


def top_help() -> str:
    """What `ossmount --help` prints."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}} {summary}" for name, (_, summary) in COMMANDS.items())
    codes = "\n".join(f"  {int(code):<8} {MEANINGS[code]}" for code in ExitCode)
    return f"""usage: ossmount COMMAND ...

Mounts an Alibaba Cloud OSS bucket as a folder, read-only and fast.

{EXAMPLE}

Commands ("ossmount COMMAND --help" tells more):
{commands}

Options:
  --version  show the version and exit
  --help     show this and exit

Exit codes:
{codes}
"""


class Parser(argparse.ArgumentParser):
    """argparse that names the nearest option for one it does not know."""

    def error(self, message: str) -> NoReturn:
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\nTry '{self.prog} --help'.\n")

    def parse_or_exit(self, arguments: Sequence[str]) -> argparse.Namespace:
        parsed, unknown = self.parse_known_args(arguments)
        if unknown:
            known = [flag for action in self._written(parsed)._actions for flag in action.option_strings]
            self.error(
                f"unknown {'option' if unknown[0].startswith('-') else 'argument'} {unknown[0]}{_near(unknown[0], known)}"
            )
        return parsed

    def _written(self, parsed: argparse.Namespace) -> argparse.ArgumentParser:
        """The parser of the command of this command that was written, where there is one."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found: argparse.ArgumentParser = action.choices[getattr(parsed, action.dest)]
                return found
        return self


def _near(word: str, words: Sequence[str]) -> str:
    found = difflib.get_close_matches(word.partition("=")[0], words, n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def _usage(message: str) -> int:
    print(f"ossmount: {message}\nTry 'ossmount --help'.", file=sys.stderr)
    return ExitCode.USAGE


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; an error of the command line exits by itself, as argparse does.

    Nothing that it prints moves a terminal's cursor or changes what stands there, whatever names are in it.
    """
    out, err = cast("TextIO", Shown(sys.stdout)), cast("TextIO", Shown(sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        return _main(arguments)


def _main(arguments: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words:
        print(top_help(), end="", file=sys.stderr)
        return ExitCode.USAGE
    if words[0] in ("-h", "--help", "help"):
        print(top_help(), end="")
        return ExitCode.OK
    if words[0] == "--version":
        print(f"ossmount {__version__}")
        return ExitCode.OK
    if words[0] not in COMMANDS:
        if "://" in words[0]:
            return _usage(f"{words[0]} is no command; to mount it: ossmount mount {' '.join(words)}")
        kind = "option" if words[0].startswith("-") else "command"
        return _usage(f"unknown {kind} {words[0]}{_near(words[0], [*COMMANDS, '--help', '--version'])}")
    return _run(words[0], words[1:])


def parser_of(name: str) -> tuple[Parser, ModuleType]:
    """The parser of a command, and the module that runs it."""
    module_name, summary = COMMANDS[name]
    module = importlib.import_module(module_name)
    parser = Parser(
        prog=f"ossmount {name}",
        description=getattr(module, "DESCRIPTION", summary.capitalize() + "."),
        epilog=getattr(module, "EPILOG", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    return parser, module


def _run(name: str, arguments: list[str]) -> int:
    parser, module = parser_of(name)
    parsed = parser.parse_or_exit(arguments)
    try:
        code = int(module.run(parsed))
        sys.stdout.flush()
        return code
    except CommandError as error:
        print(f"ossmount: {error.message}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("ossmount: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # `ossmount status | head`: nobody reads on. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
