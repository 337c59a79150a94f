"""From whatever made a mount fail to one message and one exit code."""

from __future__ import annotations

import logging

from ossmount.channel.mounting import MountError, Reason
from ossmount.errors import Denied, NoSuchBucket, NotFound, OssMountError
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.metadata.manifest import ManifestError
from ossmount.metadata.snapshot import SnapshotError
from ossmount.options.settings import UsageError

log = logging.getLogger(__name__)


_REASONS = {
    Reason.MISSING: ExitCode.MOUNTPOINT,
    Reason.NOT_A_DIRECTORY: ExitCode.MOUNTPOINT,
    Reason.NOT_EMPTY: ExitCode.MOUNTPOINT,
    Reason.ALREADY_MOUNTED: ExitCode.MOUNTPOINT,
    Reason.NO_DEVICE: ExitCode.NO_FUSE,
    Reason.NO_FUSERMOUNT: ExitCode.NO_FUSE,
    Reason.NOT_PERMITTED: ExitCode.NO_FUSE,
    Reason.ALLOW_OTHER: ExitCode.NO_FUSE,
    Reason.NOT_MOUNTED: ExitCode.NOT_MOUNTED,
    Reason.BUSY: ExitCode.BUSY,
}


def refusal(failure: OssMountError) -> CommandError:
    """Why the first request to OSS failed: what is wrong with the source."""
    if isinstance(failure, NoSuchBucket):
        return CommandError(ExitCode.NO_BUCKET, str(failure))
    if isinstance(failure, Denied):
        return CommandError(ExitCode.REFUSED, str(failure))
    if isinstance(failure, NotFound):
        return CommandError(ExitCode.NO_PREFIX, str(failure))
    return CommandError(ExitCode.UNREACHABLE, str(failure))


def command_error(failure: BaseException) -> CommandError:
    """What the user is told. A failure that nobody foresaw is logged with its traceback."""
    cause = _first(failure)
    if isinstance(cause, CommandError):
        return cause
    if isinstance(cause, UsageError):
        return CommandError(ExitCode.USAGE, str(cause))
    if isinstance(cause, (SnapshotError, ManifestError)):
        return CommandError(ExitCode.BAD_SNAPSHOT, str(cause))
    if isinstance(cause, MountError):
        return CommandError(_REASONS.get(cause.reason, ExitCode.UNEXPECTED), str(cause))
    if isinstance(cause, KeyboardInterrupt):
        return CommandError(ExitCode.UNEXPECTED, "interrupted before the mount was ready")
    if not isinstance(cause, OssMountError):
        log.error("unexpected failure", exc_info=failure)
    return CommandError(ExitCode.UNEXPECTED, f"{type(cause).__name__}: {cause}")


def _first(failure: BaseException) -> BaseException:
    """The failure that a group of trio's began with; one that was foreseen goes before others."""
    members: tuple[BaseException, ...] = getattr(failure, "exceptions", ())
    if not members:
        return failure
    leaves = [_first(member) for member in members]
    foreseen = (
        leaf for leaf in leaves if isinstance(leaf, (CommandError, UsageError, SnapshotError, ManifestError, OssMountError))
    )
    return next(foreseen, leaves[0])
