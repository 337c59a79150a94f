"""Numbers of files that the kernel reads by itself, over ioctls of the test's own."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

import pytest

from ossmount.keeper.backing import MOST, Backings

DEVICE = 77


class Kernel:
    """The two ioctls."""

    def __init__(self) -> None:
        self.files: dict[int, int] = {}  # inode of each number
        self.last = 0
        self.refuses = 0

    def ioctl(self, device: int, request: int, argument: bytes, mutate: bool = False) -> int:
        assert device == DEVICE
        if self.refuses:
            raise OSError(self.refuses, os.strerror(self.refuses))
        if request == 0x4010E501:
            file, flags, padding = struct.unpack("=iIQ", argument)
            assert flags == padding == 0
            self.last += 1
            self.files[self.last] = os.fstat(file).st_ino
            return self.last
        assert request == 0x4004E502
        self.files.pop(struct.unpack("=I", argument)[0])
        return 0


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(fcntl, "ioctl", made.ioctl)
    return made


def test_a_file_has_a_number_until_it_is_given_back(kernel: Kernel) -> None:
    backings = Backings()
    file = os.memfd_create("file")
    inode = os.fstat(file).st_ino
    number, error = backings.open(DEVICE, [file])
    assert error == 0 and backings.numbers == {number} and kernel.files == {number: inode}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)
    backings.close(DEVICE, number + 1)
    backings.close(DEVICE, number)
    backings.close(DEVICE, number)
    assert backings.numbers == set() and kernel.files == {}


@pytest.mark.parametrize("code", [errno.EPERM, errno.ELOOP, errno.EBADF])
def test_what_the_kernel_refuses_is_said_and_the_descriptor_closed(kernel: Kernel, code: int) -> None:
    kernel.refuses = code
    backings = Backings()
    file = os.memfd_create("file")
    assert backings.open(DEVICE, [file]) == (0, code)
    assert not backings.numbers
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)


def test_a_packet_that_lost_its_descriptor_does_no_harm(kernel: Kernel) -> None:
    assert Backings().open(DEVICE, []) == (0, errno.EMFILE)


def test_there_are_no_more_than_fit_into_one_packet(kernel: Kernel) -> None:
    assert len(str([2**31 - 1] * MOST)) < 60_000
    backings, kernel.files = Backings(range(MOST)), dict.fromkeys(range(MOST), 0)
    assert backings.open(DEVICE, [os.memfd_create("file")]) == (0, errno.EMFILE)
    backings.close(DEVICE, 5)
    kernel.last = MOST
    assert backings.open(DEVICE, [os.memfd_create("file")]) == (MOST + 1, 0)


def test_the_connection_may_be_gone(kernel: Kernel) -> None:
    kernel.refuses = errno.ENOTCONN
    Backings([3]).close(DEVICE, 3)
    kernel.refuses = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        Backings([3]).close(DEVICE, 3)
