"""Configuration files: TOML, one key for each option, and the source and the mountpoint of a mount."""

from __future__ import annotations

import re
import stat
import sys
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ossmount.options import units
from ossmount.options.declarations import BY_NAME, CONFIG, PROXY
from ossmount.options.declared.option import Option
from ossmount.options.foreign import Fate, foreign
from ossmount.options.settings import Given, UsageError, nearest, parse
from ossmount.options.source import parse_source

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCE, MOUNTPOINT = "source", "mountpoint"
_LARGEST = 1 << 20  # bytes; no configuration file has so many
_SECRET = re.compile(r"secret|password|passwd|access_?key|security_?token", re.IGNORECASE)
_KEYS_PLACE = (
    "access keys do not stand in this file, which others may read: write them to a JSON file with mode 0600 and give its "
    "path as credentials, or set OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET in the environment"
)


class Problem(NamedTuple):
    """Something wrong in a file."""

    line: int  # 0 where it cannot be told
    message: str


class ConfigFile(NamedTuple):
    """What a file says."""

    path: Path
    source: str  # "" where it names none
    mountpoint: str
    given: dict[str, Given]
    problems: list[Problem]


def read_config(config: Given) -> ConfigFile:
    """The file that --config names. Raises UsageError for what cannot be read, and with all that is wrong in it."""
    path = parse(CONFIG, config).value
    found = look(path, config.origin)
    if found.problems:
        where = "\n".join(f"{path}:{line}: {message}" if line else f"{path}: {message}" for line, message in found.problems)
        raise UsageError(where)
    return found


def look(path: Path, origin: str) -> ConfigFile:
    """What a file says, good or bad. Raises UsageError when it cannot be read at all."""
    text = _text(path, origin)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        return ConfigFile(path, "", "", {}, [Problem(int(line[1]) if line else 0, f"this is not TOML: {error}")])
    found = ConfigFile(path, "", "", {}, [])
    for key, value in table.items():
        line_number = _line(text, key)
        try:
            found = _add(found, key, value, line_number)
        except ValueError as error:
            found.problems.append(Problem(line_number, str(error)))
    return found


def _text(path: Path, origin: str) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            raise UsageError(f"{origin}: {path} is not a configuration file")
        if status.st_mode & stat.S_IWOTH:
            raise UsageError(f"{origin}: everybody may write to {path}: chmod o-w {path}")
        return path.read_text("utf-8")
    except FileNotFoundError:
        there = ", ".join(sorted(one.stem for one in path.parent.glob("*.toml")))
        known = f"; in {path.parent} there are {there}" if there else "; `ossmount config init` writes one"
        raise UsageError(f"{origin}: there is no file {path}{known}") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{origin}: {path}: {why}") from None


def _line(text: str, key: str) -> int:
    """Where a key of the top level stands; tomllib does not say it."""
    pattern = re.compile(rf"\s*(\[+\s*)?[\"']?{re.escape(key)}[\"']?\s*[=.\]]")
    return next((number for number, line in enumerate(text.split("\n"), 1) if pattern.match(line)), 0)


def _add(found: ConfigFile, key: str, value: Any, line: int) -> ConfigFile:
    """The file with one more key; raises ValueError with what is wrong about it."""
    if key in (SOURCE, MOUNTPOINT):
        if not isinstance(value, str) or not value:
            raise ValueError(f"{key} is a text in quotes")
        if key == SOURCE:
            _check_source(value)
        else:
            _check_absolute(key, value)
        return found._replace(source=value) if key == SOURCE else found._replace(mountpoint=value)
    option = BY_NAME.get(key)
    if option is None:
        raise ValueError(_unknown(key))
    if option is CONFIG:
        raise ValueError("a configuration file names no other one")
    text = _as_text(option, value)
    given = Given(text, f"{found.path}:{line}" if line else str(found.path))
    try:
        parse(option, given)
    except UsageError as error:
        raise ValueError(str(error).removeprefix(f"{given.origin}: ")) from None
    if option is PROXY and urlsplit(text if "://" in text else f"http://{text}").password is not None:
        raise ValueError(
            "a password does not stand in this file, which others may read: set http_proxy or OSSMOUNT_PROXY in the "
            "environment, with systemd in an EnvironmentFile of mode 0600"
        )
    found.given[key] = given
    return found


def _unknown(key: str) -> str:
    known = foreign(key)
    if _SECRET.search(key.replace(".", "_")):
        return f"{key}: {_KEYS_PLACE}"
    if known is not None and known.fate is Fate.MAPPED and known.option is not None:
        return f"{key} is a name of {known.system}: write {known.option.name} (`ossmount config import` translates files)"
    if known is not None:
        return f"{key} is a name of {known.system}: leave it away, {known.why}"
    return f"unknown option {key}{nearest(key.replace('-', '_'), [*BY_NAME, SOURCE, MOUNTPOINT])}"


def _as_text(option: Option[Any], value: Any) -> str:
    """A value of TOML as the command line would write it."""
    if isinstance(value, dict):
        raise ValueError(f"{option.name} is a table: options stand at the top level, without [sections]")
    if isinstance(value, list):
        if option.unit is not units.PATHS or not all(isinstance(one, str) for one in value):
            raise ValueError(f"{option.name} is no list: {_form(option)}")
        value = ":".join(value)
    if isinstance(value, bool):
        if not option.is_switch:
            raise ValueError(f"{option.name} is no switch: {_form(option)}")
        return units.show_boolean(value)
    if option.unit is units.UMASK and not isinstance(value, str):
        raise ValueError('write umask in quotes, since it is octal: umask = "022"')
    if isinstance(value, int | float):
        return repr(value)
    if not isinstance(value, str):
        raise ValueError(f"{option.name}: {_form(option)}")
    if option.unit.names_files and "://" not in value:
        for part in value.split(":") if option.unit is units.PATHS else [value]:
            _check_absolute(option.name, part)
    return value


def _check_source(value: str) -> None:
    try:
        parse_source(value)
    except UsageError as error:
        raise ValueError(str(error)) from None


def _check_absolute(name: str, path: str) -> None:
    if path and not path.startswith(("/", "~")):
        raise ValueError(f"{name}: {path} depends on the folder of who mounts; write the whole path")


def _form(option: Option[Any]) -> str:
    return "write true or false" if option.is_switch else f'write {option.name} = "{option.unit.metavar}"'
