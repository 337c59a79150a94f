"""From whatever made a mount fail to one message and one exit code."""

from __future__ import annotations

import logging

from ossmount.errors import OssMountError
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.options.settings import UsageError

log = logging.getLogger(__name__)


def command_error(failure: BaseException) -> CommandError:
    """What the user is told. A failure that nobody foresaw is logged with its traceback."""
    cause = _first(failure)
    if isinstance(cause, CommandError):
        return cause
    if isinstance(cause, UsageError):
        return CommandError(ExitCode.USAGE, str(cause))
    if not isinstance(cause, OssMountError):
        log.error("unexpected failure", exc_info=failure)
    return CommandError(ExitCode.UNEXPECTED, f"{type(cause).__name__}: {cause}")


def _first(failure: BaseException) -> BaseException:
    """The failure that a group of trio's began with; one that was foreseen goes before others."""
    members: tuple[BaseException, ...] = getattr(failure, "exceptions", ())
    if not members:
        return failure
    leaves = [_first(member) for member in members]
    foreseen = (leaf for leaf in leaves if isinstance(leaf, (CommandError, UsageError, OssMountError)))
    return next(foreseen, leaves[0])
