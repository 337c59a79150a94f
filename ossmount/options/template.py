"""Writes configuration files: a line of TOML for each option, as a comment where nothing is set."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from ossmount.options import units
from ossmount.options.declarations import CONFIG, GROUPS, OPTIONS
from ossmount.options.declared.option import Option
from ossmount.options.files import MOUNTPOINT, SOURCE


def template(given: Mapping[str, str], source: str = "", mountpoint: str = "") -> Iterator[str]:
    """The lines of a file with these values, and with every other option as a comment."""
    yield "# Options of a mount, for `ossmount mount --config FILE`. `ossmount config check FILE` checks this file."
    yield "# The command line, -o and the environment go before what stands here; a profile goes behind it."
    yield "# Access keys do not belong here: see credentials."
    yield ""
    yield f"{'' if source else '#'}{SOURCE} = {quoted(source or 'oss://BUCKET/PREFIX')}"
    yield f"{'' if mountpoint else '#'}{MOUNTPOINT} = {quoted(mountpoint or '/mnt/data')}"
    for group in GROUPS:
        yield f"\n# {group}"
        for option in OPTIONS:
            if option.group == group and option is not CONFIG:
                yield from _explained(option, given.get(option.name))


def _explained(option: Option[Any], text: str | None) -> Iterator[str]:
    yield ""
    for line in textwrap.wrap(f"{option.help} Default: {option.default_text or 'none'}.", 110):
        yield f"# {line}"
    yield assignment(option, text) if text is not None else f"#{assignment(option, _example(option))}"


def _example(option: Option[Any]) -> str:
    if option.is_switch:
        return "true"
    return option.unit.metavar if option.computed or option.default in (None, "") else option.unit.show(option.default)


def assignment(option: Option[Any], text: str) -> str:
    """One line of TOML."""
    if option.is_switch:
        return f"{option.name} = {units.show_boolean(option.unit.parse(text))}"
    number = re.fullmatch(r"0|[1-9]\d*(\.\d+)?", text) and option.unit is not units.UMASK
    return f"{option.name} = {text if number else quoted(text)}"


def quoted(text: str) -> str:
    """A basic string of TOML; JSON escapes what it must escape, and more, in the same way."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
