"""OSS does not answer: whoever waits can be killed, and the mount can always be taken away."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ossmount.channel.mounting import find_mount
from ossmount.control.registry import process_start
from ossmount.emulator.faults import Fault
from tests.mount.support import BUCKET, LIMIT, Mount, Workshop, eventually

DATA = bytes(range(256)) * 4096

#: Prints the errno with which a read ends, 0 for none.
READER = """
import os, sys
try:
    os.read(os.open(sys.argv[1], os.O_RDONLY), 100)
    print(0)
except OSError as failure:
    print(failure.errno)
"""


@pytest.fixture
def silent(shop: Workshop) -> Iterator[Mount]:
    """A mount that knows its file, of a server that has stopped answering requests for data. No deadline helps in time."""
    shop.server.store.put(BUCKET, b"file", DATA)
    with shop.mounted("--no-keeper", "--timeout", str(10 * int(LIMIT))) as mount:
        assert (mount.path / "file").stat().st_size == len(DATA)
        shop.server.faults.add(Fault(operations=("GET",), hang=True))
        yield mount


@contextlib.contextmanager
def waiting_reader(mount: Mount) -> Iterator[subprocess.Popen[str]]:
    """A process whose read has become a request that is not answered."""
    words = ["/usr/bin/env", "--default-signal=INT,TERM,HUP", sys.executable, "-I", "-c", READER, str(mount.path / "file")]
    reader = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        eventually(lambda: mount.workshop.server.requests.count("GET"), "the read has become a GET")
        yield reader
    finally:
        reader.kill()
        reader.communicate(timeout=LIMIT)


def gone(pids: list[int]) -> bool:
    return all(process_start(pid) is None for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_reader_that_is_told_to_end_ends(silent: Mount, number: signal.Signals) -> None:
    with waiting_reader(silent) as reader:
        reader.send_signal(number)
        reader.wait(LIMIT)
        assert reader.returncode == -number
    silent.workshop.server.faults.clear()
    silent.workshop.server.drop_connections()
    assert (silent.path / "file").read_bytes() == DATA


@pytest.mark.parametrize("how", ["umount --force", "SIGTERM", "SIGKILL"])
def test_the_mount_can_be_taken_away_and_the_reader_ends(silent: Mount, how: str) -> None:
    status = silent.status()
    with waiting_reader(silent) as reader:
        if how == "umount --force":
            assert silent.workshop.run("umount", "--force", str(silent.path)).returncode == 0
        else:
            os.kill(status["daemon_pid"], signal.Signals[how])
        output, _ = reader.communicate(timeout=LIMIT)
        assert int(output) != 0
        eventually(lambda: gone(status["pids"]), "every process of the mount has ended")
    if how == "SIGKILL":
        assert find_mount(str(silent.path)) is not None
        assert silent.workshop.run("umount", str(silent.path)).returncode == 0
    assert find_mount(str(silent.path)) is None
    assert Path(silent.path).is_dir()
