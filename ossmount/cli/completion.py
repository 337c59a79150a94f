"""`ossmount completion`: scripts with which shells complete the commands, options, choices, paths and mounts of ossmount."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterable, Iterator

from ossmount.cli.describe import Command, Flag, commands, first_sentence
from ossmount.exit_codes import ExitCode

DESCRIPTION = """Prints a script with which a shell completes commands, options, their values, paths and mounts."""

EPILOG = """Examples:
  bash:  ossmount completion bash > /etc/bash_completion.d/ossmount
         or in ~/.bashrc:  source <(ossmount completion bash)
  zsh:   ossmount completion zsh > "${fpath[1]}/_ossmount"
  fish:  ossmount completion fish > ~/.config/fish/completions/ossmount.fish"""

_MOUNTS = "awk '$3 == \"fuse.ossmount\" { print $2 }' /proc/self/mounts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=_SHELLS, metavar="|".join(_SHELLS), help="the shell")


def run(arguments: argparse.Namespace) -> int:
    print("\n".join(_SHELLS[arguments.shell](commands())))
    return ExitCode.OK


def _kind(command: Command) -> str:
    """What may stand where no option does: mount, directory, file, choice or none."""
    kinds = {word.kind for word in command.arguments}
    return next((kind for kind in ("mount", "directory", "file") if kind in kinds), "choice" if _words(command) else "none")


def _words(command: Command) -> list[str]:
    """The words that may stand there."""
    return [*command.commands, *(choice for word in command.arguments for choice in word.choices)]


def _with_commands(every: Iterable[Command]) -> list[Command]:
    return [one for one in every if one.commands]


# -- bash

_BASH_HEAD = """\
# bash completion for ossmount, written by `ossmount completion bash`
_ossmount() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" command="${COMP_WORDS[1]}" words= kind=
    if (( COMP_CWORD == 1 )); then
        COMPREPLY=($(compgen -W "@TOP@ --help --version" -- "$cur"))
        return
    fi
    case "$command" in
        @NESTED@) (( COMP_CWORD > 2 )) && command+=" ${COMP_WORDS[2]}" ;;
    esac
    case "$command $prev" in"""

_BASH_TAIL = f"""\
        esac
    fi
    case "$kind" in
        choice) COMPREPLY=($(compgen -W "$words" -- "$cur")) ;;
        mount) COMPREPLY=($(compgen -W "$({_MOUNTS})" -- "$cur")) ;;
        directory) compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")) ;;
        file) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")) ;;
    esac
}}
complete -F _ossmount ossmount"""


def _bash(every: list[Command]) -> Iterator[str]:
    top = " ".join(one.name for one in every if len(one.words) == 1)
    yield _BASH_HEAD.replace("@TOP@", top).replace("@NESTED@", "|".join(one.name for one in _with_commands(every)))
    for one in every:
        for flag in one.flags:
            if flag.value:
                kind = "choice" if flag.choices else "file" if flag.files else "none"
                patterns = "|".join(f'"{one.name} {name}"' for name in flag.names)
                yield f'        {patterns}) kind={kind} words="{" ".join(flag.choices)}" ;;'
    yield '    esac\n    if [[ -z $kind && $cur == -* ]]; then\n        kind=choice\n        case "$command" in'
    for one in every:
        names = [name for flag in one.flags for name in flag.names if name.startswith("--")]
        yield f'            "{one.name}") words="{" ".join(names)}" ;;'
    yield '        esac\n    elif [[ -z $kind ]]; then\n        case "$command" in'
    for one in every:
        yield f'            "{one.name}") kind={_kind(one)} words="{" ".join(_words(one))}" ;;'
    yield _BASH_TAIL


# -- zsh

_ZSH_HEAD = f"""\
#compdef ossmount
# zsh completion for ossmount, written by `ossmount completion zsh`
_ossmount_mounts() {{
    local -a found=(${{(f)"$({_MOUNTS})"}})
    compadd -a found
}}
_ossmount() {{
    local command=$words[2]
    if (( CURRENT == 2 )); then
        local -a found=("""

_ZSH_ACTIONS = {"mount": "_ossmount_mounts", "directory": "_directories", "file": "_files"}


def _zsh(every: list[Command]) -> Iterator[str]:
    yield _ZSH_HEAD
    yield from _zsh_menu(one for one in every if len(one.words) == 1)
    for one in _with_commands(every):
        yield f"    if [[ $command == {one.name} ]]; then"
        yield "        if (( CURRENT == 3 )); then\n        local -a found=("
        yield from _zsh_menu(other for other in every if other.words[:-1] == one.words)
        yield '        command+=" $words[3]"\n        shift words; (( CURRENT-- ))\n    fi'
    yield '    shift words; (( CURRENT-- ))\n    case "$command" in'
    for one in every:
        specs = [spec for flag in one.flags for spec in _zsh_flag(flag)]
        for number, word in enumerate(one.arguments, 1):
            action = f"({' '.join(word.choices)})" if word.choices else _ZSH_ACTIONS.get(word.kind, " ")
            specs.append(f"{'*' if word.metavar == 'PATH' else number}:{word.metavar.replace(':', chr(92) + ':')}:{action}")
        yield f'        "{one.name}") _arguments -s {" ".join(map(shlex.quote, specs))} ;;'
    yield '    esac\n}\n_ossmount "$@"'


def _zsh_menu(found: Iterable[Command]) -> Iterator[str]:
    for one in found:
        yield f"            {shlex.quote(f'{one.words[-1]}:{one.summary}')}"
    yield "        )\n        _describe command found\n        return\n    fi"


def _zsh_flag(flag: Flag) -> Iterator[str]:
    text = re.sub(r"([\[\]\\])", r"\\\1", first_sentence(flag.help))
    action = f"({' '.join(flag.choices)})" if flag.choices else "_files" if flag.files else " "
    for name in flag.names:
        value = f":{flag.value.replace(':', chr(92) + ':')}:{action}" if flag.value else ""
        yield f"*{name}{'=' if value and name.startswith('--') else ''}[{text}]{value}"


# -- fish


def _fish(every: list[Command]) -> Iterator[str]:
    yield "# fish completion for ossmount, written by `ossmount completion fish`\ncomplete -c ossmount -f"
    for one in every:
        here = _fish_inside(one)
        above = [other for other in every if other.words == one.words[:-1]]
        menu = "__fish_use_subcommand"
        if above:
            menu = _fish_inside(above[0])
        yield _fish_line(menu, f"-a {one.words[-1]}", one.summary)
        for flag in one.flags:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
            value = f" -x -a {_fish_quoted(' '.join(flag.choices))}" if flag.choices else " -r -F" if flag.files else " -x"
            yield _fish_line(here, names + (value if flag.value else ""), first_sentence(flag.help))
        words = " ".join(choice for word in one.arguments for choice in word.choices)
        kind = {"mount": f"-a {_fish_quoted(f'({_MOUNTS})')}", "directory": "-F", "file": "-F"}.get(_kind(one), "")
        if words or kind:
            yield _fish_line(here, kind or f"-a {_fish_quoted(words)}", "")


def _fish_inside(one: Command) -> str:
    """The condition that a command was written, and none of its own commands yet."""
    seen = [f"__fish_seen_subcommand_from {word}" for word in one.words]
    return "; and ".join([*seen, *([f"not __fish_seen_subcommand_from {' '.join(one.commands)}"] if one.commands else [])])


def _fish_line(condition: str, what: str, text: str) -> str:
    described = f" -d {_fish_quoted(text)}" if text else ""
    return f"complete -c ossmount -n {_fish_quoted(condition)} {what}{described}"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SHELLS: dict[str, Callable[[list[Command]], Iterator[str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
