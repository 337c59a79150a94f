"""The commands as data, for shells that complete and for manual pages: taken from the parsers that read command lines."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from ossmount.cli.main import COMMANDS, parser_of
from ossmount.options.declarations import BY_NAME

PREFIX = "option_"  # of the destinations of options of a mount, see ossmount.cli.mount


class Flag(NamedTuple):
    """An option of a command."""

    names: tuple[str, ...]  # as they are written
    help: str
    value: str  # "" for a switch
    choices: tuple[str, ...]
    files: bool  # whether the value is a path
    group: str  # the heading under which help shows it


class Word(NamedTuple):
    """An argument without a name."""

    metavar: str
    help: str
    choices: tuple[str, ...]
    kind: str  # mount, directory, file, or "" for what nothing is known of


class Command(NamedTuple):
    """A command, or one of the commands of a command."""

    words: tuple[str, ...]  # ("cache",) or ("metadata", "build")
    summary: str
    usage: str
    description: str
    epilog: str
    flags: tuple[Flag, ...]
    arguments: tuple[Word, ...]
    commands: tuple[str, ...]  # those that it has itself

    @property
    def name(self) -> str:
        return " ".join(self.words)


def commands() -> list[Command]:
    """All of them, each before its own commands."""
    return [one for name, (_, summary) in COMMANDS.items() for one in _of_parser((name,), summary, parser_of(name)[0])]


def _of_parser(words: tuple[str, ...], summary: str, parser: argparse.ArgumentParser) -> Iterator[Command]:
    actions = [action for action in parser._actions if not isinstance(action, argparse._SubParsersAction)]
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    names = [name for action in below for name in action.choices]
    titles = {id(action): group.title or "" for group in parser._action_groups for action in group._group_actions}
    yield Command(
        words,
        summary,
        " ".join(parser.format_usage().removeprefix("usage: ").split()),
        parser.description or "",
        parser.epilog or "",
        tuple(_flag(action, titles.get(id(action), "")) for action in actions if action.option_strings),
        tuple(_word(words, action) for action in actions if not action.option_strings),
        tuple(names),
    )
    for action in below:
        summaries = {one.dest: one.help or "" for one in action._choices_actions}
        for name, one in action.choices.items():
            yield from _of_parser((*words, name), summaries[name], one)


def _flag(action: argparse.Action, group: str) -> Flag:
    value = "" if action.nargs == 0 else _metavar(action)
    option = BY_NAME.get(action.dest.removeprefix(PREFIX))
    choices = tuple(map(str, action.choices or ())) or (option.unit.choices if option is not None else ())
    files = value in ("FILE", "DIR") or (option is not None and option.unit.names_files)
    return Flag(tuple(action.option_strings), _help(action), value, choices, bool(value) and files, group)


def _word(words: tuple[str, ...], action: argparse.Action) -> Word:
    metavar = _metavar(action)
    kinds = {"MOUNT": "mount", "MOUNTPOINT": "directory" if words == ("mount",) else "mount", "DIR": "directory"}
    kind = kinds.get(metavar, "file" if "FILE" in metavar or metavar == "PATH" else "")
    return Word(metavar, _help(action), tuple(map(str, action.choices or ())), kind)


def _metavar(action: argparse.Action) -> str:
    return action.metavar if isinstance(action.metavar, str) else action.dest.upper()


def _help(action: argparse.Action) -> str:
    """argparse expands %(default)s and %% itself, where it prints."""
    return (action.help or "") % {**vars(action), "prog": "ossmount"}


def first_sentence(text: str) -> str:
    """Enough for a line in a menu, without the full stop."""
    end = min(
        (at for at in (text.find(". "), text.find("; "), text.find(": "), text.find(" (default")) if at > 0), default=len(text)
    )
    return text[:end].rstrip(".")
