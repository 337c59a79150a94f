"""The manual pages, written from the parsers and the declarations: `python -m ossmount.cli.manual DIRECTORY` writes them there.

ossmount(1) tells of the commands, the environment and the exit codes, ossmount-COMMAND(1) of each command; in the macros of
man(7).
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ossmount import __version__
from ossmount.cli.describe import Command, Flag, commands
from ossmount.cli.main import EXAMPLE
from ossmount.exit_codes import MEANINGS, ExitCode

_SUMMARY = "mounts an Alibaba Cloud OSS bucket as a folder, read-only and fast"
_VARIABLES = (
    ("OSSMOUNT_...", "Each option of a mount: OSSMOUNT_MEMORY_LIMIT for --memory-limit. The command line goes before it."),
    ("OSS_ACCESS_KEY_ID, OSS_ACCESS_KEY_SECRET, OSS_SECURITY_TOKEN", "The access key. It is never an option."),
    ("OSSMOUNT_STATE_DIR", "Where the commands keep what they know of running mounts; give it to all of them alike."),
)
_FILES = (
    ("/etc/ossmount/NAME.toml", "The configuration that --config NAME reads; see ossmount-config(1)."),
    ("/run/ossmount", "What the commands know of the mounts of root, and the logs of their daemons."),
    ("/var/cache/ossmount", "Names and attributes that root's mounts have listed."),
)


def pages(environ: Mapping[str, str]) -> dict[str, str]:
    """All pages by the names of their files. SOURCE_DATE_EPOCH is their date where it is set (reproducible-builds.org)."""
    date = time.strftime("%Y-%m-%d", time.gmtime(int(environ.get("SOURCE_DATE_EPOCH", time.time()))))
    every = commands()
    found = {"ossmount.1": _page("ossmount", date, _overview(every))}
    for one in every:
        if len(one.words) == 1:
            below = [other for other in every if other.words[0] == one.name and other is not one]
            name = f"ossmount-{one.name}"
            found[f"{name}.1"] = _page(name, date, _command(one, below))
    return found


def _page(name: str, date: str, lines: Iterator[str]) -> str:
    head = f'.TH {name.upper()} 1 "{date}" "ossmount {__version__}" "ossmount"'
    return "\n".join([head, *lines]) + "\n"


def _overview(every: list[Command]) -> Iterator[str]:
    yield from (".SH NAME", f"ossmount \\- {_text(_SUMMARY)}", ".SH SYNOPSIS", ".B ossmount", ".I COMMAND", "\\&...")
    yield from (".SH DESCRIPTION", "Each command explains itself with", ".BR \\-\\-help .")
    yield ".SH COMMANDS"
    for one in every:
        if len(one.words) == 1:
            yield from (".TP", f".BR ossmount\\-{_text(one.name)} (1)", _text(f"{one.summary[0].upper()}{one.summary[1:]}."))
    yield ".SH ENVIRONMENT"
    yield from _definitions(_VARIABLES)
    yield ".SH FILES"
    yield from _definitions(_FILES)
    yield from _exit_status()
    yield ".SH EXAMPLES"
    yield from _flowing(EXAMPLE.partition("\n")[2])
    yield from _see_also("ossmount", every)


def _command(one: Command, below: list[Command]) -> Iterator[str]:
    yield from (".SH NAME", f"ossmount\\-{_text(one.name)} \\- {_text(one.summary)}", ".SH SYNOPSIS", ".nf")
    for each in below or [one]:
        yield f".B {_text(_short_usage(each))}"
    yield from (".fi", ".SH DESCRIPTION")
    yield from _flowing(one.description)
    yield from _parts(one)
    for each in below:
        yield f'.SH "{_text(each.name.upper())}"'
        yield from _flowing(each.description)
        yield from _parts(each, ".SS")
    if one.epilog:
        yield ".SH NOTES"
        yield from _flowing(one.epilog)
    yield from _exit_status()
    yield from _see_also(f"ossmount-{one.name}", [])


def _short_usage(one: Command) -> str:
    """With few options all of them, else [OPTIONS]."""
    arguments = " ".join(word.metavar for word in one.arguments)
    return one.usage if len(one.flags) < 8 else f"ossmount {one.name} [OPTIONS] {arguments}"


def _parts(one: Command, heading: str = ".SH") -> Iterator[str]:
    """Arguments, and options group by group."""
    if any(word.help for word in one.arguments):
        yield f"{heading} ARGUMENTS"
        yield from _definitions((word.metavar, _sentence(word.help)) for word in one.arguments)
    for group in dict.fromkeys(flag.group for flag in one.flags):
        title = "options" if group in ("options", "optional arguments") else group
        yield f'{heading} "{_text(title.upper() if heading == ".SH" else title.capitalize())}"'
        yield from _definitions((_names(flag), _sentence(flag.help)) for flag in one.flags if flag.group == group)


def _names(flag: Flag) -> str:
    return ", ".join(f"{name} {flag.value}".rstrip() for name in flag.names)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", ")")) or not text else ".")


def _definitions(found: Iterator[tuple[str, str]] | tuple[tuple[str, str], ...]) -> Iterator[str]:
    for term, text in found:
        yield from (".TP", f".B {_text(term)}", _text(text) if text else "\\&")


def _exit_status() -> Iterator[str]:
    yield ".SH EXIT STATUS"
    yield from _definitions((str(int(code)), _sentence(MEANINGS[code])) for code in ExitCode)


def _see_also(name: str, every: list[Command]) -> Iterator[str]:
    others = [f"ossmount\\-{_text(one.name)}(1)" for one in every if len(one.words) == 1]
    yield ".SH SEE ALSO"
    yield ",\n".join([*([] if name == "ossmount" else ["ossmount(1)"]), *others, "fuse(4)", "mount(8)"])


def _flowing(text: str) -> Iterator[str]:
    """Paragraphs; lines that are indented stay as they are."""
    exact = False
    for line in re.sub(r"\n{3,}", "\n\n", text.strip("\n").expandtabs()).split("\n"):
        indented = line.startswith("  ")
        if indented != exact:
            yield ".nf" if indented else ".fi"
            exact = indented
        yield _text(line) if line.strip() else (".PP" if not exact else "")
    if exact:
        yield ".fi"


def _text(text: str) -> str:
    """Escapes what roff would take for its own."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m ossmount.cli.manual DIRECTORY", file=sys.stderr)
        return ExitCode.USAGE
    directory = Path(arguments[0])
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages(os.environ).items():
        (directory / name).write_text(text, "utf-8")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
