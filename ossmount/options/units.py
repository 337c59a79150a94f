"""How the text of an option becomes a value, and how the value is shown again."""

from __future__ import annotations

import ipaddress
import math
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from ossmount.options.places import ObjectPlace, parse_place

T = TypeVar("T")

CONFIG_DIRECTORY = Path("/etc/ossmount")  # of configuration files that are given by name

_SIZES = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Unit(Generic[T]):
    """A kind of value. parse raises ValueError with what was expected; show gives what status and the log may print."""

    metavar: str
    parse: Callable[[str], T]
    show: Callable[[T], str] = str
    choices: tuple[str, ...] = ()  # all that there is, for shells that complete
    names_files: bool = False  # shells complete paths then


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE | re.ASCII)
    if match is None:
        raise ValueError("a size is a number of bytes, or one with K, M, G or T (powers of 1024): 512M")
    return int(float(match[1]) * (1 << _SIZES[match[2].upper()]))


def _bandwidth(text: str) -> int:
    size = _size(text)
    if 0 < size < 64 << 10:
        raise ValueError("at least 64K are needed (0: no limit)")
    return size


def show_size(size: int | None) -> str:
    if size is None:
        return ""
    for letter in "TGMK":
        if size and size % (1 << _SIZES[letter]) == 0:
            return f"{size >> _SIZES[letter]}{letter}"
    return str(size)


def _seconds(text: str) -> float:
    if text.strip().lower() in ("inf", "infinite"):
        return math.inf
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|[smhd]?)", text.strip(), re.ASCII)
    if match is None:
        raise ValueError("a time is a number of seconds, or one with ms, s, m, h or d, or inf: 90, 1.5, 10m")
    return float(match[1]) * _SECONDS[match[2]]


def show_seconds(seconds: float) -> str:
    return f"{seconds:g}"


def _positive_seconds(text: str) -> float:
    value = _seconds(text)
    if not 0 < value < math.inf:
        raise ValueError("the time must be more than 0 and not infinite")
    return value


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in ("", "1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError("expected true or false (or yes, no, on, off, 1, 0)")


def show_boolean(value: bool) -> str:
    return "true" if value else "false"


def _octal(text: str) -> int:
    if not re.fullmatch(r"(0o)?[0-7]{1,4}", text.strip()) or int(text, 8) > 0o777:
        raise ValueError("a umask is octal, at most 777: 022")
    return int(text, 8)


def _path(text: str) -> Path | None:
    if "\0" in text:
        raise ValueError("a path has no NUL character")
    return Path(text).expanduser().absolute() if text else None


def _paths(text: str) -> tuple[Path, ...]:
    found = [path for part in text.split(":") if (path := _path(part)) is not None]
    if len(set(found)) != len(found):
        raise ValueError("a folder stands there twice")
    return tuple(found)


def config_path(text: str) -> Path | None:
    """The configuration file of that path or, where it is a name only, of that name."""
    return CONFIG_DIRECTORY / f"{text}.toml" if re.fullmatch(r"[\w@-]+", text) else _path(text)


def _command(text: str) -> tuple[str, ...]:
    """Words as a shell parts them; a program that is named by a path is found from any folder."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"the quotes of the command do not match ({error})") from None
    if not words:
        raise ValueError("the command is empty")
    program = str(Path(words[0]).expanduser().absolute()) if "/" in words[0] else words[0]
    return program, *words[1:]


def _origin(text: str) -> str:
    url = text.strip().rstrip("/") if "://" in text else f"https://{text.strip().rstrip('/')}"
    try:
        parts = urlsplit(url)
        usable = parts.port != 0 and parts.hostname is not None and parts.hostname.isascii()
    except ValueError:
        usable = False
    if not usable or parts.scheme not in ("http", "https") or parts.path or parts.query or parts.username:
        raise ValueError("expected a host, perhaps with http:// or https:// before it and a port behind it")
    return url


def show_paths(paths: tuple[Path, ...]) -> str:
    return ":".join(map(str, paths))


def _percent(text: str) -> int:
    digits = text.strip().removesuffix("%").strip()
    if not re.fullmatch(r"\d{1,2}", digits, re.ASCII):
        raise ValueError("expected a percentage from 0 to 99")
    return int(digits)


def _proxy(text: str) -> str:
    if not text:
        return text
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("a proxy is written http://[USER:PASSWORD@]HOST:PORT")
    return parts.geturl()


def show_proxy(text: str) -> str:
    """The proxy without its password."""
    head, at, tail = text.rpartition("@")
    return f"{head.partition('://')[0]}://***@{tail}" if at else text


def _address(text: str) -> str:
    host, _, port = text.strip().rpartition(":")
    if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or not 0 < int(port) < 1 << 16:
        raise ValueError("expected ADDRESS:PORT, or a PORT alone for the loopback interface: 127.0.0.1:9464")
    try:
        ipaddress.ip_address(host.strip("[]") or "127.0.0.1")
    except ValueError:
        raise ValueError(f"{host!r} is no IP address: 127.0.0.1:9464, 0.0.0.0:9464 or [::]:9464") from None
    return f"{host or '127.0.0.1'}:{int(port)}"


def split_address(address: str) -> tuple[str, int]:
    """Host and port of a value of ADDRESS."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def show_optional(value: object) -> str:
    return "" if value is None else str(value)


TEXT: Unit[str] = Unit("TEXT", str)
SIZE: Unit[int] = Unit("SIZE", _size, show_size)
SIZE_OR_COMPUTED: Unit[int | None] = Unit("SIZE", _size, show_size)
BANDWIDTH: Unit[int] = Unit("SIZE", _bandwidth, lambda size: show_size(size) or "0")
SECONDS: Unit[float] = Unit("SECONDS", _seconds, show_seconds)
SECONDS_OR_COMPUTED: Unit[float | None] = Unit("SECONDS", _seconds, lambda value: "" if value is None else show_seconds(value))
POSITIVE_SECONDS: Unit[float] = Unit("SECONDS", _positive_seconds, show_seconds)
BOOLEAN: Unit[bool] = Unit("", _boolean, show_boolean)
UMASK: Unit[int] = Unit("OCTAL", _octal, "{:03o}".format)
PATH: Unit[Path | None] = Unit("PATH", _path, show_optional, names_files=True)
PLACE: Unit[Path | ObjectPlace | None] = Unit("FILE|oss://BUCKET/KEY", parse_place, show_optional, names_files=True)
CONFIG: Unit[Path | None] = Unit("FILE|NAME", config_path, show_optional, names_files=True)
PATHS: Unit[tuple[Path, ...]] = Unit("DIR[:DIR...]", _paths, show_paths, names_files=True)
COMMAND: Unit[tuple[str, ...]] = Unit("COMMAND", _command, shlex.join)
ORIGIN: Unit[str] = Unit("HOST", _origin)
PERCENT: Unit[int] = Unit("PERCENT", _percent, "{}%".format)
ADDRESS: Unit[str] = Unit("ADDRESS:PORT", _address)
PROXY: Unit[str] = Unit("URL", _proxy, show_proxy)


def number(metavar: str, least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers between two bounds, both included."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,18}", text.strip(), re.ASCII) or not least <= int(text) <= most:
            raise ValueError(f"expected a whole number from {least} to {most}")
        return int(text)

    return parse


def count(least: int, most: int) -> Unit[int]:
    return Unit("N", number("N", least, most))


def optional_count(metavar: str, least: int, most: int) -> Unit[int | None]:
    return Unit(metavar, number(metavar, least, most), show_optional)


def choice(*words: str) -> Unit[str]:
    """One of some words."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"expected one of {', '.join(words)}")
        return text

    return Unit("|".join(words), parse, choices=words)
