"""The parts of oss2 that ossmount uses, imported without the rest of it.

`import oss2` also loads its client-side encryption, resumable transfers and two more SDKs behind them: two thirds of what
it costs, at each mount, for code that nothing here calls. So its HTTP session is loaded on its own,
into a package of that name which is taken away again afterwards: whoever else imports oss2 gets all of it. What these
parts import and only encryption and CRC use (pycryptodome, crcmod) is loaded at its first use, as importlib documents
for LazyLoader.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, NamedTuple

_PACKAGE = "oss2"
_SEPARATELY_USED = ("Crypto.Cipher.AES", "Crypto.Util.Counter", "Crypto.Random", "crcmod")


class Parts(NamedTuple):
    """Modules of oss2."""

    exceptions: Any
    http: Any


def load() -> Parts:
    """The modules; those of the whole oss2 where it is imported already."""
    if _PACKAGE in sys.modules:
        return _parts()
    with _package_alone(), _lazily():
        return _parts()


def _parts() -> Parts:
    return Parts(*(importlib.import_module(f"{_PACKAGE}.{name}") for name in Parts._fields))


@contextmanager
def _package_alone() -> Iterator[None]:
    """An oss2 in which only submodules that are asked for are loaded."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {_PACKAGE!r}", name=_PACKAGE)
    package = importlib.util.module_from_spec(spec)
    package.__version__ = _version(spec)  # type: ignore[attr-defined]
    sys.modules[_PACKAGE] = package
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]:
            del sys.modules[name]


def _version(spec: ModuleSpec) -> str:
    """What its own __init__ would set; it goes into the User-Agent."""
    if spec.origin is None:
        return ""
    with open(spec.origin, encoding="utf-8") as file:
        found = re.search(r"^__version__ = ['\"](.+?)['\"]", file.read(), re.MULTILINE)
    return found[1] if found else ""


class _Finder:
    """Finds modules that run only when something in them is used."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in _SEPARATELY_USED:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


@contextmanager
def _lazily() -> Iterator[None]:
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
