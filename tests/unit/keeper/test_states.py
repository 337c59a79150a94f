"""Which daemon serves, and what is told of it: the keeper's loop with processes that sleep, and that the test speaks for."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ossmount.keeper import wire
from ossmount.keeper.control import Client
from ossmount.keeper.daemon import Daemon
from ossmount.keeper.keeper import Keeper
from ossmount.keeper.plan import Plan

LIMIT = 60.0  # seconds; against hangs only
RESTART = {"command": "restart", "argv": ["/bin/true"], "order": "{}", "environment": {}}


class Asking(Client):
    """A client that keeps its answers."""

    def __init__(self) -> None:
        self.answers: list[dict[str, object]] = []

    def answer(self, **fields: object) -> None:
        self.answers.append(fields)


class Stage:
    """A keeper, and the daemons that it has started, the last one last."""

    def __init__(self, folder: Path) -> None:
        self.daemons: list[Daemon] = []
        self._theirs: list[socket.socket] = []
        self._device = os.open(os.devnull, os.O_RDWR)
        self.keeper = Keeper(self._plan(folder), os.pipe(), os.memfd_create("journal"), oom="")

    @staticmethod
    def _plan(folder: Path) -> Plan:
        return Plan(argv=["/bin/true"], order="{}", socket=f"{folder}/keeper-", mountpoint="/proc")

    def spawn(self, plan: Plan, role: str, oom: str) -> Daemon:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._theirs.append(theirs)
        self.daemons.append(Daemon(subprocess.Popen(["/bin/sleep", "3600"]).pid, ours, role, plan))
        return self.daemons[-1]

    def say(self, daemon: Daemon, kind: str, **fields: object) -> None:
        descriptors = (self._device,) if kind == "mounted" else ()
        wire.send(self._theirs[self.daemons.index(daemon)], kind, descriptors, **fields)
        self.keeper._hear(daemon)

    def serve(self, daemon: Daemon) -> None:
        if daemon.role == wire.FIRST:
            self.say(daemon, "mounted", agreement={})
        self.say(daemon, "ready")

    def end(self, daemon: Daemon) -> None:
        daemon.signal(signal.SIGKILL)
        select.select([daemon.pidfd], (), (), LIMIT)
        self.keeper._reap(daemon)

    def close(self) -> None:
        for daemon, theirs in zip(self.daemons, self._theirs, strict=True):
            theirs.close()
            if daemon.connection.fileno() >= 0:
                daemon.signal(signal.SIGKILL)
                select.select([daemon.pidfd], (), (), LIMIT)
                daemon.reap()
        self.keeper._control.close()


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr("ossmount.keeper.keeper.catch", lambda watch, take: None)
    made = Stage(tmp_path)
    monkeypatch.setattr("ossmount.keeper.keeper.spawn", made.spawn)
    try:
        yield made
    finally:
        made.close()


def test_a_restart_goes_on_when_the_daemon_dies_that_was_starting_meanwhile(stage: Stage) -> None:
    stage.keeper.start()
    stage.serve(stage.daemons[0])
    stage.end(stage.daemons[0])
    stage.keeper.start()
    client = Asking()
    stage.keeper._serve(dict(RESTART), client)
    _, starting, coming = stage.daemons
    assert (starting.role, coming.role) == (wire.SUCCESSOR, wire.REPLACEMENT)
    stage.end(starting)
    assert client.answers == []
    stage.say(coming, "prepared")
    stage.serve(coming)
    assert client.answers == [{"pid": coming.pid}]


def test_a_restart_that_fails_is_told_and_the_daemon_serves_on(stage: Stage) -> None:
    stage.keeper.start()
    (serving,) = stage.daemons
    stage.serve(serving)
    client = Asking()
    stage.keeper._serve(dict(RESTART), client)
    coming = stage.daemons[-1]
    stage.say(coming, "refused", message="no such bucket")
    stage.end(coming)
    assert client.answers == [{"error": "no such bucket"}]
    assert stage.keeper._status()["daemon_pid"] == serving.pid
    assert stage.keeper._status()["state"] == "serving"


def test_a_mount_that_is_taken_away_while_no_daemon_serves_ends_its_keeper(stage: Stage) -> None:
    """Else it would go on starting daemons that cannot be, half a minute on a busy machine, and umount waits for it."""
    os.close(stage._device)
    reading, stage._device = os.pipe()
    stage.keeper.start()
    stage.serve(stage.daemons[0])
    stage.end(stage.daemons[0])
    stage.keeper.start()  # the next one dies before it serves
    stage.end(stage.daemons[1])
    os.close(reading)  # as an unmount does it: what is left of the connection tells of an error
    stage.keeper.start()
    assert len(stage.daemons) == 2
    assert stage.keeper._exit_code == 1
    os.close(stage._device)
