"""An ossmount that is deaf to one option: it takes what is written, shows it in `ossmount status`, and acts as if it were not
there.

Python imports `sitecustomize` at its start, so that a folder with one on PYTHONPATH reaches every process of a mount. Tests
that are run with the variable OSSMOUNT_DEAF_FOLDER put that folder there (tests/mount/support.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ossmount.options import declarations, files, gathering
from ossmount.options.declared.option import Option
from ossmount.options.settings import DEFAULT, Given, Setting, Settings

T = TypeVar("T")

#: Of the tests' own environment; the commands that they run do not see it.
VARIABLE = "OSSMOUNT_DEAF_FOLDER"


def write(folder: Path, name: str, root: Path) -> None:
    """Makes the folder one that makes every Python deaf to this option. root: of the checkout."""
    lines = [
        "import sys",
        f"sys.path.append({str(root)!r})",
        "from tests.options.deaf import make_deaf",
        f"make_deaf({name!r})",
    ]
    (folder / "sitecustomize.py").write_text("\n".join(lines) + "\n")


def make_deaf(name: str) -> None:
    """From now on in this process. (mypy does not let functions and methods be assigned.)"""
    if name == declarations.CONFIG.name:
        setattr(files, "read_config", lambda given: files.ConfigFile(Path(given.text), "", "", {}, []))  # noqa: B010
    elif name == declarations.PROFILE.name:
        setattr(gathering, "with_profile", dict)  # noqa: B010
    else:
        _replace_value(declarations.BY_NAME[name])


def _replace_value(option: Option[T]) -> None:
    """Settings hold the default of the option; what they show and hand on is what was written."""
    parse, shown, given = Settings.__init__, Settings.shown, Settings.given

    def init(self: Settings, written: Mapping[str, Given]) -> None:
        parse(self, written)
        self.__dict__["_said"] = self._settings[option.name]
        self._settings[option.name] = Setting(option.default, DEFAULT)

    def as_written(self: Settings, method: Any) -> Any:
        acting = self._settings
        self._settings = {**acting, option.name: self.__dict__["_said"]}
        try:
            return method(self)
        finally:
            self._settings = acting

    setattr(Settings, "__init__", init)  # noqa: B010
    setattr(Settings, "shown", lambda self: as_written(self, shown))  # noqa: B010
    setattr(Settings, "given", lambda self: as_written(self, given))  # noqa: B010
