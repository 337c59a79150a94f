"""The exit codes of the commands, declared once: --help and CONFIGURATION.md show this table."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """What a command ends with."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    NO_BUCKET = 5
    NO_PREFIX = 6
    MOUNTPOINT = 7
    NO_FUSE = 8
    NOT_MOUNTED = 9
    BUSY = 10
    BAD_SNAPSHOT = 11
    NO_ROOM = 12


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.UNEXPECTED: "an unexpected failure; the message or the log says more",
    ExitCode.USAGE: "the command line, an option or an environment variable is wrong",
    ExitCode.UNREACHABLE: "the endpoint is wrong or does not answer",
    ExitCode.REFUSED: "OSS refuses the credentials, or there are none",
    ExitCode.NO_BUCKET: "no such bucket",
    ExitCode.NO_PREFIX: "nothing lies below the prefix",
    ExitCode.MOUNTPOINT: "the mountpoint is missing, not a directory, not empty or already mounted",
    ExitCode.NO_FUSE: "/dev/fuse or fusermount3 is missing or may not be used",
    ExitCode.NOT_MOUNTED: "not mounted, or the daemon of the mount is gone",
    ExitCode.BUSY: "a process still uses the mount",
    ExitCode.BAD_SNAPSHOT: "a metadata snapshot or manifest is damaged, incomplete or of another source",
    ExitCode.NO_ROOM: "what is to be pinned does not fit into the cache on disk",
}


class CommandError(Exception):
    """A failure that a command reports in one message and one exit code, without a traceback."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
