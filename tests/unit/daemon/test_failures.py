import logging

import pytest
import trio

from ossmount.channel.mounting import MountError, Reason
from ossmount.daemon.failures import command_error, refusal
from ossmount.errors import Denied, NoSuchBucket, NotFound, OssMountError, Unavailable
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.options.settings import UsageError


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (NoSuchBucket("x"), ExitCode.NO_BUCKET),
        (Denied("x"), ExitCode.REFUSED),
        (NotFound("x"), ExitCode.NO_PREFIX),
        (Unavailable("x"), ExitCode.UNREACHABLE),
        (OssMountError("x"), ExitCode.UNREACHABLE),
    ],
)
def test_the_first_request_tells_what_is_wrong_with_the_source(failure: OssMountError, code: ExitCode) -> None:
    assert refusal(failure).code == code


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (CommandError(ExitCode.BUSY, "x"), ExitCode.BUSY),
        (UsageError("x"), ExitCode.USAGE),
        (MountError(Reason.NOT_EMPTY, "x"), ExitCode.MOUNTPOINT),
        (MountError(Reason.ALLOW_OTHER, "x"), ExitCode.NO_FUSE),
        (MountError(Reason.FAILED, "x"), ExitCode.UNEXPECTED),
    ],
)
def test_each_failure_has_its_exit_code(failure: Exception, code: ExitCode) -> None:
    assert command_error(failure).code == code
    assert str(command_error(failure)) == "x"


def test_every_reason_of_a_mount_error_is_known() -> None:
    unexpected = [reason for reason in Reason if command_error(MountError(reason, "x")).code == ExitCode.UNEXPECTED]
    assert unexpected == [Reason.FAILED]


def test_the_failure_that_was_foreseen_is_found_in_a_group() -> None:
    async def fail(failure: Exception) -> None:
        raise failure

    async def main() -> None:
        async with trio.open_nursery() as outer:
            outer.start_soon(fail, ValueError("y"))
            async with trio.open_nursery() as inner:
                inner.start_soon(fail, CommandError(ExitCode.REFUSED, "x"))

    with pytest.raises(Exception) as caught:
        trio.run(main)
    assert command_error(caught.value).code == ExitCode.REFUSED


def test_what_nobody_foresaw_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        error = command_error(ZeroDivisionError("by zero"))
    assert (error.code, error.message) == (ExitCode.UNEXPECTED, "ZeroDivisionError: by zero")
    assert "unexpected failure" in caplog.text
