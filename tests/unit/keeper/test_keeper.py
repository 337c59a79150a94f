"""The keeper's parts without a mount: its messages, plans, control socket, and what it says to the kernel."""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ossmount.daemon.keeping import keeper_words
from ossmount.keeper import daemon as watching
from ossmount.keeper import kernel, mounts, wire
from ossmount.keeper.control import Client, Control
from ossmount.keeper.daemon import Daemon
from ossmount.keeper.plan import Plan
from ossmount.keeper.report import Report

LIMIT = 60.0  # seconds; against hangs only
ROOT = Path(__file__).parents[3]


def plan(**changes: object) -> Plan:
    values: dict[str, object] = {"argv": ["/bin/true", "x"], "order": "{}", "socket": "/nowhere/keeper-"}
    return Plan(**{**values, **changes})  # type: ignore[arg-type]


def test_a_plan_survives_the_way_to_another_process() -> None:
    made = plan(environment={"A": "b\udcff"}, greeting="hello", report=7, inherited=[3])
    again = Plan.read(made.write())
    assert all(getattr(again, name) == getattr(made, name) for name in Plan.__slots__)
    changed = made.changed(argv=["new"], order="other", environment={"B": "c"})
    assert (changed.argv, changed.order, changed.environment) == (["new"], "other", {"A": "b\udcff", "B": "c"})
    assert (changed.report, changed.inherited, changed.greeting) == (-1, [], "")  # of the first daemon only


def test_messages_keep_their_borders_and_bring_descriptors_that_no_program_inherits() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        reading, writing = os.pipe()
        wire.send(theirs, "mounted", (writing,), agreement={"minor": 45})
        wire.send(theirs, "ready")
        received = wire.receive(ours)
        assert received is not None
        message, (descriptor,) = received
        assert message == {"kind": "mounted", "agreement": {"minor": 45}}
        assert not os.get_inheritable(descriptor)
        os.write(descriptor, b"x")
        assert os.read(reading, 9) == b"x"
        assert wire.receive(ours) == ({"kind": "ready"}, [])
        with pytest.raises(BlockingIOError):
            wire.receive(ours)
        theirs.close()
        assert wire.receive(ours) is None
        for each in (reading, writing, descriptor):
            os.close(each)


def test_the_topmost_mount_of_a_place_whatever_its_name(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_bytes(
        b"22 1 0:20 / / rw - ext4 /dev/vda rw\n"
        b"31 22 0:50 / /mnt/a\\040b\\134\\012\xff ro,nosuid shared:1 - fuse.ossmount oss://data ro\n"
        b"32 22 0:51 / /mnt/a\\040b\\134\\012\xff ro,nosuid - fuse.ossmount oss://data ro\n"
        b"33 22 0:52 / /mnt/a\\134040 ro - tmpfs tmpfs ro\n"
    )
    assert mounts.topmost(os.fsdecode(b"/mnt/a b\\\n\xff"), str(table)) == (32, "0:51")
    assert mounts.topmost("/mnt/a\\040", str(table)) == (33, "0:52")
    assert mounts.topmost("/mnt/a ", str(table)) == (0, "")


def request(opcode: int, unique: int) -> bytes:
    return struct.pack("=IIQQIIII", 40, opcode, unique, 1, 0, 0, 0, 0)


def test_a_failed_mount_answers_every_request_and_nothing_that_wants_no_answer() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.setblocking(False)
        device = theirs.fileno()
        for opcode, unique in ((1, 2), (2, 4), (15, 6 | 1 << 63), (36, 7), (42, 8), (41, 10), (3, 12)):
            ours.send(request(opcode, unique))
        assert kernel.refuse(device, errno.EIO)
        answers = [struct.unpack("=IiQ", ours.recv(99)) for _ in range(3)]
        assert answers == [(16, -errno.EIO, 2), (16, -errno.EIO, 6 | 1 << 63), (16, -errno.EIO, 12)]
        assert kernel.resend(device)
        assert struct.unpack("=IiQ", ours.recv(99)) == (16, 7, 0)
        ours.close()
        assert not kernel.refuse(device, errno.EIO)
        assert not kernel.resend(device)


class Loop:
    """As much of the keeper's loop as a part needs."""

    def __init__(self) -> None:
        self.handlers: dict[int, Callable[[], None]] = {}

    def watch(self, descriptor: int, handler: Callable[[], None] | None) -> None:
        if handler is None:
            self.handlers.pop(descriptor, None)
        else:
            self.handlers[descriptor] = handler

    def turn(self) -> None:
        readable, _, _ = select.select(list(self.handlers), (), (), LIMIT)
        assert readable
        for descriptor in readable:
            if descriptor in self.handlers:
                self.handlers[descriptor]()


def ask(loop: Loop, path: str, line: bytes, turns: int = 2) -> dict[str, object]:
    folder, name = os.path.split(path)
    descriptor = os.open(folder, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(LIMIT)
        client.connect(f"/proc/self/fd/{descriptor}/{name}")
        os.close(descriptor)
        client.sendall(line)
        for _ in range(turns):
            loop.turn()
        answer: dict[str, object] = json.loads(client.recv(1 << 16))
    loop.turn()  # it has gone
    return answer


def test_the_control_socket_answers_lines_and_is_its_owners(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)  # longer than an address
    folder.mkdir()
    loop, path = Loop(), str(folder / "keeper.sock")
    (folder / "keeper.sock").touch()  # left by one that was killed

    def serve(request: dict[str, object], client: Client) -> None:
        client.answer(got=request)

    control = Control(path, loop.watch, serve)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert ask(loop, path, b'{"command": "x"}\n') == {"got": {"command": "x"}}
    for wrong in (b"[]\n", b"{\n", b"\xff\n", b"1\n"):
        assert "error" in ask(loop, path, wrong)
    assert list(loop.handlers) == [next(iter(loop.handlers))]  # only the listener is left
    control.close()
    assert not os.path.exists(path)


@pytest.mark.parametrize(
    ("reported", "code", "said"),
    [
        (b'[0, ""]\n', 0, "it is mounted\n"),
        (b'[5, "no such bucket"]\n', 5, "ossmount: no such bucket\n"),
        (b"", 1, "ossmount: the daemon ended before the mount was ready\n"),
    ],
)
def test_in_the_foreground_the_report_is_said(reported: bytes, code: int, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    loop, wanted = Loop(), plan(greeting="it is mounted")
    report = Report(wanted, loop.watch)
    os.write(wanted.report, reported)
    report.handed_on(wanted)
    assert report.finish() == code
    assert capfd.readouterr().err == said


@pytest.fixture
def sleeper() -> Daemon:
    """A process that says nothing, as a daemon."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    process = subprocess.Popen(["/bin/sleep", "3600"])
    return Daemon(process.pid, ours, wire.FIRST, plan())


def test_when_a_daemon_counts_as_dead(sleeper: Daemon) -> None:
    begun = sleeper.started
    assert sleeper.trouble(begun + watching.HALF_DEAD) == ""
    assert sleeper.due() == begun + 2 * watching.HALF_DEAD  # silent ones are looked at again and again
    assert "no sign of life" in sleeper.trouble(begun + watching.SILENT)
    sleeper.beat = begun + watching.STARTING
    assert "did not serve" in sleeper.trouble(begun + watching.STARTING + watching.HALF_DEAD)
    sleeper.serving = True
    assert sleeper.trouble(begun + watching.STARTING + watching.HALF_DEAD) == ""
    sleeper.kill()
    select.select([sleeper.pidfd], (), (), LIMIT)
    sleeper.beat = begun + 100
    sleeper.killed = 0.0
    assert "a thread of it is held" in sleeper.trouble(begun + 100 + 2 * watching.HALF_DEAD)
    assert sleeper.reap() == "was ended by signal 9"


def test_a_daemon_that_waits_for_a_core_is_not_stuck(sleeper: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, waited = sleeper.started, iter((3.0, 9.0, 11.0, 30.0, 30.0))
    monkeypatch.setattr(sleeper, "waited", lambda: next(waited))
    assert [sleeper.trouble(begun + after) for after in (watching.HALF_DEAD, watching.SILENT)] == ["", ""]
    assert sleeper.trouble(begun + watching.SILENT + 7.9) == "", "8 of its 17.9 silent seconds it waited"
    sleeper.beat = begun + 20
    assert sleeper.trouble(sleeper.beat + watching.HALF_DEAD) == ""
    assert "no sign of life" in sleeper.trouble(sleeper.beat + watching.SILENT), (
        "what it waited before its last beat counts no more"
    )
    sleeper.kill()
    select.select([sleeper.pidfd], (), (), LIMIT)
    sleeper.reap()


def test_the_kernel_tells_how_long_a_thread_waited_for_a_core() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        own = Daemon(os.getpid(), ours, wire.FIRST, plan())
        os.close(own.pidfd)
        before = own.waited()
        os.sched_yield()
        assert 0 < before <= own.waited()
        own.pid = 2**22 + 1  # no process has it
        assert own.waited() == 0


ORPHANS = """
import os, sys
sys.path.append(sys.argv[1])
from ossmount.keeper.daemon import reap_orphans
daemon, orphan = (os.posix_spawn("/bin/true", ["true"], {}) for _ in range(2))
for pid in (daemon, orphan):
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
reap_orphans({daemon, orphan})
reap_orphans({daemon})
assert os.waitpid(daemon, os.WNOHANG)[0] == daemon
reap_orphans(set())
try:
    os.waitpid(orphan, os.WNOHANG)
except ChildProcessError:
    print("reaped")
reap_orphans(set())
"""


def test_orphans_are_reaped_and_daemons_are_not() -> None:
    words = [sys.executable, "-I", "-S", "-c", ORPHANS, str(ROOT)]
    assert subprocess.run(words, capture_output=True, text=True, check=True, timeout=LIMIT).stdout == "reaped\n"


def test_the_keeper_imports_nothing_but_a_little_of_the_standard_library() -> None:
    words = keeper_words(0, -1, "/nowhere")
    code = "import sys; sys.path.append(sys.argv[1]); import ossmount.keeper.main; print(*sys.modules)"
    done = subprocess.run([*words[:3], "-c", code, str(ROOT)], capture_output=True, text=True, check=True, timeout=LIMIT)
    loaded = set(done.stdout.split())
    ours = {name for name in loaded if name.startswith("ossmount")}
    shared = {"ossmount", "ossmount.children", "ossmount.children.shield"}
    assert ours == shared | {name for name in ours if name.startswith("ossmount.keeper")}
    heavy = {"typing", "dataclasses", "inspect", "asyncio", "subprocess", "logging", "tempfile", "threading", "ssl"}
    assert not loaded & heavy
    assert sys.executable == words[0]
