"""From what the user wrote (command line, -o, environment) to values that know where they came from."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ossmount.options import units
from ossmount.options.declarations import BY_NAME, OPTIONS
from ossmount.options.option import Option
from ossmount.options.rules import ALWAYS_SO, CONTRADICTIONS, REFUSED

T = TypeVar("T")

DEFAULT = "default"


class UsageError(Exception):
    """The user wrote something that cannot be meant; the message says what and how it is right."""


class Given(NamedTuple):
    """What the user wrote for an option, and where."""

    text: str
    origin: str


class Setting(NamedTuple):
    """The value of an option, and where it came from."""

    value: Any
    origin: str


class Settings:
    """The values of all options."""

    def __init__(self, given: Mapping[str, Given]) -> None:
        """Parses and checks what was given, by option name; raises UsageError."""
        self._given = dict(given)
        self._settings: dict[str, Setting] = {}
        for option in OPTIONS:
            mine = given.get(option.name)
            self._settings[option.name] = Setting(option.default, DEFAULT) if mine is None else _parse(option, mine)
        self._check()

    def __getitem__(self, option: Option[T]) -> T:
        value: T = self._settings[option.name].value
        return value

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={shown}' for name, (shown, _) in self.shown().items())})"

    def origin(self, option: Option[Any]) -> str:
        return self._settings[option.name].origin

    def with_default(self, option: Option[T], value: T) -> Settings:
        """The same settings with a computed value in place of a default; what the user wrote stays."""
        if self.origin(option) != DEFAULT:
            return self
        copy = Settings(self._given)
        copy._settings = {**self._settings, option.name: Setting(value, DEFAULT)}
        return copy

    def shown(self) -> dict[str, tuple[str, str]]:
        """For each option its value as text, without secrets, and its origin."""
        return {option.name: (option.unit.show(self[option]), self.origin(option)) for option in OPTIONS}

    def given(self) -> dict[str, Given]:
        """What the user wrote, by option name: Settings(given()) is the same again in another process and folder."""
        with_paths = (units.PATH, units.PATHS, units.PLACE, units.COMMAND)
        paths = {option.name: option for option in OPTIONS if option.unit in with_paths}
        return {
            name: Given(paths[name].unit.show(self[paths[name]]), each.origin) if name in paths else each
            for name, each in self._given.items()
        }

    def _check(self) -> None:
        for first, first_value, second, second_value, advice in CONTRADICTIONS:
            if self._is(first, first_value) and self._is(second, second_value):
                raise UsageError(f"{self._named(first)} contradicts {self._named(second)}: {advice}")

    def _is(self, option: Option[Any], value: object) -> bool:
        setting = self._settings[option.name]
        return setting.origin != DEFAULT and (value is None or setting.value == value)

    def _named(self, option: Option[Any]) -> str:
        setting = self._settings[option.name]
        what = option.name if setting.value is True else f"{option.name}={option.unit.show(setting.value)}"
        return f"{what} (from {setting.origin})"


def _parse(option: Option[Any], given: Given) -> Setting:
    if given.text == "" and not option.is_switch:
        raise UsageError(f"{given.origin} is empty; leave it away for the default ({option.default_text})")
    try:
        return Setting(option.unit.parse(given.text), given.origin)
    except ValueError as error:
        shown = "the value" if option.name == "proxy" else repr(given.text)  # a proxy may carry a password
        raise UsageError(f"{given.origin}: {shown} is not right: {error}") from None


def split_mount_options(text: str) -> list[tuple[str, str | None]]:
    """Splits the text behind one -o at its commas; a backslash before a comma keeps it (as in fstab)."""
    parts = [re.sub(r"\\([\\,])", r"\1", part) for part in re.findall(r"(?:\\.|[^,\\])+", text)]
    return [(name.strip(), value if equals else None) for name, equals, value in (part.partition("=") for part in parts)]


def nearest(name: str, names: Iterable[str]) -> str:
    """ "; did you mean NAME?" for the nearest of the names, or nothing when none is near."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def gather(flags: Mapping[str, str], mount_options: Sequence[str], environ: Mapping[str, str]) -> dict[str, Given]:
    """What the user wrote for each option.

    flags: by option name, from the command line; mount_options: the texts behind each -o. The command line goes before
    the environment; two values for one option on the command line are an error unless they are the same.
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
    return given


def _add_mount_option(given: dict[str, Given], name: str, value: str | None) -> None:
    if name in REFUSED:
        raise UsageError(f"-o {name}: {REFUSED[name]}")
    if name in ALWAYS_SO and value is None:
        return
    option = BY_NAME.get(name) or _by_alias(name)
    if option is None:
        names = [*BY_NAME, *ALWAYS_SO, *(alias for one in OPTIONS for alias in one.aliases)]
        raise UsageError(f"unknown option -o {name}{nearest(name, names)}")
    if value is None and not option.is_switch:
        raise UsageError(f"-o {name} needs a value: -o {name}={option.unit.metavar}")
    new = Given("true" if value is None else value, f"-o {name}")
    old = given.get(option.name)
    if old is not None and _parse(option, old).value != _parse(option, new).value:
        raise UsageError(f"{old.origin} and {new.origin} say different things; give the option once")
    given.setdefault(option.name, new)


def _by_alias(name: str) -> Option[Any] | None:
    return next((option for option in OPTIONS if name in option.aliases), None)


def misspelled(environ: Mapping[str, str]) -> list[str]:
    """A warning for each environment variable that looks like a misspelled one of ours.

    Only near misses: other programs set OSSMOUNT_… too (Kubernetes does for a service of that name).
    """
    known = [option.variable for option in OPTIONS] + ["OSSMOUNT_STATE_DIR"]
    unknown = [name for name in environ if name.startswith("OSSMOUNT_") and name not in known]
    near = ((name, difflib.get_close_matches(name, known, n=1, cutoff=0.88)) for name in sorted(unknown))
    return [f"the environment variable {name} is unknown; did you mean {found[0]}?" for name, found in near if found]
