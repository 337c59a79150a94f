"""What an option of `ossmount mount` is, and the groups that help and documents show them in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from ossmount.options.units import Unit

T = TypeVar("T")

WHENCE = "Where options come from"
SOURCE = "Where the data lies"
IDENTITY = "Credentials"
VIEW = "What the files look like"
CACHING = "How long names and attributes are believed"
DATA = "Memory and transfers"
KERNEL = "How the kernel is spoken to"
RUNNING = "Running"


@dataclass(frozen=True)
class Option(Generic[T]):
    """One option of the mount."""

    name: str
    group: str
    unit: Unit[T]
    default: T
    help: str
    computed: str = ""  # how the default comes about where it is not a constant
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
