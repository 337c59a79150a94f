"""The daemon's side of its keeper: what lets another daemon go on with the connection, and this one with another's.

Everything runs on the event loop's thread. When the keeper dies, a new one is started and given what it needs.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import select
import socket
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

import trio

from ossmount.channel.interface import Taken
from ossmount.daemon.keeping import keeper_words, plan_of
from ossmount.daemon.order import Order
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.keeper import wire
from ossmount.keeper.mounts import is_automounted
from ossmount.options.declarations import USER

log = logging.getLogger(__name__)

_BEAT = 1.0  # seconds between two signs of life
_RESTART = 1.0  # seconds between two keepers at least
_FOLLOWED = 20.0  # seconds that another daemon has to take what we have left, while we hold it too
_KNOWN = 60.0  # seconds that a keeper may take to start; there is nothing else that could be done
_ANSWER = 10.0  # seconds that the keeper has to answer; it answers at once, unless it is gone


class _Asked:
    """A question to the keeper: for the number of a backing file, or for what a daemon without privileges may not do."""

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.backing = 0
        self.error = errno.ETIMEDOUT


class Kept:
    """A Succession (ossmount.channel.interface) over a keeper process; `run` is a component of the mount."""

    def __init__(self, descriptor: int) -> None:
        """Waits for the keeper's first word. descriptor: of the socket to it. Raises CommandError when it is gone."""
        os.set_inheritable(descriptor, False)
        self._connection = socket.socket(fileno=descriptor)
        received = wire.receive(self._connection)
        if received is None:
            raise CommandError(ExitCode.UNEXPECTED, "the keeper of the mount is gone")
        self._connection.setblocking(False)
        self.keepers: set[int] = set()  # of this mount, as far as this daemon has seen them
        hello: Mapping[str, Any] = received[0]
        descriptors = received[1]
        self._greet(hello)
        self._backings: set[int] = set()
        self._asked: dict[int, _Asked] = {}  # by number: what the keeper was asked to back
        self._numbers = itertools.count(1)
        self.role = str(hello["role"])
        self._nice = int(hello["nice"])
        self.alive, self._alive_writing, self.journal, *device = descriptors
        self._agreement: Mapping[str, Any] | None = None
        self._device = -1  # our own descriptor of the device, for a new keeper
        self._taken: Taken | None = None
        self._given = trio.Event()
        self._mounted = trio.Event()
        self._serving = False
        self._guard = -1  # the socket to the guard, for a new keeper
        self._follower = -1  # a pipe that tells whether another daemon has taken what we have left
        self._over = False  # the connection is another daemon's, or has ended
        self._started: subprocess.Popen[bytes] | None = None  # the keeper that we have started
        self._started_one = False
        self._order: Order | None = None
        self._leave: Callable[[], None] = lambda: None
        self._changed: Callable[[], None] = lambda: None
        if device:
            self._take(device[0], hello)

    def __repr__(self) -> str:
        return f"<Kept by {self.pid} as {self.role}>"

    @property
    def inherits(self) -> bool:
        """Whether the connection was begun by another daemon."""
        return self.role != wire.FIRST

    @property
    def follows_a_death(self) -> bool:
        """Whether nobody serves until we do: nothing may be waited for that is not needed."""
        return self.role == wire.SUCCESSOR

    def attach(self, order: Order, leave: Callable[[], None], changed: Callable[[], None]) -> None:
        """order: as the daemon was given it; leave: called when the connection is to be left to another daemon; changed: when
        there is another keeper."""
        self._order, self._leave, self._changed = order, leave, changed

    @property
    def privileged(self) -> int:
        """The process that asks the kernel for backing files."""
        return self._guard_pid or self.pid

    def facts(self) -> dict[str, object]:
        guard = {"guard": self._guard_pid} if self._guard_pid else {}
        return {"pid": self.pid, **guard, "deaths": self._deaths, "restarts": self._restarts, "this_daemon": self.role}

    # -- for the daemon

    def built(self) -> None:
        """Takes back the priority with which a successor is started. Called before there are threads and processes of ours."""
        if os.getpriority(os.PRIO_PROCESS, 0) < self._nice:
            os.setpriority(os.PRIO_PROCESS, 0, self._nice)

    async def run(self, started: Callable[[], None]) -> None:
        """Listens to the keeper and shows it that we live, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._beat)
            started()
            while True:
                received = await self._receive()
                if received is None:
                    await self._start_keeper()
                else:
                    self._hear(*received)

    async def prepared(self) -> None:
        """Returns when the connection is ours. A replacement has all else by now."""
        if self.role == wire.REPLACEMENT:
            self._tell("prepared")
            await self._given.wait()

    def ready(self) -> None:
        """We serve."""
        self._serving = True
        self._tell("ready")

    def refuse(self, message: str) -> None:
        """We cannot be used, and end."""
        self._tell("refused", message=message)

    # -- for the channel

    def taken(self) -> Taken | None:
        return self._taken

    def keep(self, fd: int, agreement: Mapping[str, Any]) -> None:
        self._agreement = agreement
        self._device = os.dup(fd)
        self._tell("mounted", (fd,), agreement=agreement)
        self._mounted.set()

    def left(self) -> None:
        self._tell("left")
        self._over = True
        if self._follower < 0:  # of a keeper that knows no handover
            self._close()

    def see_off(self) -> None:
        """Waits until another daemon has what we have left, or is certain to get it; called when nothing else of us runs.

        A keeper that dies before it has passed the device on takes it along. Then we start another one, and that one starts a
        daemon.
        """
        if self._follower < 0:
            return
        followed = not select.select([self._follower], (), (), _FOLLOWED)[0] or bool(os.read(self._follower, 1))
        if not followed and self._keeper_is_gone():
            log.warning("the keeper %d died before another daemon had the connection: another one is started", self.pid)
            self._launch_keeper()
            self._connection.settimeout(_KNOWN)
            if (received := wire.receive(self._connection)) is not None:  # its hello: it must have seen us before we end
                self._hear(*received)
            self._tell("left")
        self._close()

    def end(self) -> None:
        if not self._over:
            self._tell("end")
            self._close()

    def backings(self) -> set[int]:
        return set(self._backings)

    async def back(self, file: int) -> int:
        return await self._ask("back", (file,))

    @property
    def mounter(self) -> Kept | None:
        return self if self._order is not None and self._order.settings[USER] else None

    async def mount(self, device: int, *, allow_other: bool) -> None:
        await self._ask("mount", (device,), allow_other=allow_other)

    async def set_read_ahead(self, kb: int) -> None:
        await self._ask("read_ahead", kb=kb)

    async def detach(self) -> None:
        await self._ask("detach")

    def unback(self, backing: int) -> None:
        self._backings.discard(backing)
        self._tell("unback", backing=backing)

    # -- inside

    async def _ask(self, kind: str, descriptors: tuple[int, ...] = (), **fields: object) -> int:
        """What the keeper answers; 0 where that is no number. Raises OSError."""
        number, asked = next(self._numbers), _Asked()
        self._asked[number] = asked
        self._tell(kind, descriptors, number=number, **fields)
        with trio.CancelScope(shield=True), trio.move_on_after(_ANSWER):
            await asked.answered.wait()
        del self._asked[number]
        if asked.error:
            raise OSError(asked.error, os.strerror(asked.error))
        return asked.backing

    def _backed(self, message: Mapping[str, Any]) -> None:
        if not message["error"]:
            self._backings.add(message["backing"])
        asked = self._asked.get(message["number"])
        if asked is not None:
            asked.backing, asked.error = message["backing"], message["error"]
            asked.answered.set()
        elif not message["error"]:  # too late: nobody waits any more
            self.unback(message["backing"])

    def _greet(self, hello: Mapping[str, Any]) -> None:
        self.pid, self.socket = int(hello["keeper"]), str(hello["socket"])
        self.keepers.add(self.pid)
        self._guard_pid = int(hello.get("guard", 0))  # an older keeper has none
        self._count(hello)

    def _count(self, message: Mapping[str, Any]) -> None:
        self._deaths, self._restarts = int(message["deaths"]), int(message["restarts"])

    def _take(self, device: int, message: Mapping[str, Any]) -> None:
        self._agreement = message["agreement"]
        self._device = os.dup(device)
        self._backings = set(message["backings"])
        self._taken = Taken(device, message["agreement"], bool(message["after_death"]))
        self._mounted.set()
        self._given.set()

    def _keeper_is_gone(self) -> bool:
        if self._connection.fileno() < 0:
            return True
        try:
            return not self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def _close(self) -> None:
        """The device is nobody's here any more, once the channel has closed its own."""
        self._over = True
        if self._device >= 0:
            os.close(self._device)
            self._device = -1

    def _tell(self, kind: str, descriptors: tuple[int, ...] = (), **fields: object) -> None:
        # a keeper that is gone is found out by reading, and told all that counts again (adopt)
        with contextlib.suppress(OSError):
            wire.send(self._connection, kind, descriptors, **fields)

    async def _beat(self) -> None:
        while True:
            self._tell("beat")
            await trio.sleep(_BEAT)

    async def _receive(self) -> tuple[dict[str, Any], list[int]] | None:
        while True:
            await trio.lowlevel.wait_readable(self._connection)
            with contextlib.suppress(BlockingIOError):
                return wire.receive(self._connection)

    def _hear(self, message: dict[str, Any], descriptors: list[int]) -> None:
        kind = message["kind"]
        if kind == "take":
            self._take(descriptors[0], message)
            self._count(message)
            for follower in descriptors[1:]:
                with contextlib.suppress(BrokenPipeError):  # who has left is killed
                    os.write(follower, b"\n")
                os.close(follower)
        elif kind == "backed":
            self._backed(message)
        elif kind == "done" and (asked := self._asked.get(message["number"])) is not None:
            asked.error = message["error"]
            asked.answered.set()
        elif kind == "leave":
            log.info("another daemon takes over")
            if self._follower >= 0:
                os.close(self._follower)
            self._follower = descriptors[0] if descriptors else -1
            self._leave()
        elif kind == "guard":
            if self._guard >= 0:
                os.close(self._guard)
            self._guard = descriptors[0]
        elif kind == "hello":  # of the keeper that we have started; what it sent along is ours
            for descriptor in descriptors:
                os.close(descriptor)
            self._greet(message)
            self._changed()

    async def _start_keeper(self) -> None:
        """The keeper is gone: another one takes its place, with the same device."""
        trio.lowlevel.notify_closing(self._connection)
        self._connection.close()
        if self.role == wire.REPLACEMENT and self._taken is None:
            raise CommandError(ExitCode.UNEXPECTED, "the keeper of the mount is gone")
        await self._mounted.wait()
        if self._over:
            await trio.sleep_forever()
        log.warning("the keeper %d is gone: another one is started", self.pid)
        if self._started_one:
            await trio.sleep(_RESTART)
        self._launch_keeper()

    def _launch_keeper(self) -> None:
        assert self._order is not None
        self._started_one = True
        if self._started is not None:
            self._started.poll()  # reaps it
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.setblocking(False)
        plan = plan_of(self._order, first=False).write()
        try:
            self._started = subprocess.Popen(
                keeper_words(plan, theirs.fileno(), self._order.mountpoint),
                stdin=subprocess.DEVNULL,
                pass_fds=(plan, theirs.fileno()),
                start_new_session=not is_automounted(self._order.mountpoint),
            )
        except OSError as error:
            log.error("no keeper can be started: %s", error)
        finally:
            os.close(plan)
            theirs.close()
        guard = (self._guard,) if self._guard >= 0 else ()
        handed = (self.alive, self._alive_writing, self.journal, self._device, *guard)
        facts = {"agreement": self._agreement, "serving": self._serving, "backings": [*self._backings]}
        self._tell("adopt", handed, pid=os.getpid(), guard=self._guard_pid, **facts)
