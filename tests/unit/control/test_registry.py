import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ossmount.control import registry
from ossmount.control.registry import Record, Registry, owner_of, process_start


def record(mountpoint: str = "/mnt/a", pid: int | None = None, **changes: object) -> Record:
    pid = os.getpid() if pid is None else pid
    values: dict[str, object] = {
        "mountpoint": mountpoint,
        "source": "oss://bucket",
        "pid": pid,
        "pid_started": process_start(pid) or 0,
        "started": 1.0,
        "socket": "/nowhere",
        "log": "",
    }
    return Record(**{**values, **changes})  # type: ignore[arg-type]


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_record_is_found_again_and_is_private(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    odd = os.fsdecode(b"/mnt/a b\n\xff")
    registry.write(record(odd))
    assert registry.find(odd) == record(odd)
    assert list(registry.records()) == [record(odd)]
    assert registry.path(odd, ".json").stat().st_mode & 0o777 == 0o600
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


def test_a_registry_that_was_never_written_is_empty(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "missing")
    assert list(registry.records()) == []
    assert registry.find("/mnt/a") is None


def test_a_damaged_record_is_none(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for text in ("", "[]", "{}", json.dumps({"mountpoint": "/mnt/a"}), "\0"):
        registry.path("/mnt/a", ".json").write_text(text)
        assert registry.find("/mnt/a") is None
        assert list(registry.records()) == []


def test_alive_tells_a_reused_pid_from_the_daemon() -> None:
    assert record().alive()
    assert not record(pid_started=1).alive()
    assert not record(pid=ended_process()).alive()


def test_a_zombie_does_not_run() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        assert process_start(process.pid) is not None
        assert process.stdin is not None
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, but not yet waited for
        assert process_start(process.pid) is None


def test_removing_leaves_the_record_of_a_successor(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    first_socket, second_socket = tmp_path / "1.sock", tmp_path / "2.sock"
    first_socket.touch()
    second_socket.touch()
    first = record(pid=ended_process(), socket=str(first_socket))
    second = record(socket=str(second_socket))
    registry.write(first)
    registry.write(second)
    registry.remove(first)
    assert registry.find("/mnt/a") == second
    assert not first_socket.exists()
    assert second_socket.exists()
    registry.remove(second)
    assert registry.find("/mnt/a") is None
    assert not second_socket.exists()


def test_a_mount_is_alive_as_long_as_its_keeper(tmp_path: Path) -> None:
    me = process_start(os.getpid()) or 0
    kept = record(pid_started=1, keeper_pid=os.getpid(), keeper_started=me)
    assert kept.alive() and kept.kept() and not kept.runs()
    assert not record(pid_started=1, keeper_pid=os.getpid(), keeper_started=1).alive()
    assert not record(pid_started=1).kept()


def test_the_next_daemon_of_a_mount_takes_the_place_of_the_former_one(tmp_path: Path) -> None:
    """Without a moment in which there is no record, and with nothing left of what is dead."""
    registry = Registry(tmp_path)
    paths = {name: tmp_path / f"{name}.sock" for name in ("dead", "mine", "keeper", "dead-keeper")}
    for path in paths.values():
        path.touch()
    me = process_start(os.getpid()) or 0
    first = record(
        pid_started=1, socket=str(paths["dead"]), keeper_socket=str(paths["dead-keeper"]), keeper_pid=ended_process()
    )
    keeper = {"keeper_pid": os.getpid(), "keeper_started": me, "keeper_socket": str(paths["keeper"])}
    registry.write(first)
    registry.write(first._replace(**keeper))  # type: ignore[arg-type]
    registry.write(record(socket=str(paths["mine"]))._replace(**keeper))  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.glob("*.sock")) == ["keeper.sock", "mine.sock"]
    found = registry.find("/mnt/a")
    assert found is not None
    registry.remove(found)
    assert not list(tmp_path.iterdir())


def test_what_another_user_wrote_names_his_own_processes_and_sockets_or_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root signals the processes of a record and removes its sockets."""
    mine = record(socket=str(tmp_path / "uid-7/a.sock"), keeper_socket=str(tmp_path / "uid-7/b.sock"))
    theirs = Registry(tmp_path / "uid-7")
    (tmp_path / "uid-7").mkdir()
    theirs.write(mine)
    roots = Registry(tmp_path)
    writer = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: writer + 1)
    assert roots.find("/mnt/a") == mine and list(roots.records()) == [mine]
    outside = tmp_path / "victim"
    outside.touch()
    for change in ({"socket": str(outside)}, {"keeper_socket": str(tmp_path / "uid-7/../victim")}):
        theirs.write(mine._replace(**change))  # type: ignore[arg-type]
        assert roots.find("/mnt/a") is None and list(roots.records()) == []
    theirs.write(mine)
    monkeypatch.setattr(registry, "owner_of", lambda pid: writer + 2)
    assert roots.find("/mnt/a") is None
    monkeypatch.undo()
    roots.remove(mine)
    assert list((tmp_path / "uid-7").iterdir()) == [] and outside.exists()


def test_no_link_is_followed_to_a_record(tmp_path: Path) -> None:
    found = Registry(tmp_path)
    found.write(record())
    path = found.path("/mnt/a", ".json")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert found.find("/mnt/a") is None
    path.unlink()
    os.mkfifo(path)
    assert found.find("/mnt/a") is None  # and does not wait for a writer


def test_who_runs_a_process() -> None:
    assert owner_of(os.getpid()) == os.getuid()
    assert owner_of(ended_process()) is None
