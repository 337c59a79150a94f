"""The Prefetcher against daemons and keepers that only answer as they are told."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ossmount import hints
from ossmount.hints import NotMounted, Prefetcher

LIMIT = 60.0  # seconds, against hanging only
MOUNTPOINT = "/mnt/of/a/test"
NAMES = [f"{MOUNTPOINT}/{number}" for number in range(6)]

#: From a request to its answer; None: the connection is closed without one.
Answer = Callable[[dict[str, Any]], "dict[str, Any] | None"]


@contextlib.contextmanager
def listening(path: Path, *answers: Answer) -> Iterator[None]:
    """A socket that serves one client after the other, each by its own answers; and none after them."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for answer in answers:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, connection.makefile("rwb", buffering=0) as stream:
                    for line in stream:
                        said = answer(json.loads(line))
                        if said is None:
                            break
                        with contextlib.suppress(OSError):
                            stream.write(json.dumps(said).encode() + b"\n")
            path.unlink()
            listener.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory with one mount, whose daemon and keeper have the sockets d and k."""
    monkeypatch.setenv("OSSMOUNT_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(hints, "PAUSE", 0.01)
    monkeypatch.setattr(hints, "LOOK", 0.01)
    path = tmp_path / (hashlib.sha256(os.fsencode(MOUNTPOINT)).hexdigest()[:20] + ".json")
    sockets = {"socket": str(tmp_path / "d"), "keeper_socket": str(tmp_path / "k")}
    path.write_text(json.dumps({"mountpoint": MOUNTPOINT, **sockets}))
    return path


def test_what_a_daemon_was_not_done_with_is_told_to_the_next_one(record: Path) -> None:
    told: list[list[str]] = [[], []]

    def first(request: dict[str, Any]) -> dict[str, Any] | None:
        told[0] += request.get("paths", [])
        if request["command"] == "prefetch":
            return {"ready": True}
        if len(told[0]) == len(NAMES) and request["paths"] == []:
            return None
        return {"unknown": 2 if request["paths"] else 0, "passed": 3, "files": 2, "fetched": 1}  # one of three is unknown

    def second(request: dict[str, Any]) -> dict[str, Any] | None:
        told[1] += request.get("paths", [])
        if request["command"] == "prefetch":
            return {"ready": True}
        if request["command"] == "feed":
            return {"unknown": 1 if request["paths"] else 0, "passed": 0, "files": 0, "fetched": 0}
        return {"done": True, "told": 2, "passed": 3, "files": 2, "fetched": 2, "left_out": 0}

    with listening(record.parent / "d", first, second), Prefetcher(MOUNTPOINT) as prefetcher:
        prefetcher.feed(NAMES)
        wait(lambda: len(told[1]) == 3)
        assert prefetcher.finish(LIMIT) == {"told": 4, "fetched": 3, "left_out": 1}
        assert prefetcher.unknown == 2 and prefetcher.is_working
    assert told == [NAMES, NAMES[3:]]


def test_a_daemon_that_does_not_say_how_far_it_is(record: Path) -> None:
    """Of an ossmount before this one."""

    def old(request: dict[str, Any]) -> dict[str, Any]:
        if request["command"] == "feed":
            return {"taken": len(request["paths"]), "unknown": 1}
        return {"done": True, "told": 5, "fetched": 4, "left_out": 1} if request["command"] == "finish" else {"ready": True}

    with listening(record.parent / "d", old), Prefetcher(MOUNTPOINT) as prefetcher:
        prefetcher.feed(NAMES)
        assert prefetcher.finish(LIMIT) == {"told": 5, "fetched": 4, "left_out": 1}
        assert prefetcher.unknown == 1


@pytest.mark.parametrize("state", ["failed", "serving", ""])
def test_nobody_comes_any_more(record: Path, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keeper has given up, or believes that somebody serves whom nobody can reach, or is dead."""
    monkeypatch.setattr(hints, "PATIENCE", 0.5)

    def keeper(request: dict[str, Any]) -> dict[str, Any] | None:
        return {"state": state} if state else None

    with listening(record.parent / "k", *[keeper] * 1000), pytest.raises(NotMounted, match="cannot be told anything"):
        Prefetcher(MOUNTPOINT)


def test_one_that_is_being_restarted_is_waited_for(record: Path) -> None:
    asked = 0

    def keeper(_request: dict[str, Any]) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"state": "restarting"}

    def daemon(request: dict[str, Any]) -> dict[str, Any]:
        return {"ready": True}

    with listening(record.parent / "k", *[keeper] * 1000):
        made: list[Prefetcher] = []
        thread = threading.Thread(target=lambda: made.append(Prefetcher(MOUNTPOINT)))
        thread.start()
        wait(lambda: asked > 3)
        with listening(record.parent / "d", daemon):
            thread.join(LIMIT)
            made[0].close()


def wait(condition: Callable[[], bool]) -> None:
    done = threading.Event()
    for _ in range(int(LIMIT / 0.01)):
        if condition():
            return
        done.wait(0.01)
    raise AssertionError("not in time")
