import os

import pytest

from ossmount.daemon.handshake import Report, Reporter, receive
from ossmount.exit_codes import CommandError


def test_the_first_report_arrives() -> None:
    read_end, write_end = os.pipe()
    reporter = Reporter(write_end)
    reporter.report(Report(5, "no such bucket\n"))
    reporter.report(Report(0))
    assert receive(read_end) == Report(5, "no such bucket\n")
    assert os.read(read_end, 1) == b""
    os.close(read_end)


def test_a_daemon_that_ends_without_a_word() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b'[0, "')
    os.close(write_end)
    with pytest.raises(CommandError, match="ended before the mount was ready"):
        receive(read_end)
    os.close(read_end)


def test_nobody_listens_any_more() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    Reporter(write_end).report(Report(0))
    with pytest.raises(OSError):  # it is closed all the same
        os.fstat(write_end)
