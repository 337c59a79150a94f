"""What an option is.

An option named x_y is written --x-y on the command line, x_y behind -o, and OSSMOUNT_X_Y in the environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from ossmount.options.units import Unit

T = TypeVar("T")


@dataclass(frozen=True)
class Option(Generic[T]):
    """One option of the mount."""

    name: str
    group: str
    unit: Unit[T]
    default: T
    help: str
    computed: str = ""  # how the default comes about where it is not a constant
    aliases: tuple[str, ...] = ()  # other names behind -o
    variables: tuple[str, ...] = ()  # other environment variables, asked after OSSMOUNT_NAME

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return "OSSMOUNT_" + self.name.upper()

    @property
    def is_switch(self) -> bool:
        return self.default is False

    @property
    def default_text(self) -> str:
        return self.computed or self.unit.show(self.default)
