"""Configurations of JindoFuse and ossfs 2.0 in our terms: JSON as PAI and DataWorks hold it, jindosdk.cfg, a file of ossfs2,
or the arguments themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from ossmount.options import units
from ossmount.options.declarations import ATTR_TIMEOUT, BY_NAME, ENDPOINT, ENTRY_TIMEOUT
from ossmount.options.foreign import Fate, foreign
from ossmount.options.gathering import names, split_mount_options, translate
from ossmount.options.settings import Given, UsageError, nearest, parse
from ossmount.options.source import parse_source
from ossmount.options.template import assignment, quoted

_ARGUMENTS = ("fs.jindo.args", "fs.ossfs.args")  # keys whose values hold options of mount
_SECRETS = re.compile(r"key|secret|token|passw", re.IGNORECASE)
_KEPT = "everything else of ours is the default: `ossmount config init` explains it"


class Note(NamedTuple):
    """What became of a name that gave no option."""

    name: str
    value: str
    why: str
    refused: bool


class Imported(NamedTuple):
    """A configuration in our terms."""

    options: dict[str, str]  # by name, as the command line would write them
    source: str  # "" where none was named
    notes: list[Note]

    @property
    def refused(self) -> list[Note]:
        return [note for note in self.notes if note.refused]

    def lines(self) -> Iterator[str]:
        """A configuration file."""
        yield f"source = {quoted(self.source)}" if self.source else "# source and mountpoint: on the command line, or here"
        yield from (assignment(BY_NAME[name], text) for name, text in self.options.items())
        yield f"# {_KEPT}"
        for note in self.notes:
            fate = "NOT TAKEN OVER" if note.refused else "without effect"
            yield f"# {fate}: {note.name}{f' = {note.value}' if note.value else ''}: {note.why}"


class _Pairs(NamedTuple):
    """What a text says, in its order."""

    found: list[tuple[str, str | None]]
    of_ossfs: bool


def import_text(text: str) -> Imported:
    """Translates a configuration. Raises UsageError for a text that is none."""
    pairs = _pairs(text.strip())
    told = Imported({}, "", [])
    place = {"oss_bucket": "", "oss_bucket_prefix": ""}
    for name, value in pairs.found:
        if name in place:
            place[name] = value or ""
        elif name == "uri":
            told = _with_source(told, value or "")
        else:
            _take(told, name, value)
    if place["oss_bucket"]:
        prefix = place["oss_bucket_prefix"].strip("/")
        told = _with_source(told, f"oss://{place['oss_bucket']}/{prefix}".rstrip("/"))
    if pairs.of_ossfs and ATTR_TIMEOUT.name in told.options:  # which is for names too there
        told.options.setdefault(ENTRY_TIMEOUT.name, told.options[ATTR_TIMEOUT.name])
    return told


def _pairs(text: str) -> _Pairs:
    if text.startswith("{"):
        return _pairs_of_json(text)
    if "\n" not in text and re.match(r"-o\s*\w", text):
        return _Pairs(_arguments(text), False)
    found: list[tuple[str, str | None]] = []
    for number, line in enumerate(text.split("\n"), 1):
        said = line.strip()
        if not said or said[0] in "#;[":
            continue
        match = re.fullmatch(r"(?:--?)?([\w.]+)\s*(?:=\s*(.*))?", said)
        if match is None:
            raise UsageError(f"line {number} is neither NAME = VALUE nor --NAME=VALUE")
        found.append((match[1], match[2]))
    if not found:
        raise UsageError("there is no option in it")
    return _Pairs(found, any(name.startswith("oss_") for name, _ in found))


def _arguments(text: str) -> list[tuple[str, str | None]]:
    """What stands on a command line: -oNAME=VALUE, -o NAME=VALUE,NAME and switches such as -f."""
    words = [word.removeprefix("-o") if word.startswith("-o") else word.lstrip("-") for word in text.split()]
    return [pair for word in words for pair in split_mount_options(word)]


def _pairs_of_json(text: str) -> _Pairs:
    try:
        table = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"line {error.lineno}, column {error.colno}: this is not JSON: {error.msg}") from None
    found: list[tuple[str, str | None]] = []
    for name, value in table.items():
        if isinstance(value, dict | list):
            raise UsageError(f"{name}: a text, a number, true or false is expected, not a list or an object")
        shown = units.show_boolean(value) if isinstance(value, bool) else str(value)
        found += _arguments(shown) if name in _ARGUMENTS else [(name, shown)]
    return _Pairs(found, "fs.ossfs.args" in table or "ossfs" in (table.get("mountType"), table.get("mountOssType")))


def _with_source(told: Imported, text: str) -> Imported:
    """The source, and the endpoint of an address such as oss://BUCKET.ENDPOINT/PREFIX."""
    match = re.fullmatch(r"(oss://[^./]+)\.([^/]+)(/.*)?", text)
    if match is not None and "oss-dls" in match[2]:
        told.notes.append(Note("uri", text, "this is OSS-HDFS; ossmount mounts OSS", True))
        return told
    if match is not None:
        told.options.setdefault(ENDPOINT.name, match[2])
        text = match[1] + (match[3] or "")
    try:
        return told._replace(source=str(parse_source(text)))
    except UsageError as error:
        told.notes.append(Note("source", text, str(error), True))
        return told


def _take(told: Imported, name: str, value: str | None) -> None:
    """Adds one name to what is told."""
    shown = "" if value is None or _SECRETS.search(name) else value
    try:
        one = _translated(name, value)
        if one is None:
            told.notes.append(Note(name, shown, _why(name), False))
            return
        option, text = one
        before = told.options.setdefault(option, text)
        unit = BY_NAME[option].unit
        if unit.parse(before) != unit.parse(text):
            raise ValueError(f"{option} is {before} already")
    except (ValueError, UsageError) as error:
        told.notes.append(Note(name, shown, str(error), True))


def _why(name: str) -> str:
    known = foreign(name)
    return "it stands for the default" if known is None or known.fate is Fate.MAPPED else known.why


def _translated(name: str, value: str | None) -> tuple[str, str] | None:
    """Our option and its text; None for what has no effect. Raises ValueError or UsageError."""
    option = BY_NAME.get(name)
    if option is None:
        known = foreign(name)
        if known is None:
            raise ValueError(f"unknown{nearest(name, names())}")
        translated = translate(name, known, value)
        if translated is None or not translated.text:
            return None
        option, value = BY_NAME[translated.name], translated.text
    if value is None and not option.is_switch:
        raise ValueError(f"it needs a value: {name}={option.unit.metavar}")
    text = "true" if value is None else value
    parse(option, Given(text, name))
    return option.name, text
