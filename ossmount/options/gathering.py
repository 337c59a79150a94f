"""Collects what the user wrote: command line, then -o, then the environment, then a configuration file, then a profile."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ossmount.options.declarations import BY_NAME, CONFIG, OPTIONS, USER
from ossmount.options.foreign import FOREIGN, MOUNT, Fate, Foreign, foreign
from ossmount.options.profiles import explicit, with_profile
from ossmount.options.settings import Given, UsageError, nearest, parse

_PLAIN = re.compile(r"[\w.]+(=(\d[\w.]*|true|false|inf))?")


def gather(flags: Mapping[str, str], mount_options: Sequence[str], environ: Mapping[str, str]) -> dict[str, Given]:
    """What the user wrote for each option, and what a profile sets. Raises UsageError.

    flags: by option name, from the command line; mount_options: the texts behind each -o. Two values for one option on the
    command line are an error unless they are the same.
    """
    given: dict[str, Given] = {}
    for name, text in flags.items():
        given[name] = Given(text, BY_NAME[name].flag)
    for text in mount_options:
        for name, value in split_mount_options(text):
            _add_mount_option(given, name, value)
    for option in OPTIONS:
        for variable in (option.variable, *option.variables):
            if option.name not in given and environ.get(variable):
                given[option.name] = Given(environ[variable], variable)
    if CONFIG.name in given:
        from ossmount.options.files import read_config  # a TOML parser: not for who has no file

        given = {**read_config(given[CONFIG.name]).given, **given}
    return with_profile(given)


def merge(before: Mapping[str, Given], after: Mapping[str, Given]) -> dict[str, Given]:
    """The options of a mount and others in their place: what is written goes before what either profile sets."""
    return with_profile({**explicit(before), **explicit(after)})


def split_mount_options(text: str) -> list[tuple[str, str | None]]:
    """Splits the text behind one -o at its commas; a backslash before a comma keeps it (as in fstab).

    Forms that people write for other file systems are understood: "attr_timeout=3, -onegative_timeout=0" and, with no comma
    at all, "attr_timeout=0-oentry_timeout=0".
    """
    parts = [re.sub(r"\\([\\,])", r"\1", part) for part in re.findall(r"(?:\\.|[^,\\])+", text)]
    single = [one for part in parts for one in _glued(part)]
    return [(name.strip(), value if equals else None) for name, equals, value in (one.partition("=") for one in single)]


def _glued(part: str) -> list[str]:
    """The options of a text in which further ones begin with -o. Only where all of it is known names with plain values."""
    words = [word for word in re.split(r"(?:^|\s+|(?<=\w))-o\s*", part.strip()) if word]
    plain = all(_PLAIN.fullmatch(word) and is_known(word.partition("=")[0]) for word in words)
    return words if words and plain else [part]


def is_known(name: str) -> bool:
    return name in BY_NAME or foreign(name) is not None


class Translated(NamedTuple):
    """An option of another file system in our terms: its text here, or "" for what is the default."""

    name: str
    text: str


def translate(name: str, known: Foreign, value: str | None) -> Translated | None:
    """None for what has no effect. Raises ValueError with the reason for what is refused or cannot be understood."""
    off = value is not None and value.lower() in ("false", "no", "off", "0")
    if known.fate is Fate.REFUSED and not off:
        raise ValueError(known.why)
    if known.fate is Fate.ALWAYS and off:
        raise ValueError(f"it is always so: {known.why}")
    if known.fate is not Fate.MAPPED or known.option is None:
        return None
    if value is None and not known.option.is_switch:
        raise ValueError(f"it needs a value: {name}={known.option.unit.metavar}")
    text = known.translate("true" if value is None else value)
    return Translated(known.option.name, text)


def _add_mount_option(given: dict[str, Given], name: str, value: str | None) -> None:
    if (name, value) == (USER.name, None):
        return  # in an fstab: who may mount. mount(8) reads it
    option, origin = BY_NAME.get(name), f"-o {name}"
    if option is None:
        known = foreign(name)
        if known is None:
            raise UsageError(f"unknown option -o {name}{nearest(name, names())}")
        try:
            translated = translate(name, known, value)
        except ValueError as error:
            raise UsageError(f"{origin}: {error}") from None
        if translated is None or not translated.text:
            return
        option, value = BY_NAME[translated.name], translated.text
    if value is None and not option.is_switch:
        raise UsageError(f"{origin} needs a value: {origin}={option.unit.metavar}")
    new = Given("true" if value is None else value, origin)
    old = given.get(option.name)
    if old is not None and parse(option, old).value != parse(option, new).value:
        raise UsageError(f"{old.origin} and {new.origin} say different things; give the option once")
    given.setdefault(option.name, new)


def names() -> list[str]:
    """Every name that is understood behind -o."""
    return [*BY_NAME, *FOREIGN]


def without_effect(mount_options: Sequence[str]) -> list[str]:
    """A line for each option of another file system that has no effect here, and why. mount(8)'s own are not told."""
    pairs = [pair for text in mount_options for pair in split_mount_options(text)]
    known = [(name, foreign(name)) for name, _ in pairs if name not in BY_NAME]
    return [
        f"-o {name} has no effect: {one.why}"
        for name, one in known
        if one is not None and one.fate is Fate.IGNORED and one.system != MOUNT
    ]


def misspelled(environ: Mapping[str, str]) -> list[str]:
    """A warning for each environment variable that looks like a misspelled one of ours.

    Only near misses: other programs set OSSMOUNT_… too (Kubernetes does for a service of that name).
    """
    known = [option.variable for option in OPTIONS] + ["OSSMOUNT_STATE_DIR"]
    unknown = [name for name in environ if name.startswith("OSSMOUNT_") and name not in known]
    near = ((name, _near(name, known)) for name in sorted(unknown))
    return [f"the environment variable {name} is unknown; did you mean {found}?" for name, found in near if found]


def _near(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.88)), None)
