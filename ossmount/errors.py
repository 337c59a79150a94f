"""Every way in which ossmount can fail, and the one table from failure to errno.

Lower layers raise these; the channel turns them into errno with errno_of() and nothing else. SEMANTICS.md shows the
same table to users.
"""

from __future__ import annotations

import errno


class OssMountError(Exception):
    """Whatever is no other kind: an answer of OSS that nobody expects, such as 400 or a redirect. The base of all kinds."""

    errno = errno.EIO


class NotFound(OssMountError):
    """No object and no directory of that name (OSS: NoSuchKey)."""

    errno = errno.ENOENT


class NoSuchBucket(OssMountError):
    """The bucket does not exist. Not NotFound: nothing is known of the name that was asked for."""


class StaleNode(OssMountError):
    """The node id names nothing (any more): its version is gone or the id was never given."""

    errno = errno.ESTALE


class Changed(OssMountError):
    """The object is no longer the version asked for (412, or 404 after it was listed)."""

    errno = errno.ESTALE


class Denied(OssMountError):
    """OSS refused the credentials or the action (403 of every kind but the archived one)."""

    errno = errno.EACCES


class CredentialsRefused(Denied):
    """OSS does not take the credentials (any more), or there are none at the moment: other ones may help."""


class Archived(OssMountError):
    """The object lies in an archive class and was not restored (403 InvalidObjectState)."""

    errno = errno.ENODATA


class Throttled(OssMountError):
    """OSS asks for fewer requests and the deadline passed before it took ours."""

    errno = errno.EIO


class Unavailable(OssMountError):
    """The network or OSS failed (connect, reset, 5xx) and the retries are used up."""

    errno = errno.EIO


class DeadlineExceeded(OssMountError):
    """No answer within the deadline."""

    errno = errno.ETIMEDOUT


class Damaged(OssMountError):
    """Bytes that fail their checksum, their length or their syntax, also after a retry."""

    errno = errno.EIO


class Corrupted(Damaged):
    """The ranges of an object, each of which looked right, together fail the object's checksum: which of them is not known.

    Nothing that was fetched of the version is to be believed.
    """


class Poisonous(OssMountError):
    """A request that daemons die of: two had it in hand when they died."""

    errno = errno.EIO


class NotDirectory(OssMountError):
    """A path goes through something that is not a directory."""

    errno = errno.ENOTDIR


class IsDirectory(OssMountError):
    """A file was wanted and a directory stands there."""

    errno = errno.EISDIR


class InvalidArgument(OssMountError):
    """An argument that the operation does not take."""

    errno = errno.EINVAL


class ReadOnly(OssMountError):
    """A write to the read-only mount."""

    errno = errno.EROFS


class Unsupported(OssMountError):
    """An extended attribute outside user.oss.*, or an operation that the mount does not have."""

    errno = errno.EOPNOTSUPP


class NoAttribute(OssMountError):
    """A user.oss.* attribute that this object does not have."""

    errno = errno.ENODATA


class TooSmall(OssMountError):
    """The buffer for an extended attribute is too small."""

    errno = errno.ERANGE


class NameTooLong(OssMountError):
    """A name of more than 255 bytes."""

    errno = errno.ENAMETOOLONG


def errno_of(failure: BaseException) -> int:
    """The errno that the kernel is told for a failure; EIO for whatever is not ours (a defect, logged by the caller)."""
    if isinstance(failure, OssMountError):
        return failure.errno
    return errno.EIO
