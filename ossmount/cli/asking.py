"""What the commands share that ask a running mount."""

from __future__ import annotations

from typing import Any

from ossmount.channel.mounting import resolve
from ossmount.cli.refresh import serving
from ossmount.control.client import ControlError, ask
from ossmount.control.registry import Record
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.printable import printable

_PATIENCE = 5.0  # seconds for an answer


def record_of(mountpoint: str) -> Record:
    """Of a mount whose daemon runs. Raises CommandError."""
    return serving(resolve(mountpoint), mountpoint)


def numbers(record: Record, *, before: bool = False) -> dict[str, Any]:
    """The status of a mount; before: with the numbers of a minute ago. Raises CommandError."""
    return asked(record, "status", before=before)


def asked(record: Record, command: str, **arguments: object) -> dict[str, Any]:
    """The answer to a command. Raises CommandError."""
    try:
        return ask(record.socket, command, timeout=_PATIENCE, **arguments)
    except ControlError as error:
        raise CommandError(ExitCode.NOT_MOUNTED, f"{printable(record.mountpoint)}: {error}") from None
