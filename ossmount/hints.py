"""Tells an ossmount mount which files will be read next, so that they are there before they are opened.

    from ossmount.hints import Prefetcher

    with Prefetcher("/mnt/train") as prefetcher:
        for epoch in range(epochs):
            order = sampler.order(epoch)
            prefetcher.feed(paths[i] for i in order)
            train(order)

Standard library only, and one file: copy it into an image that has no ossmount. feed() returns at once; a thread tells the
daemon as much as it wants to hear. A daemon that dies or is restarted is followed by another one, and that is told the rest.
After a fork (DataLoader's workers) the child's Prefetcher has a connection and a list of its own. Hints never fail the program
that gives them: what goes wrong is logged once, and is_working says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

log = logging.getLogger("ossmount.hints")

BATCH = 500  # paths in one message
BATCH_BYTES = 256 << 10  # of paths in one message
PATIENCE = 10.0  # seconds for an answer that is due at once, and without anybody who could start another daemon
LOOK = 1.0  # seconds between two looks at how far the daemon is, where it is not done
PAUSE = 0.1  # seconds between two looks at whether there is another daemon
_LONGEST_ADDRESS = 107  # bytes of an AF_UNIX address


class NotMounted(Exception):
    """There is no mount of ossmount at that place, or its daemon cannot be reached."""


class Prefetcher:
    """One order of files, told to the daemon of one mount."""

    _changed: threading.Condition
    _finished: threading.Event
    _queue: deque[str]
    _told: deque[str]
    _counts: dict[str, int]
    _before: dict[str, int]
    _thread: threading.Thread | None
    _finishing: bool
    _closed: bool
    _problem: str
    _result: dict[str, Any]
    unknown: int  # paths that are no small file of the mount

    def __init__(self, mountpoint: str | os.PathLike[str]) -> None:
        """mountpoint: of the mount, or a folder in it, to which relative paths are relative then. Raises NotMounted."""
        self._place = os.fspath(mountpoint)
        self._record, self._below = _find(self._place)
        self._begin()
        self._connection: socket.socket | None = None
        self._connection = self._reach()
        _living.add(self)

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Prefetcher for {self._record['mountpoint']}, {len(self._queue)} paths waiting>"

    def __reduce__(self) -> tuple[type[Prefetcher], tuple[str]]:
        """For workers that are not forked but spawned: they get one of their own."""
        return Prefetcher, (self._place,)

    @property
    def is_working(self) -> bool:
        """Whether the daemon has taken everything so far that it was told."""
        return not self._problem

    def feed(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        """More files in the order in which they will be read: absolute, or relative to the mountpoint. Returns at once."""
        written = [self._written(os.fspath(path)) for path in paths]
        with self._changed:
            if self._closed:
                raise ValueError("the Prefetcher is closed")
            if self._problem:
                return
            self._finished.clear()
            self._finishing = False
            self._queue.extend(written)
            self._start()
            self._changed.notify_all()

    def finish(self, timeout: float | None = None) -> dict[str, Any]:
        """Waits until everything is fetched or left out: {"told": …, "fetched": …, "left_out": …}, files of this list.

        Raises NotMounted when the mount is gone or its daemon refuses, TimeoutError after so many seconds.
        """
        with self._changed:
            self._finishing = True
            self._start()
            self._changed.notify_all()
        if not self._finished.wait(timeout):
            raise TimeoutError(f"not everything is fetched after {timeout} s")
        if self._problem:
            raise NotMounted(self._problem)
        return self._result

    def close(self) -> None:
        """Takes back what was told and is not done. Idempotent."""
        with self._changed:
            self._closed = True
            connection, self._connection = self._connection, None
            thread = self._thread
            self._changed.notify_all()
        if connection is not None:
            with contextlib.suppress(OSError):  # the daemon was the first to close
                connection.shutdown(socket.SHUT_RDWR)
        if thread is not None:
            thread.join()
        if connection is not None:
            connection.close()

    # -- inside

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._finished = threading.Event()
        self._queue = deque()  # that nobody was told of
        self._told = deque()  # that a daemon was told of, and is not done with
        self._counts = dict.fromkeys(("passed", "files", "fetched"), 0)  # of this connection, as the daemon last told
        self._before = dict.fromkeys(("unknown", "told", "fetched", "left_out"), 0)  # what came of former ones
        self._thread = None
        self._finishing = False
        self._closed = False
        self._problem = ""
        self._result = {}
        self.unknown = 0

    def _after_fork(self) -> None:
        """In the child: the thread is not there, and the connection is the parent's."""
        connection, self._connection = self._connection, None
        closed = self._closed
        self._begin()
        self._closed = closed
        if connection is not None:
            connection.close()

    def _written(self, path: str) -> str:
        return path if path.startswith("/") else f"{self._record['mountpoint']}/{self._below}{path}"

    def _reach(self) -> socket.socket | None:
        """A connection to the daemon that serves now, or will soon; None when closed meanwhile. Raises NotMounted."""
        alone_until = 0.0
        while not self._closed:
            try:
                return self._connect()
            except OSError as error:
                why = os.strerror(error.errno) if error.errno else str(error)
            except ValueError as error:
                raise self._unreachable(str(error)) from None
            state = _keeper_state(self._record)
            # one that serves and cannot be reached is only about to be replaced
            alone_until = 0.0 if state == "restarting" else alone_until or time.monotonic() + PATIENCE
            if state == "failed" or not self._record.get("keeper_socket") or 0 < alone_until < time.monotonic():
                raise self._unreachable(why)
            with self._changed:
                if not self._closed:
                    self._changed.wait(PAUSE)
            record = _record(self._record["mountpoint"])
            if record is None:
                raise self._unreachable("it was unmounted")
            self._record = record
        return None

    def _unreachable(self, why: str) -> NotMounted:
        return NotMounted(f"{self._record['mountpoint']}: the daemon cannot be told anything: {why}")

    def _connect(self) -> socket.socket:
        connection = _connected(self._record["socket"])
        try:
            _ask(connection, {"command": "prefetch"})
            connection.settimeout(None)
        except BaseException:
            connection.close()
            raise
        return connection

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._tell, name="ossmount-hints", daemon=True)
            self._thread.start()

    def _tell(self) -> None:
        """The thread: tells batch after batch, until close(); to the daemons that follow one another."""
        try:
            while not self._closed:
                try:
                    self._tell_one()
                except OSError as error:
                    if not self._closed:
                        log.info("%s: the daemon is gone (%s): the next one is told", self._record["mountpoint"], error)
                        self._take_back()
                        time.sleep(PAUSE)
        except (ValueError, KeyError, NotMounted) as error:
            if not self._closed:
                self._problem = str(error) or type(error).__name__
                log.warning("no more hints for %s: %s", self._record["mountpoint"], self._problem)
        finally:
            if self._problem or self._closed:
                self._problem = self._problem or "closed"
                self._finished.set()

    def _tell_one(self) -> None:
        """Tells one daemon, until close(). Raises OSError when it is gone."""
        connection = self._connection or self._reach()
        with self._changed:
            if self._closed:
                if connection is not None and self._connection is None:
                    connection.close()
                return
            self._connection = connection
        assert connection is not None
        while True:
            with self._changed:
                while not (self._queue or self._finishing or self._closed) and self._changed.wait(LOOK if self._told else None):
                    pass
                if self._closed:
                    return
                batch = self._take()
                self._told.extend(batch)
            if batch or not self._finishing:  # without paths it only asks how far the daemon is, and whether there is one
                answer = _ask(connection, {"command": "feed", "paths": batch})
                self.unknown += answer["unknown"]
                self._note(answer)
            else:
                self._finish(connection)

    def _finish(self, connection: socket.socket) -> None:
        answer = _ask(connection, {"command": "finish", "progress": True})
        self._note(answer)
        while not answer["done"]:
            answer = _receive(connection)
            self._note(answer)
        with self._changed:
            self._finishing = False
            self._result = {name: answer[name] + self._before[name] for name in ("told", "fetched", "left_out")}
            self._finished.set()

    def _note(self, answer: dict[str, Any]) -> None:
        """How far the daemon is. One that does not tell has what it was told for good."""
        passed = answer.get("passed", self._counts["passed"] + len(self._told))
        for _ in range(passed - self._counts["passed"]):
            self._told.popleft()
        files = answer.get("files", passed - self.unknown + self._before["unknown"])
        self._counts = {"passed": passed, "files": files, "fetched": answer.get("fetched", 0)}

    def _take_back(self) -> None:
        """What the daemon was not done with is for the next one."""
        with self._changed:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()
            self._queue.extendleft(reversed(self._told))
            self._told.clear()
            passed, files, fetched = self._counts.values()
            self._counts = dict.fromkeys(self._counts, 0)
            before = self._before
            before["told"] += files
            before["fetched"] += fetched
            before["left_out"] += files - fetched
            before["unknown"] += passed - files
            self.unknown = before["unknown"]

    def _take(self) -> list[str]:
        batch: list[str] = []
        size = 0
        while self._queue and len(batch) < BATCH and size < BATCH_BYTES:
            batch.append(self._queue.popleft())
            size += len(batch[-1])
        return batch


_living: weakref.WeakSet[Prefetcher] = weakref.WeakSet()


def _forked() -> None:
    for prefetcher in list(_living):
        prefetcher._after_fork()


os.register_at_fork(after_in_child=_forked)


def _connected(path: str) -> socket.socket:
    """Raises OSError, also for one that takes too long: a process that is suspended."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(PATIENCE)
        with _address(path) as where:
            connection.connect(where)
    except BaseException:
        connection.close()
        raise
    return connection


def _keeper_state(record: dict[str, Any]) -> str:
    """What the keeper, which starts daemons, says of the mount: serving, restarting or failed; "" when there is none."""
    try:
        with _connected(record["keeper_socket"]) as connection:
            return str(_ask(connection, {"command": "status"})["state"])
    except (OSError, ValueError, KeyError):
        return ""


def _ask(connection: socket.socket, request: dict[str, object]) -> dict[str, Any]:
    """One line there, one line back. Raises OSError, and ValueError for an answer that says no."""
    connection.sendall(json.dumps(request).encode() + b"\n")
    return _receive(connection)


def _receive(connection: socket.socket) -> dict[str, Any]:
    received = bytearray()
    while not received.endswith(b"\n"):
        piece = connection.recv(1 << 16)
        if not piece:
            raise ConnectionResetError("the daemon has closed the connection")
        received += piece
    answer: dict[str, Any] = json.loads(received)
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer


def _state_directories() -> Iterator[str]:
    """Where records of mounts may lie, the likeliest first."""
    named = os.environ.get("OSSMOUNT_STATE_DIR")
    if named:
        yield os.path.abspath(named)
        return
    if os.geteuid() != 0:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        yield os.path.join(runtime, "ossmount") if runtime else f"/tmp/ossmount-{os.geteuid()}"
    yield "/run/ossmount"


def _find(place: str) -> tuple[dict[str, Any], str]:
    """The record of the mount that the place lies in, and the place's path in it ("" or ending in "/")."""
    parent, name = os.path.split(os.path.abspath(place))
    direct = os.path.join(os.path.realpath(parent), name)
    for path in dict.fromkeys((direct, os.path.realpath(place))):
        above = path
        while True:
            record = _record(above)
            if record is not None:
                below = path[len(above) :].strip("/")
                return record, below + "/" if below else ""
            if above == "/":
                break
            above = os.path.dirname(above)
    raise NotMounted(f"{place}: no mount of ossmount that you may use; `ossmount status` lists yours")


def _record(mountpoint: str) -> dict[str, Any] | None:
    name = hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:20] + ".json"
    for directory in _state_directories():
        try:
            record: dict[str, Any] = json.loads(Path(directory, name).read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        except ValueError:
            raise NotMounted(f"{os.path.join(directory, name)} is damaged; mount once more") from None
        return record
    return None


@contextlib.contextmanager
def _address(path: str) -> Iterator[str]:
    """An address for connect(), also of a path that is too long for one."""
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield path
        return
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{os.path.basename(path)}"
    finally:
        os.close(directory)
