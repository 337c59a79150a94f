"""The entrypoint of a container, run as a process of this machine and as the first one of a pid namespace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ossmount.channel.mounting import find_mount
from ossmount.emulator.faults import Fault
from tests.mount.support import BUCKET, LIMIT, Workshop, eventually

CONTENT = b"what is in the bucket"


@pytest.fixture
def entry(plain_shop: Workshop) -> Iterator[Workshop]:
    plain_shop.server.store.put(BUCKET, b"train/one", CONTENT)
    mountpoint = plain_shop.folder / "made" / "by it"
    plain_shop.environment |= {"OSSMOUNT_SOURCE": f"oss://{BUCKET}/train", "OSSMOUNT_MOUNTPOINT": str(mountpoint)}
    yield plain_shop
    if find_mount(str(mountpoint)) is not None:
        plain_shop.run("umount", "--force", str(mountpoint))


def mountpoint_of(entry: Workshop) -> str:
    return entry.environment["OSSMOUNT_MOUNTPOINT"]


def words(command: Sequence[str], *, first: bool = False) -> list[str]:
    before = ["/usr/bin/unshare", "--pid", "--fork", "--kill-child", "--mount-proc"] if first else []
    return [*before, "/usr/bin/env", "--default-signal=INT,TERM,HUP", sys.executable, "-m", "ossmount.node.run", *command]


def run(entry: Workshop, *command: str, first: bool = False, **changes: str) -> subprocess.CompletedProcess[str]:
    environ = {**entry.environment, **changes}
    return subprocess.run(
        words(command, first=first), env=environ, capture_output=True, text=True, timeout=LIMIT, check=False, cwd=entry.folder
    )


def start(entry: Workshop, *command: str, first: bool = False) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words(command, first=first), env=entry.environment, stdout=subprocess.PIPE, text=True, cwd=entry.folder
    )


@pytest.mark.parametrize("first", [False, True], ids=["a process", "PID 1"])
def test_the_command_reads_the_bucket_and_its_exit_code_is_ours(entry: Workshop, first: bool) -> None:
    done = run(entry, "sh", "-c", 'cat "$OSSMOUNT_MOUNTPOINT/one"; exit 7', first=first)
    assert (done.returncode, done.stdout) == (7, CONTENT.decode()), done.stderr
    assert find_mount(mountpoint_of(entry)) is None
    assert "mounted" in done.stderr, "the daemon's log is ours"


def test_several_mounts(entry: Workshop) -> None:
    other = entry.folder / "other"
    entry.server.store.put(BUCKET, b"val/two", b"two")
    done = run(entry, "cat", f"{mountpoint_of(entry)}/one", f"{other}/two", OSSMOUNT_MOUNTS=f"oss://{BUCKET}/val={other}")
    assert (done.returncode, done.stdout) == (0, CONTENT.decode() + "two"), done.stderr
    assert find_mount(str(other)) is None and find_mount(mountpoint_of(entry)) is None


def test_a_second_mount_that_fails_takes_the_first_one_away(entry: Workshop) -> None:
    done = run(entry, "true", OSSMOUNT_MOUNTS=f"oss://nowhere={entry.folder}/other")
    assert done.returncode == 5
    said = [line for line in done.stderr.splitlines() if line.startswith("ossmount: ")]
    assert len(said) == 1 and "bucket" in said[0], (
        "said once, though the daemon and the command that waits for it have one stderr"
    )
    assert find_mount(mountpoint_of(entry)) is None


@pytest.mark.parametrize("first", [False, True], ids=["a process", "PID 1"])
def test_signals_are_passed_on(entry: Workshop, first: bool) -> None:
    process = start(entry, "sh", "-c", 'trap "echo told; exit 3" TERM; echo ready; while :; do sleep 0.05; done', first=first)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    target = process.pid if not first else int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    os.kill(target, signal.SIGTERM)
    output, _ = process.communicate(timeout=LIMIT)
    assert (output, process.returncode) == ("told\n", 3)
    assert find_mount(mountpoint_of(entry)) is None


def test_a_command_that_a_signal_ends(entry: Workshop) -> None:
    assert run(entry, "sh", "-c", "kill -9 $$").returncode == 137


def test_orphans_are_reaped(entry: Workshop) -> None:
    """As PID 1: of the processes that the command leaves behind no zombie is left."""
    count = "grep -l '^State:.Z' /proc/[0-9]*/status | wc -l"
    leave = "for i in 1 2 3; do sh -c 'sleep 0.1 &'; done"
    wait = f"for i in $(seq 100); do sleep 0.1; [ $({count}) = 0 ] && break; done"
    script = f"{leave}; {wait}; {count}"
    done = run(entry, "sh", "-c", script, first=True)
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr


def test_without_a_command_it_stays_until_it_is_told(entry: Workshop) -> None:
    process = start(entry)
    eventually(lambda: find_mount(mountpoint_of(entry)) is not None, "it has mounted")
    assert Path(mountpoint_of(entry), "one").read_bytes() == CONTENT
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT)
    assert process.returncode in (0, 143), "143 when it came before `ossmount mount` had ended"
    assert find_mount(mountpoint_of(entry)) is None


def test_told_to_end_while_it_mounts(entry: Workshop) -> None:
    entry.server.faults.add(Fault(operations=("LIST",), hang=True))
    process = start(entry, "echo", "never")
    eventually(lambda: entry.server.requests, "it asks for the bucket")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=LIMIT)
    assert (output, process.returncode) == ("", 143)
    assert find_mount(mountpoint_of(entry)) is None


def test_what_still_reads_does_not_keep_it(entry: Workshop) -> None:
    """A background process of the command holds a file of the mount: the mount is detached."""
    done = run(entry, "sh", "-c", 'exec 3<"$OSSMOUNT_MOUNTPOINT/one"; (sleep 2 >/dev/null 2>&1) & exit 0')
    assert done.returncode == 0
    assert find_mount(mountpoint_of(entry)) is None


@pytest.mark.parametrize(("command", "code"), [(("no-such-command",), 127), (("/etc/passwd",), 126), (("--unknown",), 2)])
def test_a_command_that_cannot_run(entry: Workshop, command: tuple[str, ...], code: int) -> None:
    done = run(entry, *command)
    assert done.returncode == code and command[0] in done.stderr
    assert find_mount(mountpoint_of(entry)) is None
