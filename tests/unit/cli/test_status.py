import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from ossmount.channel import request_timeout
from ossmount.cli import main as cli
from ossmount.cli import status
from ossmount.control.registry import Record, Registry, process_start
from ossmount.exit_codes import ExitCode
from tests.unit.recorded import recorded

ANSWER = {
    "source": "oss://bucket",
    "mountpoint": "/mnt/x",
    "channel": "kernel",
    "channel_reason": "asked for",
    "uptime": 3725.0,
    "pids": [1, 2],
    "daemon_pid": 1,
    "keeper_pid": None,
    "fetch_pids": [2],
    "log": "/log",
    "options": {"umask": {"value": "022", "origin": "default"}},
    "counters": {"list": 1234, "kernel": {"LOOKUP": 5}},
    "facts": {"metadata": {}},
}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("OSSMOUNT_STATE_DIR", str(tmp_path))
    return Registry(tmp_path)


def record(tmp_path: Path, mountpoint: str = "/mnt/x") -> Record:
    pid = os.getpid()
    return Record(mountpoint, "oss://bucket", pid, process_start(pid) or 0, 0.0, str(tmp_path / "s"), "/log")


@contextmanager
def daemon(path: Path, answer: object) -> Iterator[None]:
    """Answers one question."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(json.dumps(answer).encode() + b"\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        thread.join(30)


def test_nothing_is_mounted(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status"]) == ExitCode.OK
    assert cli.main(["status", "--json"]) == ExitCode.OK
    assert capsys.readouterr().out == "nothing is mounted\n[]\n"
    assert cli.main(["status", "/mnt/x"]) == ExitCode.NOT_MOUNTED
    assert "no mount of yours" in capsys.readouterr().err


def test_a_daemon_is_asked(registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry.write(record(tmp_path))
    with daemon(tmp_path / "s", ANSWER):
        assert cli.main(["status", "/mnt/x", "--json"]) == ExitCode.OK
    # Nothing is mounted at /mnt/x in the test: the daemon serves what was lazily unmounted.
    assert json.loads(capsys.readouterr().out) == {"state": "detached", **ANSWER, "warnings": []}


def test_the_form_for_people(registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry.write(record(tmp_path))
    with daemon(tmp_path / "s", ANSWER):
        assert cli.main(["status", "/mnt/x", "--all"]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "oss://bucket at /mnt/x: detached for 1 h 2 min"
    assert "  channel   kernel: asked for" in lines
    assert "  health    nothing is wrong" in lines
    assert "    list = 1,234" in lines
    assert "      LOOKUP = 5" in lines
    assert "    umask = 022  (default)" in lines


def test_warnings(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.write(record(tmp_path))
    monkeypatch.setattr(request_timeout, "warning", lambda deadline: f"the kernel is impatient with {deadline:g} s")
    options = {"timeout": {"value": "45", "origin": "--timeout"}}
    facts = {"metadata": {"store": {"warnings": ["the disk is full"]}}}
    with daemon(tmp_path / "s", {**ANSWER, "options": options, "facts": facts}):
        assert cli.main(["status", "/mnt/x"]) == ExitCode.OK
    said = capsys.readouterr().out
    assert "  warning   the kernel is impatient with 45 s\n" in said and "  warning   the disk is full\n" in said


def test_without_all_defaults_and_counters_are_left_away(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.write(record(tmp_path))
    given = {"umask": {"value": "027", "origin": "-o umask"}, "uid": {"value": "7", "origin": "default"}}
    answer = recorded(options=given, facts__channel__errors={"EACCES": 3})
    with daemon(tmp_path / "s", answer):
        assert cli.main(["status", "/mnt/x"]) == ExitCode.OK
    shown = capsys.readouterr().out
    assert "    umask = 027  (-o umask)" in shown and "uid" not in shown and "malformed" not in shown
    assert "  health    OSS refuses the credentials. (ossmount explain /mnt/x)" in shown
    assert "reads: 8% in memory" in shown and "EACCES 3" in shown


@pytest.mark.parametrize("flag", ["--health", "--ready"])
def test_probes_are_about_one_mount(registry: Registry, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    assert cli.main(["status", flag]) == ExitCode.USAGE
    assert cli.main(["status", "/mnt/x", flag]) == ExitCode.NOT_MOUNTED
    assert "/mnt/x: not mounted" in capsys.readouterr().err


def test_the_list_of_all(registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry.write(record(tmp_path))
    with daemon(tmp_path / "s", ANSWER):
        assert cli.main(["status"]) == ExitCode.OK
    assert capsys.readouterr().out == "oss://bucket at /mnt/x: detached for 1 h 2 min\n"


def test_a_daemon_that_does_not_answer(registry: Registry, tmp_path: Path) -> None:
    silent = record(tmp_path)
    found = status.look_at(registry, silent)  # there is no socket
    assert found is not None and (found["state"], found["daemon_pid"]) == ("silent", os.getpid())


def test_the_record_of_a_dead_daemon_goes_away(registry: Registry, tmp_path: Path) -> None:
    dead = record(tmp_path)._replace(pid_started=1)
    registry.write(dead)
    assert status.look_at(registry, dead) is None
    assert registry.find("/mnt/x") is None


def test_a_broken_mount_stays_in_the_list(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "find_mount", lambda path: object())
    monkeypatch.setattr(status, "resolve", lambda path: path)
    registry.write(record(tmp_path)._replace(pid_started=1))
    assert cli.main(["status", "/mnt/x"]) == ExitCode.NOT_MOUNTED
    assert "ossmount umount /mnt/x" in capsys.readouterr().out
    assert registry.find("/mnt/x") is not None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0 s"), (59, "59 s"), (61, "1 min"), (3600, "1 h 0 min"), (90_000, "1 d 1 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert status.duration(seconds) == text


MEMORY = {
    "slab": 384 << 20,
    "look_ahead": 0,
    "limit": 1 << 30,
    "reason": "machine or container are short of memory",
    "used_slab": 100 << 20,
    "used_beside": 90 << 20,
    "available": 3 << 29,
    "total": 4 << 30,
}


def test_memory_in_words() -> None:
    assert status.memory_text(MEMORY) == (
        "384 MiB for file data instead of 1 GiB (machine or container are short of memory; no whole files are fetched ahead), "
        "100 MiB in use, 90 MiB beside it; 1.5 GiB of 4 GiB available"
    )
    plenty = {**MEMORY, "slab": 1 << 30, "reason": "", "look_ahead": 1 << 29}
    assert status.memory_text(plenty).startswith("1 GiB for file data, 100 MiB in use")
    assert "memory    384 MiB for file data" in status.text_of({**ANSWER, "state": "serving", "facts": {"memory": MEMORY}})


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({}, "none"),
        ({"limit_requests": 1500, "limit_bandwidth": 10 << 20}, "1,500 requests/s, 10 MiB/s"),
        ({"limit_requests": 0, "learned_requests": 480.2}, "none; OSS refuses more than 480 requests/s"),
        ({"limit_requests": 5, "wanted_requests": 64}, "5 requests/s; 64 requests wait"),
    ],
)
def test_limits_in_words(facts: dict[str, float], text: str) -> None:
    assert status.limits_text(facts) == text


@pytest.mark.parametrize(
    ("said", "state", "problem"),
    [
        ({"state": "failed", "problem": "5 daemons died"}, "failed", "5 daemons died; ossmount restart /mnt/x tries again"),
        ({"state": "restarting", "problem": ""}, "restarting", "another one is being started"),
        ({"state": "serving", "problem": ""}, "restarting", "another one is being started"),  # it is about to say so itself
        (None, "restarting", "the keeper cannot be asked"),
    ],
)
def test_while_there_is_no_daemon_its_keeper_is_asked(
    registry: Registry, tmp_path: Path, said: dict[str, str] | None, state: str, problem: str
) -> None:
    alive = record(tmp_path)
    kept = alive._replace(
        pid_started=1, keeper_pid=alive.pid, keeper_started=alive.pid_started, keeper_socket=str(tmp_path / "k")
    )
    registry.write(kept)
    with nullcontext() if said is None else daemon(tmp_path / "k", said):
        found = status.look_at(registry, kept)
    assert found is not None and (found["state"], found["keeper_pid"]) == (state, alive.pid)
    assert problem in found["problem"]
    assert registry.find("/mnt/x") == kept
