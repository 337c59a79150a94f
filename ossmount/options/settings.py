"""Values of options that know where they came from, made of what the user wrote."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from ossmount.options import units
from ossmount.options.declarations import OPTIONS
from ossmount.options.declared.option import Option
from ossmount.options.rules import CONTRADICTIONS

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
        """Parses and checks what was given, by option name; raises UsageError, which tells of everything that is wrong."""
        self._given = dict(given)
        self._settings: dict[str, Setting] = {}
        problems = []
        for option in OPTIONS:
            mine = given.get(option.name)
            try:
                self._settings[option.name] = Setting(option.default, DEFAULT) if mine is None else parse(option, mine)
            except UsageError as error:
                self._settings[option.name] = Setting(option.default, DEFAULT)
                problems.append(str(error))
        problems += self._contradictions()
        if problems:
            raise UsageError("\n".join(problems))

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
        paths = {option.name: option for option in OPTIONS if option.unit.names_files or option.unit is units.COMMAND}
        return {
            name: Given(paths[name].unit.show(self[paths[name]]), each.origin) if name in paths else each
            for name, each in self._given.items()
        }

    def _contradictions(self) -> list[str]:
        return [
            f"{self._named(first)} contradicts {self._named(second)}: {advice}"
            for first, first_value, second, second_value, advice in CONTRADICTIONS
            if self._is(first, first_value) and self._is(second, second_value)
        ]

    def _is(self, option: Option[Any], value: object) -> bool:
        setting = self._settings[option.name]
        return setting.origin != DEFAULT and (value is None or setting.value == value)

    def _named(self, option: Option[Any]) -> str:
        setting = self._settings[option.name]
        what = option.name if setting.value is True else f"{option.name}={option.unit.show(setting.value)}"
        return f"{what} (from {setting.origin})"


def parse(option: Option[T], given: Given) -> Setting:
    """The value of an option; raises UsageError for a text that is none."""
    where = given.origin if option.name in given.origin.replace("-", "_").lower() else f"{given.origin}: {option.name}"
    if given.text == "" and not option.is_switch:
        raise UsageError(f"{where} is empty; leave it away for the default ({option.default_text})")
    try:
        return Setting(option.unit.parse(given.text), given.origin)
    except ValueError as error:
        shown = "the value" if option.name == "proxy" else repr(given.text)  # a proxy may carry a password
        raise UsageError(f"{where}: {shown} is not right: {error}") from None


def nearest(name: str, names: Iterable[str]) -> str:
    """ "; did you mean NAME?" for the nearest of the names, or nothing when none is near."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""
